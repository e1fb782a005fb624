package errand

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
)

// This file has workers fire schedules: what fire.go decides is written here.

// swapFired writes what schedules do, and makes it known.
func (e *Engine) swapFired(ctx context.Context, all []*fired) ([]Swapped, error) {
	changes := make([]ScheduleChange, len(all))
	for i, f := range all {
		for _, id := range f.cancel { // before there is a job that waits for its end: a crash between the two does no harm
			_, err := e.Cancel(WithActor(ctx, ScheduleTag(f.s.Name)), id, "its schedule makes the next one")
			if state := (*StateError)(nil); err != nil && !errors.Is(err, ErrNotFound) && !errors.As(err, &state) {
				return nil, err
			}
		}
		was := f.s.Version
		f.s.Version++
		changes[i] = ScheduleChange{Schedule: f.s, Was: was, Jobs: f.jobs, Firings: f.firings}
	}
	done, err := e.swapSchedulesQuietly(ctx, changes)
	if err != nil {
		return nil, err
	}
	waits := false
	for i, f := range all {
		if done[i] != Written {
			continue
		}
		for k := range f.jobs {
			j := &f.jobs[k]
			waits = waits || j.State == Waiting
			e.worker.inserted(j)
			e.bus.publish("", j)
		}
		if e.config.Observer != nil {
			for _, x := range f.firings {
				e.config.Observer.Fired(x)
			}
		}
	}
	if waits {
		e.worker.unblock(ctx)
	}
	return done, nil
}

// lastOf reads the jobs that some schedules have made last, by their IDs, of those schedules to which they matter. In the place of one that will never
// run, as it was cancelled or deleted while it waited, is the one that it was to wait for, if that has not ended.
func (e *Engine) lastOf(ctx context.Context, all []Schedule) (map[ID]*Job, error) {
	var ids []ID
	matters := func(s *Schedule) bool {
		return s.Last != uuid.Nil && (s.Overlap != OverlapAllow || strings.HasPrefix(s.spec(), "@after"))
	}
	for i := range all {
		if matters(&all[i]) {
			ids = append(ids, all[i].Last)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	jobs, err := e.store.Get(ctx, ids)
	found := make(map[ID]*Job, len(jobs))
	for i := range jobs {
		found[jobs[i].ID] = &jobs[i]
	}
	for i := 0; i < len(all) && err == nil; i++ {
		if s := &all[i]; matters(s) {
			var before *Job
			if before, err = e.unended(ctx, found[s.Last], s.Before); before != nil {
				found[s.Last] = before
			}
		}
	}
	return found, err
}

// maxChain is how many jobs in a row are looked at which will never run.
const maxChain = 100

// unended returns what a job that will never run was to wait for, if that has not ended. If the job is gone it waited for before.
func (e *Engine) unended(ctx context.Context, last *Job, before ID) (*Job, error) {
	for range maxChain {
		if last != nil {
			if !last.State.Ended() {
				return last, nil
			}
			if last.Token > 0 || len(last.After) == 0 { // it has run
				return nil, nil
			}
			before = last.After[0]
		}
		if before == uuid.Nil {
			return nil, nil
		}
		found, err := e.store.Get(ctx, []ID{before})
		if err != nil || len(found) == 0 {
			return nil, err
		}
		last = &found[0]
	}
	return nil, nil
}

const (
	fireTogether  = 64 // schedules looked at together: the jobs of the first begin while the next are made
	fireJobs      = 2000
	fireAfterRace = 20 * time.Millisecond
)

// scheduleLoop fires schedules: whichever process does so first.
func (w *worker) scheduleLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wakeSchedules:
		case <-timer.C:
		}
		wait := jitter(w.e.config.Poll)
		next, err := w.fireDue(ctx)
		w.warn(ctx, "cannot fire schedules", err)
		if err == nil && !next.IsZero() {
			wait = min(wait, max(next.Sub(w.e.Now()), time.Millisecond))
		}
		timer.Reset(wait)
	}
}

