package cron

import (
	"iter"
	"math"
	"time"
)

// Schedule says when something is to happen, to the second. It does not change: any number of goroutines may use it.
type Schedule struct {
	spec  string
	zone  *time.Location
	every time.Duration // of @every; what follows is empty then

	second, minute, hour, month uint64    // bit n: n
	years                       [4]uint64 // bit n: firstYear+n
	days                        days
	wild                        bool // goes by real time where clocks are changed
}

// String returns the spec as it was given.
func (s *Schedule) String() string { return s.spec }

// Location returns the time zone by which the schedule goes, and in which it gives times.
func (s *Schedule) Location() *time.Location { return s.zone }

// Interval returns the duration of @every, and whether the spec is that.
func (s *Schedule) Interval() (d time.Duration, ok bool) { return s.every, s.every > 0 }

// Next returns the first time of the schedule after a time, or the zero time if there is none.
//
// For @every it is the interval after the given time, fractions of a second cut off: a scheduler that asks from
// the last planned time on, not from now, keeps the rhythm.
func (s *Schedule) Next(after time.Time) time.Time {
	if s.every > 0 {
		return s.time(max(after.Unix(), 0) + int64(s.every/time.Second))
	}
	return s.time(s.next(max(after.Unix(), begin-1) + 1))
}

// Prev returns the last time of the schedule before a time, or the zero time if there is none.
//
// For @every it is the interval before the given time, fractions of a second rounded up.
func (s *Schedule) Prev(before time.Time) time.Time {
	t := min(before.Unix(), end-1)
	if before.Nanosecond() > 0 {
		t++
	}
	if s.every > 0 {
		if t -= int64(s.every / time.Second); t < 0 {
			return time.Time{}
		}
		return s.time(t)
	}
	return s.time(s.prev(t - 1))
}

// All returns the times of the schedule after a time, in order.
func (s *Schedule) All(after time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for t := s.Next(after); !t.IsZero() && yield(t); t = s.Next(t) {
		}
	}
}

// The search goes over the instants from begin to before end, in Unix seconds.
var (
	begin = time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - reach
	end   = time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix() + reach
)

const (
	day      = 24 * 60 * 60 // in seconds, like what follows
	maxShift = 3 * 60 * 60  // a clock that is changed by so much or more is corrected
	reach    = 2 * day      // no clock is changed by so much, nor is so far from UTC
	never    = math.MaxInt64 / 2
)

// time returns what a search has found.
func (s *Schedule) time(t int64) time.Time {
	if t < begin || t >= end {
		return time.Time{}
	}
	return time.Unix(t, 0).In(s.zone)
}

// next returns the first time from t on, or never.
func (s *Schedule) next(t int64) int64 {
	for t < end {
		offset, first := s.offset(t), t
		if !s.wild && s.offset(t-maxShift) != offset {
			start := s.start(t)
			shift := s.shift(start)
			if t == start && s.skipped(start, shift) {
				return t
			}
			first = max(t, start-min(shift, 0)) // before that, the clock repeats what it has shown
		}
		wall := s.seek(first+offset, +1)
		_, stop := s.stretch(t)
		if wall-offset < stop {
			return wall - offset
		}
		if t = stop; t-first > reach {
			t = max(t, wall-reach) // no clock shows what matches until then
		}
	}
	return never
}

// prev returns the last time up to t, or -never.
func (s *Schedule) prev(t int64) int64 {
	for t >= begin {
		offset, start := s.offset(t), s.start(t)
		wall := s.seek(t+offset, -1)
		if wall-offset >= start+maxShift {
			return wall - offset
		}
		shift := s.shift(start)
		if wall-offset >= start-min(shift, 0) {
			return wall - offset
		}
		if s.skipped(start, shift) {
			return start
		}
		last := t
		if t = start - 1; last-t > reach {
			t = min(t, wall+reach)
		}
	}
	return -never
}

// offset returns how far the clock is from UTC.
func (s *Schedule) offset(t int64) int64 {
	_, offset := time.Unix(t, 0).In(s.zone).Zone()
	return int64(offset)
}

// stretch returns the bounds of a time around t. The clock is not changed from t until stop, but stop and start need not be changes:
// where a zone goes by a rule, [time.Time.ZoneBounds] also stops at the end of each year (of leap years, a day too soon), and
// start is the last change of the rule, even if the zone was changed after that, and only then began to go by the rule.
func (s *Schedule) stretch(t int64) (start, stop int64) {
	from, to := time.Unix(t, 0).In(s.zone).ZoneBounds()
	start, stop = begin-1, end
	if !from.IsZero() {
		start = max(start, from.Unix())
	}
	if !to.IsZero() {
		stop = min(stop, to.Unix())
	}
	if stop <= t { // the last day of a leap year
		stop = t + day - t%day
	}
	return start, stop
}

// start returns the start of a time around t, with no change between them.
func (s *Schedule) start(t int64) int64 {
	start, _ := s.stretch(t)
	for {
		_, stop := s.stretch(start)
		if stop > t {
			return start
		}
		start = stop
	}
}

// shift returns by how many seconds the clock is put forward at an instant, less than 0 if it is put back;
// and 0 if the schedule does not mind.
func (s *Schedule) shift(t int64) int64 {
	if s.wild || t < begin {
		return 0
	}
	shift := s.offset(t) - s.offset(t-1)
	if shift <= -maxShift || shift >= maxShift {
		return 0
	}
	return shift
}

// skipped reports whether the clock, put forward at an instant, passes over a time of the schedule.
func (s *Schedule) skipped(t, shift int64) bool {
	wall := t + s.offset(t)
	return shift > 0 && s.seek(wall-shift, +1) < wall
}
