package errand

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/google/uuid"
)

// MemoryOptions are the options of [Memory].
type MemoryOptions struct {
	// Keep bounds how many ended jobs are kept, so that memory stays flat however many run:
	// beyond it those go first that would be pruned first. Jobs that are kept for ever
	// (negative retention) and jobs that others wait for do not count. Default 10,000;
	// negative means no bound.
	Keep int
}

// Memory returns a store that keeps jobs in this process, at the speed of a worker pool.
// Nothing survives the process. It is the reference for all other stores. Opts may be nil.
func Memory(opts *MemoryOptions) Store {
	m := &memory{
		keep:     10_000,
		jobs:     map[ID]*record{},
		lanes:    map[laneKey]*lane{},
		holders:  map[string]*record{},
		links:    map[ID][]*link{},
		marked:   map[*record]bool{},
		sessions: map[uuid.UUID]Session{},
		pauses:   map[string]QueuePause{},
		plans:    map[string]*planned{},
	}
	if opts != nil && opts.Keep != 0 {
		m.keep = opts.Keep
	}
	return m
}

type memory struct {
	mu       sync.Mutex
	keep     int
	seq      int64
	jobs     map[ID]*record
	order    []*record // by seq; removed ones stay until half of them are gone
	removed  int
	lanes    map[laneKey]*lane
	due      lineup
	expires  lineup
	holders  map[string]*record // of unique keys
	links    map[ID][]*link     // by the job waited for
	marked   map[*record]bool   // jobs with marked links
	sessions map[uuid.UUID]Session
	pauses   map[string]QueuePause
	history  history
	plans    map[string]*planned // schedules
	wakes    wakes               // of these
}

type laneKey struct{ queue, kind string }

// lane holds what is counted and claimed together: the jobs of one kind in one queue.
type lane struct {
	laneKey
	ready  lineup
	counts [8]int64
}

// record is a job with what a database would keep in other tables and indexes.
type record struct {
	job     Job
	seq     int64
	lane    *lane
	stamp   int64 // names its one valid place in a lineup; others are stale
	in      *lineup
	entries []Entry
	waits   []*link // its own links
	gone    bool
}

type link struct {
	waiter *record
	on     ID
	ended  bool
}

func (m *memory) Close() error { return nil }

func (m *memory) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	return nil
}

func (m *memory) Insert(ctx context.Context, jobs []Job) ([]*Job, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	now := time.Now()
	existing := make([]*Job, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		if r := m.conflict(j, now); r != nil {
			there := r.job
			existing[i] = &there
			continue
		}
		m.insert(j, now)
	}
	return existing, nil
}

// conflict returns the record that keeps j out.
func (m *memory) conflict(j *Job, now time.Time) *record {
	if r := m.jobs[j.ID]; r != nil {
		return r
	}
	if !j.HoldsUnique(j.Created) {
		return nil
	}
	r := m.holders[j.Unique]
	if r != nil && !r.job.HoldsUnique(now) { // its time has passed
		delete(m.holders, j.Unique)
		return nil
	}
	return r
}

func (m *memory) insert(j *Job, now time.Time) {
	m.seq++
	r := &record{job: *j, seq: m.seq, lane: m.lane(j.Queue, j.Kind)}
	m.jobs[j.ID] = r
	m.order = append(m.order, r)
	for _, on := range j.After {
		dep := m.jobs[on]
		l := &link{waiter: r, on: on, ended: dep == nil || dep.job.State.Ended()}
		r.waits = append(r.waits, l)
		m.links[on] = append(m.links[on], l)
		if l.ended {
			m.marked[r] = true
		}
	}
	if j.HoldsUnique(j.Created) {
		m.holders[j.Unique] = r
	}
	r.lane.counts[stateIndex(j.State)]++
	m.history.count(r.lane.laneKey, "", &r.job, now)
	m.place(r)
}

func (m *memory) lane(queue, kind string) *lane {
	key := laneKey{queue, kind}
	l := m.lanes[key]
	if l == nil {
		l = &lane{laneKey: key}
		m.lanes[key] = l
	}
	return l
}

// place puts the record into the line of its state, and out of any other.
func (m *memory) place(r *record) {
	m.displace(r)
	switch {
	case r.job.State == Ready:
		m.join(&r.lane.ready, r, int64(-r.job.Priority), r.job.Due)
	case r.job.State == Scheduled:
		m.join(&m.due, r, 0, r.job.Due)
	case r.job.State.Ended() && !r.job.Expires.IsZero():
		m.join(&m.expires, r, 0, r.job.Expires)
		m.evict()
	}
}

func (m *memory) join(l *lineup, r *record, rank int64, at time.Time) {
	r.in = l
	l.push(place{rank: rank, at: at.UnixMicro(), seq: r.seq, r: r, stamp: r.stamp})
}

