package errand

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Transactor is a [Store] that can write in a transaction of the application, so that a job exists if
// and only if the transaction commits. An optional part of a store: package postgres has it.
type Transactor interface {
	// InTx returns a view of the store in which Insert, Get and List work within tx; the other methods fail. It
	// fails itself if it does not know this type of transaction.
	InTx(tx any) (Store, error)
}

// Tx returns a view of the engine that enqueues within a transaction of the application:
//
//	job, err := Mail.Enqueue(ctx, q.Tx(tx), args)
//
// The job is there when the transaction commits, and never if it does not. Package postgres
// takes a pgx.Tx or an *sql.Tx. Besides Enqueue the view can Get and List; control jobs, wait for them and run them with the
// engine itself. Keep the transaction short: another one that enqueues the same unique key waits for it.
//
// Where the store has no transactions to share (memory, SQLite), or this is not one of its own, every call fails.
func (e *Engine) Tx(tx any) *Engine {
	view := &Engine{shared: e.shared, inTx: true}
	transactor, ok := e.store.(Transactor)
	err := fmt.Errorf("%w transaction: a %T cannot write in one of the application's", ErrInvalid, e.store)
	if ok {
		if view.store, err = transactor.InTx(tx); err == nil {
			return view
		}
	}
	view.store = failing{err}
	return view
}

// failing is a store of which every call fails.
type failing struct{ err error }

func (f failing) Insert(context.Context, []Job) ([]*Job, error)            { return nil, f.err }
func (f failing) Get(context.Context, []ID) ([]Job, error)                 { return nil, f.err }
func (f failing) List(context.Context, Query) (Page, error)                { return Page{}, f.err }
func (f failing) Entries(context.Context, ID, int64, int) ([]Entry, error) { return nil, f.err }
func (f failing) Swap(context.Context, []Change) ([]Swapped, error)        { return nil, f.err }
func (f failing) Claim(context.Context, Claim) (Claimed, error)            { return Claimed{}, f.err }
func (f failing) PauseQueue(context.Context, QueuePause) error             { return f.err }
func (f failing) ResumeQueue(context.Context, string) error                { return f.err }
func (f failing) PausedQueues(context.Context) ([]QueuePause, error)       { return nil, f.err }
func (f failing) Ahead(context.Context, *Job, []string, int) (int, error)  { return 0, f.err }
func (f failing) Drain(context.Context, uuid.UUID, bool) (bool, error)     { return false, f.err }
func (f failing) Unblocked(context.Context, int) ([]Unblocked, error)      { return nil, f.err }
func (f failing) Orphans(context.Context, int) ([]Job, error)              { return nil, f.err }
func (f failing) Beat(context.Context, Session, []Lease) (Pulse, error)    { return Pulse{}, f.err }
func (f failing) Sessions(context.Context) ([]Session, error)              { return nil, f.err }
func (f failing) Prune(context.Context, int) (int, error)                  { return 0, f.err }
func (f failing) Stats(context.Context) ([]Count, error)                   { return nil, f.err }
func (f failing) History(context.Context, HistoryQuery) ([]Flow, error)    { return nil, f.err }
func (f failing) SwapSchedules(context.Context, []ScheduleChange) ([]Swapped, error) {
	return nil, f.err
}
func (f failing) Schedules(context.Context, ScheduleQuery) ([]Schedule, error) { return nil, f.err }
func (f failing) DueSchedules(context.Context, int) (DueSchedules, error) {
	return DueSchedules{}, f.err
}
func (f failing) Firings(context.Context, []string, int) ([]Firing, error) { return nil, f.err }
func (f failing) Close() error                                             { return f.err }

// errInTx is what a store's view answers to all but what it can.
var errInTx = errors.New("a transaction's view of the engine can enqueue, get and list only: use the engine itself")

// OnlyInTx is a Store of which every call fails with an error that says what a [Transactor]'s view can do: for
// such views to embed.
var OnlyInTx Store = failing{errInTx}

// uncommitted are jobs that were enqueued in transactions of the application. Nobody says when these
// commit, so the engine looks: soon, and then ever more rarely. A job that it has not seen after
// uncommittedFor is found by the next poll instead.
type uncommitted struct {
	mu   sync.Mutex
	jobs []Job
	wake chan struct{} // closed when there are new ones; nil while nobody looks
}

const (
	uncommittedFor = 5 * time.Second
	maxUncommitted = 1000
)

// add has the engine look out for a job.
func (u *uncommitted) add(e *Engine, j Job) {
	base := e.worker.e
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.jobs) >= maxUncommitted {
		return
	}
	u.jobs = append(u.jobs, j)
	if u.wake == nil {
		u.wake = make(chan struct{})
		go u.look(base)
		return
	}
	close(u.wake)
	u.wake = make(chan struct{})
}

// look looks until there is nothing to look for.
func (u *uncommitted) look(e *Engine) {
	pause := time.Millisecond
	for {
		u.mu.Lock()
		cutoff := e.Now().Add(-uncommittedFor)
		ids := make([]ID, 0, len(u.jobs))
		for len(u.jobs) > 0 && u.jobs[0].Created.Before(cutoff) {
			u.jobs = u.jobs[1:]
		}
		for i := range u.jobs {
			ids = append(ids, u.jobs[i].ID)
		}
		wake := u.wake
		if len(ids) == 0 {
			u.jobs, u.wake = nil, nil
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		select {
		case <-time.After(pause):
			pause = min(2*pause, 250*time.Millisecond)
		case <-wake:
			pause = time.Millisecond
			continue
		}
		there, err := e.store.Get(context.Background(), ids)
		if err != nil {
			e.log.Debug("cannot look for jobs enqueued in a transaction; they will be found by polling", "error", err)
			pause = time.Second
			continue
		}
		u.seen(e, there)
	}
}

// seen announces jobs whose transactions have committed.
func (u *uncommitted) seen(e *Engine, there []Job) {
	seen := make(map[ID]bool, len(there))
	waits := false
	for i := range there {
		j := &there[i]
		seen[j.ID] = true
		waits = waits || j.State == Waiting
		if j.Version == 1 { // else somebody has seen it before
			e.worker.inserted(j)
			e.bus.publish("", j)
		}
	}
	u.mu.Lock()
	left := u.jobs[:0:0]
	for _, j := range u.jobs {
		if !seen[j.ID] {
			left = append(left, j)
		}
	}
	u.jobs = left
	u.mu.Unlock()
	if len(there) > 0 {
		if h, ok := e.store.(Hinter); ok {
			h.Hint(there)
		}
	}
	if waits {
		e.worker.unblock(context.Background())
	}
}
