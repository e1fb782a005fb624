package errand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// worker is the part of an engine that works: the session, its runs, and the loops that fetch
// jobs, write what becomes of them, send heartbeats and look after what others left behind.
type worker struct {
	e       *Engine
	session Session
	writer  writer

	refused  atomic.Int64
	finished atomic.Int64 // runs that came back so far
	prefetch atomic.Int64 // how many jobs to claim beyond the free slots, of each queue

	nextDue   atomic.Int64 // a scheduled job becomes due (µs, this process's clock); 0: see the last claim
	abandoned bool         // of drain: some runs did not return
	speed     rate         // of the fetcher: how fast runs come back
	unsure    bool         // of the fetcher: a claim failed, it may have got jobs that nobody here knows of

	wakeFetch chan struct{} // holds one; see hint
	wakeCare  chan struct{} // holds one: some job may be unblocked
	wakeBeat  chan struct{} // holds one: somebody asked something of a run

	draining   atomic.Bool                     // it was told to claim no more jobs
	paused     atomic.Pointer[map[string]bool] // the queues that are
	wakePauses chan struct{}                   // holds one: look again

	wakeSchedules chan struct{} // holds one: look which are due

	mu      sync.Mutex
	state   workerState
	runs    map[ID]*Run
	pools   sync.Map       // by queue, *pool
	returns chan struct{}  // closed and replaced whenever a run has come back, while draining
	perKind map[string]int // runs by kind
	suspect ID             // the suspect that runs here, see suspect.go
	late    map[ID]*Run    // runs that lost their job and have not returned
	beaten  time.Time      // when the last heartbeat was sent that the store has answered
	revived time.Time      // when the last one was answered that came after a lease of silence
	locals  map[ID]localFunc
	births  sync.WaitGroup // calls of Go under way; joined only while the state is workerOn
}

type workerState int

const (
	workerIdle workerState = iota
	workerStarting
	workerOn
	workerDraining
	workerOff
)

// pool runs the jobs of one queue.
type pool struct {
	queue    string
	local    bool // of the functions of this process
	slots    int
	work     chan *Run
	inFlight atomic.Int64 // runs that were claimed and have not come back
	workers  atomic.Int64 // goroutines
	idle     atomic.Int64 // of these, those that wait for work
	starting atomic.Bool  // one of them has not begun yet
	more     atomic.Bool  // the store may have ready jobs for it
}

// maxPrefetch bounds the jobs claimed ahead.
const maxPrefetch = 1000

func newWorker(e *Engine) *worker {
	w := &worker{
		e:         e,
		wakeFetch: make(chan struct{}, 1),
		wakeCare:  make(chan struct{}, 1),
		wakeBeat:  make(chan struct{}, 1),

		wakePauses: make(chan struct{}, 1),

		wakeSchedules: make(chan struct{}, 1),
		runs:          map[ID]*Run{},
		perKind:       map[string]int{},
		late:          map[ID]*Run{},
		locals:        map[ID]localFunc{},
	}
	w.writer.init(w)
	return w
}

// Run works on the jobs of this process's kinds until ctx ends, and then shuts down in stages: it stops
// claiming; hands back what it claimed ahead; lets running jobs finish for
// Config.ShutdownGrace; ends the contexts of the others with [ErrShutdown], so that they save a
// checkpoint and are handed back; and abandons, with a log line each, those that have not returned
// after Config.StopGrace: these are run again elsewhere once the lease has lapsed. An engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	w := e.worker
	w.mu.Lock()
	if w.state != workerIdle {
		w.mu.Unlock()
		return fmt.Errorf("%w again: Run was called before", ErrClosed)
	}
	w.session = w.newSession()
	w.state = workerStarting
	w.mu.Unlock()
	if err := w.beat(ctx); err != nil {
		if ctx.Err() != nil { // it was to end before it had begun; the session may be stored all the same
			return w.leave()
		}
		w.setState(workerOff)
		return fmt.Errorf("start worker session: %w", err)
	}
	w.setState(workerOn)
	e.listen()
	for queue := range e.config.Queues {
		w.pool(queue)
	}
	w.pool(bulkQueue)
	w.discover(ctx)
	w.refreshPauses(ctx)
	e.log.Info("worker started", "session", w.session.ID, "kinds", len(e.Kinds()))
	loops, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	fetching := make(chan struct{})
	wg.Go(func() {
		defer close(fetching)
		w.fetchLoop(ctx)
	})
	wg.Go(func() { w.reboot(ctx) })
	wg.Go(func() { w.scheduleLoop(ctx) })
	wg.Go(func() { w.beatLoop(loops) })
	wg.Go(func() { w.careLoop(loops) })
	wg.Go(func() { w.writer.loop(loops) })
	<-ctx.Done()
	<-fetching
	w.setState(workerDraining)
	w.births.Wait()
	w.drain()
	stop()
	wg.Wait()
	return w.leave()
}