func (m *memory) displace(r *record) {
	r.stamp++
	if r.in != nil {
		r.in.left()
		r.in = nil
	}
}

// evict keeps the number of ended jobs within bounds.
func (m *memory) evict() {
	for spare := m.expires.len() - m.keep; m.keep >= 0 && spare > 0; spare-- {
		p, _ := m.expires.peek()
		if len(m.links[p.r.job.ID]) > 0 {
			m.displace(p.r) // others wait for it: it goes to the end
			m.join(&m.expires, p.r, 1, p.r.job.Expires)
			continue
		}
		m.remove(p.r)
	}
}

func (m *memory) Get(ctx context.Context, ids []ID) ([]Job, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var jobs []Job
	for _, id := range ids {
		if r := m.jobs[id]; r != nil {
			jobs = append(jobs, r.job)
		}
	}
	return jobs, nil
}

func (m *memory) List(ctx context.Context, q Query) (Page, error) {
	limit, before, err := q.Bounds()
	if err != nil {
		return Page{}, err
	}
	if err := m.lock(ctx); err != nil {
		return Page{}, err
	}
	defer m.mu.Unlock()
	i := sort.Search(len(m.order), func(i int) bool { return m.order[i].seq >= before })
	var p Page
	for i--; i >= 0; i-- {
		r := m.order[i]
		if r.gone || !q.matches(&r.job) {
			continue
		}
		if len(p.Jobs) == limit {
			return p, nil
		}
		p.Jobs = append(p.Jobs, r.job)
		p.Next = CursorAt(r.seq)
	}
	p.Next = ""
	return p, nil
}

func (m *memory) Entries(ctx context.Context, id ID, after int64, limit int) ([]Entry, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	r := m.jobs[id]
	if r == nil {
		return nil, nil
	}
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].Seq > after })
	return slices.Clone(r.entries[i:min(i+limit, len(r.entries))]), nil
}

func (m *memory) Swap(ctx context.Context, changes []Change) ([]Swapped, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	now := time.Now()
	out := make([]Swapped, len(changes))
	for i := range changes {
		out[i] = m.swap(&changes[i], now)
	}
	return out, nil
}

func (m *memory) swap(c *Change, now time.Time) Swapped {
	r := m.jobs[c.Job.ID]
	if r == nil || r.job.Version != c.Was {
		return Stale
	}
	if c.Delete {
		m.unlink(r, c.Unblocks)
		m.remove(r)
		return Written
	}
	if !m.hold(r, &c.Job, now) {
		return Taken
	}
	m.unlink(r, c.Unblocks)
	r.log(c.Entries)
	was := r.job.State
	r.job = c.Job
	r.job.Duplicate = false
	m.moved(r, was, now)
	return Written
}

// hold takes or frees the unique key of r as it will be.
func (m *memory) hold(r *record, next *Job, now time.Time) bool {
	if next.Unique == "" {
		return true
	}
	holder := m.holders[next.Unique]
	if holder != nil && holder != r && holder.job.UniqueScope == UntilTime && !holder.job.HoldsUnique(now) {
		delete(m.holders, next.Unique)
		holder = nil
	}
	switch {
	case next.HoldsUnique(now):
		if holder != nil && holder != r {
			return false
		}
		m.holders[next.Unique] = r
	case holder == r:
		delete(m.holders, next.Unique)
	}
	return true
}

// moved keeps the lines, counts and links true after a job has changed.
func (m *memory) moved(r *record, was State, now time.Time) {
	if is := r.job.State; was != is {
		r.lane.counts[stateIndex(was)]--
		r.lane.counts[stateIndex(is)]++
		m.history.count(r.lane.laneKey, was, &r.job, now)
		if is.Ended() {
			m.mark(r.job.ID)
		}
	}
	m.place(r)
}

// mark marks the links to a job that has ended or is gone.
func (m *memory) mark(on ID) {
	if len(m.links) == 0 {
		return
	}
	for _, l := range m.links[on] {
		l.ended = true
		m.marked[l.waiter] = true
	}
}

// unlink drops the links of r to the given jobs.
func (m *memory) unlink(r *record, on []ID) {
	for _, id := range on {
		drop := func(l *link) bool { return l.waiter == r && l.on == id }
		r.waits = slices.DeleteFunc(r.waits, drop)
		if m.links[id] = slices.DeleteFunc(m.links[id], drop); len(m.links[id]) == 0 {
			delete(m.links, id)
		}
	}
	if len(on) > 0 && !slices.ContainsFunc(r.waits, func(l *link) bool { return l.ended }) {
		delete(m.marked, r)
	}
}

