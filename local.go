package errand

import (
	"context"
	"encoding/json"
	"fmt"
)

// localPrefix begins the names of the queues that belong to one worker session.
const localPrefix = "local/"

// localFunc is a function given to Go whose job has not ended.
type localFunc struct {
	kind string
	fn   func(context.Context) error
}

func (w *worker) localQueue() string { return localPrefix + w.session.ID.String() }

// Go runs a function once, in this process, as a job that can be seen, waited for, paused and cancelled
// like any other. Name is its kind. It starts when Go returns, whatever else runs (1,000 such functions at a time), and
// dies with the process: then its job fails. The engine must be running.
func (e *Engine) Go(ctx context.Context, name string, fn func(ctx context.Context) error, options ...Option) (*Job, error) {
	w := e.worker
	if e.inTx {
		return nil, errInTx
	}
	if !w.begetting() {
		return nil, fmt.Errorf("%w: Go needs Engine.Run", ErrClosed)
	}
	defer w.births.Done()
	options = append(options, Queue(w.localQueue()), MaxAttempts(1), MaxCrashes(1))
	var j Job
	if err := e.build(&j, &NewJob{Kind: name, Options: options, whole: true}); err != nil {
		return nil, err
	}
	if j.State != Ready {
		return nil, fmt.Errorf("%w options for Go: a function starts at once", ErrInvalid)
	}
	// It is born running, so that a crash of this process at any time from now on fails it.
	j.claim(w.session.ID, j.Created)
	j.Version = 1
	w.mu.Lock()
	w.locals[j.ID] = localFunc{name, fn}
	w.mu.Unlock()
	existing, err := e.inserter.insert(ctx, e, []Job{j})
	if err != nil || existing[0] != nil {
		w.mu.Lock()
		delete(w.locals, j.ID)
		w.mu.Unlock()
		if err == nil {
			existing[0].Duplicate = true
			return existing[0], nil
		}
		return nil, err
	}
	w.dispatch([]Job{j})
	return &j, nil
}

// begetting reports whether the worker is on, and keeps it from draining until births is done.
func (w *worker) begetting() bool {
	w.mu.Lock()
	if w.state != workerOn {
		w.mu.Unlock()
		return false
	}
	w.births.Add(1)
	w.mu.Unlock()
	if w.pool(w.localQueue()) == nil { // it has begun to shut down since
		w.births.Done()
		return false
	}
	return true
}

// local returns the handler of a function of this process.
func (w *worker) local(id ID) Handler {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.locals[id]
	if !ok {
		return nil
	}
	return func(ctx context.Context, _ *Run) (json.RawMessage, error) { return nil, l.fn(ctx) }
}

// localKinds names the functions of this process. The caller holds w.mu.
func (w *worker) localKinds() []string {
	var kinds []string
	for _, l := range w.locals {
		kinds = append(kinds, l.kind)
	}
	return kinds
}

func (r *Run) isLocal() bool { return r.pool.local }

func noHandler(_ context.Context, run *Run) (json.RawMessage, error) {
	what := "no handler"
	if run.cleanUp {
		what = "no clean-up hook"
	}
	return nil, fmt.Errorf("%w %q: this worker has %s for it", ErrNoHandler, run.kind, what)
}