func (w *worker) setState(s workerState) {
	w.mu.Lock()
	w.state = s
	w.mu.Unlock()
}

func (w *worker) newSession() Session {
	host, _ := os.Hostname()
	return Session{
		ID: uuid.New(), Host: host, PID: os.Getpid(), Version: w.e.config.Version,
		Lease: w.e.config.Lease, Queues: w.e.config.Queues, Concurrency: w.e.config.Concurrency,
	}
}

// hint wakes the fetcher.
func (w *worker) hint() {
	select {
	case w.wakeFetch <- struct{}{}:
	default:
	}
}

// ready notes that a queue has a job to claim.
func (w *worker) ready(queue string) {
	p := w.pool(queue)
	if p == nil {
		return
	}
	if !p.more.Load() {
		p.more.Store(true)
	}
	if p.inFlight.Load() < int64(p.slots) {
		w.hint()
	}
}

// inserted is called for each job that this process has inserted.
func (w *worker) inserted(j *Job) {
	switch j.State {
	case Ready:
		w.ready(j.Queue)
	case Scheduled:
		w.scheduled(j.Due)
	}
}

// pool returns the pool of a queue, nil if this process does not work on it.
func (w *worker) pool(queue string) *pool {
	if p, ok := w.pools.Load(queue); ok {
		return p.(*pool)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != workerOn {
		return nil
	}
	slots := w.session.Slots(queue)
	if slots < 1 {
		return nil
	}
	p := &pool{queue: queue, local: strings.HasPrefix(queue, localPrefix), slots: slots, work: make(chan *Run, slots+2*maxPrefetch)}
	p.more.Store(true)
	actual, _ := w.pools.LoadOrStore(queue, p)
	return actual.(*pool)
}

// beatLoop sends heartbeats three times a lease. One that fails is repeated sooner.
func (w *worker) beatLoop(ctx context.Context) {
	every := w.e.config.Lease / 3
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wakeBeat:
			if !sleep(ctx, 5*time.Millisecond) { // take several together
				return
			}
		case <-timer.C:
		}
		next := every
		if err := w.beat(ctx); err != nil && ctx.Err() == nil {
			w.e.log.Warn("heartbeat failed", "error", err)
			next = every / 5
		}
		timer.Reset(next)
	}
}

// beatSoon has the worker send a heartbeat now.
func (w *worker) beatSoon() {
	select {
	case w.wakeBeat <- struct{}{}:
	default: // it will already
	}
}

func (w *worker) beat(ctx context.Context) error {
	w.mu.Lock()
	runs := slices.Collect(maps.Values(w.runs))
	w.mu.Unlock()
	leases := make([]Lease, len(runs))
	for i, r := range runs {
		leases[i] = Lease{r.id, r.token}
	}
	s := w.session
	s.Running, s.Refused, s.Kinds = len(runs), w.refused.Load(), w.e.Kinds()
	_, s.Limits = w.e.handlings.kinds()
	sent := time.Now()
	if s.Started.IsZero() {
		s.Started = timestamp(sent)
	}
	start := w.e.callStarts()
	pulse, err := w.e.store.Beat(ctx, s, leases)
	w.e.called("Beat", len(leases), start, err)
	if err != nil {
		return err
	}
	w.session.Started = s.Started
	w.renewed(sent)
	w.e.clock.learn(sent, time.Now(), pulse.Now)
	for i := range pulse.Changed {
		w.told(&pulse.Changed[i])
	}
	w.drains(pulse.Draining)
	return nil
}

// told brings the news of a job to its run, if it runs here.
func (w *worker) told(job *Job) {
	w.mu.Lock()
	r := w.runs[job.ID]
	w.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	switch {
	case r.over || r.settled: // its outcome is about to be written: the writer will see
		r.mu.Unlock()
	case job.Version != 0 && job.Version <= r.job.Version:
		r.mu.Unlock()
	case r.owns(job):
		stored := *job
		r.job = &stored
		r.tell()
		r.mu.Unlock()
	default:
		r.mu.Unlock()
		w.lost(r, job)
	}
}

// owns reports whether the job, as stored, is still this run's.
func (r *Run) owns(job *Job) bool {
	return job.State == Running && job.Worker == r.worker.session.ID && job.Token == r.token
}

// lost ends a run whose job, as stored now, is no longer its own.
func (w *worker) lost(r *Run, job *Job) {
	cause := ErrLeaseLost
	if job.State == "" || job.State == Cancelled || job.CleanUp == CleanUpDue && !r.cleanUp {
		cause = ErrTerminated
	}
	w.disown(r, cause, job.State)
}

