package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// The kinds of jobs. All have the same handler; their args say what it does.
const (
	quick    = "quick"    // nothing
	steps    = "steps"    // some steps with a checkpoint each
	deaf     = "deaf"     // the same, and never looks at its context
	flaky    = "flaky"    // fails twice, with an error or a panic, and then succeeds
	hopeless = "hopeless" // fails always
	single   = "single"   // is unique for a window
	follower = "follower" // waits for others
	stubborn = "stubborn" // fails until somebody retries it
	late     = "late"     // some steps, of which its timeout lets few be done in one run
	stuck    = "stuck"    // the same, and ignores its timeout until it is abandoned
	hooked   = "hooked"   // some steps, with a clean-up hook
	brief    = "brief"    // nothing, and is pruned soon after its end
	killer   = "killer"   // kills its worker
)

var kinds = []string{quick, steps, deaf, flaky, hopeless, single, follower, stubborn, late, stuck, hooked, brief, killer}

// work is what a handler is to do.
type work struct {
	Steps int           `json:"steps,omitempty"`
	Each  time.Duration `json:"each,omitempty"`  // how long a step takes, in ns
	Fails int           `json:"fails,omitempty"` // attempts that fail first; negative: all
	Hook  int           `json:"hook,omitempty"`  // attempts of the clean-up hook that fail first
	Panic bool          `json:"panic,omitempty"` // how they fail
	Deaf  bool          `json:"deaf,omitempty"`
	Mend  bool          `json:"mend,omitempty"` // it no longer fails once it was retried
	Kill  bool          `json:"kill,omitempty"`
}

// order is a job to be enqueued, by the library or over HTTP.
type order struct {
	id       errand.ID // nil: the server derives it from an Idempotency-Key
	kind     string
	queue    string
	work     work
	attempts int // 0: the default
	priority int
	timeout  time.Duration
	retain   time.Duration
	in       time.Duration
	key      string
	window   time.Duration
	after    []errand.ID
	outcome  errand.OnFailure
	again    bool // it was acknowledged before
}

// newJob is the order for the library.
func (o *order) newJob() errand.NewJob {
	args, _ := json.Marshal(o.work)
	options := []errand.Option{
		errand.WithID(o.id), errand.Queue(o.queue), errand.Priority(o.priority), errand.Timeout(o.timeout), errand.Retain(o.retain),
	}
	if o.attempts > 0 {
		options = append(options, errand.MaxAttempts(o.attempts))
	}
	if o.in > 0 {
		options = append(options, errand.In(o.in))
	}
	if o.key != "" {
		options = append(options, errand.UniqueFor(o.key, o.window))
	}
	if len(o.after) > 0 {
		options = append(options, errand.After(o.after...), errand.AfterOutcome(o.outcome))
	}
	return errand.NewJob{Kind: o.kind, Args: args, Options: options}
}

// body is the order for the HTTP API.
func (o *order) body() server.NewJob {
	args, _ := json.Marshal(o.work)
	b := server.NewJob{
		ID: o.id, Kind: o.kind, Queue: o.queue, Args: args, Priority: &o.priority, MaxAttempts: o.attempts,
		In: server.Duration(o.in), After: o.after, Retention: server.Duration(o.retain),
	}
	if o.timeout > 0 {
		timeout := server.Duration(o.timeout)
		b.Timeout = &timeout
	}
	if o.key != "" {
		b.Unique = &server.Unique{Key: o.key, Window: server.Duration(o.window)}
	}
	if len(o.after) > 0 {
		b.AfterOutcome = o.outcome
	}
	return b
}

// mix makes orders at random.
type mix struct {
	*rand.Rand
	recent []errand.ID // the last acknowledged jobs, to wait for
	stored []order     // the last orders that have become jobs, to be enqueued again
}

func (m *mix) order() order {
	o := order{id: uuid.Must(uuid.NewV7()), kind: quick, queue: "default", priority: m.IntN(3)}
	switch p := m.IntN(100); {
	case p < 35:
		if m.IntN(4) == 0 {
			o.in = m.span(0, 1500*time.Millisecond)
		}
	case p < 51:
		o.kind, o.queue, o.work = steps, "slow", m.steps()
	case p < 55:
		o.kind, o.queue, o.work = deaf, "slow", m.steps()
		o.work.Deaf = true
	case p < 63:
		o.kind, o.work, o.attempts = flaky, work{Fails: 2, Panic: m.IntN(2) == 0}, 3
	case p < 67:
		o.kind, o.work, o.attempts = hopeless, work{Fails: -1}, 1+m.IntN(3)
	case p < 71:
		o.kind, o.work, o.attempts = stubborn, work{Fails: -1, Mend: true}, 1+m.IntN(2)
	case p < 75: // ten steps of which a run does three or four
		o.kind, o.queue, o.work = late, "slow", work{Steps: 10, Each: 70 * time.Millisecond}
		o.timeout, o.attempts = lateTimeout, 2+m.IntN(7)
	case p < 76: // a run returns by itself only after its timeout and the worker's StopGrace
		o.kind, o.queue, o.work = stuck, "slow", work{Steps: 45, Each: 60 * time.Millisecond, Deaf: true}
		o.timeout, o.attempts = lateTimeout, 3
	case p < 81:
		o.kind, o.queue, o.work = hooked, "slow", m.steps()
		o.work.Hook = m.IntN(2)
	case p < 89:
		o.kind, o.key, o.window = single, fmt.Sprintf("key-%d", m.IntN(4)), m.span(time.Second, 4*time.Second)
	case len(m.recent) > 0:
		o.kind, o.after, o.outcome = follower, m.some(), errand.CancelAfter
		if m.IntN(3) == 0 {
			o.outcome = errand.RunAfter
		}
	}
	return o
}

// lateTimeout is the timeout of late and stuck jobs.
const lateTimeout = 250 * time.Millisecond

// brief is an order for a job that is pruned soon. It must not be enqueued twice: the second time could be after that.
func (m *mix) brief() order {
	return order{id: uuid.Must(uuid.NewV7()), kind: brief, queue: "default", retain: m.span(500*time.Millisecond, 3*time.Second)}
}

// steps is work of 0.1 to 2 s.
func (m *mix) steps() work {
	w := work{Steps: 2 + m.IntN(9), Each: m.span(20*time.Millisecond, 100*time.Millisecond)}
	if m.IntN(4) == 0 {
		w.Each *= 2
	}
	return w
}

func (m *mix) span(from, to time.Duration) time.Duration {
	return (from + time.Duration(m.Int64N(int64(to-from)))).Truncate(time.Microsecond)
}

// some returns one to three different recent jobs.
func (m *mix) some() (ids []errand.ID) {
	for _, i := range m.Perm(len(m.recent))[:min(len(m.recent), 1+m.IntN(3))] {
		ids = append(ids, m.recent[i])
	}
	return ids
}

// remember remembers an acknowledged job and its order.
func (m *mix) remember(id errand.ID, o *order) {
	if o.kind == brief || slices.Contains(m.recent, id) {
		return
	}
	if id == o.id {
		if m.stored = append(m.stored, *o); len(m.stored) > 20 {
			m.stored = m.stored[1:]
		}
	}
	if m.recent = append(m.recent, id); len(m.recent) > 20 {
		m.recent = m.recent[1:]
	}
}

// orders are a few orders; now and then one among them was acknowledged before, or comes twice.
func (m *mix) orders(n int) []order {
	orders := make([]order, n)
	for i := range orders {
		orders[i] = m.order()
	}
	if i := m.IntN(n); i > 0 && m.IntN(3) == 0 {
		switch {
		case m.IntN(2) == 0 && len(m.stored) > 0:
			orders[i] = m.stored[m.IntN(len(m.stored))]
			orders[i].again = true
		case orders[0].key == "":
			orders[i] = orders[0]
			orders[i].again = true
		}
	}
	return orders
}

// result is what a successful job returns: which run it was.
type result struct {
	Token   int64     `json:"token"`
	Session uuid.UUID `json:"session"`
}

// fails reports whether the present attempt is to fail.
func (w *work) fails(j *errand.Job) bool {
	mended := w.Mend && j.Reason == "retry"
	return w.Fails < 0 && !mended || j.Attempt <= w.Fails
}

// begin notes that a run begins, and where, and returns what it is to do.
func (l *ledger) begin(how what, run *errand.Run) (w work, x note, err error) {
	job := run.Job()
	if err = json.Unmarshal(job.Args, &w); err != nil {
		return w, x, err
	}
	x = noteOf(how, &job)
	x.Attempt, x.Started = job.Attempt, job.Started.UnixMicro()
	if x.Step, err = errand.Checkpoint[int](run); err == nil {
		l.put(x)
	}
	return w, x, err
}

// perform is the handler of all kinds.
func (l *ledger) perform(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
	job := run.Job()
	w, x, err := l.begin(began, run)
	if err != nil {
		return nil, err
	}
	at := x.Step
	if w.Kill {
		l.die(x)
	}
	if w.fails(&job) {
		x.What = failing
		l.put(x)
		if w.Panic {
			panic("as ordered")
		}
		return nil, errors.New("as ordered")
	}
	for at < w.Steps {
		if !pause(ctx, &w) {
			x.What, x.Step, x.Text = stopping, at, context.Cause(ctx).Error()
			l.put(x)
			return nil, run.Stop(at)
		}
		at++
		errand.Logger(ctx).Info("step done", "step", at)
		run.Progress(int64(at), int64(w.Steps), "")
		if err := l.save(run, at); err == nil {
			l.put(note{What: saved, Job: job.ID, Token: job.Token, Step: at})
		} else if !w.Deaf {
			x.What, x.Text = stopping, err.Error()
			l.put(x)
			return nil, err
		}
	}
	x.What = done
	l.put(x)
	return json.Marshal(result{job.Token, job.Worker})
}

// pause takes as long as a step, and reports false if the run should stop.
func pause(ctx context.Context, w *work) bool {
	if w.Deaf {
		time.Sleep(w.Each)
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(w.Each):
		return true
	}
}

// save saves a checkpoint, and complains if that takes longer than faults can explain.
func (l *ledger) save(run *errand.Run, at int) error {
	const patience = 30 * time.Second
	job := run.Job()
	t := time.AfterFunc(patience, func() {
		l.put(note{What: wrong, Job: job.ID, Token: job.Token, Step: at, Text: fmt.Sprintf("Save has not returned for %s", patience)})
	})
	defer t.Stop()
	return run.Save(at)
}

// die kills this process.
func (l *ledger) die(x note) {
	x.What = dying
	l.put(x)
	fmt.Println("dying")
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// cleanUp is the hook of the hooked kind.
func (l *ledger) cleanUp(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
	w, x, err := l.begin(cleaning, run)
	if err != nil {
		return nil, err
	}
	switch {
	case !pause(ctx, &w):
		x.What, x.Text = stopping, context.Cause(ctx).Error()
		err = context.Cause(ctx)
	case x.Attempt <= w.Hook:
		x.What, err = failing, errors.New("as ordered")
	default:
		x.What = cleaned
	}
	l.put(x)
	return nil, err
}
