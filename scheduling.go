package errand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Errors of schedules.
var (
	// ErrNoSchedule: no schedule has this name.
	ErrNoSchedule = errors.New("no schedule of this name")
	// ErrChanged: the schedule is no longer as it was when it was read.
	ErrChanged = errors.New("the schedule was changed meanwhile")
)

// Schedule has a schedule make jobs, as a program does when it starts. Spec and job are those of the plan; the rest of the plan may be nil.
//
//	q.Schedule(ctx, "digest", "0 7 * * MON-FRI", Digest.New(args), &errand.Plan{Zone: "Europe/Berlin"})
//
// A schedule that is there stays as it is, unless the program registered it with another plan before: then it gets this one. So
// what an operator has paused or edited stays so over restarts. A schedule that the program no longer registers stays too: see [Engine.DeleteSchedule].
func (e *Engine) Schedule(ctx context.Context, name, spec string, job NewJob, plan *Plan) (*Schedule, error) {
	s, err := e.newSchedule(name, spec, job, plan)
	if err != nil {
		return nil, err
	}
	print := s.fingerprint()
	return e.changeSchedule(ctx, name, true, func(old *Schedule, now time.Time) error {
		if old.Registered == print {
			return errSame
		}
		old.Registered = print
		old.by(ctx, "", now)
		return old.edit(s, now)
	})
}

// EditSchedule sets the plan of a schedule, as an operator does, and makes the schedule if it is not there. Version is that of the schedule it was
// read with, or else the answer is [ErrChanged]; 0: whichever there is; -1: there is none.
func (e *Engine) EditSchedule(ctx context.Context, name, spec string, job NewJob, plan *Plan, version int64, reason string) (*Schedule, error) {
	s, err := e.newSchedule(name, spec, job, plan)
	if err != nil {
		return nil, err
	}
	return e.changeSchedule(ctx, name, true, func(old *Schedule, now time.Time) error {
		if version > 0 && old.Version != version || version < 0 && old.Version > 0 {
			return fmt.Errorf("%w: %q", ErrChanged, name)
		}
		old.by(ctx, reason, now)
		return old.edit(s, now)
	})
}

// PreviewSchedule returns the schedule that [Engine.EditSchedule] would make, without storing it: its [Schedule.Describe] and
// [Schedule.Upcoming] say when it makes jobs.
func (e *Engine) PreviewSchedule(name, spec string, job NewJob, plan *Plan) (*Schedule, error) {
	s, err := e.newSchedule(name, spec, job, plan)
	if err != nil {
		return nil, err
	}
	s.Created = timestamp(e.Now())
	return s, s.begin(s.Created)
}

// PauseSchedule keeps a schedule from making jobs until [Engine.ResumeSchedule]; what it has made runs. Pausing a paused one changes nothing.
func (e *Engine) PauseSchedule(ctx context.Context, name, reason string) (*Schedule, error) {
	return e.changeSchedule(ctx, name, false, func(s *Schedule, now time.Time) error {
		if !s.Paused.IsZero() {
			return errSame
		}
		s.Paused = now
		s.by(ctx, reason, now)
		s.PausedBy = By{s.Actor, s.Reason}
		return s.begin(now)
	})
}

// ResumeSchedule lets a schedule make jobs again, at the nominal times to come: those that have passed meanwhile were not missed.
func (e *Engine) ResumeSchedule(ctx context.Context, name, reason string) (*Schedule, error) {
	return e.changeSchedule(ctx, name, false, func(s *Schedule, now time.Time) error {
		if s.Paused.IsZero() {
			return errSame
		}
		s.Paused, s.PausedBy = time.Time{}, By{}
		s.by(ctx, reason, now)
		return s.begin(now)
	})
}

// DeleteSchedule removes a schedule and the record of its firings. The jobs that it has made stay. One that a program registers is there again when that starts.
func (e *Engine) DeleteSchedule(ctx context.Context, name string) error {
	for {
		s, err := e.GetSchedule(ctx, name)
		if err != nil {
			return err
		}
		done, err := e.swapSchedules(ctx, []ScheduleChange{{Schedule: *s, Was: s.Version, Delete: true}})
		if err != nil || done[0] == Written {
			return err
		}
		sleep(ctx, jitter(staleFor))
	}
}

