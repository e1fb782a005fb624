package errand

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Watcher follows any number of jobs for one client, in whatever process they change. It is level-triggered: the client says
// what it has seen of a job, and gets the job as it is now whenever that differs. What happens while the client does not
// read is merged into one state a job, so that a slow reader costs a bounded amount of memory, and never misses an end.
//
// All watchers of an engine share what the engine reads: a job that a thousand of them follow is read once. Changes by this
// process come at once, those by others by hint or by poll. Close it in the end.
type Watcher struct {
	hub     *hub
	limit   int
	jobs    map[ID]*followed
	filters map[string]*filter
	queue   []ID          // jobs to tell of, in the order in which they changed
	news    map[ID]*Job   // what to tell of them; nil: to be read. State "": gone
	notices []Notice      // besides
	signal  chan struct{} // holds one
	closed  bool

	over     map[ID]int64 // ends told of late, of jobs that filters have found: not to be told again
	overRing []ID         // in their order
}

// followed is what a watcher knows of a job.
type followed struct {
	version int64  // seen
	sub     string // the name of the filter that has found it; "": it was asked for
}

// Seen is what a client has seen of a job.
type Seen struct {
	ID      ID
	Version int64 // 0: nothing
}

// Notice is what a watcher tells.
type Notice struct {
	Job  *Job   // the job as it is now; not to be changed
	Gone ID     // or: this job is not there, or no longer
	Sub  string // or: all that this filter matches has been told; from now on changes follow as they happen
	Err  error  // with Sub: this filter has ended, because it matches too many jobs, or cannot be read
}

// Limits of watchers.
const (
	MaxWatched  = 10_000 // jobs that one watcher follows, unless said otherwise
	MaxMatched  = 1_000  // jobs that a filter tells at its begin, the newest
	maxFilters  = 1_000  // different filters of one engine
	maxSnapshot = 16 << 10
	maxNotices  = 256
)

// ErrTooMany says that a limit of watchers is reached.
var ErrTooMany = fmt.Errorf("too much to watch at once")

// Watch returns a watcher that follows at most limit jobs at a time; 0 means [MaxWatched].
func (e *Engine) Watch(limit int) *Watcher {
	base := e.worker.e
	base.listen()
	if limit <= 0 {
		limit = MaxWatched
	}
	w := &Watcher{
		hub: &base.bus.hub, limit: limit, jobs: map[ID]*followed{}, filters: map[string]*filter{}, news: map[ID]*Job{}, signal: make(chan struct{}, 1),
	}
	w.hub.join(base, w)
	return w
}

// Follow adds jobs: each is told as it is now, unless that is what the client has seen, and after each change, until it has ended or is gone:
// then it is no longer followed. Following a job again only takes note of what was seen. ErrTooMany adds none.
func (w *Watcher) Follow(jobs ...Seen) error {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	more := 0
	for _, s := range jobs {
		if w.jobs[s.ID] == nil {
			more++
		}
	}
	if len(w.jobs)+more > w.limit {
		return fmt.Errorf("%w: %d jobs, at most %d", ErrTooMany, len(w.jobs)+more, w.limit)
	}
	for _, s := range jobs {
		h.follow(w, s, "")
		h.unread[s.ID] = true
	}
	h.wakeUp()
	return nil
}

// Forget no longer follows jobs. Nothing more is told of them.
func (w *Watcher) Forget(ids ...ID) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for _, id := range ids {
		w.hub.forget(w, id)
	}
}

// Match follows all jobs that match a query, under a name: those that match now (the newest [MaxMatched], and of those that have ended only
// what has ended since; a zero time means none), and from then on each job that begins to match; each until it has ended, even if
// it matches no longer. Seen is what the client knows of jobs that it was told of before. A filter of the same name is replaced.
// Cursor and Limit of the query mean nothing.
func (w *Watcher) Match(name string, q Query, since time.Time, seen ...Seen) error {
	if name == "" {
		return fmt.Errorf("%w filter: it needs a name", ErrInvalid)
	}
	return w.hub.match(w, name, q, since, seen)
}

