package errand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// filter is one query, and the watchers that follow what matches it.
type filter struct {
	key     string
	query   Query
	matches map[*Watcher]*match
}

// match is a filter of one watcher.
type match struct {
	w      *Watcher
	name   string
	f      *filter
	ctx    context.Context // ends with it
	end    context.CancelFunc
	seen   []ID      // to be read at its begin
	since  time.Time // what has ended since is told at its begin; zero: nothing
	begins bool      // what matches now is being told
	again  bool      // and must be told once more then
}

// match begins a filter: it is in use at once, and what matches already is read then.
func (h *hub) match(w *Watcher, name string, q Query, since time.Time, seen []Seen) error {
	q.Cursor, q.Limit = "", 0
	raw, err := json.Marshal(q)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	h.unmatch(w, name)
	f, err := h.filter(w, string(raw), q)
	if err == nil {
		err = w.room(seen)
	}
	if err != nil {
		return err
	}
	m := &match{w: w, name: name, f: f, since: h.e.endedSince(since), begins: true}
	m.ctx, m.end = context.WithCancel(context.Background())
	h.filters[f.key], f.matches[w], w.filters[name] = f, m, m
	for _, s := range seen {
		h.follow(w, s, name)
		m.seen = append(m.seen, s.ID)
	}
	go h.begin(m, h.heard)
	return nil
}

// filter returns the filter of a query, which may be a new one, if a watcher may have one more. The caller holds h.mu.
func (h *hub) filter(w *Watcher, key string, q Query) (*filter, error) {
	f := h.filters[key]
	switch {
	case len(w.filters) >= MaxFilters:
		return nil, fmt.Errorf("%w: at most %d filters", ErrTooMany, MaxFilters)
	case f == nil && len(h.filters) >= maxQueries:
		return nil, fmt.Errorf("%w: %d different filters of all watchers", ErrTooMany, maxQueries)
	case f == nil:
		return &filter{key: key, query: q, matches: map[*Watcher]*match{}}, nil
	}
	if m := f.matches[w]; m != nil {
		return nil, fmt.Errorf("%w filter: it is the same as %q", ErrInvalid, m.name)
	}
	return f, nil
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

// unmatch ends a filter of a watcher. The caller holds h.mu.
func (h *hub) unmatch(w *Watcher, name string) {
	m := w.filters[name]
	if m == nil {
		return
	}
	m.end()
	delete(w.filters, name)
	if delete(m.f.matches, w); len(m.f.matches) == 0 {
		delete(h.filters, m.f.key)
	}
	for id := range w.jobs {
		h.release(w, id, name)
	}
	w.notices = slices.DeleteFunc(w.notices, func(n Notice) bool { return n.Sub == name })
}

// fail ends a filter and says why. The caller holds h.mu.
func (h *hub) fail(m *match, err error) {
	h.unmatch(m.w, m.name)
	m.w.notices = append(m.w.notices, Notice{Sub: m.name, Err: err})
	m.w.tell()
}

// find has all who have a filter that a job matches follow it. The caller holds h.mu.
func (h *hub) find(job *Job) {
	look := &texts{job: job}
	for _, f := range h.filters {
		if !f.query.matchesIn(job, look) {
			continue
		}
		for _, m := range f.matches {
			if err := h.found(m, job); err != nil {
				h.fail(m, err)
			}
		}
	}
}

// found has a watcher follow a job that its filter has found. The caller holds h.mu.
func (h *hub) found(m *match, job *Job) error {
	w := m.w
	switch {
	case w.over[job.ID] >= job.Version: // its end was told
	case w.jobs[job.ID] == nil && len(w.jobs) >= w.limit:
		return fmt.Errorf("%w: more than %d jobs match", ErrTooMany, w.limit)
	default:
		h.follow(w, Seen{ID: job.ID}, m.name)
	}
	return nil
}

// mayMatch reports whether jobs that have changed must be read for a filter. The caller holds h.mu.
func (h *hub) mayMatch(x ChangedJobs) bool {
	like := &Job{Queue: x.Queue, Kind: x.Kind, State: x.State}
	for _, f := range h.filters {
		coarse := Query{States: f.query.States, Kinds: f.query.Kinds, Queues: f.query.Queues}
		if x.State != "" && coarse.matches(like) {
			return true
		}
	}
	return false
}

// beginAll begins all filters anew, because changes were missed since a time; zero: since each was asked to begin. The caller holds h.mu.
func (h *hub) beginAll(since time.Time) {
	for _, f := range h.filters {
		for _, m := range f.matches {
			if !since.IsZero() && (!m.begins || since.Before(m.since)) {
				m.since = since
			}
			if m.begins {
				m.again = true
				continue
			}
			m.begins = true
			go h.begin(m, h.heard)
		}
	}
}

// begin tells a watcher what matches its filter now, once nothing that changes from now on is missed.
func (h *hub) begin(m *match, heard <-chan struct{}) {
	select {
	case <-heard:
	case <-time.After(hearTime): // it begins anew once changes are heard of
	case <-m.ctx.Done():
		return
	}
	for begun := false; !begun; {
		h.mu.Lock()
		seen, since := m.seen, m.since
		m.again = false
		h.mu.Unlock()
		at := h.e.Now()
		begun = h.begun(m, at, h.tellAll(m, seen, since))
	}
}

// begun notes that what matched a filter at a time has been told, or why not; false if that must be done again.
func (h *hub) begun(m *match, at time.Time, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case m.ctx.Err() != nil:
	case err != nil:
		h.fail(m, err)
	case m.again:
		return false
	default:
		m.begins, m.seen = false, nil
		m.w.notices = append(m.w.notices, Notice{Sub: m.name, Time: at})
		m.w.tell()
	}
	return true
}

