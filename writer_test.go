package errand_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
)

// TestPauseMeetsSave: another process pauses a job just before its run saves a checkpoint together with one log line.
func TestPauseMeetsSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		here, there := errand.New(store, nil), errand.New(store, nil)
		kind := errand.Define[errand.None, errand.None]("import")
		started, paused := make(chan struct{}), make(chan struct{})
		var cause error
		kind.Do(here, func(ctx context.Context, _ errand.None) error {
			run := errand.Current(ctx)
			close(started)
			<-paused
			errand.Logger(ctx).Info("row 1")
			if err := run.Save(1); err != nil {
				return err
			}
			if j, _ := there.Get(t.Context(), run.Job().ID); string(j.Checkpoint) != "1" {
				t.Errorf("Save returned nil, but the stored checkpoint is %q", j.Checkpoint)
			}
			time.Sleep(time.Minute) // six heartbeats
			_ = run.Save(2)
			select {
			case <-ctx.Done():
				cause = context.Cause(ctx)
				return run.Stop(2)
			case <-time.After(time.Hour):
				return nil
			}
		})
		ctx, stop := context.WithCancel(t.Context())
		go here.Run(ctx)
		job, err := kind.Enqueue(t.Context(), here, errand.None{})
		if err != nil {
			t.Fatal(err)
		}
		<-started
		if _, err := there.Pause(t.Context(), job.ID, "maintenance"); err != nil {
			t.Fatal(err)
		}
		close(paused)
		j, err := there.WaitFor(t.Context(), job.ID, func(j *errand.Job) bool { return j.State != errand.Running })
		if err != nil || j.State != errand.Paused || cause != errand.ErrPaused {
			t.Errorf("an acknowledged pause: the job is %s (want %q), the run was told %v", j.State, j.Want, cause)
		}
		stop()
		synctest.Wait()
	})
}

// slowStore's swaps take 100 ms, as on a database under load.
type slowStore struct{ errand.Store }

func (s slowStore) Swap(ctx context.Context, c []errand.Change) ([]errand.Swapped, error) {
	time.Sleep(100 * time.Millisecond)
	return s.Store.Swap(ctx, c)
}

// A handler ignores its timeout and is abandoned; its Save during the write of that outcome must return.
func TestSaveOfAbandonedRunReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := errand.New(slowStore{errand.Memory(nil)}, &errand.Config{StopGrace: time.Second})
		var began, saved atomic.Int32
		e.Handle("deaf", errand.Handling{Handler: func(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
			began.Add(1)
			time.Sleep(2*time.Second + 50*time.Millisecond) // timeout 1 s + StopGrace 1 s, and the middle of the swap
			_ = run.Save(1)
			saved.Add(1)
			return nil, nil
		}})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { _ = e.Run(ctx); close(done) }()
		_, err := e.Enqueue(ctx, errand.NewJob{Kind: "deaf", Options: []errand.Option{errand.Timeout(time.Second), errand.MaxAttempts(1)}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if began.Load() != saved.Load() {
			t.Error("Save hangs for ever")
		}
		cancel()
		<-done
	})
}
