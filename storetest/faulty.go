package storetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// Fault is the error of a call that [FaultyStore] made fail.
type Fault struct {
	Method    string // of errand.Store
	Committed bool   // whether the call was carried out, and only its reply is lost
}

func (e *Fault) Error() string {
	if e.Committed {
		return fmt.Sprintf("storetest: fault after %s: the reply is lost", e.Method)
	}
	return fmt.Sprintf("storetest: fault before %s: nothing was done", e.Method)
}

// Faults says how often what goes wrong. The zero value is no fault at all.
type Faults struct {
	Before   float64       // probability that a call fails before it reaches the store
	After    float64       // probability that a call is carried out and its reply is lost
	Delay    float64       // probability that a call is late, on its way there or back
	MaxDelay time.Duration // how late at most; default 10 ms
	// Methods are the methods of errand.Store that are struck. Nil means all but Close.
	Methods []string
}

// FaultCounts is what a [FaultyStore] has done so far.
type FaultCounts struct {
	Calls   int64            // calls of all methods but Close
	Before  int64            // that failed before the store
	After   int64            // whose reply was lost
	Delayed int64            // that were late
	Struck  map[string]int64 // failed calls by method
}

// FaultyStore is a store between which and its caller things go wrong: calls fail before
// they reach it, replies are lost after the work is done, and both may be late. It is
// made by [Faulty]. Close always goes through.
type FaultyStore struct {
	store errand.Store

	mu     sync.Mutex
	rand   *rand.Rand
	faults Faults
	counts FaultCounts
}

// Faulty wraps a store. With the same seed and the same calls in the same order the same
// calls are struck. It strikes none until [FaultyStore.Set].
func Faulty(store errand.Store, seed uint64) *FaultyStore {
	return &FaultyStore{store: store, rand: rand.New(rand.NewPCG(seed, 0)), counts: FaultCounts{Struck: map[string]int64{}}}
}

// Set replaces the faults, for calls that begin from now on.
func (s *FaultyStore) Set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Methods = slices.Clone(f.Methods)
	s.faults = f
}

// Counts returns what it has done so far.
func (s *FaultyStore) Counts() FaultCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Struck = maps.Clone(c.Struck)
	return c
}

// plan is what will go wrong with one call.
type plan struct {
	before, after bool
	there, back   time.Duration // delays
}

// plan decides about a call. It always draws as many numbers, so that a change of the
// probabilities does not shift what comes later.
func (s *FaultyStore) plan(method string) plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.faults
	what, late, way, howLate := s.rand.Float64(), s.rand.Float64(), s.rand.IntN(2), s.rand.Float64()
	s.counts.Calls++
	if f.Methods != nil && !slices.Contains(f.Methods, method) {
		return plan{}
	}
	p := plan{before: what < f.Before}
	p.after = !p.before && what < f.Before+f.After
	if late < f.Delay {
		s.counts.Delayed++
		most := f.MaxDelay
		if most <= 0 {
			most = 10 * time.Millisecond
		}
		d := time.Duration(howLate * float64(most))
		if way == 0 {
			p.there = d
		} else {
			p.back = d
		}
	}
	return p
}

// strike counts a fault.
func (s *FaultyStore) strike(method string, committed bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if committed {
		s.counts.After++
	} else {
		s.counts.Before++
	}
	s.counts.Struck[method]++
	return &Fault{Method: method, Committed: committed}
}

// wait sleeps for d, or until the caller has gone.
func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// faulty makes one call. Whoever gets an error gets nothing else.
func faulty[T any](ctx context.Context, s *FaultyStore, method string, call func() (T, error)) (T, error) {
	var none T
	p := s.plan(method)
	if err := wait(ctx, p.there); err != nil {
		return none, err
	}
	if p.before {
		return none, s.strike(method, false)
	}
	v, err := call()
	if err != nil {
		return none, err
	}
	if err := wait(ctx, p.back); err != nil {
		return none, err
	}
	if p.after {
		return none, s.strike(method, true)
	}
	return v, nil
}

// Insert implements [errand.Store].
func (s *FaultyStore) Insert(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error) {
	return faulty(ctx, s, "Insert", func() ([]*errand.Job, error) { return s.store.Insert(ctx, jobs) })
}

// Get implements [errand.Store].
func (s *FaultyStore) Get(ctx context.Context, ids []errand.ID) ([]errand.Job, error) {
	return faulty(ctx, s, "Get", func() ([]errand.Job, error) { return s.store.Get(ctx, ids) })
}

// List implements [errand.Store].
func (s *FaultyStore) List(ctx context.Context, q errand.Query) (errand.Page, error) {
	return faulty(ctx, s, "List", func() (errand.Page, error) { return s.store.List(ctx, q) })
}

// Entries implements [errand.Store].
func (s *FaultyStore) Entries(ctx context.Context, id uuid.UUID, after int64, limit int) ([]errand.Entry, error) {
	return faulty(ctx, s, "Entries", func() ([]errand.Entry, error) { return s.store.Entries(ctx, id, after, limit) })
}

