package errand

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures an [Engine]. The zero value works, and is fast.
type Config struct {
	// Queues says how many jobs of each queue this process runs at once. Nil means every queue there
	// is, Concurrency jobs of each. (A few more may be seen running: jobs claimed ahead, and those that
	// have come back and are about to be written.)
	Queues map[string]int
	// Concurrency is the limit of a queue that Queues does not name, if Queues is nil.
	// Default 100.
	Concurrency int
	// Prefetch is how many jobs beyond its free slots the process claims ahead. Default 0:
	// as many as it has lately run in 50 ms, 1,000 at most, so that jobs that take long
	// are not claimed ahead. Negative: none.
	Prefetch int
	// Lease is how long a worker may be silent before its jobs are given to others.
	// Heartbeats come three times as often. Default 30 s.
	Lease time.Duration
	// Poll is how often the store is asked for work when nothing hints at any. Default 1 s.
	Poll time.Duration
	// ShutdownGrace is how long running jobs may go on when Run's context ends, before
	// theirs end too. Default 5 s; negative: none.
	ShutdownGrace time.Duration
	// StopGrace is how long a run may take to return once its context has ended because of a timeout or
	// shutdown; then it is abandoned. Default 5 s.
	StopGrace time.Duration
	// Retry is the retry policy of kinds that set none. Default [Backoff](2 s, 6 h).
	Retry RetryPolicy
	// Retention says how long ended jobs are kept.
	Retention Retention
	// Specs are specs of schedules by a name: "cron.NAME" stands for the one of NAME wherever a spec is asked for, see [Plan].
	Specs map[string]string
	// Wraps are put around every handler, the first outermost.
	Wraps []func(Handler) Handler
	// Observer is told what happens. Default: nobody.
	Observer Observer
	// Log gets what operators should know. Default slog.Default().
	Log *slog.Logger
	// Version names the program in Session.Version.
	Version string
}

// Handler runs one job. The context ends when the run should stop; [context.Cause] says
// why. What it returns without error is the job's result.
type Handler func(ctx context.Context, run *Run) (json.RawMessage, error)

// RetryPolicy returns how long to wait before the next attempt, after job.Attempt attempts
// of which the last failed with err.
type RetryPolicy func(job *Job, err error) time.Duration

// Observer is told what an engine does, for metrics and traces. Its methods are called
// from many goroutines and must return at once.
type Observer interface {
	// Transition is called for every event of this engine.
	Transition(Event)
	// Call is called after every call of the store, with the number of jobs in it.
	Call(method string, jobs int, took time.Duration, err error)
	// Fired is called for what a schedule did at a nominal time, in this process; At is when, and so tells how late.
	Fired(Firing)
	// Refused is called when a write of a run was refused because its lease is lost.
	Refused(Lease)
}

// Handling is how a process handles the jobs of one kind.
type Handling struct {
	Handler Handler
	// CleanUp rolls back what a cancelled or terminated job did. It runs after the job's last
	// run came back or was disowned, as a run of its own: on any worker, retried with the kind's
	// policy, after a restart too; only then is the job cancelled. Jobs that never
	// started have nothing to clean up. Nil: there is no hook.
	CleanUp Handler
	// Retry is the retry policy. Nil: the engine's.
	Retry RetryPolicy
	// Limit bounds how many jobs of this kind run at once in this process, besides the limit
	// of their queue. 0: no bound of its own.
	Limit int
	// Options apply first to each job of this kind that is enqueued by name in this process.
	Options []Option
}

// handlings are the kinds of this process.
type handlings struct {
	mu        sync.RWMutex
	given     map[string]Handling
	wrapped   map[string]Handling // by Config.Wraps
	sorted    bool                // what follows is up to date
	unlimited []string            // the kinds with a handler, without a limit, sorted
	limited   map[string]int      // the others
}

func (h *handlings) set(kind string, given, wrapped Handling) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.given[kind], h.wrapped[kind] = given, wrapped
	h.sorted = false
}

