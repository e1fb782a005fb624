package server

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/errandhq/errand"
)

// hub wakes those who wait for a change of one job. It has one subscription to the engine's
// events for all of them, while there are any.
type hub struct {
	engine   *errand.Engine
	mu       sync.Mutex
	watchers map[errand.ID]map[*watcher]bool
	leave    context.CancelFunc
}

// watcher waits for changes of one job: it is woken by those of this process, and looks for those
// of others.
type watcher struct {
	hub    *hub
	id     errand.ID
	signal chan struct{} // holds one
}

// The pauses between looks, of a job that changes and of one that does not.
const (
	minLook = 25 * time.Millisecond
	maxLook = time.Second
)

// watch begins to watch a job. The caller stops it.
func (h *hub) watch(id errand.ID) *watcher {
	w := &watcher{h, id, make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.watchers = map[errand.ID]map[*watcher]bool{}
	}
	if len(h.watchers) == 0 {
		var ctx context.Context
		ctx, h.leave = context.WithCancel(context.Background())
		events := h.engine.Events(ctx)
		go func() {
			for ev := range events {
				h.tell(ev)
			}
		}()
	}
	if h.watchers[id] == nil {
		h.watchers[id] = map[*watcher]bool{}
	}
	h.watchers[id][w] = true
	return w
}

func (w *watcher) stop() {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers[w.id], w)
	if len(h.watchers[w.id]) == 0 {
		delete(h.watchers, w.id)
	}
	if len(h.watchers) == 0 {
		h.leave()
	}
}

func (h *hub) tell(ev errand.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers[ev.Job.ID] {
		w.wake()
	}
	if ev.Missed > 0 {
		for _, ws := range h.watchers {
			for w := range ws {
				w.wake()
			}
		}
	}
}

func (w *watcher) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// until returns the job once cond holds for it (true), or as it was last seen when end is
// over (false). Ctx is for the store.
func (w *watcher) until(ctx, end context.Context, cond func(*errand.Job) bool) (*errand.Job, bool, error) {
	pause, version := minLook, int64(-1)
	for {
		job, err := w.hub.engine.Get(ctx, w.id)
		if err != nil {
			return nil, false, err
		}
		if cond(job) {
			return job, true, nil
		}
		if job.Version != version {
			pause, version = minLook, job.Version
		}
		timer := time.NewTimer(pause*4/5 + rand.N(pause*2/5)) // so that watchers do not march in step
		select {
		case <-w.signal:
		case <-timer.C:
			pause = min(2*pause, maxLook)
		case <-end.Done():
			timer.Stop()
			return job, false, nil
		}
		timer.Stop()
	}
}