// Swap implements [errand.Store].
func (s *FaultyStore) Swap(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
	return faulty(ctx, s, "Swap", func() ([]errand.Swapped, error) { return s.store.Swap(ctx, changes) })
}

// Claim implements [errand.Store].
func (s *FaultyStore) Claim(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
	return faulty(ctx, s, "Claim", func() (errand.Claimed, error) { return s.store.Claim(ctx, c) })
}

// PauseQueue implements [errand.Store].
func (s *FaultyStore) PauseQueue(ctx context.Context, p errand.QueuePause) error {
	_, err := faulty(ctx, s, "PauseQueue", func() (struct{}, error) { return struct{}{}, s.store.PauseQueue(ctx, p) })
	return err
}

// ResumeQueue implements [errand.Store].
func (s *FaultyStore) ResumeQueue(ctx context.Context, queue string) error {
	_, err := faulty(ctx, s, "ResumeQueue", func() (struct{}, error) { return struct{}{}, s.store.ResumeQueue(ctx, queue) })
	return err
}

// PausedQueues implements [errand.Store].
func (s *FaultyStore) PausedQueues(ctx context.Context) ([]errand.QueuePause, error) {
	return faulty(ctx, s, "PausedQueues", func() ([]errand.QueuePause, error) { return s.store.PausedQueues(ctx) })
}

// SwapSchedules implements [errand.Store].
func (s *FaultyStore) SwapSchedules(ctx context.Context, changes []errand.ScheduleChange) ([]errand.Swapped, error) {
	return faulty(ctx, s, "SwapSchedules", func() ([]errand.Swapped, error) { return s.store.SwapSchedules(ctx, changes) })
}

// Schedules implements [errand.Store].
func (s *FaultyStore) Schedules(ctx context.Context, q errand.ScheduleQuery) ([]errand.Schedule, error) {
	return faulty(ctx, s, "Schedules", func() ([]errand.Schedule, error) { return s.store.Schedules(ctx, q) })
}

// DueSchedules implements [errand.Store].
func (s *FaultyStore) DueSchedules(ctx context.Context, limit int) (errand.DueSchedules, error) {
	return faulty(ctx, s, "DueSchedules", func() (errand.DueSchedules, error) { return s.store.DueSchedules(ctx, limit) })
}

// Firings implements [errand.Store].
func (s *FaultyStore) Firings(ctx context.Context, names []string, limit int) ([]errand.Firing, error) {
	return faulty(ctx, s, "Firings", func() ([]errand.Firing, error) { return s.store.Firings(ctx, names, limit) })
}

// Unblocked implements [errand.Store].
func (s *FaultyStore) Unblocked(ctx context.Context, limit int) ([]errand.Unblocked, error) {
	return faulty(ctx, s, "Unblocked", func() ([]errand.Unblocked, error) { return s.store.Unblocked(ctx, limit) })
}

// Orphans implements [errand.Store].
func (s *FaultyStore) Orphans(ctx context.Context, limit int) ([]errand.Job, error) {
	return faulty(ctx, s, "Orphans", func() ([]errand.Job, error) { return s.store.Orphans(ctx, limit) })
}

// Beat implements [errand.Store].
func (s *FaultyStore) Beat(ctx context.Context, session errand.Session, runs []errand.Lease) (errand.Pulse, error) {
	return faulty(ctx, s, "Beat", func() (errand.Pulse, error) { return s.store.Beat(ctx, session, runs) })
}

// Drain implements [errand.Store].
func (s *FaultyStore) Drain(ctx context.Context, session uuid.UUID, drain bool) (bool, error) {
	return faulty(ctx, s, "Drain", func() (bool, error) { return s.store.Drain(ctx, session, drain) })
}

// Ahead implements [errand.Store].
func (s *FaultyStore) Ahead(ctx context.Context, j *errand.Job, kinds []string, limit int) (int, error) {
	return faulty(ctx, s, "Ahead", func() (int, error) { return s.store.Ahead(ctx, j, kinds, limit) })
}

// Sessions implements [errand.Store].
func (s *FaultyStore) Sessions(ctx context.Context) ([]errand.Session, error) {
	return faulty(ctx, s, "Sessions", func() ([]errand.Session, error) { return s.store.Sessions(ctx) })
}

// Prune implements [errand.Store].
func (s *FaultyStore) Prune(ctx context.Context, limit int) (int, error) {
	return faulty(ctx, s, "Prune", func() (int, error) { return s.store.Prune(ctx, limit) })
}

// Stats implements [errand.Store].
func (s *FaultyStore) Stats(ctx context.Context) ([]errand.Count, error) {
	return faulty(ctx, s, "Stats", func() ([]errand.Count, error) { return s.store.Stats(ctx) })
}

// History implements [errand.Store].
func (s *FaultyStore) History(ctx context.Context, q errand.HistoryQuery) ([]errand.Flow, error) {
	return faulty(ctx, s, "History", func() ([]errand.Flow, error) { return s.store.History(ctx, q) })
}

// Close implements [errand.Store].
func (s *FaultyStore) Close() error { return s.store.Close() }
