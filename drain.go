package errand

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// drain brings the runs under way to an end, in stages.
func (w *worker) drain() {
	c := &w.e.config
	for _, p := range w.pools.Range {
		w.handBack(p.(*pool))
	}
	if n := w.await(c.ShutdownGrace); n > 0 {
		w.e.log.Info("shutting down: interrupting jobs", "running", n)
		w.each(func(r *Run) { r.cancel(ErrShutdown) })
		w.await(c.StopGrace)
	}
	w.each(func(r *Run) {
		r.mu.Lock()
		why := "it does not return"
		if r.settled {
			why = "its outcome could not be stored"
		}
		r.mu.Unlock()
		w.e.log.Error("shutting down: job abandoned; it is run again once the lease has lapsed",
			"job", r.id, "kind", r.kind, "why", why)
		w.abandoned = true
		w.disown(r, ErrShutdown, Running)
	})
}

func (w *worker) each(do func(*Run)) {
	w.mu.Lock()
	runs := slices.Collect(maps.Values(w.runs))
	w.mu.Unlock()
	for _, r := range runs {
		do(r)
	}
}

// handBack returns the jobs of a pool that were claimed ahead and have not started.
func (w *worker) handBack(p *pool) {
	for {
		select {
		case r := <-p.work:
			r.putBack()
		default:
			return
		}
	}
}

// putBack hands back a job that has not started, as a shutdown would.
func (r *Run) putBack() {
	r.cancel(ErrShutdown)
	r.worker.returned(r, nil, ErrShutdown)
}

// await waits until no run is left, for d at most, and returns how many are.
func (w *worker) await(d time.Duration) int {
	deadline := time.NewTimer(max(d, 0))
	defer deadline.Stop()
	for {
		w.mu.Lock()
		n := len(w.runs)
		ch := make(chan struct{})
		w.returns = ch
		w.mu.Unlock()
		if n == 0 {
			return 0
		}
		select {
		case <-ch:
		case <-deadline.C:
			return n
		}
	}
}

// leave gives back what was claimed for the session without its knowledge, and removes it.
func (w *worker) leave() error {
	w.mu.Lock()
	w.state = workerOff
	for _, v := range w.pools.Range {
		close(v.(*pool).work)
	}
	w.mu.Unlock()
	if w.abandoned {
		return nil // its session must lapse: the goroutines are still at work
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if w.unsure {
		w.handBackStrays(ctx)
	}
	s := w.session
	s.Lease = 0
	if _, err := w.e.store.Beat(ctx, s, nil); err != nil {
		return fmt.Errorf("end worker session: %w", err)
	}
	w.e.log.Info("worker stopped", "session", s.ID)
	return nil
}
