package errand

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// This file decides what a schedule does: pure functions of the schedule, the time, and the job it made last.

const (
	maxFired  = MaxFirings             // nominal times dealt with at once
	maxCount  = 100_000                // missed nominal times of a cron expression that are counted
	afterLook = 10 * time.Second       // how often, at least, it is looked whether the job that @after waits for has ended
	nominalMS = uint64(0xFFFFFFFFFFFF) // the bits of milliseconds in a UUID
)

// fired is what a schedule that was looked at does.
type fired struct {
	s       Schedule // as it becomes
	jobs    []Job    // to insert
	firings []Firing
	cancel  []ID  // to be cancelled first
	last    *Job  // the job made last, see Engine.lastOf
	err     error // why its spec cannot be read here
	now     time.Time
}

// fire looks at a schedule at now. Last is the job it made last, nil if that is gone.
func (s *Schedule) fire(now time.Time, last *Job) *fired {
	f := &fired{s: *s, last: last, now: timestamp(now)}
	x, err := s.timing()
	switch {
	case !s.Paused.IsZero() || x.reboot:
		f.s.Wake = time.Time{}
	case err != nil: // a process of another version may know better: it gets its turn
		f.s.Wake, f.err = f.now.Add(afterLook), err
	case x.after > 0:
		f.fireAfter(x.after)
	default:
		f.fireAt(&x)
	}
	return f
}

// fireAfter serves @after: the next nominal time is known once the last job has ended. It is looked for at most
// as long after a job was made as the interval is, so it is never found too late.
func (f *fired) fireAfter(interval time.Duration) {
	s := &f.s
	again := f.now.Add(min(interval, afterLook))
	if f.last != nil && !f.last.State.Ended() { // perhaps it is retried
		s.Next, s.Wake = time.Time{}, again
		return
	}
	if s.Next.IsZero() {
		from := f.now
		if f.last != nil {
			from = later(f.last.Ended, s.Changed) // it was paused, or edited, since
		}
		if s.Next = s.within(later(from, s.Start).Add(interval)); s.Next.IsZero() {
			s.Wake = time.Time{}
			return
		}
	}
	if s.Wake = s.Next; s.Next.After(f.now) {
		return
	}
	f.make(s.Next, nil)
	s.Prev, s.Next, s.Wake = s.Next, time.Time{}, again
}

// fireAt serves the nominal times that have come: first those that were missed, then those in time, the oldest first.
func (f *fired) fireAt(x *timing) {
	s := &f.s
	cutoff := f.now.Add(-s.grace()) // what is before was missed
	if !s.Next.IsZero() && s.Next.Before(cutoff) {
		f.missed(x, cutoff)
	}
	for n := 0; n < maxFired && f.isDue(); n++ {
		if f.advance(x); s.Overlap == OverlapCancel && f.isDue() {
			f.skip(s.Prev) // the next one would cancel it at once
			continue
		}
		f.overlap(s.Prev)
	}
	s.Wake = s.Next
}

// isDue reports whether the next nominal time has come.
func (f *fired) isDue() bool { return !f.s.Next.IsZero() && !f.s.Next.After(f.now) }

func (s *Schedule) grace() time.Duration {
	if s.Grace == 0 {
		return time.Minute
	}
	return s.Grace
}

func (f *fired) advance(x *timing) {
	f.s.Prev, f.s.Next = f.s.Next, f.s.within(x.next(&f.s, f.s.Next))
}

// missed deals with the nominal times from Next to before cutoff.
func (f *fired) missed(x *timing, cutoff time.Time) {
	s := &f.s
	count, from := int64(0), s.Next
	if x.every > 0 {
		until := cutoff.Add(-time.Microsecond)
		if !s.End.IsZero() && s.End.Before(cutoff) {
			until = s.End.Add(-time.Microsecond)
		}
		count = int64(until.Sub(from)/x.every) + 1
		s.Prev = from.Add(time.Duration(count-1) * x.every)
		s.Next = s.within(x.next(s, s.Prev))
	} else {
		for ; count < maxCount && !s.Next.IsZero() && s.Next.Before(cutoff); count++ {
			f.advance(x)
		}
		if s.Next.Before(cutoff) && !s.Next.IsZero() { // there are more than anybody counts
			s.Prev = x.prev(s, cutoff.Add(-time.Microsecond))
			s.Next = s.within(x.next(s, s.Prev))
		}
	}
	var made []time.Time // the oldest first
	switch {
	case s.Misfire == MisfireOnce && !f.isDue():
		made = []time.Time{s.Prev}
	case s.Misfire == MisfireCatchUp:
		limit := s.CatchUp
		if limit == 0 {
			limit = MaxFirings
		}
		for n := s.Prev; len(made) < limit && !n.Before(from) && (s.Window == 0 || !n.Before(f.now.Add(-s.Window))); n = x.prev(s, n.Add(-time.Microsecond)) {
			made = append(made, n)
		}
		slices.Reverse(made)
	}
	if count -= int64(len(made)); count > 0 {
		nominal := s.Prev
		if len(made) > 0 {
			nominal = x.prev(s, made[0].Add(-time.Microsecond))
		}
		s.Missed += count
		f.note(Firing{Nominal: nominal, Outcome: OutcomeMissed, Missed: count})
	}
	for _, n := range made {
		if s.Misfire == MisfireOnce {
			f.overlap(n)
			continue
		}
		f.make(n, f.behind())
	}
}