// RunSchedule makes a job of a schedule now, besides those of its nominal times, paused or not. If the last one has not ended the new one waits for
// it, unless the plan allows them to overlap; there is an error if one waits already. The ID is that of the job: if it is there it is returned, Duplicate set, so
// that a call whose answer was lost can be repeated. The zero ID: a new one.
func (e *Engine) RunSchedule(ctx context.Context, name string, id ID) (*Job, error) {
	if id == uuid.Nil {
		fresh, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		id = fresh
	} else if there, err := e.store.Get(ctx, []ID{id}); err != nil || len(there) > 0 {
		if err == nil && there[0].Metadata[MetaSchedule] != name {
			err = fmt.Errorf("%w id %s: another job has it", ErrInvalid, id)
		}
		if err != nil {
			return nil, err
		}
		there[0].Duplicate = true
		return &there[0], nil
	}
	f, err := e.fireOne(ctx, name, func(f *fired) error {
		after := f.behind()
		if len(after) > 0 && f.last.State == Waiting {
			return &StateError{ID: f.last.ID, Verb: "run schedule " + name + " before", State: Waiting, Hint: "it runs when the one before has ended"}
		}
		j := f.s.job(f.now, f.now, after)
		j.ID = id
		f.add(j)
		f.note(Firing{Nominal: f.now, Outcome: OutcomeManual, Job: id})
		if x, _ := f.s.timing(); x.after > 0 && f.s.Paused.IsZero() { // the interval is counted from the end of this one
			f.s.Next, f.s.Wake = time.Time{}, f.now.Add(min(x.after, afterLook))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &f.jobs[0], nil
}

// fireOne has one schedule do something now that is not up to its plan, again and again while others are faster.
func (e *Engine) fireOne(ctx context.Context, name string, do func(*fired) error) (*fired, error) {
	e.ask(ctx)
	for {
		s, err := e.GetSchedule(ctx, name)
		if err != nil {
			return nil, err
		}
		last, err := e.lastOf(ctx, []Schedule{*s})
		if err != nil {
			return nil, err
		}
		f := &fired{s: *s, last: last[s.Last], now: timestamp(e.Now())}
		if err := do(f); err != nil {
			return nil, err
		}
		done, err := e.swapFired(ctx, []*fired{f})
		if err != nil {
			return nil, err
		}
		if done[0] == Written {
			return f, nil
		}
		sleep(ctx, jitter(staleFor))
	}
}

// backfillPart is how many jobs Backfill makes at once.
const backfillPart = 200

// Backfill makes the jobs of the nominal times from (inclusive) to (exclusive), whether the schedule is paused or not: after the one that was made last, and one after
// another, unless the plan allows them to overlap. Nominal times whose job is there are left out, so a call whose answer was lost can be repeated. It returns how many
// jobs it has made, also when it fails in between; at most [MaxBatch] nominal times at once.
func (e *Engine) Backfill(ctx context.Context, name string, from, to time.Time) (made int, err error) {
	s, err := e.GetSchedule(ctx, name)
	if err != nil {
		return 0, err
	}
	if _, err := s.timing(); err != nil {
		return 0, err
	}
	if to.After(timestamp(e.Now())) {
		return 0, fmt.Errorf("%w range: it ends in the future", ErrInvalid)
	}
	var times []time.Time
	for n := range s.times(from.Add(-time.Microsecond)) {
		if !n.Before(to) {
			break
		}
		if len(times) == MaxBatch {
			return 0, fmt.Errorf("%w range: it has more than %d nominal times", ErrInvalid, MaxBatch)
		}
		times = append(times, n)
	}
	for part := range slices.Chunk(times, backfillPart) {
		n, err := e.backfill(ctx, name, part)
		if made += n; err != nil {
			return made, err
		}
	}
	return made, nil
}

// backfill makes the jobs of some nominal times that are not there.
func (e *Engine) backfill(ctx context.Context, name string, times []time.Time) (int, error) {
	ids := make([]ID, len(times))
	for i, n := range times {
		ids[i] = nominalID(name, n)
	}
	there, err := e.store.Get(ctx, ids)
	if err != nil || len(there) == len(ids) {
		return 0, err
	}
	f, err := e.fireOne(ctx, name, func(f *fired) error {
		for i, n := range times {
			if slices.ContainsFunc(there, func(j Job) bool { return j.ID == ids[i] }) {
				continue
			}
			j := f.s.job(n, f.now, f.behind())
			j.ID = ids[i]
			f.add(j)
			f.note(Firing{Nominal: n, Outcome: OutcomeBackfilled, Job: j.ID})
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(f.jobs), nil
}

func count[T any](all []T, counts func(T) bool) (n int) {
	for _, x := range all {
		if counts(x) {
			n++
		}
	}
	return n
}

// GetSchedule returns a schedule, or [ErrNoSchedule].
func (e *Engine) GetSchedule(ctx context.Context, name string) (*Schedule, error) {
	var found []Schedule
	if clean(name) { // else no store can have it
		var err error
		if found, err = e.store.Schedules(ctx, ScheduleQuery{Names: []string{name}}); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: %q", ErrNoSchedule, shorten(name))
	}
	return &found[0], nil
}

// Schedules returns one page of the schedules, by name.
func (e *Engine) Schedules(ctx context.Context, q ScheduleQuery) ([]Schedule, error) {
	if q.Limit < 0 || q.Limit > MaxPage {
		return nil, fmt.Errorf("%w limit %d: use 1 to %d", ErrInvalid, q.Limit, MaxPage)
	}
	q.After = cut(q.After, MaxScheduleName)
	match, limit := q.Match, cmp.Or(q.Limit, 100)
	if q.Match = nil; match == nil {
		return e.store.Schedules(ctx, q)
	}
	var found []Schedule
	q.Limit = MaxPage
	for {
		page, err := e.store.Schedules(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if match(&page[i]) {
				found = append(found, page[i])
			}
			if len(found) == limit && q.Names == nil {
				return found, nil
			}
		}
		if len(page) < MaxPage || q.Names != nil {
			return found, nil
		}
		q.After = page[len(page)-1].Name
	}
}

// LateBy returns how long ago the nominal time to come has come: nobody has made its job yet. 0 if it has not come, or the schedule is paused.
func (s *Schedule) LateBy(now time.Time) time.Duration {
	if s.Next.IsZero() || !s.Paused.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.Next))
}

// Specs returns the specs that have a name, see [Config].Specs.
func (e *Engine) Specs() map[string]string { return maps.Clone(e.config.Specs) }

// FiringsOf returns up to limit of the latest firings of each of some schedules: by name, the newest first.
func (e *Engine) FiringsOf(ctx context.Context, names []string, limit int) ([]Firing, error) {
	if limit < 1 || limit > MaxFirings {
		return nil, fmt.Errorf("%w limit %d: use 1 to %d", ErrInvalid, limit, MaxFirings)
	}
	return e.store.Firings(ctx, names, limit)
}

// newSchedule makes a checked schedule that is not stored.
func (e *Engine) newSchedule(name, spec string, job NewJob, plan *Plan) (*Schedule, error) {
	s := &Schedule{Name: name}
	if plan != nil {
		s.Plan = *plan
	}
	s.Spec = spec
	var j Job
	err := e.build(&j, &job)
	if err == nil {
		s.Job, err = templateOf(&j)
	}
	if err == nil {
		s.Resolved, err = resolve(spec, e.config.Specs)
	}
	if err == nil {
		err = s.check()
	}
	if err == nil {
		made := s.job(j.Created, j.Created, nil) // with what is added to the template's tags and metadata
		made.ID = j.ID
		err = made.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", shorten(name), err)
	}
	return s, nil
}

// errSame says that nothing is to be changed.
var errSame = errors.New("the same")

// changeSchedule reads a schedule, edits it and writes it, again and again while others are faster. One that is not there is made if so asked.
func (e *Engine) changeSchedule(ctx context.Context, name string, create bool, edit func(*Schedule, time.Time) error) (*Schedule, error) {
	e.ask(ctx)
	for {
		s, err := e.GetSchedule(ctx, name)
		now := timestamp(e.Now())
		if create && errors.Is(err, ErrNoSchedule) {
			s, err = &Schedule{Name: name, Created: now}, nil
		}
		if err != nil {
			return nil, err
		}
		was := s.Version
		if err := edit(s, now); err != nil {
			if errors.Is(err, errSame) {
				return s, nil
			}
			return nil, err
		}
		if s.Version++; was == 0 {
			s.Version = now.UnixMicro() // one of this name that was deleted had another
		}
		done, err := e.swapSchedules(ctx, []ScheduleChange{{Schedule: *s, Was: was}})
		if err != nil {
			return nil, err
		}
		if done[0] == Written {
			return s, nil
		}
		sleep(ctx, jitter(staleFor))
	}
}

// staleFor is how long to wait for somebody else's change of a schedule, before it is read again.
const staleFor = 10 * time.Millisecond

// edit takes over a plan.
func (s *Schedule) edit(from *Schedule, now time.Time) error {
	same := s.Version > 0 && s.sameTiming(from)
	if s.Plan, s.Resolved = from.Plan, from.Resolved; same {
		return nil
	}
	return s.begin(now)
}

func (s *Schedule) by(ctx context.Context, reason string, now time.Time) {
	actor, _ := ctx.Value(actorKey{}).(string)
	s.Actor, s.Reason, s.Changed = cut(actor, MaxName), cut(reason, MaxReason), now
}

// begin has the schedule go on from now. It fails if the spec cannot be read here, unless the schedule is paused.
func (s *Schedule) begin(now time.Time) error {
	s.Next, s.Wake = time.Time{}, time.Time{}
	if !s.Paused.IsZero() {
		return nil
	}
	x, err := s.timing()
	switch {
	case err != nil || x.reboot:
		return err
	case x.after > 0 && s.Last != uuid.Nil: // it may not have ended
		s.Wake = now
		return nil
	case x.after > 0:
		s.Next = s.within(later(now, s.Start).Add(x.after))
	default:
		s.Next = s.within(x.next(s, now))
	}
	s.Wake = s.Next
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (e *Engine) swapSchedulesQuietly(ctx context.Context, changes []ScheduleChange) ([]Swapped, error) {
	start := e.callStarts()
	done, err := e.store.SwapSchedules(ctx, changes)
	e.called("SwapSchedules", len(changes), start, err)
	return done, err
}

// swapSchedules writes schedules that somebody has changed, and has the worker look at them.
func (e *Engine) swapSchedules(ctx context.Context, changes []ScheduleChange) ([]Swapped, error) {
	done, err := e.swapSchedulesQuietly(ctx, changes)
	if slices.Contains(done, Written) {
		e.worker.lookAtSchedules()
	}
	return done, err
}