// disown ends a run that goes on without its job, which is in state s now.
func (w *worker) disown(r *Run, cause error, s State) {
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return
	}
	r.lose(cause)
	if !r.back {
		r.gone = make(chan struct{})
		w.mu.Lock()
		w.late[r.id] = r
		w.mu.Unlock()
	}
	r.mu.Unlock()
	w.mu.Lock()
	w.remove(r, s)
	w.mu.Unlock()
}

// remove forgets a run that is over and has left its job in state s, "" if it is gone. The
// caller holds w.mu.
func (w *worker) remove(r *Run, s State) {
	if s == "" || s.Ended() {
		delete(w.locals, r.id)
	}
	if w.runs[r.id] != r {
		return
	}
	delete(w.runs, r.id)
	w.cleared(r.id)
	if w.perKind[r.kind]--; w.perKind[r.kind] <= 0 {
		delete(w.perKind, r.kind)
	}
	if r.limited { // its kind may have kept jobs from being claimed
		r.pool.more.Store(true)
		w.hint()
	}
	if w.returns != nil {
		close(w.returns)
		w.returns = nil
	}
}

// refuse counts a write that came too late.
func (w *worker) refuse(r *Run) {
	w.refused.Add(1)
	w.e.log.Warn("write refused: the lease is lost", "job", r.id, "token", r.token)
	if o := w.e.config.Observer; o != nil {
		o.Refused(Lease{r.id, r.token})
	}
}

// returned takes the outcome of a run whose handler came back.
func (w *worker) returned(r *Run, result json.RawMessage, err error) {
	w.finished.Add(1)
	if panicked := (*panicError)(nil); err != nil && errors.As(err, &panicked) {
		w.e.log.Error("job panicked", "kind", r.Job().Kind, "job", r.id, "error", panicked.text, "stack", panicked.stack)
	}
	cause := context.Cause(r.ctx)
	r.settle(outcome{result: result, err: err, cause: cause})
	r.cancel(context.Canceled)
	r.mu.Lock()
	r.back = true
	if r.gone != nil {
		close(r.gone)
		w.mu.Lock()
		if w.late[r.id] == r {
			delete(w.late, r.id)
		}
		w.mu.Unlock()
	}
	r.mu.Unlock()
	w.writer.room()
	p := r.pool
	left := p.inFlight.Add(-1)
	if p.more.Load() && left <= int64(p.slots)+w.prefetch.Load()/2 {
		w.hint()
	}
}

// settle notes the outcome of a run and has it written.
func (r *Run) settle(o outcome) {
	w := r.worker
	r.mu.Lock()
	if r.over || r.settled {
		late := r.over
		r.mu.Unlock()
		if late && !errors.Is(o.cause, ErrTerminated) {
			w.refuse(r)
		}
		return
	}
	if o.err != nil {
		o.delay = r.retryDelay(o.err)
		if r.isLocal() && (o.cause == ErrShutdown) {
			o.err, o.cause = Permanent(fmt.Errorf("this function ran once, in a process that has shut down: %w", o.err)), nil
		}
	}
	r.out, r.settled = o, true
	r.mu.Unlock()
	w.write(r)
}

// retryDelay asks the retry policy, which is the user's code.
func (r *Run) retryDelay(err error) (d time.Duration) {
	policy := r.worker.e.handlings.get(r.kind).Retry
	if policy == nil {
		policy = r.worker.e.config.Retry
	}
	job := *r.job
	defer func() {
		if p := recover(); p != nil {
			r.worker.e.log.Error("retry policy panicked", "kind", job.Kind, "panic", p)
			d = time.Minute
		}
	}()
	return max(policy(&job, err), 0)
}

// abandon settles a run whose handler ignores its timeout. The goroutine keeps its slot.
func (w *worker) abandon(r *Run) {
	r.mu.Lock()
	late := !r.settled && !r.over
	r.mu.Unlock()
	if late {
		w.e.log.Error("run ignores its timeout: its job goes on without it", "job", r.id, "kind", r.kind)
		r.settle(outcome{err: ErrTimeout, cause: ErrTimeout})
	}
}

func (w *worker) warn(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		w.e.log.Warn(what, "error", err)
	}
}

// awaitLate waits until an earlier run of the same job in this process, which has lost it, has
// returned; for a lease at most. A clean-up must not overtake what it cleans up.
func (w *worker) awaitLate(r *Run) {
	w.mu.Lock()
	late := w.late[r.id]
	w.mu.Unlock()
	if late == nil {
		return
	}
	select {
	case <-late.gone:
	case <-time.After(w.e.config.Lease):
	case <-r.ctx.Done():
	}
}

// sleep waits for d and reports true, or for the end of ctx and reports false.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