// kinds returns the kinds without and with a limit. The caller changes neither.
func (h *handlings) kinds() ([]string, map[string]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.sorted { // once for all kinds that were set together, of which there may be thousands
		h.sort()
	}
	return h.unlimited, h.limited
}

func (h *handlings) sort() {
	h.sorted, h.unlimited, h.limited = true, nil, map[string]int{}
	for name, x := range h.given {
		switch {
		case x.Handler == nil:
		case x.Limit > 0:
			h.limited[name] = x.Limit
		default:
			h.unlimited = append(h.unlimited, name)
		}
	}
	slices.Sort(h.unlimited)
}

func (h *handlings) get(kind string) Handling {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.given[kind]
}

// forRun returns what runs the jobs of a kind.
func (h *handlings) forRun(kind string) Handling {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.wrapped[kind]
}

// Engine enqueues jobs into a store, controls them, and, while [Engine.Run] is under way,
// works on them. All methods may be called from many goroutines.
type Engine struct {
	*shared
	store Store
	inTx  bool // it is a view, see Tx
}

// shared is what an engine has in common with its views.
type shared struct {
	config      Config
	log         *slog.Logger
	handlings   handlings
	clock       clock
	bus         bus
	inserter    inserter
	uncommitted uncommitted
	listening   sync.Once
	worker      *worker
}

// New returns an engine on a store. Config may be nil.
func New(store Store, config *Config) *Engine {
	e := &Engine{shared: &shared{}, store: store}
	e.handlings.given, e.handlings.wrapped = map[string]Handling{}, map[string]Handling{}
	if config != nil {
		e.config = *config
	}
	c := &e.config
	c.Concurrency = cmp.Or(c.Concurrency, 100)
	c.Lease = cmp.Or(c.Lease, 30*time.Second)
	c.Poll = cmp.Or(c.Poll, time.Second)
	c.ShutdownGrace = cmp.Or(c.ShutdownGrace, 5*time.Second)
	c.StopGrace = cmp.Or(c.StopGrace, 5*time.Second)
	if c.Retry == nil {
		c.Retry = Backoff(2*time.Second, 6*time.Hour)
	}
	e.log = cmp.Or(c.Log, slog.Default())
	e.bus.observer = c.Observer
	e.worker = newWorker(e)
	e.handlings.set(BulkKind, Handling{Handler: e.bulk}, Handling{Handler: e.bulk})
	return e
}

// Handle sets how jobs of a kind are run. [Kind.Handle] is its typed form. Kinds that are
// added while the engine runs are served from then on.
func (e *Engine) Handle(kind string, h Handling) {
	wrapped := h
	for _, wrap := range slices.Backward(e.config.Wraps) {
		if h.Handler != nil {
			wrapped.Handler = wrap(wrapped.Handler)
		}
		if h.CleanUp != nil {
			wrapped.CleanUp = wrap(wrapped.CleanUp)
		}
	}
	e.handlings.set(kind, h, wrapped)
	e.worker.hint()
}

// Backoff returns a retry policy: the n-th retry waits base·2ⁿ⁻¹, at most limit, of which
// a random half, so that jobs that failed together do not come back together ("equal
// jitter" in Marc Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
func Backoff(base, limit time.Duration) RetryPolicy {
	return func(job *Job, _ error) time.Duration {
		d := limit
		if n := job.Attempt - 1; n < 40 && base<<n>>n == base {
			d = min(limit, base<<n)
		}
		return d/2 + rand.N(d/2+1)
	}
}

// Now returns the time by the store's clock, as far as this process knows it: by which to judge
// whether a session has lapsed or a job is due.
func (e *Engine) Now() time.Time { return time.Now().Add(time.Duration(e.clock.offset.Load())) }

// Clock is a [Store] whose clock is not that of this process's machine. An engine without a worker, which gets no heartbeats'
// answers, asks it for the time. An optional part of a store.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
}

