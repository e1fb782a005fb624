package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

const (
	// metaProgram is the key of a job's metadata that names the program whose entry it is of.
	metaProgram = "robfig.cron"
	tryAgain    = 5 * time.Second
	forEver     = 100 * 365 * 24 * time.Hour
)

// session is the time from a Start to the Stop that follows.
type session struct {
	c      *Cron
	engine *errand.Engine
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	runs    sync.WaitGroup // joined only while it is not stopped
	clocks  map[*entry]context.CancelFunc
}

// start begins a session. The caller holds c.mu.
func (c *Cron) start() *session {
	s := &session{c: c, engine: c.engine, clocks: map[*entry]context.CancelFunc{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.engine == nil {
		s.engine = c.newEngine()
	}
	c.session = s
	c.logger.Info("start")
	rest, err := s.registerAll(slices.Clone(c.entries))
	before, ended := c.over, make(chan struct{})
	c.over = ended
	go func() {
		defer close(ended)
		s.work(rest, err)
		<-before
	}()
	return s
}

// newEngine returns an engine that runs until the last run has ended, however long that takes.
func (c *Cron) newEngine() *errand.Engine {
	store := c.store
	if store == nil {
		store = errand.Memory(&errand.MemoryOptions{Keep: 1000})
	}
	return errand.New(store, &errand.Config{Concurrency: 10_000, ShutdownGrace: forEver, Log: slog.New(&logHandler{logger: c.logger})})
}

// work goes on until all is over.
func (s *session) work(rest []*entry, err error) {
	for err != nil {
		s.c.logger.Error(err, "cannot store the entries; it is tried again")
		select {
		case <-time.After(tryAgain):
			s.c.mu.Lock()
			rest, err = s.registerAll(rest)
			s.c.mu.Unlock()
		case <-s.ctx.Done():
			err = nil
		}
	}
	if s.c.engine != nil {
		<-s.ctx.Done()
	} else if err := s.engine.Run(s.ctx); err != nil {
		s.c.logger.Error(err, "cannot run the entries")
	}
	s.runs.Wait()
}

func (s *session) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
}

// registerAll has entries run, and removes what is no entry any more. It returns those that it could not get to. The caller holds c.mu, as
// it does for register and compute.
func (s *session) registerAll(entries []*entry) ([]*entry, error) {
	for i, e := range entries {
		if e.removed.Load() {
			continue
		}
		if err := s.register(e); err != nil {
			return entries[i:], err
		}
	}
	return nil, s.sweep()
}

// register has an entry run.
func (s *session) register(e *entry) error {
	c := s.c
	c.logger.Info("schedule", "now", c.now(), "entry", e.ID, "next", e.Schedule.Next(c.now()))
	s.engine.Handle(e.name, errand.Handling{Handler: s.handler(e)})
	spec, zone, ok := asPlan(e.Schedule, c.location)
	if !ok {
		s.compute(e)
		return nil
	}
	plan := c.planOf(zone)
	_, err := s.engine.Schedule(s.ctx, e.name, spec, s.job(e), &plan)
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

func (s *session) job(e *entry, options ...errand.Option) errand.NewJob {
	own := append([]errand.Option{errand.MaxAttempts(1), errand.Meta(metaProgram, s.c.program)}, s.c.options...)
	return errand.NewJob{Kind: e.name, Options: append(own, options...)}
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

// remove has an entry run no more. The caller holds c.mu.
func (s *session) remove(e *entry) error {
	if cancel := s.clocks[e]; cancel != nil {
		cancel()
		return nil
	}
	return s.engine.DeleteSchedule(s.ctx, e.name)
}

// sweep removes the schedules that this program registered in the past, and that nobody at work has now.
func (s *session) sweep() error {
	if s.c.store == nil && s.c.engine == nil {
		return nil
	}
	kept := map[string]bool{}
	for _, e := range s.c.entries {
		kept[e.name] = !s.computes(e)
	}
	sessions, err := s.engine.Sessions(s.ctx)
	for _, w := range sessions {
		for _, kind := range w.Kinds {
			kept[kind] = kept[kind] || w.Expires.After(s.engine.Now())
		}
	}
	for after := ""; err == nil; {
		var page []errand.Schedule
		if page, err = s.engine.Schedules(s.ctx, errand.ScheduleQuery{After: after, Limit: errand.MaxPage}); len(page) == 0 {
			break
		}
		for i := range page {
			if after = page[i].Name; kept[after] || page[i].Job.Metadata[metaProgram] != s.c.program {
				continue
			}
			if err := s.engine.DeleteSchedule(s.ctx, after); err != nil && !errors.Is(err, errand.ErrNoSchedule) {
				return err
			}
			s.c.logger.Info("removed what is no entry any more", "name", after)
		}
	}
	return err
}

// computes reports whether an entry's times are computed here, see compute.
func (s *session) computes(e *entry) bool { return s.clocks[e] != nil }

// compute has an entry run at times that only this process can compute.
func (s *session) compute(e *entry) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.clocks[e] = cancel
	e.Next = e.Schedule.Next(s.c.now())
	go s.tick(ctx, e, e.Next)
}

// tick makes the runs of an entry. Of several processes each makes the same.
func (s *session) tick(ctx context.Context, e *entry, next time.Time) {
	for !next.IsZero() {
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return
		}
		id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(e.name+"\x00"+next.UTC().Format(time.RFC3339Nano)))
		nominal := errand.Meta(errand.MetaNominal, next.UTC().Format(time.RFC3339Nano))
		if _, err := s.engine.Enqueue(ctx, s.job(e, errand.WithID(id), nominal)); err != nil && ctx.Err() == nil {
			s.c.logger.Error(err, "cannot make a run", "entry", e.ID)
		}
		prev := next
		next = e.Schedule.Next(s.c.now())
		s.c.mu.Lock()
		e.Prev, e.Next = prev, next
		s.c.mu.Unlock()
	}
}
