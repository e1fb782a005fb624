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
	filters map[string]*match
	queue   []ID          // jobs to tell of, in the order in which they changed
	news    map[ID]*Job   // what to tell of them; nil: to be read. State "": gone
	notices []Notice      // besides
	signal  chan struct{} // holds one
	closed  bool

	caughtUp time.Time    // see CaughtUp
	over     map[ID]int64 // ends told of late, of jobs that filters have found: not to be told again
	overRing []ID         // in their order
}

// followed is what a watcher knows of a job.
type followed struct {
	version int64    // seen
	by      []string // the names of the filters that have found it; "": it was asked for
}

// Seen is what a client has seen of a job.
type Seen struct {
	ID      ID
	Version int64 // 0: nothing
}

// Notice is what a watcher tells.
type Notice struct {
	Job  *Job      // the job as it is now; not to be changed
	Gone ID        // or: this job is not there, or no longer
	Sub  string    // or: all that this filter matches has been told; from now on changes follow as they happen
	Time time.Time // with Sub: as of when, for the since of a later Match
	Err  error     // with Sub: this filter has ended, because it matches too many jobs (ErrTooMany), or is none that the store knows (ErrInvalid)
}

// Limits of watchers.
const (
	MaxWatched  = 10_000   // jobs that one watcher follows, unless said otherwise
	MaxMatched  = 1_000    // jobs that have not ended and that a filter tells at its begin, the newest
	MaxFilters  = 32       // filters of one watcher
	maxQueries  = 1_000    // different filters of one engine
	maxSnapshot = 16 << 10 // bytes of a job; a larger one is read when it is told
	maxLarge    = 16       // of these at once
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
		hub: &base.bus.hub, limit: limit, jobs: map[ID]*followed{}, filters: map[string]*match{}, news: map[ID]*Job{}, signal: make(chan struct{}, 1),
	}
	w.hub.join(base, w)
	return w
}

// Follow adds jobs: each is told as it is now, unless that is what the client has seen, and after each change, until it has ended or is gone:
// then it is no longer followed. Following a job again only takes note of what was seen. ErrTooMany adds none; ErrClosed says that the watcher is closed.
func (w *Watcher) Follow(jobs ...Seen) error {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if err := w.room(jobs); err != nil {
		return err
	}
	for _, s := range jobs {
		h.follow(w, s, "")
		h.unread[s.ID] = true
	}
	h.wakeUp()
	return nil
}

// room fails if these are too many jobs to follow with the others. The caller holds hub.mu.
func (w *Watcher) room(jobs []Seen) error {
	n := len(w.jobs)
	for _, s := range jobs {
		if w.jobs[s.ID] == nil {
			n++
		}
	}
	if n > w.limit {
		return fmt.Errorf("%w: %d jobs, at most %d", ErrTooMany, n, w.limit)
	}
	return nil
}

// Forget no longer follows jobs. Nothing more is told of them, but of those that a filter has found.
func (w *Watcher) Forget(ids ...ID) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for _, id := range ids {
		w.hub.release(w, id, "")
	}
}

// Match follows all jobs that match a query, under a name: those that match now (the newest [MaxMatched] that have not ended, and all
// that have ended since; a zero time means none of these), and from then on each job that begins to match; each until it has ended, even if
// it matches no longer. Seen is what the client knows of jobs that it was told of before. A filter of the same name ends first.
// Cursor and Limit of the query mean nothing. ErrTooMany says that there are [MaxFilters], or too many jobs; that more have ended since
// than the watcher may follow is told later, by a notice. If the store fails, what matches is told as soon as it does not.
func (w *Watcher) Match(name string, q Query, since time.Time, seen ...Seen) error {
	if name == "" {
		return fmt.Errorf("%w filter: it needs a name", ErrInvalid)
	}
	return w.hub.match(w, name, q, since, seen)
}

// Unmatch ends a filter. The jobs that it has found are no longer followed, but those that another has found, too, or that were asked for.
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