// clock is what an engine knows of the store's clock.
type clock struct {
	offset atomic.Int64 // the store's clock minus ours, in ns

	mu      sync.Mutex
	learned time.Time     // when; zero: never
	error   time.Duration // at most, then
	asking  bool
}

// clockEvery is how often an engine without a worker asks for the time.
const clockEvery = 30 * time.Second

// learn takes the store's clock from one answer of the store. An offset of less than a
// millisecond is as good as none, and an answer that took long tells nothing.
func (c *clock) learn(sent, received, store time.Time) {
	took := received.Sub(sent)
	c.mu.Lock()
	defer c.mu.Unlock()
	// Clocks drift apart by less than a hundred microseconds a second.
	known := c.error + received.Sub(c.learned)/10_000
	if took > time.Second || !c.learned.IsZero() && took/2 > known {
		return
	}
	c.learned, c.error = received, took/2
	offset := store.Sub(sent.Add(took / 2))
	if offset.Abs() < time.Millisecond {
		offset = 0
	}
	c.offset.Store(int64(offset))
}

// ask asks the store for the time, if it has a clock of its own and nothing was heard of it lately: for the first time at
// once, later in the background.
func (e *Engine) ask(ctx context.Context) {
	store, ok := e.worker.e.store.(Clock)
	if !ok {
		return
	}
	c := &e.clock
	c.mu.Lock()
	first := c.learned.IsZero()
	ask := !c.asking && (first || time.Since(c.learned) > clockEvery)
	c.asking = c.asking || ask
	c.mu.Unlock()
	if !ask {
		return
	}
	learn := func(ctx context.Context) {
		sent := time.Now()
		now, err := store.Now(ctx)
		if err == nil {
			c.learn(sent, time.Now(), now)
		}
		c.mu.Lock()
		c.asking = false
		c.mu.Unlock()
	}
	if first {
		learn(ctx) // it fails as the call will that it is for
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		learn(ctx)
	}()
}

// callStarts returns the time before a call of the store, if anybody wants to know.
func (e *Engine) callStarts() (start time.Time) {
	if e.config.Observer != nil {
		start = time.Now()
	}
	return start
}

// called reports a call of the store.
func (e *Engine) called(method string, jobs int, start time.Time, err error) {
	if e.config.Observer != nil {
		e.config.Observer.Call(method, jobs, time.Since(start), err)
	}
}

// Get returns a job as it is now, or [ErrNotFound].
func (e *Engine) Get(ctx context.Context, id ID) (*Job, error) {
	jobs, err := e.store.Get(ctx, []ID{id})
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return &jobs[0], nil
}

// Jobs returns those of the jobs that are there, in the order of ids.
func (e *Engine) Jobs(ctx context.Context, ids []ID) ([]Job, error) { return e.store.Get(ctx, ids) }

// List returns one page of the jobs that match, the newest first.
func (e *Engine) List(ctx context.Context, q Query) (Page, error) { return e.store.List(ctx, q) }

// Log returns up to limit entries of a job's log with Seq > after, oldest first.
func (e *Engine) Log(ctx context.Context, id ID, after int64, limit int) ([]Entry, error) {
	return e.store.Entries(ctx, id, after, limit)
}

// Sessions returns the worker sessions, the newest first. One whose Expires is past is lost.
func (e *Engine) Sessions(ctx context.Context) ([]Session, error) { return e.store.Sessions(ctx) }

// Stats counts the jobs by queue, kind and state.
func (e *Engine) Stats(ctx context.Context) ([]Count, error) { return e.store.Stats(ctx) }

// Kinds returns the names of the kinds that this process handles, sorted, without [BulkKind], which all do.
func (e *Engine) Kinds() []string {
	unlimited, limited := e.handlings.kinds()
	names := slices.AppendSeq(slices.Clone(unlimited), maps.Keys(limited))
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool { return name == BulkKind })
}

// Refused returns how many writes of this process's runs were refused because their lease was
// lost: what a zombie tried.
func (e *Engine) Refused() int64 { return e.worker.refused.Load() }

type actorKey struct{}

