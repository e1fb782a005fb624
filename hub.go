package errand

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Feed is a [Store] that several processes share, and that tells each which jobs the others have changed. An optional part of
// a store; in one without it processes learn of each other's changes by hints, and by reading all followed jobs now and then.
type Feed interface {
	// Changed returns what has changed since the call that answered mark, in no particular order, by whichever process. The first call has the mark "" and
	// answers none. From the first call on a store notes changes, until there was no call for a minute.
	Changed(ctx context.Context, mark string) (Changed, error)
}

// Changed is what a [Feed] tells.
type Changed struct {
	Jobs []ChangedJobs
	Mark string // for the next call
	Lost bool   // there may have been changes besides
}

// ChangedJobs are jobs of one queue and kind that came to a state, or changed within it.
type ChangedJobs struct {
	Queue, Kind string
	State       State // "": they were deleted
	IDs         []ID
}

// hub follows jobs for the watchers of an engine.
type hub struct {
	e  *Engine
	mu sync.Mutex

	watchers map[*Watcher]bool
	jobs     map[ID][]*Watcher
	filters  map[string]*filter // by their query, as JSON
	unread   map[ID]bool        // to be read
	wake     chan struct{}      // holds one: there is something to do
	begins   chan struct{}      // a place for each read for filters that begin
	heard    chan struct{}      // closed once the changes of others are noted
	upTo     time.Time          // by the store's clock: what others changed before that is told of; zero: nothing yet
	stop     context.CancelFunc // of the loop
}

const (
	sweepFollowed = 30 * time.Second       // all followed jobs are read so often, in case that nobody told of a change
	feedGap       = 20 * time.Millisecond  // at least, between two looks at what others have changed
	feedPoll      = 250 * time.Millisecond // at most, if no hint comes
	hearTime      = 10 * time.Second       // after which filters begin, if nothing is heard of the changes of others yet
	sinceMargin   = 10 * time.Second       // a change may be heard of so late
)

func (h *hub) join(e *Engine, w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.e = e
		h.watchers, h.jobs, h.filters, h.unread = map[*Watcher]bool{}, map[ID][]*Watcher{}, map[string]*filter{}, map[ID]bool{}
		h.wake, h.begins = make(chan struct{}, 1), make(chan struct{}, 2)
	}
	if len(h.watchers) == 0 {
		ctx, stop := context.WithCancel(context.Background())
		h.stop, h.heard, h.upTo = stop, make(chan struct{}), time.Time{}
		e.bus.audience.Add(1)
		go h.loop(ctx, h.heard)
	}
	h.watchers[w] = true
}

func (h *hub) leave(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	for name := range w.filters {
		h.unmatch(w, name)
	}
	for id := range w.jobs {
		h.drop(w, id)
	}
	w.queue, w.news, w.notices = nil, nil, nil
	w.tell()
	delete(h.watchers, w)
	if len(h.watchers) == 0 {
		h.stop()
		h.e.bus.audience.Add(-1)
	}
}

// wakeUp has the loop look what there is to do.
func (h *hub) wakeUp() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// follow has a watcher follow a job: for the filter of that name, which has found it, or because it was asked for (""). The caller holds h.mu.
func (h *hub) follow(w *Watcher, s Seen, sub string) {
	f := w.jobs[s.ID]
	if f == nil {
		f = &followed{}
		w.jobs[s.ID] = f
		h.jobs[s.ID] = append(h.jobs[s.ID], w)
	}
	f.version = max(f.version, s.Version)
	if !slices.Contains(f.by, sub) {
		f.by = append(f.by, sub)
	}
}

// release ends that. The job is followed on if that is asked for in another way, too. The caller holds h.mu.
func (h *hub) release(w *Watcher, id ID, sub string) {
	f := w.jobs[id]
	if f == nil {
		return
	}
	f.by = slices.DeleteFunc(f.by, func(name string) bool { return name == sub })
	if len(f.by) == 0 {
		h.drop(w, id)
	}
}

// drop has a watcher no longer follow a job. The caller holds h.mu.
func (h *hub) drop(w *Watcher, id ID) {
	if w.jobs[id] == nil {
		return
	}
	delete(w.jobs, id)
	delete(w.news, id)
	all := h.jobs[id]
	for i := range all {
		if all[i] == w {
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
			break
		}
	}
	if len(all) == 0 {
		delete(h.jobs, id)
	} else {
		h.jobs[id] = all
	}
}

