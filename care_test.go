package errand_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
)

// asleep is a store that a worker cannot ask who is lost, nor tell that it is not, while it is on.
type asleep struct {
	errand.Store
	on atomic.Bool
}

func (a *asleep) Beat(ctx context.Context, s errand.Session, runs []errand.Lease) (errand.Pulse, error) {
	if a.on.Load() {
		return errand.Pulse{}, errors.New("asleep")
	}
	return a.Store.Beat(ctx, s, runs)
}

func (a *asleep) Orphans(ctx context.Context, limit int) ([]errand.Job, error) {
	if a.on.Load() {
		return nil, errors.New("asleep")
	}
	return a.Store.Orphans(ctx, limit)
}

// Three workers are silent for longer than a lease, as on a laptop that was asleep. Two of them come to life again, one after the other, and keep their jobs; the
// third is lost, and its job is rescued.
func TestSilentWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := errand.Memory(nil)
		kind := errand.Define[int, errand.None]("long")
		var runs [3]atomic.Int32
		var stores [3]*asleep
		for i := range stores {
			stores[i] = &asleep{Store: memory}
			start(t, stores[i], errand.Config{Concurrency: 1, Prefetch: -1}, func(e *errand.Engine) {
				kind.Do(e, func(ctx context.Context, n int) error {
					runs[n].Add(1)
					select {
					case <-time.After(4 * time.Minute):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
			})
			if _, err := kind.Enqueue(t.Context(), errand.New(memory, nil), i); err != nil {
				t.Fatal(err)
			}
			for runs[i].Load() == 0 { // so that it is this worker's
				time.Sleep(time.Second)
			}
		}
		for _, s := range stores {
			s.on.Store(true)
		}
		time.Sleep(2 * time.Minute)
		for _, s := range stores[:2] {
			s.on.Store(false)
			time.Sleep(5 * time.Second)
		}
		time.Sleep(5 * time.Minute)
		for i, want := range []int32{1, 1, 2} {
			if n := runs[i].Load(); n != want {
				t.Errorf("the job of worker %d ran %d times, want %d", i, n, want)
			}
		}
		stores[2].on.Store(false)
	})
}

// A worker that was stopped with SIGSTOP for longer than its lease, and that nobody has missed, goes on with its job.
func TestStalledWorker(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	job, err := tick.Enqueue(t.Context(), l.client, filepath.Join(l.dir, "end"))
	if err != nil {
		t.Fatal(err)
	}
	worker := l.worker(time.Second)
	l.until(job.ID, 20*time.Second, "running", running(1))
	for range 5 {
		l.freeze(worker)
		time.Sleep(1500 * time.Millisecond)
		stopped, err := l.client.Get(t.Context(), job.ID)
		if err != nil {
			t.Fatal(err)
		}
		l.signal(worker, syscall.SIGCONT)
		j := l.until(job.ID, 20*time.Second, "going on", func(j *errand.Job) bool { return string(j.Checkpoint) != string(stopped.Checkpoint) })
		if j.Token != 1 {
			t.Fatalf("it was claimed again: %+v", j)
		}
		time.Sleep(time.Second)
	}
}