// behind returns what a job must wait for so that it runs after the last one.
func (f *fired) behind() []ID {
	if f.s.Overlap == OverlapAllow || f.last == nil || f.last.State.Ended() {
		return nil
	}
	return []ID{f.last.ID}
}

// overlap makes the job of a nominal time, or not, as Plan.Overlap says.
func (f *fired) overlap(nominal time.Time) {
	s, after := &f.s, f.behind()
	if len(after) > 0 {
		waiting := f.last.State == Waiting
		switch {
		case s.Overlap == OverlapSkip, s.Overlap == OverlapQueueOne && waiting:
			f.skip(nominal)
			return
		case s.Overlap == OverlapCancel && len(f.jobs) == 0: // else it is being made up for
			if f.cancel = []ID{f.last.ID}; waiting { // it never runs: wait for the same as it does
				after = f.last.After
			}
		}
	}
	f.make(nominal, after)
}

func (f *fired) skip(nominal time.Time) {
	f.s.Skipped++
	f.note(Firing{Nominal: nominal, Outcome: OutcomeSkipped})
}

// make makes the job of a nominal time.
func (f *fired) make(nominal time.Time, after []ID) {
	s := &f.s
	j := s.job(nominal, f.now, after)
	j.ID = nominalID(s.Name, nominal)
	j.Due = nominal.Add(s.jitter(nominal))
	j.begin(f.now)
	f.add(j)
	s.Made++
	s.Late = max(f.now.Sub(nominal), 0)
	f.note(Firing{Nominal: nominal, Outcome: OutcomeMade, Job: j.ID})
}

func (f *fired) add(j Job) {
	f.jobs = append(f.jobs, j)
	if f.s.Last, f.s.Before = j.ID, uuid.Nil; len(j.After) > 0 {
		f.s.Before = j.After[0]
	}
	f.last = &f.jobs[len(f.jobs)-1]
}

func (f *fired) note(x Firing) {
	f.s.Firings++
	x.Schedule, x.Seq, x.At = f.s.Name, f.s.Firings, f.now
	f.firings = append(f.firings, x)
}

// job makes a job of the template, without an ID.
func (s *Schedule) job(nominal, now time.Time, after []ID) Job {
	t := &s.Job
	j := Job{
		Kind: t.Kind, Queue: t.Queue, Args: t.Args, Priority: t.Priority, MaxAttempts: t.MaxAttempts, MaxCrashes: t.MaxCrashes,
		Timeout: t.Timeout, Retention: t.Retention, OnFailure: RunAfter, After: after, Blocked: len(after),
		Created: now, Version: 1, Due: nominal,
	}
	j.Tags = append(slices.Clone(t.Tags), ScheduleTag(s.Name))
	j.Metadata = map[string]string{}
	maps.Copy(j.Metadata, t.Metadata)
	j.Metadata[MetaSchedule], j.Metadata[MetaNominal] = s.Name, nominal.Format(time.RFC3339Nano)
	j.begin(now)
	return j
}

// begin puts a new job into its first state.
func (j *Job) begin(now time.Time) {
	if j.Due.Before(now) {
		j.Due = now
	}
	j.enter(now)
}

// jitter is by how much later than its nominal time a job is due.
func (s *Schedule) jitter(nominal time.Time) time.Duration {
	if s.Jitter < time.Microsecond {
		return 0
	}
	id := nominalID(s.Name, nominal)
	return time.Duration(binary.BigEndian.Uint64(id[8:])<<2%uint64(s.Jitter)) / 1000 * 1000
}

// nominalID is the ID of the job of a nominal time: a UUID of version 7 of that time, whose other bits are a hash of it and of the
// schedule's name (FNV-1a), so that whoever makes the job makes the same.
func nominalID(name string, nominal time.Time) (id ID) {
	h := fnv.New128a()
	_ = binary.Write(h, binary.BigEndian, nominal.UnixMicro())
	_, _ = h.Write([]byte(name))
	copy(id[:], h.Sum(nil))
	ms := uint64(max(nominal.UnixMilli(), 0)) & nominalMS
	first := ms<<16 | 7<<12 | uint64(binary.BigEndian.Uint16(id[6:]))&0x0FFF
	binary.BigEndian.PutUint64(id[:], first)
	id[8] = id[8]&0x3F | 0x80
	return id
}
