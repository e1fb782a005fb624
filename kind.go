package errand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// None is the result type of kinds whose handlers return nothing but an error.
type None = struct{}

// Kind is a type of job: its name, its args A and its result R. Define kinds as package
// variables, share them between the program that enqueues and the one that works.
type Kind[A, R any] struct {
	name    string
	options []Option
}

// Define names a kind and sets the options that all its jobs begin with. Args and
// results are stored as JSON. The name is what ties jobs to their handler: keep it when
// the code moves.
func Define[A, R any](name string, options ...Option) *Kind[A, R] {
	return &Kind[A, R]{name, options}
}

// Name returns the kind's name.
func (k *Kind[A, R]) Name() string { return k.name }

// New returns a job of this kind that is not enqueued yet, for [Engine.Enqueue] of
// several at once.
func (k *Kind[A, R]) New(args A, options ...Option) NewJob {
	raw, err := json.Marshal(args)
	if err != nil {
		err = fmt.Errorf("%w args of kind %s: %w", ErrInvalid, k.name, err)
	}
	if len(k.options) > 0 {
		options = append(k.options[:len(k.options):len(k.options)], options...)
	}
	return NewJob{Kind: k.name, Args: raw, Options: options, whole: true, err: err}
}

// Enqueue creates a job. When it returns without error the job is stored and will run;
// on an error it is unknown whether it was stored: enqueue again with the same [WithID].
func (k *Kind[A, R]) Enqueue(ctx context.Context, e *Engine, args A, options ...Option) (*Handle[R], error) {
	jobs, err := e.Enqueue(ctx, k.New(args, options...))
	if err != nil {
		return nil, err
	}
	return &Handle[R]{Job: &jobs[0], engine: e}, nil
}

// Handle is an enqueued job in the hand of who enqueued it. The Job in it is as it was when it was enqueued.
type Handle[R any] struct {
	*Job
	engine *Engine
}

// Now returns the job as it is now: its state, progress, times.
func (h *Handle[R]) Now(ctx context.Context) (*Job, error) { return h.engine.Get(ctx, h.ID) }

// Wait waits until the job ends and returns its result. A job that failed or was
// cancelled gives a *[FailedError].
func (h *Handle[R]) Wait(ctx context.Context) (R, error) { return wait[R](ctx, h.engine, h.ID) }

// Pause is [Engine.Pause] of this job.
func (h *Handle[R]) Pause(ctx context.Context, reason string) error {
	_, err := h.engine.Pause(ctx, h.ID, reason)
	return err
}

// Resume is [Engine.Resume] of this job.
func (h *Handle[R]) Resume(ctx context.Context, reason string) error {
	_, err := h.engine.Resume(ctx, h.ID, reason)
	return err
}

// Cancel is [Engine.Cancel] of this job.
func (h *Handle[R]) Cancel(ctx context.Context, reason string) error {
	_, err := h.engine.Cancel(ctx, h.ID, reason)
	return err
}

// Handle runs jobs of this kind with fn. Call it before [Engine.Run].
func (k *Kind[A, R]) Handle(e *Engine, fn func(ctx context.Context, args A) (R, error)) {
	k.setup(e, func(h *Handling) { h.Handler = resultHandler(fn) })
}

// Do is [Kind.Handle] for a function without a result.
func (k *Kind[A, R]) Do(e *Engine, fn func(ctx context.Context, args A) error) {
	k.setup(e, func(h *Handling) { h.Handler = handler(fn) })
}

// CleanUp sets a hook that rolls back what a cancelled or terminated job did, see
// [Handling].
func (k *Kind[A, R]) CleanUp(e *Engine, fn func(ctx context.Context, args A) error) {
	k.setup(e, func(h *Handling) { h.CleanUp = handler(fn) })
}

// Retry sets the kind's retry policy.
func (k *Kind[A, R]) Retry(e *Engine, policy RetryPolicy) {
	k.setup(e, func(h *Handling) { h.Retry = policy })
}

// Limit bounds how many jobs of this kind run at once in this process, besides the
// limit of their queue.
func (k *Kind[A, R]) Limit(e *Engine, n int) {
	k.setup(e, func(h *Handling) { h.Limit = n })
}

func (k *Kind[A, R]) setup(e *Engine, edit func(*Handling)) {
	h := e.handlings.get(k.name)
	h.Options = k.options
	edit(&h)
	e.Handle(k.name, h)
}

// Wait is [Handle.Wait] for a job known by its ID.
func (k *Kind[A, R]) Wait(ctx context.Context, e *Engine, id ID) (R, error) {
	return wait[R](ctx, e, id)
}

func wait[R any](ctx context.Context, e *Engine, id ID) (R, error) {
	var result R
	job, err := e.Wait(ctx, id)
	if err == nil && job.Result != nil {
		err = json.Unmarshal(job.Result, &result)
	}
	return result, err
}

func resultHandler[A, R any](fn func(ctx context.Context, args A) (R, error)) Handler {
	return func(ctx context.Context, run *Run) (json.RawMessage, error) {
		args, err := decode[A](run)
		if err != nil {
			return nil, err
		}
		result, err := fn(ctx, args)
		if _, none := any(result).(None); none || err != nil {
			return nil, err
		}
		raw, err := json.Marshal(result)
		if err != nil {
			return nil, Permanent(fmt.Errorf("encode result: %w", err))
		}
		return raw, nil
	}
}

func handler[A any](fn func(ctx context.Context, args A) error) Handler {
	return func(ctx context.Context, run *Run) (json.RawMessage, error) {
		args, err := decode[A](run)
		if err != nil {
			return nil, err
		}
		return nil, fn(ctx, args)
	}
}

// decode reads a run's args. Args that do not fit will not fit the next time either.
func decode[A any](run *Run) (args A, err error) {
	raw := run.args
	if len(raw) == 0 {
		return args, nil
	}
	if err := json.Unmarshal(raw, &args); err != nil {
		return args, Permanent(fmt.Errorf("decode args: %w", err))
	}
	return args, nil
}

// Checkpoint returns what the last run saved with [Run.Save] or [Run.Stop]; the zero
// value if there is nothing.
func Checkpoint[C any](run *Run) (C, error) {
	var c C
	raw := run.checkpoint()
	if len(bytes.TrimSpace(raw)) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, Permanent(fmt.Errorf("decode checkpoint: %w", err))
	}
	return c, nil
}

// Runs makes a handler of anything with a Run method, such as a job of robfig/cron.
func Runs(job interface{ Run() }) func(context.Context, None) error {
	return func(context.Context, None) error {
		if job == nil {
			return Permanent(errors.New("errand.Runs: nil job"))
		}
		job.Run()
		return nil
	}
}