// tellAll tells of what a watcher has seen before, of what matches its filter, and of what has ended since.
func (h *hub) tellAll(m *match, seen []ID, since time.Time) error {
	q := m.f.query
	var alive, ended []State
	for _, s := range States {
		switch {
		case !among(s, q.States):
		case s.Ended():
			ended = append(ended, s)
		case q.EndedAfter.IsZero():
			alive = append(alive, s)
		}
	}
	if err := h.try(m.ctx, func(ctx context.Context) error { return h.readAll(ctx, seen) }); err != nil {
		return err
	}
	if _, err := h.list(m, q, alive, MaxMatched); err != nil || since.IsZero() {
		return err
	}
	if since.After(q.EndedAfter) {
		q.EndedAfter = since
	}
	more, err := h.list(m, q, ended, m.w.limit)
	if more && err == nil {
		err = fmt.Errorf("%w: more than %d jobs that match have ended since", ErrTooMany, m.w.limit)
	}
	return err
}

// list tells of the newest jobs in some states that match a query, and whether there are more.
func (h *hub) list(m *match, q Query, states []State, most int) (more bool, err error) {
	if len(states) == 0 {
		return false, nil
	}
	q.States = states
	for told := 0; ; {
		q.Limit = min(100, most-told)
		var p Page
		err := h.try(m.ctx, func(ctx context.Context) (err error) {
			p, err = h.e.store.List(ctx, q)
			return err
		})
		if err == nil {
			err = h.listed(m, p.Jobs)
		}
		told += len(p.Jobs)
		if q.Cursor = p.Next; err != nil || p.Next == "" || told == most {
			return p.Next != "", err
		}
	}
}

// listed tells of jobs that match a filter.
func (h *hub) listed(m *match, jobs []Job) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.ctx.Err() != nil {
		return m.ctx.Err()
	}
	for _, job := range jobs { // each a copy: one that is not told of yet must not keep them all
		if err := h.found(m, &job); err != nil {
			return err
		}
		m.w.changed(&job)
	}
	return nil
}

// try reads for a filter that begins: a few at a time of all filters, as each may look through many jobs. What fails is
// tried again, with growing pauses, until the filter ends.
func (h *hub) try(ctx context.Context, read func(context.Context) error) error {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		select {
		case h.begins <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		err := read(limited)
		cancel()
		<-h.begins
		if err == nil || errors.Is(err, ErrInvalid) || ctx.Err() != nil {
			return err
		}
		h.e.worker.warn(ctx, "cannot read what matches a filter", err)
		if !sleep(ctx, jitter(pause)) {
			return ctx.Err()
		}
	}
}
