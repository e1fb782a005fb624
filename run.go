package errand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
	"unicode/utf8"
)

// Run is one run of a job, from its claim until its handler came back. A handler gets it
// by [Current]. All methods may be called from several goroutines, and on a nil Run, where they
// do nothing: a handler works without errand too.
type Run struct {
	worker  *worker
	id      ID
	token   int64
	kind    string
	args    json.RawMessage
	timeout time.Duration
	handler Handler
	cleanUp bool // this run is the clean-up
	limited bool // the kind has a limit of its own
	pool    *pool
	parent  runContext
	ctx     context.Context // child of parent
	cancel  context.CancelCauseFunc

	mu      sync.Mutex
	job     *Job // as stored, as far as known; what it points to never changes
	pending report
	saves   []chan error  // callers of Save
	arming  chan error    // waits for the arming of the clean-up hook
	settled bool          // the run came back, or was abandoned,
	out     outcome       // with this outcome
	over    bool          // settled, or its lease lost
	dirty   bool          // in the writer's reports
	back    bool          // the handler came back
	gone    chan struct{} // set when the lease was lost before that, and closed by it

	queued bool // in the writer's queue; of writer.mu
}

type runKey struct{}

var errGoexit = errors.New("runtime.Goexit was called")

// runContext is the root of a run's context: it knows the run.
type runContext struct {
	context.Context
	run *Run
}

func (c *runContext) Value(key any) any {
	if key == (runKey{}) {
		return c.run
	}
	return c.Context.Value(key)
}

// Current returns the run that ctx belongs to, or nil outside of one.
func Current(ctx context.Context) *Run {
	run, _ := ctx.Value(runKey{}).(*Run)
	return run
}

// Job returns the job as last known to this process.
func (r *Run) Job() Job {
	if r == nil {
		return Job{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return *r.job
}

// Token returns the run's fencing token. It grows with every claim of the job, so that a
// system which remembers the highest token it has seen for a job can refuse writes of a run that has
// lost its lease.
func (r *Run) Token() int64 {
	if r == nil {
		return 0
	}
	return r.token
}

func (r *Run) checkpoint() json.RawMessage {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending.checkpoint != nil {
		return *r.pending.checkpoint
	}
	return r.job.Checkpoint
}

// Progress says how far the run has come; total 0 means unknown. It is cheap: what is said
// within a fifth of a second is written once, together with other runs' progress.
func (r *Run) Progress(done, total int64, text string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending.progress = &Progress{done, total, cut(text, MaxReason)}
	r.markDirty()
}

// markDirty has the reporter write what is pending. The caller holds r.mu.
func (r *Run) markDirty() {
	if !r.dirty && !r.over {
		r.dirty = true
		r.worker.report(r)
	}
}

// Save stores a checkpoint, from which the job's next run goes on should this one be
// interrupted or crash. When Save returns nil the checkpoint is safely stored; with [ErrLeaseLost] the job
// is no longer this run's, which should return. Checkpoints are JSON of at most [MaxCheckpoint]
// bytes. Save costs a commit of the store, shared with other runs.
func (r *Run) Save(checkpoint any) error {
	if r == nil {
		return nil
	}
	raw, err := encodeCheckpoint(checkpoint)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return ErrLeaseLost
	}
	r.pending.checkpoint = &raw
	r.saves = append(r.saves, done)
	r.mu.Unlock()
	r.worker.write(r)
	return <-done
}

// Stop ends an interrupted run: it keeps the checkpoint, to be stored in one step with the job's new
// state, and returns the reason, which the handler should return. If nothing asked the
// run to stop, the job is run again at once, from the checkpoint.
func (r *Run) Stop(checkpoint any) error {
	if r == nil {
		return nil
	}
	raw, err := encodeCheckpoint(checkpoint)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.pending.checkpoint = &raw
	r.mu.Unlock()
	if cause := context.Cause(r.ctx); cause != nil {
		return cause
	}
	return Snooze(0)
}

func encodeCheckpoint(v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w checkpoint: not UTF-8", ErrInvalid)
	}
	if len(raw) > MaxCheckpoint {
		return nil, fmt.Errorf("%w checkpoint of %d bytes: at most %d", ErrInvalid, len(raw), MaxCheckpoint)
	}
	return raw, nil
}

// log adds one line to the job's log.
func (r *Run) log(l line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.pending.lines); n >= 2*MaxLogLines { // only the newest are kept anyway
		r.pending.lines = append(r.pending.lines[:0], r.pending.lines[n-MaxLogLines:]...)
	}
	r.pending.lines = append(r.pending.lines, l)
	r.markDirty()
}

// tell makes the run's context end if that is asked for. The caller holds r.mu.
func (r *Run) tell() {
	switch {
	case r.job.Want == Paused:
		r.cancel(ErrPaused)
	case r.job.Want == Cancelled && !r.cleanUp:
		r.cancel(ErrCancelled)
	}
}