// changed tells those who follow a job what it has become; it keeps the job. The caller holds h.mu.
func (h *hub) changed(job *Job) {
	if job.State != "" {
		h.find(job)
	}
	all := h.jobs[job.ID]
	for i := len(all) - 1; i >= 0; i-- { // from the end, as some may leave on the way
		all[i].changed(job)
	}
}

// publish tells of a change by this process.
func (h *hub) publish(job *Job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.jobs)+len(h.filters) == 0 {
		return
	}
	snapshot := *job
	h.changed(&snapshot)
}

// loop reads for the watchers, until nobody watches.
func (h *hub) loop(ctx context.Context, heard chan struct{}) {
	feed, _ := h.e.store.(Feed)
	poll := h.e.config.Poll
	if feed != nil {
		poll = min(poll, feedPoll)
	} else {
		close(heard)
	}
	mark, began, swept := "", time.Now(), time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
		at, heeds := h.e.Now(), true
		if feed != nil {
			first := mark == ""
			if mark, heeds = h.hear(ctx, feed, mark); first && heeds {
				h.hears(heard, began)
				swept = time.Now().Add(2*time.Second - sweepFollowed) // again for what changed in transactions that were under way
			}
		}
		if time.Since(swept) > sweepFollowed {
			h.sweep()
			swept = time.Now()
		}
		if h.read(ctx) && heeds {
			h.toldUpTo(ctx, at)
		}
		if !sleep(ctx, feedGap) {
			return
		}
		timer.Reset(jitter(poll))
	}
}

// hears notes that from now on changes of others are heard of. What has changed before must be looked for.
func (h *hub) hears(heard chan struct{}, began time.Time) {
	close(heard)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweepLocked()
	if time.Since(began) >= hearTime { // there may be filters that have not waited for this
		h.beginAll(time.Time{})
	}
}

// toldUpTo notes that what others changed before a time has been told of.
func (h *hub) toldUpTo(ctx context.Context, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() == nil {
		h.upTo = at
	}
}

// sweep has all followed jobs read.
func (h *hub) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweepLocked()
}

func (h *hub) sweepLocked() {
	for id := range h.jobs {
		h.unread[id] = true
	}
}

// hear notes what others have changed, and returns the next mark; false if that failed.
func (h *hub) hear(ctx context.Context, feed Feed, mark string) (string, bool) {
	c, err := feed.Changed(ctx, mark)
	if err != nil {
		h.e.worker.warn(ctx, "cannot look for the changes of other processes", err)
		return mark, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.Lost {
		h.sweepLocked()
		since := h.upTo
		if !since.IsZero() {
			since = since.Add(-sinceMargin)
		}
		h.beginAll(since)
	}
	for _, x := range c.Jobs {
		wanted := h.mayMatch(x)
		for _, id := range x.IDs {
			if wanted || h.jobs[id] != nil {
				h.unread[id] = true
			}
		}
	}
	return c.Mark, true
}

// read reads what is unread, and tells of it; false if that failed.
func (h *hub) read(ctx context.Context) bool {
	for {
		h.mu.Lock()
		ids := make([]ID, 0, min(len(h.unread), MaxPage))
		for id := range h.unread {
			if len(ids) == cap(ids) {
				break
			}
			ids = append(ids, id)
			delete(h.unread, id)
		}
		h.mu.Unlock()
		if len(ids) == 0 {
			return true
		}
		if err := h.readAll(ctx, ids); err != nil {
			h.mu.Lock()
			for _, id := range ids {
				h.unread[id] = true
			}
			h.mu.Unlock()
			h.e.worker.warn(ctx, "cannot read the jobs that are watched", err)
			return false
		}
	}
}

// readAll reads jobs and tells of them.
func (h *hub) readAll(ctx context.Context, ids []ID) error {
	for ids := range slices.Chunk(ids, MaxPage) {
		there, err := h.e.store.Get(ctx, ids)
		if err != nil {
			return err
		}
		gone := make(map[ID]bool, len(ids))
		for _, id := range ids {
			gone[id] = true
		}
		h.mu.Lock()
		for _, job := range there { // each a copy: one that is not told of yet must not keep them all
			delete(gone, job.ID)
			h.changed(&job)
		}
		for id := range gone {
			h.changed(&Job{ID: id})
		}
		h.mu.Unlock()
	}
	return nil
}

// hinted notes that jobs have ended in another process, or that anything else may have happened there.
func (h *hub) hinted(ended []ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) == 0 {
		return
	}
	for _, id := range ended {
		if h.jobs[id] != nil || len(h.filters) > 0 {
			h.unread[id] = true
		}
	}
	h.wakeUp()
}