// Next waits until there is something to tell, and returns it; about 256 notices at a time. When it fails, because ctx ends or the store fails,
// nothing is lost: it can be called again. After Close it fails with ErrClosed.
func (w *Watcher) Next(ctx context.Context) ([]Notice, error) {
	for {
		out, large, err := w.take()
		if len(large) > 0 {
			out, err = w.read(ctx, out, large)
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

// take takes what there is to tell, and the large jobs that must be read for it.
func (w *Watcher) take() (out []Notice, large []ID, err error) {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return nil, nil, ErrClosed
	}
	for len(w.queue) > 0 && len(out) < maxNotices && len(large) < maxLarge {
		id := w.queue[0]
		w.queue = w.queue[1:]
		job, there := w.news[id]
		delete(w.news, id)
		switch {
		case !there: // forgotten
		case job == nil:
			large = append(large, id)
		case job.State == "":
			out = append(out, Notice{Gone: id})
			h.drop(w, id)
		default:
			out = append(out, Notice{Job: job})
			w.told(job)
		}
	}
	if len(w.queue)+len(large) > 0 {
		w.tell()
		return out, large, nil
	}
	w.queue = nil
	out, w.notices = append(out, w.notices...), nil // a filter's begin has been told once its jobs have
	w.catchUp()
	return out, nil, nil
}

// read reads large jobs: of these no copy is kept for slow readers. If that fails, they are told later.
func (w *Watcher) read(ctx context.Context, out []Notice, ids []ID) ([]Notice, error) {
	there, err := w.hub.e.store.Get(ctx, ids)
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	switch {
	case w.closed:
		return nil, ErrClosed
	case err != nil:
		w.putBack(ids)
		if len(out) > 0 {
			err = nil
		}
		return out, err
	}
	for _, id := range ids {
		f, i := w.jobs[id], slices.IndexFunc(there, func(j Job) bool { return j.ID == id })
		switch {
		case f == nil: // forgotten
		case i < 0:
			out = append(out, Notice{Gone: id})
			w.hub.drop(w, id)
		default:
			job := there[i]
			out = append(out, Notice{Job: &job})
			f.version = max(f.version, job.Version)
			w.told(&job)
		}
	}
	return out, nil
}

// putBack has jobs told first that were taken, but for those that have changed since. The caller holds hub.mu.
func (w *Watcher) putBack(ids []ID) {
	ids = slices.DeleteFunc(ids, func(id ID) bool {
		_, waits := w.news[id]
		return waits || w.jobs[id] == nil
	})
	for _, id := range ids {
		w.news[id] = nil
	}
	w.queue = append(ids, w.queue...)
}

// CaughtUp returns a time for the since of a later Match: up to then, all that these filters match has been returned by Next. It is a
// little behind, and stands still while a filter begins; zero if nothing is known yet. It is to be called where Next is called, not at the same time.
func (w *Watcher) CaughtUp() time.Time {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.catchUp()
	return w.caughtUp
}

// catchUp notes that all has been told, if it has. The caller holds hub.mu.
func (w *Watcher) catchUp() {
	for _, m := range w.filters {
		if m.begins {
			return
		}
	}
	if len(w.queue)+len(w.notices) == 0 {
		w.caughtUp = w.hub.upTo
	}
}

// maxOver is how many ends a watcher remembers.
const maxOver = 1024

// told ends the watch of a job whose end was told. The caller holds hub.mu.
func (w *Watcher) told(job *Job) {
	f := w.jobs[job.ID]
	if f == nil || !job.State.Ended() {
		return
	}
	if slices.ContainsFunc(f.by, func(sub string) bool { return sub != "" }) {
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
	w.hub.drop(w, job.ID)
}

func (w *Watcher) tell() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// changed notes the state of a followed job; it keeps the job. The caller holds hub.mu.
func (w *Watcher) changed(job *Job) {
	f := w.jobs[job.ID]
	if f == nil {
		return
	}
	if _, waits := w.news[job.ID]; job.State != "" && job.Version <= f.version {
		if job.State.Ended() && !waits { // the client has seen the end
			w.hub.drop(w, job.ID)
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