// lose ends a run that no longer owns its job. The caller holds r.mu.
func (r *Run) lose(cause error) {
	r.over = true
	r.pending = report{}
	for _, s := range r.saves {
		s <- ErrLeaseLost
	}
	r.saves = nil
	if r.arming != nil {
		r.arming <- ErrLeaseLost
		r.arming = nil
	}
	r.cancel(cause)
}

// call runs the handler. A panic and a Goexit come back as errors.
func (r *Run) call() (result json.RawMessage, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil {
			result, err = nil, &panicError{fmt.Sprintf("panic: %v", p), string(debug.Stack())}
		}
	}()
	result, err = r.handler(r.ctx, r)
	returned = true
	if err != nil || result == nil {
		return nil, err
	}
	switch {
	case len(result) > MaxResult:
		return nil, Permanent(fmt.Errorf("%w result of %d bytes: at most %d", ErrInvalid, len(result), MaxResult))
	case !utf8.Valid(result) || !json.Valid(result):
		return nil, Permanent(fmt.Errorf("%w result: not JSON", ErrInvalid))
	}
	return result, nil
}

// execute runs the handler under its timeout and hands the outcome over, even when the
// handler ends its goroutine. A handler that ignores its timeout is abandoned.
func (r *Run) execute() {
	var result json.RawMessage
	err := errGoexit
	defer func() {
		if err == errGoexit {
			err = &panicError{err.Error(), string(debug.Stack())}
		}
		r.worker.returned(r, result, err)
	}()
	r.worker.awaitLate(r)
	if r.ctx.Err() != nil { // asked to stop before it began
		err = context.Cause(r.ctx)
		return
	}
	if err = r.arm(); err != nil {
		return
	}
	err = errGoexit
	if d := r.timeout; d > 0 {
		w := r.worker
		timer := time.AfterFunc(d, func() {
			r.cancel(ErrTimeout)
			time.AfterFunc(w.e.config.StopGrace, func() { w.abandon(r) })
		})
		defer timer.Stop()
	}
	result, err = r.call()
}

// arm stores that the clean-up hook must run from now on, before the handler first does anything.
func (r *Run) arm() error {
	r.mu.Lock()
	if r.cleanUp || r.job.CleanUp != CleanUpNone || r.worker.e.handlings.get(r.kind).CleanUp == nil {
		r.mu.Unlock()
		return nil
	}
	if r.over { // nobody would answer
		r.mu.Unlock()
		return ErrLeaseLost
	}
	armed := make(chan error, 1)
	r.arming = armed
	r.mu.Unlock()
	r.worker.write(r)
	return <-armed
}

// Logger returns a logger whose lines are kept with the job, beside its attempt; outside
// of a run, [slog.Default].
func Logger(ctx context.Context) *slog.Logger {
	run := Current(ctx)
	if run == nil {
		return slog.Default()
	}
	return slog.New(&logHandler{run: run})
}

// logHandler writes records to a job's log.
type logHandler struct {
	run   *Run
	attrs []slog.Attr
	group []string
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, rec slog.Record) error {
	attrs := map[string]any{}
	for _, a := range h.attrs {
		putAttr(attrs, a)
	}
	inner := attrs
	for _, g := range h.group {
		next, ok := inner[g].(map[string]any)
		if !ok {
			next = map[string]any{}
			inner[g] = next
		}
		inner = next
	}
	rec.Attrs(func(a slog.Attr) bool {
		putAttr(inner, a)
		return true
	})
	l := line{time: rec.Time, level: rec.Level, text: rec.Message}
	if rec.Time.IsZero() {
		l.time = time.Now()
	}
	if len(attrs) > 0 {
		raw, err := json.Marshal(attrs)
		if err != nil || len(raw) > MaxError || !utf8.Valid(raw) {
			raw, _ = json.Marshal(map[string]string{"!BADATTRS": "attributes that do not encode as JSON, or are too long"})
		}
		l.attrs = raw
	}
	h.run.log(l)
	return nil
}

func putAttr(m map[string]any, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case v.Kind() == slog.KindGroup:
		in := m
		if a.Key != "" {
			in = map[string]any{}
			m[a.Key] = in
		}
		for _, g := range v.Group() {
			putAttr(in, g)
		}
	default:
		switch x := v.Any().(type) {
		case error:
			m[a.Key] = x.Error()
		case time.Duration:
			m[a.Key] = x.String()
		case fmt.Stringer:
			m[a.Key] = x.String()
		default:
			m[a.Key] = x
		}
	}
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i := len(h.group) - 1; i >= 0; i-- {
		attrs = []slog.Attr{{Key: h.group[i], Value: slog.GroupValue(attrs...)}}
	}
	return &logHandler{h.run, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...), h.group}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{h.run, h.attrs, append(h.group[:len(h.group):len(h.group)], name)}
}