// WithActor names who acts, for the calls of Pause, Cancel and so on that use the context.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// Pause stops a job until [Engine.Resume]: it does not start, or, if it is running, is asked
// to save a checkpoint and stop. Pausing a paused job does nothing. Like all verbs it returns the job
// as it has become, a *[StateError] where it does not apply, and [ErrNotFound].
func (e *Engine) Pause(ctx context.Context, id ID, reason string) (*Job, error) {
	return e.act(ctx, id, reason, (*Change).pause)
}

// Resume lets a paused job go on, from its checkpoint. Resuming another job does nothing.
func (e *Engine) Resume(ctx context.Context, id ID, reason string) (*Job, error) {
	return e.act(ctx, id, reason, (*Change).resume)
}

// Cancel ends a job for good; one that is running is asked to stop first, and ends once it has.
func (e *Engine) Cancel(ctx context.Context, id ID, reason string) (*Job, error) {
	return e.act(ctx, id, reason, (*Change).cancel)
}

// Terminate ends a job at once. A run under way is disowned: its context ends, and
// whatever it writes afterwards is refused.
func (e *Engine) Terminate(ctx context.Context, id ID, reason string) (*Job, error) {
	return e.act(ctx, id, reason, (*Change).terminate)
}

// Retry runs an ended job again, with all its attempts and from its checkpoint; a
// scheduled one runs now.
func (e *Engine) Retry(ctx context.Context, id ID, reason string) (*Job, error) {
	return e.act(ctx, id, reason, (*Change).retry)
}

// Delete removes a job and its log. A running job must be cancelled or terminated first.
func (e *Engine) Delete(ctx context.Context, id ID) error {
	_, err := e.act(ctx, id, "", func(c *Change, _ By) error { return c.remove() })
	return err
}

// act reads the job, applies the verb and swaps, again and again while others are faster.
func (e *Engine) act(ctx context.Context, id ID, reason string, verb func(*Change, By) error) (*Job, error) {
	e.ask(ctx)
	by := By{Reason: reason}
	by.Actor, _ = ctx.Value(actorKey{}).(string)
	for {
		job, err := e.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		c := e.change(job)
		if err := verb(c, by); err != nil {
			return nil, err
		}
		if !c.changed() {
			return job, nil
		}
		done, err := e.swap(ctx, []Change{*c})
		switch {
		case err != nil:
			return nil, err
		case done[0] == Taken:
			return nil, &UniqueError{ID: id, Key: job.Unique}
		case done[0] == Stale:
			continue
		}
		if c.Delete {
			e.log.Info("job deleted", "job", id, "kind", job.Kind, "actor", by.Actor)
		}
		if c.Delete || c.Job.State.Ended() {
			e.worker.unblock(ctx)
		}
		return &c.Job, nil
	}
}

// change begins a change of a job as of now.
func (e *Engine) change(j *Job) *Change {
	c := new(Change)
	c.begin(j, e.Now(), e.config.Retention)
	return c
}

// swap writes changes and tells everybody concerned about those that were written.
func (e *Engine) swap(ctx context.Context, changes []Change) ([]Swapped, error) {
	done, err := e.swapQuietly(ctx, changes)
	if err != nil {
		return nil, err
	}
	for i := range changes {
		if done[i] == Written {
			e.wrote(&changes[i])
		}
	}
	return done, nil
}

func (e *Engine) swapQuietly(ctx context.Context, changes []Change) ([]Swapped, error) {
	start := e.callStarts()
	done, err := e.store.Swap(ctx, changes)
	e.called("Swap", len(changes), start, err)
	return done, err
}

// wrote makes a written change known in this process, to its run too.
func (e *Engine) wrote(c *Change) {
	if c.Delete {
		c.Job.State = ""
	}
	e.worker.told(&c.Job)
	e.announce(c)
}

// announce makes a written change known in this process.
func (e *Engine) announce(c *Change) {
	e.worker.inserted(&c.Job)
	e.bus.publish(c.From, &c.Job)
}
