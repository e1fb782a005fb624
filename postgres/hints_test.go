package postgres_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
)

// Two processes are two stores here. Neither polls within the time of the test.
func TestHints(t *testing.T) {
	url := testserver.PostgresURL(t)
	engine := func() (*errand.Engine, *postgres.Store) {
		store, err := postgres.Open(t.Context(), url, nil)
		check(t, err)
		t.Cleanup(func() { store.Close() })
		return errand.New(store, &errand.Config{Poll: time.Hour, Lease: time.Hour, Log: slog.New(slog.DiscardHandler)}), store
	}
	api, apiStore := engine()
	worker, workerStore := engine()
	started := make(chan struct{}, 1)
	noted.Handle(worker, func(ctx context.Context, n note) (string, error) {
		if n.Text == "long" {
			started <- struct{}{}
			<-ctx.Done()
			return "", context.Cause(ctx)
		}
		return n.Text, nil
	})
	run(t, worker)
	go api.Wait(t.Context(), errand.ID{1}) // makes it listen
	warm, err := noted.Enqueue(t.Context(), api, note{"warm"})
	check(t, err)
	_, err = api.WaitFor(t.Context(), warm.ID, func(*errand.Job) bool { return workerStore.HintMode() == "notify" && apiStore.HintMode() == "notify" })
	check(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 5 {
		job, err := noted.Enqueue(ctx, api, note{"quick"})
		check(t, err)
		if _, err := api.Wait(ctx, job.ID); err != nil {
			t.Fatalf("a job of another process: %v", err)
		}
	}
	later, err := noted.Enqueue(ctx, api, note{"later"}, errand.In(300*time.Millisecond))
	check(t, err)
	if _, err := api.Wait(ctx, later.ID); err != nil {
		t.Fatalf("a job scheduled soon by another process: %v", err)
	}
	s, err := api.Schedule(ctx, "tick", "@every 1s", noted.New(note{"tick"}), nil)
	check(t, err)
	for s.Made == 0 {
		time.Sleep(50 * time.Millisecond)
		if s, err = api.GetSchedule(ctx, "tick"); err != nil {
			t.Fatalf("a schedule made by another process: %v", err)
		}
	}
	check(t, api.DeleteSchedule(ctx, "tick"))
	long, err := noted.Enqueue(ctx, api, note{"long"})
	check(t, err)
	<-started
	_, err = api.Pause(ctx, long.ID, "test")
	check(t, err)
	if _, err := api.WaitFor(ctx, long.ID, func(j *errand.Job) bool { return j.State == errand.Paused }); err != nil {
		t.Fatalf("a pause from another process: %v", err)
	}
	_, err = api.Resume(ctx, long.ID, "test")
	check(t, err)
	<-started
	_, err = api.Terminate(ctx, long.ID, "test")
	check(t, err)
}

// Behind a pooler in transaction mode no notification arrives, and no connection keeps its settings or statements.
func TestPooler(t *testing.T) {
	server, err := testserver.StartPostgres(t.Context(), nil)
	check(t, err)
	t.Cleanup(func() { server.Close() })
	pooler, err := testserver.StartPgBouncer(t.Context(), server)
	check(t, err)
	t.Cleanup(func() { pooler.Close() })
	store, err := postgres.Open(t.Context(), pooler.URL("postgres"), nil)
	check(t, err)
	t.Cleanup(func() { store.Close() })
	q := errand.New(store, &errand.Config{Poll: 50 * time.Millisecond})
	noted.Handle(q, func(_ context.Context, n note) (string, error) { return n.Text, nil })
	run(t, q)
	for range 20 {
		job, err := noted.Enqueue(t.Context(), q, note{"x"})
		check(t, err)
		_, err = q.Wait(t.Context(), job.ID)
		check(t, err)
	}
	if mode := store.HintMode(); mode != "poll" {
		t.Errorf("behind a pooler the hint mode is %s", mode)
	}
}
