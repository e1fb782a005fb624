package errand

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Event says that a job has changed in this process: it was enqueued (From is ""), moved from
// one state to another, was deleted (Job.State is ""), or changed within its state, such
// as by progress. The waking of a due job is no event of its own.
type Event struct {
	From State
	Job  Job
	// Missed is how many events the subscriber lost just before this one because it read
	// too slowly. What they said can be seen from the jobs themselves.
	Missed int
}

// eventBuffer is how many events a subscriber may lag behind.
const eventBuffer = 1024

// bus tells subscribers and waiters of this process what happens to jobs.
type bus struct {
	observer Observer
	audience atomic.Int32 // subscribers and waiters
	mu       sync.Mutex
	subs     map[*subscriber]bool
	waiters  map[ID][]chan<- *Job
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
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		s.offer(from, job)
	}
	if job.State == "" || job.State.Ended() {
		for _, w := range b.waiters[job.ID] {
			ended := *job
			w <- &ended // holds one, gets one
		}
		delete(b.waiters, job.ID)
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
	s.events = append(s.events, Event{From: from, Job: *job, Missed: s.missed})
	s.missed = 0
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
	s.events = nil
	return events
}

// Wait waits until the job has ended, in whatever process, and returns it. One that failed or
// was cancelled comes with a *[FailedError].
func (e *Engine) Wait(ctx context.Context, id ID) (*Job, error) {
	ended := make(chan *Job, 1)
	b := &e.bus
	b.mu.Lock()
	if b.waiters == nil {
		b.waiters = map[ID][]chan<- *Job{}
	}
	b.waiters[id] = append(b.waiters[id], ended)
	b.audience.Add(1)
	b.mu.Unlock()
	defer b.unwait(id, ended)
	for pause := 25 * time.Millisecond; ; pause = min(2*pause, e.config.Poll) {
		job, err := e.Get(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			select {
			case job := <-ended: // it ended, and was pruned since
				return outcomeOf(job)
			default:
			}
			return nil, err
		case err != nil && ctx.Err() != nil:
			return nil, err
		case err == nil && job.State.Ended():
			return outcomeOf(job)
		}
		select {
		case job := <-ended:
			return outcomeOf(job)
		case <-time.After(jitter(pause)): // another process may have ended it
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func outcomeOf(job *Job) (*Job, error) {
	switch job.State {
	case Succeeded:
		return job, nil
	case "":
		return nil, ErrNotFound
	}
	return job, &FailedError{*job}
}

func (b *bus) unwait(id ID, w chan<- *Job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.audience.Add(-1)
	var others []chan<- *Job
	for _, o := range b.waiters[id] {
		if o != w {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		delete(b.waiters, id)
	} else {
		b.waiters[id] = others
	}
}

// jitter spreads d by a fifth up and down, so that processes do not march in step.
func jitter(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }
