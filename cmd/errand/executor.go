package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/errandhq/errand"
)

// executor runs commands, and keeps the processes of paused jobs. It is the engine's observer,
// because that way it learns of a job's end before anything else can happen to the job.
type executor struct {
	engine *errand.Engine
	log    *slog.Logger
	max    int // processes that may be parked

	mu     sync.Mutex
	parked map[errand.ID]*parking
	ending sync.WaitGroup // parked processes that are being ended
	closed bool
}

// parking is a stopped process that waits for its job to be resumed.
type parking struct {
	*process
	command *command
	session errand.ID // the worker session that parked it
}

// command runs the jobs of one kind.
type command struct {
	*commandSettings
	exec *executor
}

const (
	exitTempFail = 75              // EX_TEMPFAIL of sysexits.h: not a failure, try later
	checkParked  = 5 * time.Second // how often to look whether the jobs of parked processes still want them
)

func newExecutor(maxParked int, log *slog.Logger) *executor {
	return &executor{max: maxParked, log: log, parked: map[errand.ID]*parking{}}
}

// register sets up one kind per command.
func (x *executor) register(e *errand.Engine, commands map[string]*commandSettings) {
	x.engine = e
	for name, c := range commands {
		cmd := &command{c, x}
		h := errand.Handling{Handler: cmd.handle, Limit: c.Concurrency, Options: c.options()}
		h.Retry = errand.Backoff(c.RetryDelay.d, c.RetryLimit.d)
		e.Handle(name, h)
	}
}

// handle runs one job: by the process that it was paused with, or by a new one.
func (c *command) handle(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
	job := run.Job()
	p := c.exec.take(&job)
	if p != nil {
		p.out.attach(ctx)
		p.tell(orderContinue)
	} else {
		var err error
		if p, err = c.start(ctx, &job); err != nil {
			return nil, err
		}
	}
	select {
	case <-p.done:
		return c.outcome(ctx, p)
	case <-ctx.Done():
		return c.interrupt(ctx, p, &job)
	}
}

func (c *command) start(ctx context.Context, job *errand.Job) (*process, error) {
	in := invocation{argv: c.Argv, dir: c.Dir}
	var err error
	if in.env, err = environ(c.commandSettings, job); err != nil {
		return nil, err
	}
	if c.Stdin == "args" {
		in.stdin = job.Args
	}
	return startProcess(ctx, in)
}

// interrupt deals with a run that should stop, as its cause asks.
func (c *command) interrupt(ctx context.Context, p *process, job *errand.Job) (json.RawMessage, error) {
	cause := context.Cause(ctx)
	switch cause {
	case errand.ErrPaused:
		if c.exec.park(c, p, job) {
			return nil, cause
		}
		if !p.isGone() { // too many are parked
			p.end(c.Grace.d)
		}
	case errand.ErrTerminated, errand.ErrLeaseLost:
		p.end(0)
	default:
		p.end(c.Grace.d)
	}
	<-p.done
	if p.last.Ended && !p.last.Told { // it had ended by itself
		return c.outcome(ctx, p)
	}
	if cause == errand.ErrTimeout {
		if _, err := c.outcome(ctx, p); err != nil {
			return nil, err
		}
	}
	return nil, cause
}

// outcome is what the exit of a process means for its job.
func (c *command) outcome(ctx context.Context, p *process) (json.RawMessage, error) {
	result, err := p.outcome()
	var f *failure
	if !errors.As(err, &f) {
		return result, err
	}
	if f.code == exitTempFail {
		errand.Logger(ctx).Info("exit code 75: not now, the job is tried again in " + c.Snooze.d.String())
		return nil, errand.Snooze(c.Snooze.d)
	}
	for _, code := range c.PermanentExitCodes {
		if f.code == code {
			return nil, errand.Permanent(err)
		}
	}
	return nil, err
}

// park stops a process and keeps it for the time when its job is resumed. It reports false if the process
// has ended, or if too many are parked.
func (x *executor) park(c *command, p *process, job *errand.Job) bool {
	x.mu.Lock()
	full := x.closed || len(x.parked) >= x.max
	x.mu.Unlock()
	if full || !p.stop() {
		return false
	}
	p.out.detach()
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		p.out.discard()
		return false
	}
	x.parked[job.ID] = &parking{p, c, job.Worker}
	x.ending.Go(func() { x.check(context.Background(), job.ID) }) // it may have been terminated meanwhile
	x.mu.Unlock()
	return true
}