// lookAtSchedules has the worker look which schedules are due.
func (w *worker) lookAtSchedules() {
	select {
	case w.wakeSchedules <- struct{}{}:
	default:
	}
}

// fireDue fires what is due, and returns when to look again; zero: when somebody says so.
func (w *worker) fireDue(ctx context.Context) (time.Time, error) {
	for {
		due, err := w.e.store.DueSchedules(ctx, fireTogether)
		if err != nil || len(due.Schedules) == 0 {
			return due.Next, err
		}
		written, err := w.fire(ctx, due.Schedules, due.Now)
		if err != nil {
			return time.Time{}, err
		}
		if written == 0 { // somebody else is at it
			return w.e.Now().Add(fireAfterRace + rand.N(fireAfterRace)), nil
		}
	}
}

// fire fires schedules, and returns how many of them nobody else has changed meanwhile.
func (w *worker) fire(ctx context.Context, due []Schedule, now time.Time) (written int, err error) {
	last, err := w.e.lastOf(ctx, due)
	if err != nil {
		return 0, err
	}
	var all []*fired
	jobs := 0
	write := func() error {
		done, err := w.e.swapFired(ctx, all)
		written += count(done, func(s Swapped) bool { return s == Written })
		all, jobs = nil, 0
		return err
	}
	for i := range due {
		f := due[i].fire(now, last[due[i].Last])
		if f.err != nil {
			w.warn(ctx, "cannot fire schedule "+f.s.Name, f.err)
		}
		all = append(all, f)
		if jobs += len(f.jobs); jobs >= fireJobs {
			if err := write(); err != nil {
				return written, err
			}
		}
	}
	if len(all) > 0 {
		err = write()
	}
	return written, err
}

// reboot fires the schedules of @reboot, as this worker has started. It tries again until it has.
func (w *worker) reboot(ctx context.Context) {
	at := timestamp(w.e.Now())
	for after := ""; ; {
		page, err := w.e.store.Schedules(ctx, ScheduleQuery{After: after, Limit: MaxPage})
		for i := range page {
			w.resolveAgain(ctx, &page[i])
			err = errors.Join(err, w.rebootOne(ctx, &page[i], at))
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.warn(ctx, "cannot fire the schedules of @reboot", err)
			sleep(ctx, jitter(w.e.config.Poll))
		case len(page) < MaxPage:
			return
		default:
			after = page[len(page)-1].Name
		}
	}
}

// rebootOne fires a schedule of @reboot for a start at that time, once however often it is called.
func (w *worker) rebootOne(ctx context.Context, s *Schedule, at time.Time) error {
	if x, _ := s.timing(); !x.reboot {
		return nil
	}
	_, err := w.e.fireOne(ctx, s.Name, func(f *fired) error {
		x, _ := f.s.timing()
		if !x.reboot || !f.s.Paused.IsZero() || at.Before(f.s.Start) || f.s.within(at).IsZero() || f.s.Last == nominalID(s.Name, at) {
			return errSame
		}
		f.s.Prev = later(f.s.Prev, at)
		f.overlap(at)
		return nil
	})
	if errors.Is(err, errSame) || errors.Is(err, ErrNoSchedule) {
		return nil
	}
	return err
}

// resolveAgain has a schedule whose spec is a name heed the present settings.
func (w *worker) resolveAgain(ctx context.Context, s *Schedule) {
	spec, err := resolve(s.Spec, w.e.config.Specs)
	if err != nil || spec == s.Resolved {
		return // this process does not know the name: another one did
	}
	found, err := w.e.changeSchedule(ctx, s.Name, false, func(s *Schedule, now time.Time) error {
		old := s.Resolved
		if s.Resolved = spec; spec == old {
			return errSame
		}
		if err := s.check(); err != nil {
			return err
		}
		return s.begin(now)
	})
	if w.warn(ctx, "cannot change a schedule to the spec that its name stands for now", err); err == nil {
		*s = *found
	}
}
