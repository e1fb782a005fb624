package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/redis"
	"github.com/errandhq/errand/sqlite"
)

// mail is the kind of all jobs.
var mail = errand.Define[Args, errand.None]("mail")

// errandSystems are errand with nothing set but the number of slots.
func errandSystems(server *pgHome, both dispatchedHome) []System {
	return []System{
		{
			Group: "memory", Name: "errand memory", Role: Ours,
			Note: "errand.Memory: every job with an ID, a state, a lease, retries, a result and events; 10,000 ended ones kept",
			Open: func(_ string, workers int) (Instance, error) {
				return openErrand(errand.Memory(nil), workers), nil
			},
		},
		{
			Group: "SQLite", Name: "errand SQLite", Role: Ours,
			Note: "sqlite.Open with default options: WAL, synchronous=FULL",
			Open: func(dir string, workers int) (Instance, error) {
				store, err := sqlite.Open(filepath.Join(dir, "errand.db"), nil)
				if err != nil {
					return nil, err
				}
				return openErrand(store, workers), nil
			},
		},
		{
			Group: postgresGroup, Name: "errand PG", Role: Ours, Home: server, Pressed: true,
			Note: "postgres.Open with default options; synchronous_commit=on",
			Open: func(dir string, workers int) (Instance, error) {
				url, err := server.url(dir)
				if err != nil {
					return nil, err
				}
				store, err := postgres.Open(context.Background(), url, &postgres.Options{Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					return nil, err
				}
				return openErrand(store, workers), nil
			},
		},
		{
			Group: postgresGroup, Name: "errand PG+Redis", Role: Ours, Home: both,
			Note: "the same with redis.Open as its dispatcher",
			Open: func(dir string, workers int) (Instance, error) {
				store, err := both.open(dir)
				if err != nil {
					return nil, err
				}
				return openErrand(store, workers), nil
			},
		},
	}
}

// dispatchedHome is a database with a Redis in front of it.
type dispatchedHome struct {
	*pgHome
	redis *redisHome
}

// redisDir is where the address of the Redis is noted.
func redisDir(dir string) string { return filepath.Join(dir, "redis") }

func (h dispatchedHome) open(dir string) (*postgres.Store, error) {
	url, err := h.url(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(redisDir(dir), 0o755); err != nil {
		return nil, err
	}
	address, err := h.redis.addr(redisDir(dir))
	if err != nil {
		return nil, err
	}
	dispatcher, err := redis.Open(address, nil)
	if err != nil {
		return nil, err
	}
	return postgres.Open(context.Background(), url, &postgres.Options{Dispatcher: dispatcher, Log: slog.New(slog.DiscardHandler)})
}

func (h dispatchedHome) Clear(dir string) error {
	return firstOf(h.pgHome.Clear(dir), h.redis.Clear(redisDir(dir)))
}

type errandBench struct {
	store  errand.Store
	engine *errand.Engine
	stop   func() error
}

func openErrand(store errand.Store, workers int) *errandBench {
	return &errandBench{store: store, engine: errand.New(store, &errand.Config{
		Queues: map[string]int{"default": workers}, Log: slog.New(slog.DiscardHandler),
	})}
}

func (b *errandBench) Enqueue(ctx context.Context, job Job) error {
	_, err := mail.Enqueue(ctx, b.engine, job.Args)
	return err
}

func (b *errandBench) EnqueueMany(ctx context.Context, jobs []Job) error {
	batch := make([]errand.NewJob, len(jobs))
	for i := range jobs {
		batch[i] = mail.New(jobs[i].Args)
	}
	_, err := b.engine.Enqueue(ctx, batch...)
	return err
}

func (b *errandBench) Start(ctx context.Context, handle func(Args)) error {
	mail.Do(b.engine, func(_ context.Context, args Args) error {
		handle(args)
		return nil
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- b.engine.Run(ctx) }()
	b.stop = func() error {
		cancel()
		return <-done
	}
	return nil
}

// Settle waits for the end of the shutdown, which writes all that is finished.
func (b *errandBench) Settle(context.Context) error {
	stop := b.stop
	b.stop = nil
	return stop()
}

func (b *errandBench) Close() error {
	if b.stop != nil {
		if err := b.stop(); err != nil {
			return err
		}
	}
	return b.store.Close()
}

// Preload inserts jobs as they are stored when they have succeeded, are due in a year, or are ready.
func (b *errandBench) Preload(ctx context.Context, state string, n int) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	proto := errand.Job{
		Kind: mail.Name(), Queue: "default", MaxAttempts: errand.DefaultMaxAttempts, MaxCrashes: errand.DefaultMaxCrashes,
		OnFailure: errand.CancelAfter, Created: now, State: errand.Scheduled, Version: 1, Due: now.AddDate(1, 0, 0),
	}
	switch state {
	case unworked:
		proto.State, proto.Due, proto.Queue = errand.Ready, now, state
	case finished:
		proto.State, proto.Version, proto.Due = errand.Succeeded, 3, now
		proto.Worker, proto.Token, proto.Attempt = uuid.New(), 1, 1
		proto.Started, proto.Ended, proto.Expires = now, now, now.AddDate(0, 0, 1)
	}
	for n > 0 {
		batch := make([]errand.Job, min(n, errand.MaxBatch))
		for i := range batch {
			batch[i] = proto
			batch[i].ID = uuid.Must(uuid.NewV7())
			batch[i].Args = json.RawMessage(encode(sampleArgs))
		}
		if _, err := b.store.Insert(ctx, batch); err != nil {
			return err
		}
		n -= len(batch)
	}
	return nil
}