// take returns the process that was parked for a job, nil if there is none that lives.
func (x *executor) take(job *errand.Job) *process {
	x.mu.Lock()
	p := x.parked[job.ID]
	delete(x.parked, job.ID)
	x.mu.Unlock()
	switch {
	case p == nil:
		return nil
	case p.isGone() || p.session != job.Worker:
		x.drop(job.ID, p, 0)
		return nil
	}
	return p.process
}

// Transition ends the parked process of a job that has no use for it any more.
func (x *executor) Transition(ev errand.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.judge(&ev.Job)
}

// lateFiring is how late a schedule may make a job without a warning.
const lateFiring = 10 * time.Second

// Fired logs what a schedule has done.
func (x *executor) Fired(f errand.Firing) {
	level, late := slog.LevelDebug, max(f.At.Sub(f.Nominal), 0)
	attrs := []any{"schedule", f.Schedule, "outcome", f.Outcome, "nominal", f.Nominal}
	switch {
	case f.Outcome == errand.OutcomeMissed:
		level, attrs = slog.LevelWarn, append(attrs, "missed", f.Missed)
	case f.Job != (errand.ID{}):
		if attrs = append(attrs, "job", f.Job); late > lateFiring {
			level, attrs = slog.LevelWarn, append(attrs, "late", late)
		}
	}
	x.log.Log(context.Background(), level, "schedule fired", attrs...)
}

// Call and Refused make an executor an errand.Observer.
func (x *executor) Call(string, int, time.Duration, error) {}

// Refused does nothing.
func (x *executor) Refused(errand.Lease) {}

// judge drops the parked process of a job that, as it stands, has no use for it. The
// caller holds x.mu.
func (x *executor) judge(job *errand.Job) {
	p := x.parked[job.ID]
	if p == nil {
		return
	}
	elsewhere := job.State == errand.Running && job.Worker != p.session
	if job.State != "" && !job.State.Ended() && !elsewhere {
		return
	}
	delete(x.parked, job.ID)
	grace := p.command.Grace.d
	if elsewhere {
		grace = 0
	}
	last := job.Entries
	x.ending.Go(func() {
		if grace > 0 && x.terminated(job.ID, last) {
			grace = 0
		}
		x.drop(job.ID, p, grace)
	})
}

// terminated reports whether the last entry of a job's log says so.
func (x *executor) terminated(id errand.ID, last int64) bool {
	entries, err := x.engine.Log(context.Background(), id, last-1, 1)
	if err != nil || len(entries) == 0 {
		return true // deleted, or nobody knows
	}
	var attrs struct{ Verb string }
	return json.Unmarshal(entries[0].Attrs, &attrs) == nil && attrs.Verb == "terminate"
}

// drop ends a parked process.
func (x *executor) drop(id errand.ID, p *parking, grace time.Duration) {
	x.log.Debug("ending the process of a paused job", "job", id, "grace", grace)
	p.out.discard()
	p.end(grace)
}

// check looks whether the job of a parked process still wants it.
func (x *executor) check(ctx context.Context, id errand.ID) {
	job, err := x.engine.Get(ctx, id)
	if errors.Is(err, errand.ErrNotFound) {
		job, err = &errand.Job{ID: id}, nil
	}
	if err != nil {
		return // next time
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.judge(job)
}

// watch checks all parked processes from time to time until ctx ends: another process may have
// changed their jobs.
func (x *executor) watch(ctx context.Context) {
	tick := time.NewTicker(checkParked)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		x.mu.Lock()
		ids := make([]errand.ID, 0, len(x.parked))
		for id := range x.parked {
			ids = append(ids, id)
		}
		x.mu.Unlock()
		for _, id := range ids {
			x.check(ctx, id)
		}
	}
}

// close ends all parked processes. Their jobs stay paused, and start anew from their checkpoint
// when they are resumed.
func (x *executor) close() {
	x.mu.Lock()
	x.closed = true
	for id, p := range x.parked {
		delete(x.parked, id)
		x.ending.Go(func() { x.drop(id, p, p.command.Grace.d) })
	}
	x.mu.Unlock()
	x.ending.Wait()
}
