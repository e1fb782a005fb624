package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/sqlite"
)

// This is a run of its own: schedules of every second, fired by processes that are killed and started again at random. In the end each
// nominal time must have had its one job.

// tickers are the schedules, and the processes that fire them.
type tickers struct {
	URL        string // of PostgreSQL; "": the processes share the file
	File       string // of SQLite
	Schedules  int
	Start, End time.Time // of the schedules

	processes int
	kill      time.Duration // mean time between two kills
	seed      uint64
	say       func(format string, args ...any)
}

const tickersEnv = "ERRAND_CHAOS_TICKERS"

func (x *tickers) open(ctx context.Context) (errand.Store, error) {
	if x.URL == "" {
		return sqlite.Open(x.File, nil)
	}
	return openStore(ctx, x.URL, "", &postgres.Options{Log: slog.Default()})
}

var tickKind = errand.Define[errand.None, errand.None]("tick")

func tickerName(i int) string { return fmt.Sprintf("ticker-%03d", i) }

// playTicker is one of the processes, if this is one: it registers the schedules, as a program does at each start, fires them and runs their jobs.
func playTicker() (code int, ok bool) {
	raw := os.Getenv(tickersEnv)
	if raw == "" {
		return 0, false
	}
	var x tickers
	if err := json.Unmarshal([]byte(raw), &x); err != nil {
		panic(err)
	}
	ctx, stop := leash()
	defer stop()
	if err := x.play(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func (x *tickers) play(ctx context.Context) error {
	store, err := x.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	e := errand.New(store, &errand.Config{Lease: 3 * time.Second, ShutdownGrace: -1})
	tickKind.Do(e, func(context.Context, errand.None) error { return nil })
	for i := range x.Schedules {
		spec := "@every 1s"
		if i%2 == 1 {
			spec = "* * * * * *"
		}
		_, err := e.Schedule(ctx, tickerName(i), spec, tickKind.New(errand.None{}), &errand.Plan{
			Start: x.Start, End: x.End, Overlap: errand.OverlapAllow, Misfire: errand.MisfireCatchUp,
		})
		if err != nil {
			return err
		}
	}
	return e.Run(ctx)
}

// run lets the processes fire the schedules, kills them, and checks.
func (x *tickers) run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(x.seed, 0))
	living, kills := make([]*ticker, x.processes), 0
	defer func() {
		for _, p := range living {
			p.kill()
		}
	}()
	for i := range living {
		p, err := x.start()
		if err != nil {
			return err
		}
		living[i] = p
	}
	for time.Now().Before(x.End.Add(-time.Second)) && ctx.Err() == nil {
		doze(ctx, time.Duration(random.Float64()*2*float64(x.kill)))
		i := random.IntN(len(living))
		living[i].kill()
		if kills++; random.IntN(2) == 0 {
			doze(ctx, time.Duration(random.IntN(2000))*time.Millisecond)
		}
		var err error
		if living[i], err = x.start(); err != nil {
			return err
		}
	}
	x.say("%d processes on %d schedules of every second, killed %d times", x.processes, x.Schedules, kills)
	return x.check(ctx)
}

func doze(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ticker is a process.
type ticker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	once  sync.Once
}

func (x *tickers) start() (*ticker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	p := &ticker{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), tickersEnv+"="+string(raw))
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(x.File+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr = log
	return p, p.cmd.Start()
}

func (p *ticker) kill() {
	if p != nil {
		p.once.Do(func() {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		})
	}
}

// check compares the jobs with the nominal times.
func (x *tickers) check(ctx context.Context) error {
	store, err := x.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	e := errand.New(store, nil)
	if err := x.rest(ctx, e); err != nil {
		return err
	}
	var problems []error
	var late []time.Duration
	want := int(x.End.Sub(x.Start) / time.Second)
	for i := range x.Schedules {
		jobs := map[time.Time]int{}
		q := errand.Query{Tags: []string{errand.ScheduleTag(tickerName(i))}, Limit: errand.MaxPage}
		for {
			page, err := e.List(ctx, q)
			if err != nil {
				return err
			}
			for k := range page.Jobs {
				j := &page.Jobs[k]
				jobs[j.Nominal()]++
				late = append(late, j.Created.Sub(j.Nominal()))
				if j.State != errand.Succeeded {
					problems = append(problems, fmt.Errorf("job %s of %s is %s", j.ID, j.Nominal(), j.State))
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		for at := x.Start; at.Before(x.End); at = at.Add(time.Second) {
			if n := jobs[at]; n != 1 {
				problems = append(problems, fmt.Errorf("%s has %d jobs for %s", tickerName(i), n, at))
			}
		}
		if len(jobs) != want {
			problems = append(problems, fmt.Errorf("%s has jobs for %d nominal times, want %d", tickerName(i), len(jobs), want))
		}
	}
	slices.Sort(late)
	at := func(q float64) time.Duration { return late[int(q*float64(len(late)-1))].Round(time.Millisecond) }
	x.say("%d nominal times, %d jobs; made late by p50 %s, p99 %s, at most %s", want*x.Schedules, len(late), at(0.5), at(0.99), at(1))
	if len(problems) > 10 {
		problems = append(problems[:10], fmt.Errorf("and %d more", len(problems)-10))
	}
	return errors.Join(problems...)
}

// rest waits until all nominal times have come and all jobs have ended.
func (x *tickers) rest(ctx context.Context, e *errand.Engine) error {
	for deadline := x.End.Add(time.Minute); ; doze(ctx, 200*time.Millisecond) {
		var open []string
		for i := range x.Schedules {
			s, err := e.GetSchedule(ctx, tickerName(i))
			if err != nil {
				return err
			}
			if !s.Next.IsZero() {
				open = append(open, s.Name)
			}
		}
		alive := int64(0)
		counts, err := e.Stats(ctx)
		for _, c := range counts {
			if !c.State.Ended() {
				alive += c.Jobs
			}
		}
		switch {
		case err != nil || ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case len(open) == 0 && alive == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d schedules have not come to their end (%s …), %d jobs have not ended", len(open), strings.Join(open[:min(3, len(open))], ", "), alive)
		}
	}
}

// runTickers runs five processes on PostgreSQL, or one on SQLite, for so long.
func runTickers(ctx context.Context, dir string, onPostgres bool, schedules int, span, kill time.Duration, seed uint64, say func(string, ...any)) error {
	x := &tickers{File: filepath.Join(dir, "tickers.db"), Schedules: schedules, processes: 1, kill: kill, seed: seed, say: say}
	if onPostgres {
		pg, err := testserver.StartPostgres(ctx, &testserver.PostgresOptions{Fsync: true})
		if err != nil {
			return err
		}
		defer pg.Close()
		x.URL, x.processes = pg.URL("postgres"), 5
	}
	x.Start = time.Now().UTC().Truncate(time.Second).Add(3 * time.Second)
	x.End = x.Start.Add(span.Truncate(time.Second))
	return x.run(ctx)
}
