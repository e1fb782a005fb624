package errand

import (
	"context"
	"fmt"
	"time"
)

// QueuePause says that a queue is paused: none of its jobs is claimed until [Engine.ResumeQueue]. Jobs that run go on.
type QueuePause struct {
	Queue  string
	Since  time.Time
	Actor  string // who paused it
	Reason string // and why
}

// PauseQueue keeps the jobs of a queue from starting, in all processes, until [Engine.ResumeQueue]; those that run go on, and more can be
// enqueued. The clean-ups of cancelled jobs wait too. Once it has returned no job of the queue is claimed any more; what other processes have claimed ahead is handed
// back as soon as they hear of the pause, after three seconds at most. Pausing a paused queue changes nothing. A queue needs no job to be paused.
func (e *Engine) PauseQueue(ctx context.Context, queue, reason string) error {
	if queue == "" || len(queue) > MaxName || !printable(queue) {
		return fmt.Errorf("%w queue %q: use 1 to %d bytes of printable UTF-8", ErrInvalid, queue, MaxName)
	}
	e.ask(ctx)
	actor, _ := ctx.Value(actorKey{}).(string)
	p := QueuePause{Queue: queue, Since: timestamp(e.Now()), Actor: cut(actor, MaxName), Reason: cut(reason, MaxReason)}
	if err := e.store.PauseQueue(ctx, p); err != nil {
		return err
	}
	e.log.Info("queue paused", "queue", queue, "actor", actor, "reason", p.Reason)
	e.worker.lookAtPauses()
	return nil
}

// ResumeQueue lets the jobs of a paused queue start again. Resuming another queue does nothing.
func (e *Engine) ResumeQueue(ctx context.Context, queue, reason string) error {
	if err := e.store.ResumeQueue(ctx, queue); err != nil {
		return err
	}
	actor, _ := ctx.Value(actorKey{}).(string)
	e.log.Info("queue resumed", "queue", queue, "actor", actor, "reason", cut(reason, MaxReason))
	e.worker.lookAtPauses()
	return nil
}

// PausedQueues returns the queues that are paused, by name.
func (e *Engine) PausedQueues(ctx context.Context) ([]QueuePause, error) {
	return e.store.PausedQueues(ctx)
}

// lookAtPauses has the worker look which queues are paused.
func (w *worker) lookAtPauses() {
	select {
	case w.wakePauses <- struct{}{}:
	default:
	}
}

// refreshPauses looks which queues are paused. Their jobs that were claimed ahead are handed back, and those whose
// pause is over are asked for jobs.
func (w *worker) refreshPauses(ctx context.Context) {
	pauses, err := w.e.store.PausedQueues(ctx)
	w.warn(ctx, "cannot look for paused queues", err)
	if err != nil {
		return
	}
	var now map[string]bool
	for _, p := range pauses {
		if now == nil {
			now = map[string]bool{}
		}
		now[p.Queue] = true
	}
	before := w.paused.Swap(&now)
	for queue, p := range w.pools.Range {
		switch p := p.(*pool); {
		case now[queue.(string)]:
			w.handBack(p)
		case before != nil && (*before)[queue.(string)]:
			p.more.Store(true)
			w.hint()
		}
	}
}

// holdsBack reports whether no job of a queue may start here, as far as this process knows.
func (w *worker) holdsBack(queue string) bool {
	p := w.paused.Load()
	return w.draining.Load() || p != nil && (*p)[queue]
}
