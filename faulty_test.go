package errand_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/sqlite"
	"github.com/errandhq/errand/storetest"
)

// ledger counts, below the faults, how often each job was moved to an end.
type ledger struct {
	errand.Store
	mu   sync.Mutex
	ends map[errand.ID]int
}

func (l *ledger) Swap(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
	done, err := l.Store.Swap(ctx, changes)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range done {
		if done[i] == errand.Written && changes[i].Job.State.Ended() {
			l.ends[changes[i].Job.ID]++
		}
	}
	return done, err
}

// TestFaultyStore runs jobs on three workers whose stores fail before the call, after the commit, and come late:
// no job is lost, and none ends twice.
func TestFaultyStore(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFaultyStore(t, seed, errand.Memory(nil)) })
		})
	}
	t.Run("sqlite", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store, err := sqlite.Open(filepath.Join(t.TempDir(), "jobs.db"), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			testFaultyStore(t, 99, store)
		})
	})
}

func testFaultyStore(t *testing.T, seed uint64, store errand.Store) {
	book := &ledger{Store: store, ends: map[errand.ID]int{}}
	kind := errand.Define[int, int]("double", errand.MaxAttempts(3))
	faults := storetest.Faults{Before: .1, After: .1, Delay: .2, MaxDelay: 300 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var workers sync.WaitGroup
	defer workers.Wait()
	var engines []*errand.Engine
	for i := range uint64(3) {
		faulty := storetest.Faulty(book, seed*100+i)
		e := errand.New(faulty, &errand.Config{Lease: 4 * time.Second, Concurrency: 20, Log: slog.New(slog.DiscardHandler)})
		kind.Handle(e, func(ctx context.Context, n int) (int, error) {
			run := errand.Current(ctx)
			if n%5 == 0 {
				run.Progress(1, 2, "half")
				if err := run.Save(n); err != nil {
					return 0, err
				}
			}
			time.Sleep(time.Duration(n%7) * 10 * time.Millisecond)
			if n%11 == 0 && run.Job().Attempt == 1 {
				return 0, errors.New("the first time fails")
			}
			return 2 * n, nil
		})
		engines = append(engines, e)
		workers.Go(func() {
			for started := false; !started && ctx.Err() == nil; {
				faulty.Set(storetest.Faults{})
				started = true
				go func() { time.Sleep(time.Second); faulty.Set(faults) }()
				if err := e.Run(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	ids := make([]errand.ID, 300)
	var enqueues sync.WaitGroup
	for i := range ids {
		ids[i] = uuid.Must(uuid.NewV7())
		enqueues.Go(func() {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
			for { // an error means unknown: again, with the same ID
				if _, err := kind.Enqueue(ctx, engines[i%3], i, errand.WithID(ids[i])); err == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	enqueues.Wait()
	client := errand.New(store, nil)
	for i, id := range ids {
		if got, err := kind.Wait(ctx, client, id); err != nil || got != 2*i {
			t.Fatalf("job %d: %d, %v", i, got, err)
		}
	}
	cancel()
	workers.Wait()
	book.mu.Lock()
	defer book.mu.Unlock()
	for i, id := range ids {
		if book.ends[id] != 1 {
			t.Errorf("job %d ended %d times", i, book.ends[id])
		}
	}
}

// picky is a store that refuses the jobs of one kind as a database refuses a value: with an error for the whole batch.
type picky struct {
	errand.Store
	kind string
}

func (p picky) Swap(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
	for i := range changes {
		if changes[i].Job.Kind == p.kind && changes[i].Job.State != errand.Running {
			return nil, errors.New("this value cannot be stored")
		}
	}
	return p.Store.Swap(ctx, changes)
}

// TestUnstorable: a job whose outcome cannot be stored does not hold up the others.
func TestUnstorable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errand.Define[int, errand.None]("bad")
		good := errand.Define[int, int]("good")
		e := start(t, picky{errand.Memory(nil), "bad"}, errand.Config{}, func(e *errand.Engine) {
			bad.Do(e, func(context.Context, int) error { return nil })
			good.Handle(e, func(_ context.Context, n int) (int, error) { return n, nil })
		})
		if _, err := bad.Enqueue(t.Context(), e, 0); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			job, err := good.Enqueue(t.Context(), e, i)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if got, err := job.Wait(ctx); err != nil || got != i {
				t.Fatalf("job %d: %d, %v", i, got, err)
			}
			cancel()
		}
	})
}
