package errand

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// DrainWorker tells a worker session to claim no more jobs. Those that it runs go on, those that it has claimed ahead are handed back. It
// learns of it within a third of its lease at most. The process itself goes on; the session is drained once it runs nothing. [ErrNotFound] if there is no such session.
func (e *Engine) DrainWorker(ctx context.Context, session uuid.UUID) error {
	return e.drainWorker(ctx, session, true)
}

// UndrainWorker lets a worker session claim jobs again.
func (e *Engine) UndrainWorker(ctx context.Context, session uuid.UUID) error {
	return e.drainWorker(ctx, session, false)
}

func (e *Engine) drainWorker(ctx context.Context, session uuid.UUID, drain bool) error {
	found, err := e.store.Drain(ctx, session, drain)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: worker session %s", ErrNotFound, session)
	}
	actor, _ := ctx.Value(actorKey{}).(string)
	e.log.Info("worker told to drain", "session", session, "drain", drain, "actor", actor)
	e.worker.beatSoon() // it may be this one
	return nil
}

// drains heeds what the store says of this session.
func (w *worker) drains(drain bool) {
	if w.draining.Swap(drain) == drain {
		return
	}
	w.e.log.Info("worker draining", "session", w.session.ID, "draining", drain)
	for _, p := range w.pools.Range {
		if drain {
			w.handBack(p.(*pool))
		} else {
			p.(*pool).more.Store(true)
		}
	}
	w.hint()
}

// localSlots is how many functions given to Go run at once.
const localSlots = 1000

// Slots returns how many jobs of a queue the session runs at once; 0 if it does not work on it.
func (s *Session) Slots(queue string) int {
	switch {
	case strings.HasPrefix(queue, localPrefix):
		if queue == localPrefix+s.ID.String() {
			return localSlots
		}
		return 0
	case queue == bulkQueue:
		return max(s.Queues[queue], bulkSlots)
	case s.Queues == nil:
		return s.Concurrency
	}
	return s.Queues[queue]
}

// handles reports whether the session runs jobs of a queue and kind.
func (s *Session) handles(queue, kind string) bool {
	return s.Slots(queue) > 0 && (strings.HasPrefix(queue, localPrefix) || kind == BulkKind || slices.Contains(s.Kinds, kind))
}
