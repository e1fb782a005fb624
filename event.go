package errand

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Event says that a job has changed in this process: it was enqueued (From is ""), moved from
// one state to another, was deleted (Job.State is ""), or changed within its state, such
// as by progress. The waking of a due job is no event of its own. Where several act on one job at the
// same time, events may come in another order than the changes: Job.Version tells.
type Event struct {
	From State
	Job  Job
	// Missed is how many events the subscriber lost after the one before because it read too
	// slowly; an event that has it has no Job. What they said can be seen from the
	// jobs themselves.
	Missed int
}

// eventBuffer is how many events a subscriber may lag behind.
const eventBuffer = 1024

// bus tells subscribers and waiters of this process what happens to jobs.
type bus struct {
	observer Observer
	hub      hub
	audience atomic.Int32 // subscribers, waiters, and the hub
	mu       sync.Mutex
	subs     map[*subscriber]bool
	waiters  map[ID][]*waiter
}

// waiter waits for a job to be so.
type waiter struct {
	so   func(*Job) bool
	met  chan *Job     // holds one
	look chan struct{} // holds one: it may be so in the store
}

type subscriber struct {
	match  []Query
	mu     sync.Mutex
	events []Event // at most eventBuffer
	missed int
	signal chan struct{} // holds one
}

func (b *bus) publish(from State, job *Job) {
	if b.observer != nil {
		b.observer.Transition(Event{From: from, Job: *job})
	}
	if b.audience.Load() == 0 {
		return
	}
	b.hub.publish(job)
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		s.offer(from, job)
	}
	for _, w := range b.waiters[job.ID] {
		if job.State != "" && !w.so(job) {
			continue
		}
		found := *job
		select {
		case w.met <- &found:
		default: // it has been told before
		}
	}
}

func (s *subscriber) offer(from State, job *Job) {
	matches := len(s.match) == 0
	for i := range s.match {
		matches = matches || s.match[i].matches(job)
	}
	if !matches {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) == eventBuffer {
		s.missed++
		return
	}
	s.events = append(s.events, Event{From: from, Job: *job})
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// Events subscribes to what happens to jobs in this process, from this call until ctx
// ends; with queries, only to jobs that match one of them. Publishing never waits for a
// subscriber: one that lags by more than 1,024 events loses some, see Event.Missed. The
// sequence can be ranged over once.
func (e *Engine) Events(ctx context.Context, match ...Query) iter.Seq[Event] {
	s := &subscriber{match: match, signal: make(chan struct{}, 1)}
	b := &e.bus
	b.mu.Lock()
	if b.subs == nil {
		b.subs = map[*subscriber]bool{}
	}
	b.subs[s] = true
	b.audience.Add(1)
	b.mu.Unlock()
	leave := sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, s)
		b.audience.Add(-1)
	})
	context.AfterFunc(ctx, leave)
	return func(yield func(Event) bool) {
		defer leave()
		for {
			for _, ev := range s.take() {
				if !yield(ev) {
					return
				}
			}
			select {
			case <-s.signal:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *subscriber) take() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	if s.missed > 0 {
		events = append(events, Event{Missed: s.missed})
	}
	s.events, s.missed = nil, 0
	return events
}

// Wait waits until the job has ended, in whatever process, and returns it. One that failed or
// was cancelled comes with a *[FailedError].
func (e *Engine) Wait(ctx context.Context, id ID) (*Job, error) {
	job, err := e.WaitFor(ctx, id, func(j *Job) bool { return j.State.Ended() })
	if err == nil && job.State != Succeeded {
		err = &FailedError{*job}
	}
	return job, err
}

// WaitFor waits until a job is so, in whatever process, and returns it. What is so only for a moment may be
// missed. The function must be quick and may be called at the same time from several goroutines.
func (e *Engine) WaitFor(ctx context.Context, id ID, so func(*Job) bool) (*Job, error) {
	e.listen()
	w := &waiter{so: so, met: make(chan *Job, 1), look: make(chan struct{}, 1)}
	e.bus.wait(id, w)
	defer e.bus.unwait(id, w)
	for pause := 25 * time.Millisecond; ; pause = min(2*pause, e.config.Poll) {
		job, err := e.Get(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			select {
			case job := <-w.met: // it was so, and has been pruned since
				return job, gone(job)
			default:
			}
			return nil, err
		case err != nil && ctx.Err() != nil:
			return nil, err
		case err == nil && so(job):
			return job, nil
		}
		select {
		case job := <-w.met:
			return job, gone(job)
		case <-w.look:
		case <-time.After(jitter(pause)): // another process may have changed it
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func gone(job *Job) error {
	if job.State == "" {
		return fmt.Errorf("%w: %s", ErrNotFound, job.ID)
	}
	return nil
}

func (b *bus) wait(id ID, w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiters == nil {
		b.waiters = map[ID][]*waiter{}
	}
	b.waiters[id] = append(b.waiters[id], w)
	b.audience.Add(1)
}

func (b *bus) unwait(id ID, w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.audience.Add(-1)
	others := slices.DeleteFunc(b.waiters[id], func(o *waiter) bool { return o == w })
	if len(others) == 0 {
		delete(b.waiters, id)
	} else {
		b.waiters[id] = others
	}
}

// jitter spreads d by a fifth up and down, so that processes do not march in step.
func jitter(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }
