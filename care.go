package errand

import (
	"context"
	"slices"
	"time"
)

// careLoop does what any process may do at any time: rescue orphans, unblock waiting
// jobs, prune, and find queues.
func (w *worker) careLoop(ctx context.Context) {
	every := min(max(w.e.config.Lease/10, 50*time.Millisecond), 3*time.Second)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wakeCare:
			w.unblock(ctx)
			sleep(ctx, 10*time.Millisecond) // under load, take several together
			continue
		case <-w.wakePauses:
			w.refreshPauses(ctx)
			continue
		case <-timer.C:
			timer.Reset(jitter(every))
		}
		w.unblock(ctx)
		w.rescue(ctx)
		w.prune(ctx)
		w.discover(ctx)
		w.refreshPauses(ctx)
	}
}

// care has the care loop look for unblocked jobs.
func (w *worker) care() {
	select {
	case w.wakeCare <- struct{}{}:
	default:
	}
}

func (w *worker) rescue(ctx context.Context) {
	jobs, err := w.e.store.Orphans(ctx, 1000)
	w.warn(ctx, "cannot look for orphaned jobs", err)
	if len(jobs) == 0 || !w.mayRescue() {
		return
	}
	changes := make([]Change, len(jobs))
	for i := range jobs {
		changes[i] = *w.e.change(&jobs[i])
		changes[i].rescue()
	}
	done, err := w.e.swap(ctx, changes)
	w.warn(ctx, "cannot rescue orphaned jobs", err)
	for i := range done {
		if done[i] == Written {
			w.e.log.Warn("job rescued from a lost worker", "job", jobs[i].ID, "kind", jobs[i].Kind,
				"session", jobs[i].Worker, "state", changes[i].Job.State)
		}
	}
}

// mayRescue reports whether this process can tell who is lost. One that was silent for a lease itself (it was stopped, its machine was asleep, the
// store was away) renews its own session first; others that were silent with it then get a third of the lease to renew theirs. It is asked
// after the look for orphans, so that no session lapses unnoticed between the two.
func (w *worker) mayRescue() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent() {
		w.beatSoon() // its timer has stood still if the machine was asleep
		return false
	}
	return time.Since(w.revived) >= w.e.config.Lease/3
}

// renewed notes an answer to the heartbeat that was sent at a time.
func (w *worker) renewed(sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent() {
		w.revived = time.Now()
	}
	w.beaten = sent
}

// silent reports whether the session may have lapsed. The caller holds w.mu.
func (w *worker) silent() bool {
	// By the wall clock, which goes on while the machine is asleep, unlike the monotonic one.
	return !w.beaten.IsZero() && time.Now().Round(0).Sub(w.beaten) >= w.e.config.Lease
}

// unblock tells waiting jobs what has ended, until there is nothing to tell.
func (w *worker) unblock(ctx context.Context) {
	for {
		found, err := w.e.store.Unblocked(ctx, 1000)
		w.warn(ctx, "cannot look for unblocked jobs", err)
		if len(found) == 0 {
			return
		}
		changes := make([]Change, len(found))
		for i := range found {
			changes[i] = *w.e.change(&found[i].Job)
			changes[i].unblock(found[i].Links)
		}
		done, err := w.e.swap(ctx, changes)
		w.warn(ctx, "cannot unblock jobs", err)
		if !slices.Contains(done, Written) {
			return // somebody else is at it
		}
	}
}

func (w *worker) prune(ctx context.Context) {
	for {
		n, err := w.e.store.Prune(ctx, 1000)
		w.warn(ctx, "cannot prune", err)
		if n < 1000 {
			return
		}
	}
}

// discover finds queues that others have put jobs into, if this process works on all.
func (w *worker) discover(ctx context.Context) {
	if w.e.config.Queues != nil {
		return
	}
	counts, err := w.e.store.Stats(ctx)
	w.warn(ctx, "cannot look for queues", err)
	for _, c := range counts {
		if c.State == Ready || c.State == Scheduled {
			w.ready(c.Queue)
		}
	}
}