// Unmatch ends a filter. The jobs that it has found are no longer followed.
func (w *Watcher) Unmatch(name string) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.hub.unmatch(w, name)
}

// Len returns how many jobs are followed.
func (w *Watcher) Len() int {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	return len(w.jobs)
}

// Close ends the watcher. Next fails from then on.
func (w *Watcher) Close() { w.hub.leave(w) }

// Next waits until there is something to tell, and returns it; at most 256 notices at a time.
func (w *Watcher) Next(ctx context.Context) ([]Notice, error) {
	for {
		out, unread, err := w.take()
		if len(unread) > 0 {
			out, err = w.read(ctx, out, unread)
		}
		if len(out) > 0 || err != nil {
			return out, err
		}
		select {
		case <-w.signal:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes what there is to tell, and the jobs that must be read for it.
func (w *Watcher) take() (out []Notice, unread []ID, err error) {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return nil, nil, ErrClosed
	}
	n := min(len(w.queue), maxNotices)
	for _, id := range w.queue[:n] {
		job, there := w.news[id]
		delete(w.news, id)
		switch {
		case !there: // forgotten
		case job == nil:
			unread = append(unread, id)
		case job.State == "":
			out = append(out, Notice{Gone: id})
			h.forget(w, id)
		default:
			out = append(out, Notice{Job: job})
			w.told(job)
		}
	}
	if w.queue = w.queue[n:]; len(w.queue) == 0 {
		w.queue = nil
		out, w.notices = append(out, w.notices...), nil // a filter's begin has been told once its jobs have
	} else {
		w.tell()
	}
	return out, unread, nil
}

// read reads large jobs: of these no copy is kept for slow readers.
func (w *Watcher) read(ctx context.Context, out []Notice, ids []ID) ([]Notice, error) {
	there, err := w.hub.e.store.Get(ctx, ids)
	if err != nil {
		return out, err
	}
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for i := range there {
		j := &there[i]
		out = append(out, Notice{Job: j})
		if f := w.jobs[j.ID]; f != nil {
			f.version = max(f.version, j.Version)
		}
		w.told(j)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(there, func(j Job) bool { return j.ID == id }) {
			out = append(out, Notice{Gone: id})
			w.hub.forget(w, id)
		}
	}
	return out, nil
}

// maxOver is how many ends a watcher remembers.
const maxOver = 1024

// told ends the watch of a job whose end was told. The caller holds hub.mu.
func (w *Watcher) told(job *Job) {
	f := w.jobs[job.ID]
	if f == nil || !job.State.Ended() {
		return
	}
	if f.sub != "" {
		if w.over == nil {
			w.over = map[ID]int64{}
		}
		if len(w.overRing) == maxOver {
			delete(w.over, w.overRing[0])
			w.overRing = w.overRing[1:]
		}
		w.over[job.ID] = job.Version
		w.overRing = append(w.overRing, job.ID)
	}
	w.hub.forget(w, job.ID)
}

func (w *Watcher) tell() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// changed notes the state of a followed job. The caller holds hub.mu.
func (w *Watcher) changed(job *Job) {
	f := w.jobs[job.ID]
	if f == nil {
		return
	}
	if _, waits := w.news[job.ID]; job.State != "" && job.Version <= f.version {
		if job.State.Ended() && !waits { // the client has seen the end
			w.hub.forget(w, job.ID)
		}
		return
	}
	f.version = job.Version
	id, news := job.ID, job
	if job.size() > maxSnapshot {
		news = nil
	}
	if _, waits := w.news[id]; !waits {
		w.queue = append(w.queue, id)
	}
	w.news[id] = news
	w.tell()
}

// size is about how many bytes a job takes.
func (j *Job) size() int {
	n := len(j.Args) + len(j.Result) + len(j.Checkpoint) + len(j.Error) + len(j.Progress.Text) + 16*len(j.After)
	for k, v := range j.Metadata {
		n += len(k) + len(v)
	}
	return n
}
