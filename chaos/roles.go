package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/redis"
	"github.com/errandhq/errand/server"
)

// role is what a process of a run is for. This program starts itself for each of them.
type role string

const (
	worker   role = "worker"   // runs jobs
	apiServe role = "server"   // serves the HTTP API and runs no jobs
	enqueuer role = "enqueuer" // enqueues by the library
)

// part is the part that a process plays, given to it in the environment.
type part struct {
	Name   string
	Role   role
	URL    string // of the database
	Ledger string
	Lease  time.Duration
	Queues map[string]int // of a worker
	Seed   uint64         // of an enqueuer
	Rate   time.Duration  // of an enqueuer: time between two calls
	Pooler bool
	Redis  string // its address; "" without
}

const partEnv = "ERRAND_CHAOS_PART"

// exits with which a process says that it is not to blame.
const (
	exitStart = 3 // it could not start, because the database was away
	exitEnd   = 4 // it could not say goodbye, because the database was away
)

// playPart plays the part of this process, if it has one.
func playPart() (code int, ok bool) {
	raw := os.Getenv(partEnv)
	if raw == "" {
		return 0, false
	}
	var p part
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		panic(err)
	}
	ctx, stop := leash()
	defer stop()
	return p.play(ctx), true
}

// leash ends this process when its input does: the driver holds the other end, and is gone when it is closed. The context ends with SIGTERM.
func leash() (context.Context, context.CancelFunc) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}

func (p *part) play(ctx context.Context) int {
	l, err := openLedger(p.Ledger, p.Name)
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	slog.SetDefault(log)
	store, err := openStore(ctx, p.URL, p.Redis, &postgres.Options{Pooler: p.Pooler, Log: log})
	if err != nil {
		log.Error("cannot start", "error", err)
		return exitStart
	}
	defer store.Close()
	e := errand.New(store, &errand.Config{
		Queues: p.Queues, Concurrency: 20, Lease: p.Lease, Poll: 200 * time.Millisecond,
		ShutdownGrace: time.Second, StopGrace: 2 * time.Second,
		Retry: errand.Backoff(100*time.Millisecond, 500*time.Millisecond), Observer: l, Log: log,
	})
	switch p.Role {
	case worker:
		return p.work(ctx, e, l)
	case apiServe:
		return p.serve(ctx, e)
	default:
		return p.enqueue(ctx, e, l)
	}
}

// openStore opens the store, again and again while the database is away; with a Redis in front if that has an address.
func openStore(ctx context.Context, url, front string, opts *postgres.Options) (*postgres.Store, error) {
	if front != "" {
		dispatcher, err := redis.Open(front, nil)
		if err != nil {
			return nil, err
		}
		opts.Dispatcher = dispatcher
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		store, err := postgres.Open(ctx, url, opts)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return store, err
		}
	}
}

func (p *part) work(ctx context.Context, e *errand.Engine, l *ledger) int {
	for _, kind := range kinds {
		h := errand.Handling{Handler: l.perform}
		if kind == hooked {
			h.CleanUp = l.cleanUp
		}
		e.Handle(kind, h)
	}
	fmt.Println("on")
	if err := e.Run(ctx); err != nil {
		slog.Error("worker ended", "error", err)
		if ctx.Err() != nil {
			return exitEnd
		}
		return exitStart
	}
	return 0
}

func (p *part) serve(ctx context.Context, e *errand.Engine) int {
	s, err := server.New(e, nil)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("on", l.Addr())
	if err := s.Serve(ctx, l); err != nil {
		slog.Error("server ended", "error", err)
	}
	return 0
}

// enqueue enqueues until it is told to stop.
func (p *part) enqueue(ctx context.Context, e *errand.Engine, l *ledger) int {
	fmt.Println("on")
	m := &mix{Rand: rand.New(rand.NewPCG(p.Seed, uint64(os.Getpid())))}
	for ctx.Err() == nil {
		n := 1
		if m.IntN(5) == 0 {
			n = 1 + m.IntN(20)
		}
		orders := m.orders(n)
		for i := range orders {
			if i > 0 && !orders[i].again && orders[0].key == "" && orders[i].kind == follower && m.IntN(2) == 0 {
				orders[i].after = []errand.ID{orders[0].id}
			}
		}
		jobs, since := insist(ctx, l, func(ctx context.Context) ([]errand.Job, error) {
			return e.Enqueue(ctx, newJobs(orders)...)
		})
		for i := range jobs {
			l.acknowledge(&jobs[i], &orders[i], since)
			m.remember(jobs[i].ID, &orders[i])
		}
		time.Sleep(m.span(p.Rate/2, p.Rate*3/2))
	}
	return 0
}

func newJobs(orders []order) []errand.NewJob {
	jobs := make([]errand.NewJob, len(orders))
	for i := range orders {
		jobs[i] = orders[i].newJob()
	}
	return jobs
}

// insist makes a call again and again until its outcome is known, and says when the last try began. It
// returns nothing when the context has ended before that.
func insist[T any](ctx context.Context, l *ledger, call func(context.Context) (T, error)) (answer T, since time.Time) {
	for {
		since = time.Now()
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		answer, err := call(try)
		cancel()
		if err == nil {
			return answer, since
		}
		if refusal := (*refusalError)(nil); errors.As(err, &refusal) || errors.Is(err, errand.ErrInvalid) {
			l.put(note{What: wrong, Text: err.Error()})
			return *new(T), since
		}
		if ctx.Err() != nil {
			return *new(T), since
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// acknowledge notes that an order was answered with a job.
func (l *ledger) acknowledge(j *errand.Job, o *order, since time.Time) {
	x := noteOf(acked, j)
	x.Asked, x.Key, x.Dup, x.Again, x.Since = o.id, o.key, j.Duplicate, o.again, since.UnixMicro()
	if o.id == uuid.Nil {
		x.Asked = j.ID
	}
	l.put(x)
}
