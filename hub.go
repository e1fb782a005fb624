package errand

import (
	"context"
	"encoding/json"
	"fmt"
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
	begins   chan struct{}      // a place for each filter that begins
	heard    chan struct{}      // closed once the changes of others are noted
	stop     context.CancelFunc // of the loop
}

// filter is one query, and those who follow what matches it.
type filter struct {
	key      string
	query    Query
	watchers map[*Watcher]string // the name by which each knows it
}

const (
	sweepFollowed = 30 * time.Second       // all followed jobs are read so often, in case that nobody told of a change
	feedGap       = 20 * time.Millisecond  // at least, between two looks at what others have changed
	feedPoll      = 250 * time.Millisecond // at most, if no hint comes
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
		h.stop, h.heard = stop, make(chan struct{})
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
		h.forget(w, id)
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

// follow has a watcher follow a job. The caller holds h.mu.
func (h *hub) follow(w *Watcher, s Seen, sub string) {
	if f := w.jobs[s.ID]; f != nil {
		f.version = max(f.version, s.Version)
		return
	}
	w.jobs[s.ID] = &followed{s.Version, sub}
	h.jobs[s.ID] = append(h.jobs[s.ID], w)
}

// forget ends that. The caller holds h.mu.
func (h *hub) forget(w *Watcher, id ID) {
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

// changed tells those who follow a job what it has become. The caller holds h.mu.
func (h *hub) changed(job *Job) {
	if job.State != "" {
		for _, f := range h.filters {
			if f.query.matches(job) {
				f.found(h, job)
			}
		}
	}
	all := h.jobs[job.ID]
	for i := len(all) - 1; i >= 0; i-- { // from the end, as some may leave on the way
		all[i].changed(job)
	}
}

// found has all who use a filter follow a job that matches it. The caller holds h.mu.
func (f *filter) found(h *hub, job *Job) {
	for w, name := range f.watchers {
		switch {
		case w.jobs[job.ID] != nil || w.over[job.ID] >= job.Version:
		case len(w.jobs) >= w.limit:
			h.unmatch(w, name)
			w.notices = append(w.notices, Notice{Sub: name, Err: fmt.Errorf("%w: more than %d jobs match", ErrTooMany, w.limit)})
			w.tell()
		default:
			h.follow(w, Seen{ID: job.ID}, name)
		}
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

// match begins a filter: it is in use at once, and what matches already is read then.
func (h *hub) match(w *Watcher, name string, q Query, since time.Time, seen []Seen) error {
	q.Cursor, q.Limit = "", 0
	raw, err := json.Marshal(q)
	if err != nil {
		return err
	}
	key := string(raw)
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	h.unmatch(w, name)
	f := h.filters[key]
	if f == nil {
		if len(h.filters) >= maxFilters {
			return fmt.Errorf("%w: %d different filters", ErrTooMany, maxFilters)
		}
		f = &filter{key: key, query: q, watchers: map[*Watcher]string{}}
		h.filters[key] = f
	}
	if other, twice := f.watchers[w]; twice {
		return fmt.Errorf("%w filter: it is the same as %q", ErrInvalid, other)
	}
	if len(w.jobs)+len(seen) > w.limit {
		return fmt.Errorf("%w: %d jobs, at most %d", ErrTooMany, len(w.jobs)+len(seen), w.limit)
	}
	f.watchers[w] = name
	w.filters[name] = f
	ids := make([]ID, len(seen))
	for i, s := range seen {
		h.follow(w, s, name)
		ids[i] = s.ID
	}
	go h.begin(beginning{w, name, f, ids, h.e.endedSince(since), h.heard})
	return nil
}

// unmatch ends a filter of a watcher. The caller holds h.mu.
func (h *hub) unmatch(w *Watcher, name string) {
	f := w.filters[name]
	if f == nil {
		return
	}
	delete(w.filters, name)
	if delete(f.watchers, w); len(f.watchers) == 0 {
		delete(h.filters, f.key)
	}
	for id, x := range w.jobs {
		if x.sub == name {
			h.forget(w, id)
		}
	}
}

// endedSince is from when on to look for ended jobs at the begin of a filter: a zero time for none. Where changes of
// others are noted only once somebody watches, those are looked for that end before this has begun.
func (e *Engine) endedSince(since time.Time) time.Time {
	switch _, feeds := e.store.(Feed); {
	case !since.IsZero():
		return since.Add(-sinceMargin)
	case feeds:
		return e.Now().Add(-time.Second)
	}
	return since
}

// beginning is a filter of a watcher that begins.
type beginning struct {
	w     *Watcher
	name  string
	f     *filter
	seen  []ID
	since time.Time
	heard <-chan struct{}
}

// begin tells a watcher what matches its filter now, once nothing that changes from now on is missed.
func (h *hub) begin(b beginning) {
	w, name, f, since := b.w, b.name, b.f, b.since
	select {
	case <-b.heard:
	case <-time.After(10 * time.Second): // it hears of nothing yet, and will begin all filters anew when it does
	}
	h.begins <- struct{}{} // a few at a time: each may look through many jobs
	defer func() { <-h.begins }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var alive, ended []State
	for _, s := range States {
		switch {
		case len(f.query.States) > 0 && !among(s, f.query.States):
		case s.Ended():
			ended = append(ended, s)
		default:
			alive = append(alive, s)
		}
	}
	err := h.readAll(ctx, b.seen)
	if err == nil {
		err = h.list(ctx, w, name, f, alive, time.Time{})
	}
	if err == nil && !since.IsZero() {
		err = h.list(ctx, w, name, f, ended, since)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.filters[name] != f {
		return
	}
	if err != nil {
		h.unmatch(w, name)
	}
	w.notices = append(w.notices, Notice{Sub: name, Err: err})
	w.tell()
}

// list tells of the jobs in some states that match a filter, and have ended since, from the newest on.
func (h *hub) list(ctx context.Context, w *Watcher, name string, f *filter, states []State, since time.Time) error {
	if len(states) == 0 {
		return nil
	}
	q := f.query
	q.States, q.EndedAfter, q.Limit = states, since, 100
	for told := 0; told < MaxMatched; {
		p, err := h.e.store.List(ctx, q)
		if err != nil {
			return err
		}
		h.mu.Lock()
		for i := range p.Jobs {
			j := &p.Jobs[i]
			if w.filters[name] != f {
				h.mu.Unlock()
				return nil
			}
			if w.jobs[j.ID] == nil && len(w.jobs) >= w.limit {
				h.mu.Unlock()
				return fmt.Errorf("%w: more than %d jobs match", ErrTooMany, w.limit)
			}
			if w.over[j.ID] < j.Version {
				h.follow(w, Seen{ID: j.ID}, name)
				w.changed(j)
			}
		}
		h.mu.Unlock()
		told += len(p.Jobs)
		if q.Cursor = p.Next; p.Next == "" {
			return nil
		}
	}
	return nil
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
	mark, swept := "", time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
		if feed != nil {
			first := mark == ""
			if mark = h.hear(ctx, feed, mark); first && mark != "" {
				close(heard)
				h.sweep()                                             // what has changed before
				swept = time.Now().Add(2*time.Second - sweepFollowed) // and in transactions that were under way
			}
		}
		if time.Since(swept) > sweepFollowed {
			h.sweep()
			swept = time.Now()
		}
		h.read(ctx)
		if !sleep(ctx, feedGap) {
			return
		}
		timer.Reset(jitter(poll))
	}
}

// sweep has all followed jobs read.
func (h *hub) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.jobs {
		h.unread[id] = true
	}
}

// hear notes what others have changed, and returns the next mark.
func (h *hub) hear(ctx context.Context, feed Feed, mark string) string {
	c, err := feed.Changed(ctx, mark)
	if err != nil {
		h.e.worker.warn(ctx, "cannot look for the changes of other processes", err)
		return mark
	}
	if c.Lost {
		h.sweep()
		h.beginAll()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range c.Jobs {
		like := &Job{Queue: x.Queue, Kind: x.Kind, State: x.State}
		wanted := false
		for _, f := range h.filters {
			coarse := Query{States: f.query.States, Kinds: f.query.Kinds, Queues: f.query.Queues}
			wanted = wanted || x.State != "" && coarse.matches(like)
		}
		for _, id := range x.IDs {
			if wanted || h.jobs[id] != nil {
				h.unread[id] = true
			}
		}
	}
	return c.Mark
}

// beginAll begins all filters anew, because changes were lost.
func (h *hub) beginAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.filters {
		for w, name := range f.watchers {
			go h.begin(beginning{w, name, f, nil, h.e.Now().Add(-2 * time.Minute), h.heard})
		}
	}
}

// read reads what is unread, and tells of it.
func (h *hub) read(ctx context.Context) {
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
			return
		}
		if err := h.readAll(ctx, ids); err != nil {
			h.mu.Lock()
			for _, id := range ids {
				h.unread[id] = true
			}
			h.mu.Unlock()
			h.e.worker.warn(ctx, "cannot read the jobs that are watched", err)
			return
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
		for i := range there {
			delete(gone, there[i].ID)
			h.changed(&there[i])
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