func (m *memory) remove(r *record) {
	id := r.job.ID
	m.displace(r)
	for len(r.waits) > 0 {
		m.unlink(r, []ID{r.waits[0].on})
	}
	if m.holders[r.job.Unique] == r {
		delete(m.holders, r.job.Unique)
	}
	r.lane.counts[stateIndex(r.job.State)]--
	r.gone, r.job, r.entries = true, Job{}, nil
	delete(m.jobs, id)
	m.mark(id)
	if m.removed++; m.removed > len(m.order)/2 {
		m.order = slices.DeleteFunc(m.order, func(r *record) bool { return r.gone })
		m.removed = 0
	}
}

// log appends entries and drops the oldest beyond the limits.
func (r *record) log(entries []Entry) {
	if len(entries) == 0 {
		return
	}
	r.entries = append(r.entries, entries...)
	lines := 0
	for i := len(r.entries) - 1; i >= 0; i-- {
		if r.entries[i].Type != EntryLog {
			continue
		}
		if lines++; lines > MaxLogLines {
			kept := i
			r.entries = append(slices.DeleteFunc(slices.Clone(r.entries[:kept+1]), func(e Entry) bool { return e.Type == EntryLog }), r.entries[kept+1:]...)
			break
		}
	}
	if over := len(r.entries) - MaxEntries; over > 0 {
		r.entries = slices.Clone(r.entries[over:])
	}
}

func (m *memory) Claim(ctx context.Context, c Claim) (Claimed, error) {
	if err := m.lock(ctx); err != nil {
		return Claimed{}, err
	}
	defer m.mu.Unlock()
	now := timestamp(time.Now())
	m.wake(now)
	var got Claimed
	for _, l := range c.Lanes {
		if _, paused := m.pauses[l.Queue]; !paused {
			m.claim(&got, c.Session, l, now)
		}
	}
	if p, ok := m.due.peek(); ok {
		got.Next = p.r.job.Due
	}
	return got, nil
}

func (m *memory) wake(now time.Time) {
	for range MaxWake {
		p, ok := m.due.peek()
		if !ok || p.r.job.Due.After(now) {
			return
		}
		p.r.job.wake()
		m.moved(p.r, Scheduled, now)
	}
}

func (m *memory) claim(got *Claimed, session uuid.UUID, l Lane, now time.Time) {
	lanes := make([]*lane, 0, len(l.Kinds))
	for _, kind := range l.Kinds {
		if x := m.lanes[laneKey{l.Queue, kind}]; x != nil && x.ready.len() > 0 {
			lanes = append(lanes, x)
		}
	}
	ready := 0
	for _, x := range lanes {
		ready += x.ready.len()
	}
	got.Jobs = slices.Grow(got.Jobs, min(ready, l.Limit))
	for range l.Limit {
		var best *lane
		var first place
		for _, x := range lanes {
			if p, ok := x.ready.peek(); ok && (best == nil || p.before(first)) {
				best, first = x, p
			}
		}
		if best == nil {
			return
		}
		r := first.r
		r.job.claim(session, now)
		if r.job.UniqueScope == UntilStarted && m.holders[r.job.Unique] == r {
			delete(m.holders, r.job.Unique)
		}
		m.moved(r, Ready, now)
		got.Jobs = append(got.Jobs, r.job)
	}
}

func (m *memory) Unblocked(ctx context.Context, limit int) ([]Unblocked, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var out []Unblocked
	for r := range m.marked {
		if len(out) == limit {
			break
		}
		u := Unblocked{Job: r.job}
		for _, l := range r.waits {
			if !l.ended {
				continue
			}
			on := m.jobs[l.on]
			if on == nil {
				u.Links = append(u.Links, Link{ID: l.on})
			} else if on.job.State.Ended() {
				u.Links = append(u.Links, Link{l.on, on.job.State})
			}
		}
		if len(u.Links) > 0 {
			out = append(out, u)
		}
	}
	return out, nil
}

func (m *memory) Stats(ctx context.Context) ([]Count, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var out []Count
	for _, l := range m.lanes {
		for i, n := range l.counts {
			if n == 0 {
				continue
			}
			c := Count{Queue: l.queue, Kind: l.kind, State: States[i], Jobs: n}
			if c.State == Ready {
				c.OldestReady = l.ready.oldest()
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Kind, b.Kind), stateIndex(a.State)-stateIndex(b.State))
	})
	return out, nil
}

// stateIndex is the place of s in States.
func stateIndex(s State) int {
	switch s {
	case Scheduled:
		return 0
	case Waiting:
		return 1
	case Ready:
		return 2
	case Running:
		return 3
	case Paused:
		return 4
	case Succeeded:
		return 5
	case Failed:
		return 6
	}
	return 7
}
