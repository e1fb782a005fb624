package errand

// Hinter is a [Store] through which processes tell each other what they have written. Hints only make
// things sooner: each may be lost, late or wrong, and an engine that gets none finds out by polling. An optional part of a store.
//
// The store sends hints of its own accord, after what it has written is committed.
type Hinter interface {
	// OnHint has f called with the hints of other processes until the store is closed. F must return at once.
	OnHint(f func(Hint))
	// Hint tells other processes of jobs that have been inserted without the store's knowledge.
	Hint(jobs []Job)
}

// Hint is what another process says that it has written.
type Hint struct {
	Ready   []string // queues that have work, now or very soon
	Asked   []ID     // running jobs of which somebody asked something, or that are no longer their worker's
	Ended   []ID     // jobs that have ended
	Many    bool     // more jobs have ended than Ended names
	Control bool     // queues were paused or resumed, sessions told to drain, or schedules changed
	Lost    bool     // hints were lost: there may be news of every kind
}

// listen has the engine heed hints from now on.
func (e *Engine) listen() {
	e.listening.Do(func() {
		if h, ok := e.worker.e.store.(Hinter); ok {
			h.OnHint(e.worker.e.hinted)
		}
	})
}

func (e *Engine) hinted(h Hint) {
	w := e.worker
	for _, queue := range h.Ready {
		w.ready(queue)
	}
	if h.Lost {
		for _, p := range w.pools.Range {
			p.(*pool).more.Store(true)
		}
		w.hint()
	}
	if h.Lost || h.Control {
		w.lookAtPauses()
		w.lookAtSchedules()
	}
	if h.Lost || h.Control || w.runsAny(h.Asked) {
		w.beatSoon()
	}
	e.bus.nudge(h.Ended, h.Lost || h.Many)
	e.bus.hub.hinted(h.Ended)
}

// runsAny reports whether one of the jobs runs here.
func (w *worker) runsAny(ids []ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if w.runs[id] != nil {
			return true
		}
	}
	return false
}

// nudge has those who wait for these jobs look again, or all.
func (b *bus) nudge(ids []ID, all bool) {
	if b.audience.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if all {
		for _, waiters := range b.waiters {
			nudge(waiters)
		}
		return
	}
	for _, id := range ids {
		nudge(b.waiters[id])
	}
}

func nudge(waiters []*waiter) {
	for _, w := range waiters {
		select {
		case w.look <- struct{}{}:
		default:
		}
	}
}
