package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

// trouble makes faults at random, from a seed.
type trouble struct {
	*stage
	*rand.Rand
	pg      *testserver.Postgres
	pending sync.WaitGroup // faults that go on in the background
}

// names of faults, as the table of counts has them.
const (
	workerKills    = "workers killed"
	serverKills    = "API servers killed"
	enqueuerKills  = "enqueuers killed"
	rolling        = "workers restarted by SIGTERM"
	workerStops    = "workers stopped past their lease"
	databaseKills  = "PostgreSQL killed"
	backendKills   = "backends terminated"
	replyDrops     = "spells of lost replies"
	connectionCuts = "proxies cut"
	proxyStalls    = "proxies stalled"
	redisKills     = "Redis killed"
	redisFlushes   = "Redis flushed"
	failedDeals    = "transactions failed"     // by the other faults
	jobKills       = "workers killed by a job" // not of the deck: a job of kind killer does it
)

// allFaults has them in the order of the table.
var allFaults = []string{
	workerKills, serverKills, enqueuerKills, jobKills, rolling, workerStops, databaseKills, backendKills, replyDrops, connectionCuts, proxyStalls,
	redisKills, redisFlushes, failedDeals,
}

// deck returns each kind of fault as often as it shall happen before all happen again.
func (t *trouble) deck() []func(context.Context) {
	deck := []func(context.Context){
		t.killWorker, t.killWorker, t.killServer, t.killEnqueuer, t.restartWorker, t.stopWorker, t.stopWorker,
		t.killDatabase, t.terminateBackends, t.dropReplies, t.dropReplies, t.dropReplies, t.cut, t.stall,
	}
	if t.redis != nil {
		deck = append(deck, t.killRedis, t.killRedis, t.flushRedis, t.flushRedis)
	}
	t.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

// run makes faults until ctx ends, and returns when all of them are over.
func (t *trouble) run(ctx context.Context, every time.Duration) {
	defer t.pending.Wait()
	for {
		for _, do := range t.deck() {
			if !sleep(ctx, every/2+t.span(every)) {
				return
			}
			do(ctx)
		}
	}
}

func (t *trouble) span(d time.Duration) time.Duration { return time.Duration(t.Int64N(int64(d) + 1)) }

// replace kills a process and starts another in its place.
func (t *trouble) replace(r role, what string) {
	x := t.pick(r, t.IntN)
	if x == nil {
		return
	}
	t.note("%s: %s", what, x.Name)
	t.count(what, 1)
	x.signal(syscall.SIGKILL, true)
	t.startLater(x)
}

func (t *trouble) startLater(x *process) {
	d := t.span(500 * time.Millisecond)
	t.pending.Go(func() {
		<-x.exited
		time.Sleep(d)
		if err := t.start(x.part); err != nil {
			t.find("%s: no successor: %v", x.Name, err)
		}
	})
}

func (t *trouble) killWorker(context.Context)   { t.replace(worker, workerKills) }
func (t *trouble) killServer(context.Context)   { t.replace(apiServe, serverKills) }
func (t *trouble) killEnqueuer(context.Context) { t.replace(enqueuer, enqueuerKills) }

func (t *trouble) restartWorker(context.Context) {
	x := t.pick(worker, t.IntN)
	if x == nil {
		return
	}
	t.note("%s: %s", rolling, x.Name)
	t.count(rolling, 1)
	x.signal(syscall.SIGTERM, true)
	t.pending.Go(func() { t.wait(x, 30*time.Second) })
	t.startLater(x)
}

// stopWorker stops a worker for longer than its lease. It comes back as a zombie.
func (t *trouble) stopWorker(context.Context) {
	x := t.pick(worker, t.IntN)
	if x == nil {
		return
	}
	d := t.lease + 500*time.Millisecond + t.span(2*time.Second)
	t.note("%s: %s for %s", workerStops, x.Name, d)
	t.count(workerStops, 1)
	x.signal(syscall.SIGSTOP, false)
	t.pending.Go(func() {
		time.Sleep(d)
		t.note("%s goes on", x.Name)
		x.signal(syscall.SIGCONT, false)
	})
}

func (t *trouble) killDatabase(context.Context) {
	t.note(databaseKills)
	t.count(databaseKills, 1)
	err := t.pg.Kill()
	time.Sleep(t.span(time.Second))
	if err == nil {
		err = t.pg.Start()
	}
	if err != nil {
		t.find("PostgreSQL does not come back: %v", err)
	}
	t.note("PostgreSQL is back")
}

func (t *trouble) terminateBackends(ctx context.Context) {
	var n int
	err := t.db.QueryRow(ctx, `select count(pg_terminate_backend(pid)) from (
		select pid from pg_stat_activity where application_name = 'errand' order by random() limit $1) x`, 1+t.IntN(8)).Scan(&n)
	t.note("%s: %d, %v", backendKills, n, err)
	t.count(backendKills, n)
}

// proxyOf returns the proxy of a process at random.
func (t *trouble) proxyOf() *process {
	all := t.living("")
	if len(all) == 0 {
		return nil
	}
	return all[t.IntN(len(all))]
}

func (t *trouble) dropReplies(context.Context) {
	if x := t.proxyOf(); x != nil {
		d := 20*time.Millisecond + t.span(400*time.Millisecond)
		t.note("%s: %s for %s", replyDrops, x.Name, d)
		t.count(replyDrops, 1)
		x.proxy.drop(d)
	}
}

func (t *trouble) cut(context.Context) {
	if x := t.proxyOf(); x != nil {
		t.note("%s: %s", connectionCuts, x.Name)
		t.count(connectionCuts, 1)
		x.proxy.cut()
	}
}

func (t *trouble) stall(context.Context) {
	if x := t.proxyOf(); x != nil {
		d := 500*time.Millisecond + t.span(4*time.Second)
		t.note("%s: %s for %s", proxyStalls, x.Name, d)
		t.count(proxyStalls, 1)
		x.proxy.stall(d)
		t.pending.Go(func() { time.Sleep(d) })
	}
}

// killRedis kills Redis, which comes back empty.
func (t *trouble) killRedis(context.Context) {
	t.note(redisKills)
	t.count(redisKills, 1)
	t.countTickets()
	err := t.redis.Kill()
	time.Sleep(t.span(2 * time.Second))
	if err == nil {
		err = t.redis.Start()
	}
	if err != nil {
		t.find("Redis does not come back: %v", err)
	}
	t.note("Redis is back")
}

func (t *trouble) flushRedis(context.Context) {
	_, err := t.redis.CLI("FLUSHALL")
	t.note("%s: %v", redisFlushes, err)
	t.count(redisFlushes, 1)
}

// countTickets counts how often tickets were taken from Redis since it was started.
func (s *stage) countTickets() {
	stats, err := s.redis.CLI("INFO", "commandstats")
	if err != nil {
		s.find("Redis does not answer: %v", err)
		return
	}
	var n int
	if _, after, ok := strings.Cut(stats, "cmdstat_zpopmin:calls="); ok {
		_, _ = fmt.Sscanf(after, "%d", &n)
	}
	s.mu.Lock()
	s.counts.takes += n
	s.mu.Unlock()
}
