// Command chaos tests errand on PostgreSQL, with Redis in front, by faults. It starts workers, API servers and enqueuers as processes of
// their own; kills, stops and restarts them, PostgreSQL, Redis and the connections in between at random; and then compares
// a ledger, which all processes keep in a file without errand, with what is stored: no acknowledged job is lost, each ends
// once, no late write of a lost worker is recorded, and so on (check.go).
//
// The tests run it for some seconds. "make chaos" runs it for ten minutes, "make chaos FOR=2m" for two. The choice of faults
// follows from the seed; when they hit does not. "make chaos ARGS='-schedules 200'" does schedules instead, see schedules.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
)

func main() {
	if code, ok := play(); ok {
		os.Exit(code)
	}
	o := options{say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	flag.DurationVar(&o.span, "for", 10*time.Minute, "how long to make faults")
	flag.DurationVar(&o.every, "every", time.Second, "mean time between two faults")
	flag.BoolVar(&o.redis, "redis", true, "all processes use a Redis dispatcher in front of PostgreSQL")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64(), "of the choice of faults")
	schedules := flag.Int("schedules", 0, "instead: so many schedules of every second, fired by five processes on PostgreSQL and then by one on SQLite, all of which are killed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	if *schedules > 0 {
		err = o.tick(ctx, *schedules)
	} else {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// play plays the part of this process, if it has one.
func play() (code int, ok bool) {
	if code, ok := playTicker(); ok {
		return code, ok
	}
	return playPart()
}

// options are the options of a run.
type options struct {
	span  time.Duration
	every time.Duration // between two faults, in the mean
	seed  uint64
	redis bool
	say   func(format string, args ...any)
}

// tick has schedules fired on both databases.
func (o *options) tick(ctx context.Context, schedules int) error {
	dir, err := os.MkdirTemp("", "errand-chaos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.say("seed %d", o.seed)
	for _, onPostgres := range []bool{true, false} {
		if err := runTickers(ctx, dir, onPostgres, schedules, o.span, 2*o.every, o.seed, o.say); err != nil {
			return err
		}
	}
	return nil
}

// run makes faults for a while, lets everything come to rest, and checks. When ctx ends, so do the faults.
func run(ctx context.Context, o options) (err error) {
	pg, err := testserver.StartPostgres(ctx, &testserver.PostgresOptions{Fsync: true})
	if err != nil {
		return err
	}
	defer pg.Close()
	so := stageOptions{seed: o.seed, url: pg.URL("postgres"), proxied: true, say: o.say}
	if o.redis {
		if so.redis, err = testserver.StartRedis(ctx, nil); err != nil {
			return err
		}
		defer so.redis.Close()
	}
	s, err := newStage(ctx, so)
	if err != nil {
		return err
	}
	defer s.close()
	s.logs = []string{filepath.Join(pg.Dir, "log")}
	if so.redis != nil {
		s.logs = append(s.logs, filepath.Join(so.redis.Dir, "log"))
	}
	if err := s.startAll(map[role]int{worker: 4, apiServe: 2, enqueuer: 2}); err != nil {
		return err
	}
	t := &trouble{stage: s, Rand: s.rng(0), pg: pg}
	s.poison(ctx)
	s.underLoad(ctx, o.span, func(ctx context.Context) { t.run(ctx, o.every) })
	s.note("the faults are over")
	err = s.settle(context.WithoutCancel(ctx))
	if names := s.missed(); err == nil && ctx.Err() == nil && len(names) > 0 {
		err = fmt.Errorf("the run has come across no %s", strings.Join(names, ", no "))
	}
	return err
}

// poison enqueues a job that kills every worker which runs it.
func (s *stage) poison(ctx context.Context) {
	o := order{id: uuid.Must(uuid.NewV7()), kind: killer, queue: "default", work: work{Kill: true}, priority: 9}
	jobs, since := insist(ctx, s.ledger, func(ctx context.Context) ([]errand.Job, error) { return s.engine.Enqueue(ctx, o.newJob()) })
	for i := range jobs {
		s.ledger.acknowledge(&jobs[i], &o, since)
	}
}

// startAll starts so many processes of each role.
func (s *stage) startAll(count map[role]int) error {
	for r, n := range count {
		for range n {
			if err := s.start(part{Role: r, Rate: 50 * time.Millisecond}); err != nil {
				return err
			}
		}
	}
	return nil
}

// underLoad has jobs enqueued over HTTP and in transactions, paused, cancelled, retried and waited for while meanwhile is at it, for so
// long. (The enqueuers are at it all the time.)
func (s *stage) underLoad(ctx context.Context, d time.Duration, meanwhile func(context.Context)) {
	const clients = 3
	ctx, stop := context.WithTimeout(ctx, d)
	defer stop()
	var load sync.WaitGroup
	for i := range uint64(clients) {
		load.Go(func() { s.produce(ctx, &mix{Rand: s.rng(10 + i)}, 100*time.Millisecond) })
		load.Go(func() { s.control(ctx, s.rng(20+i)) })
		load.Go(func() { s.look(ctx, s.rng(30+i)) })
	}
	for i := range uint64(2) {
		load.Go(func() { s.transact(ctx, &mix{Rand: s.rng(40 + i)}, 150*time.Millisecond) })
		load.Go(func() { s.retry(ctx, s.rng(50+i)) })
		load.Go(func() { s.undo(ctx, s.rng(60+i)) })
	}
	load.Go(func() { s.probe(ctx, time.Second) })
	meanwhile(ctx)
	load.Wait()
}

// settle lets everything come to rest, and checks.
func (s *stage) settle(ctx context.Context) error {
	s.end(enqueuer)
	rested := time.Now()
	if s.drained(ctx, 100*time.Second) {
		s.counts.drain = time.Since(rested)
	}
	if s.redis != nil {
		s.countTickets()
	}
	err := s.checkSessions(ctx)
	s.end(worker)
	s.end(apiServe)
	err = firstOf(err, s.checkSessions(ctx), s.probeOnce(ctx), s.checkStats(ctx), s.inquire(ctx))
	s.say("%s", s.report())
	return firstOf(err, s.verdict())
}

func (s *stage) rng(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, n)) }

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
