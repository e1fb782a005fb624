package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

const (
	// metaProgram is the key of a job's metadata that names the program whose entry it is of.
	metaProgram = "robfig.cron"
	tryAgain    = 5 * time.Second
	lookAgain   = 6 * tryAgain // a lease
	forEver     = 100 * 365 * 24 * time.Hour
)

// session is the time from a Start to the Stop that follows.
type session struct {
	c      *Cron
	store  errand.Store // nil: the engine was given
	engine atomic.Pointer[errand.Engine]
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	runs    sync.WaitGroup // joined only while it is not stopped

	// The Cron's mutex guards these.
	waiting []*entry // to be stored
	clocks  map[*entry]context.CancelFunc

	// Only tend uses these.
	looked  time.Time       // by the wall clock, which goes on while the machine is asleep
	nobodys map[string]bool // the schedules that were nobody's at the last look
}

// start begins a session. The caller holds c.mu.
func (c *Cron) start() *session {
	s := &session{c: c, waiting: slices.Clone(c.entries), clocks: map[*entry]context.CancelFunc{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	switch {
	case c.engine != nil:
	case c.store != nil:
		s.store = c.store
	default:
		s.store = errand.Memory(&errand.MemoryOptions{Keep: 1000})
	}
	s.engine.Store(s.newEngine())
	c.session.Store(s)
	clear(c.names)
	for _, derived := range []bool{false, true} { // what was given a name has it
		for _, e := range c.entries {
			if (e.stem != "") == derived {
				c.takeName(e)
			}
		}
	}
	c.logger.Info("start")
	s.settle()
	before, ended := c.over, make(chan struct{})
	c.over = ended
	go func() {
		defer close(ended)
		s.work()
		<-before
	}()
	return s
}

// newEngine returns an engine that runs until the last run has ended, however long that takes; or the one that was given.
func (s *session) newEngine() *errand.Engine {
	if s.store == nil {
		return s.c.engine
	}
	return errand.New(s.store, &errand.Config{Concurrency: 10_000, ShutdownGrace: forEver, Log: slog.New(&logHandler{logger: s.c.logger})})
}

// work goes on until all is over.
func (s *session) work() {
	var tending sync.WaitGroup
	tending.Go(s.tend)
	s.run()
	tending.Wait()
	s.runs.Wait()
}

// run runs an engine of the session's own. One that cannot start is followed by another.
func (s *session) run() {
	for s.store != nil {
		err := s.engine.Load().Run(s.ctx)
		if err == nil {
			return
		}
		s.c.logger.Error(err, "cannot run the entries")
		if !s.sleep(tryAgain) {
			return
		}
		s.c.mu.Lock()
		s.engine.Store(s.newEngine())
		s.waiting = slices.Clone(s.c.entries)
		s.settle()
		s.c.mu.Unlock()
	}
	<-s.ctx.Done()
}

// tend keeps the store as the Cron is.
func (s *session) tend() {
	for n := 1; s.sleep(tryAgain); n++ {
		s.c.mu.Lock()
		s.settle()
		s.c.mu.Unlock()
		if n%int(lookAgain/tryAgain) == 0 {
			s.look()
		}
	}
}

// sleep waits for d and reports true, or for the end of the session and reports false.
func (s *session) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *session) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
}

// settle removes from the store what is gone, and has the entries run that wait, as far as the store does its part. The caller
// holds c.mu, as it does for register, remove, refresh and compute.
func (s *session) settle() {
	if err := s.forget(); err != nil {
		s.log(err, "cannot remove entries from the store; it is tried again")
		return
	}
	for ; len(s.waiting) > 0; s.waiting = s.waiting[1:] {
		e := s.waiting[0]
		if e.removed.Load() {
			continue
		}
		switch err := s.register(e); {
		case errors.Is(err, errand.ErrInvalid): // it will never do
			s.c.logger.Error(err, "cannot run an entry", "entry", e.ID, "name", e.name)
		case err != nil:
			s.log(err, "cannot store the entries; it is tried again")
			return
		}
	}
}

// log logs an error, unless it comes from the end of the session.
func (s *session) log(err error, what string) {
	if s.ctx.Err() == nil {
		s.c.logger.Error(err, what)
	}
}

// register has an entry run.
func (s *session) register(e *entry) error {
	c, engine := s.c, s.engine.Load()
	c.logger.Info("schedule", "now", c.now(), "entry", e.ID, "next", e.Schedule.Next(c.now()))
	spec, zone, ok := asPlan(e.Schedule, c.location)
	var err error
	if ok {
		plan := c.planOf(zone)
		_, err = engine.Schedule(s.ctx, e.name, spec, s.job(e.name), &plan)
	} else { // the program may have had one before that could be stored
		err = s.delete(e.name)
	}
	if err != nil {
		return err
	}
	engine.Handle(e.name, errand.Handling{Handler: s.handler(e)})
	e.session = s
	if !ok && !s.computes(e) {
		s.compute(e)
	}
	return nil
}

func ignore(this, err error) error {
	if errors.Is(err, this) {
		return nil
	}
	return err
}

// planOf returns what the plans of the entries have in common.
func (c *Cron) planOf(zone string) errand.Plan {
	plan := errand.Plan{Overlap: errand.OverlapAllow, Misfire: errand.MisfireSkip}
	switch {
	case c.plan != nil:
		plan = *c.plan
	case c.store == nil && c.engine == nil: // a process that was asleep runs what is due once, as robfig does
		plan.Misfire, plan.Grace = errand.MisfireOnce, time.Second
	}
	plan.Zone = zone
	return plan
}

func (s *session) job(name string, options ...errand.Option) errand.NewJob {
	own := append([]errand.Option{errand.MaxAttempts(1), errand.Meta(metaProgram, s.c.program)}, s.c.options...)
	return errand.NewJob{Kind: name, Options: append(own, options...)}
}

// handler runs an entry's job.
func (s *session) handler(e *entry) errand.Handler {
	return func(context.Context, *errand.Run) (json.RawMessage, error) {
		if e.removed.Load() {
			return nil, errand.Permanent(errors.New("its entry was removed before it began"))
		}
		if !s.begin() {
			return nil, errand.Snooze(tryAgain) // for the next session, of whichever process
		}
		defer s.runs.Done()
		defer func() {
			if r := recover(); r != nil {
				s.c.logger.Error(fmt.Errorf("%v", r), "panic", "entry", e.ID, "stack", "...\n"+string(debug.Stack()))
				panic(r) // the engine records it
			}
		}()
		now := s.c.now()
		s.c.logger.Info("run", "now", now, "entry", e.ID, "next", e.Schedule.Next(now))
		e.WrappedJob.Run()
		return nil, nil
	}
}

// begin reports whether a run may begin; then it is one of the session's.
func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.runs.Add(1)
	}
	return !s.stopped
}

// remove has an entry run no more that is gone.
func (s *session) remove(e *entry) {
	if stop := s.clocks[e]; stop != nil {
		stop()
		delete(s.clocks, e)
	}
	if err := s.forget(); err != nil {
		s.log(err, "cannot remove entries from the store; it is tried again")
	}
}

// refresh looks up the times of the entries.
func (s *session) refresh(ctx context.Context) {
	found, err := s.stored(ctx)
	if err != nil {
		s.log(err, "cannot look up the entries' times")
		return
	}
	for i := range found {
		if e := s.c.names[found[i].Name]; e != nil && !s.computes(e) {
			e.Next = s.c.local(found[i].Next)
			if prev := found[i].Prev; !prev.IsZero() { // else it may have one from before, see Start
				e.Prev = s.c.local(prev)
			}
		}
	}
}

// stored returns the schedules of the entries.
func (s *session) stored(ctx context.Context) ([]errand.Schedule, error) {
	if len(s.c.names) == 0 {
		return nil, nil
	}
	return s.engine.Load().Schedules(ctx, errand.ScheduleQuery{Names: slices.Collect(maps.Keys(s.c.names))})
}

// computes reports whether an entry's times are computed here, see compute.
func (s *session) computes(e *entry) bool { return s.clocks[e] != nil }

// compute has an entry run at times that only this process can compute.
func (s *session) compute(e *entry) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.clocks[e] = cancel
	e.Next = e.Schedule.Next(s.c.now())
	go s.tick(ctx, e, e.name, e.Next)
}

// tick makes the runs of an entry. Of several processes each makes the same.
func (s *session) tick(ctx context.Context, e *entry, name string, next time.Time) {
	for !next.IsZero() {
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return
		}
		id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(name+"\x00"+next.UTC().Format(time.RFC3339Nano)))
		nominal := errand.Meta(errand.MetaNominal, next.UTC().Format(time.RFC3339Nano))
		if _, err := s.engine.Load().Enqueue(ctx, s.job(name, errand.WithID(id), nominal)); err != nil && ctx.Err() == nil {
			s.c.logger.Error(err, "cannot make a run", "entry", e.ID)
		}
		prev := next
		next = e.Schedule.Next(s.c.now())
		s.c.mu.Lock()
		e.Prev, e.Next = prev, next
		s.c.mu.Unlock()
	}
}
