package cron

import (
	"math/bits"
	"time"
)

// Here times are what a clock on the wall shows: seconds since 1970-01-01 00:00 by that clock.

// seek returns the first time that matches, from a time on and forward (dir 1) or backward (dir -1); or never, or -never.
func (s *Schedule) seek(wall int64, dir int) int64 {
	at := time.Unix(wall, 0).UTC()
	year, month, day := at.Date()
	if s.has(year, month) && s.days.in(year, month)>>day&1 != 0 {
		hour, minute, second := at.Clock()
		if hour, minute, second, ok := s.clock(hour, minute, second, dir); ok {
			return time.Date(year, month, day, hour, minute, second, 0, time.UTC).Unix()
		}
	}
	edge := edge(dir)
	for day += dir; firstYear-1 <= year && year <= lastYear+1; day = edge {
		if s.has(year, month) {
			if day := scan(s.days.in(year, month), day, dir); day >= 0 {
				hour, minute, second := scan(s.hour, edge, dir), scan(s.minute, edge, dir), scan(s.second, edge, dir)
				return time.Date(year, month, day, hour, minute, second, 0, time.UTC).Unix()
			}
		}
		switch month += time.Month(dir); {
		case month > time.December:
			year, month = year+1, time.January
		case month < time.January:
			year, month = year-1, time.December
		}
	}
	return never * int64(dir)
}

// clock returns the first time of a day that matches, from a time on.
func (s *Schedule) clock(hour, minute, second, dir int) (h, m, sec int, ok bool) {
	edge := edge(dir)
	if s.hour>>hour&1 != 0 {
		if s.minute>>minute&1 != 0 {
			if sec := scan(s.second, second, dir); sec >= 0 {
				return hour, minute, sec, true
			}
		}
		if m := scan(s.minute, minute+dir, dir); m >= 0 {
			return hour, m, scan(s.second, edge, dir), true
		}
	}
	h = scan(s.hour, hour+dir, dir)
	return h, scan(s.minute, edge, dir), scan(s.second, edge, dir), h >= 0
}

// has reports whether a month is one of the schedule's.
func (s *Schedule) has(year int, month time.Month) bool {
	n := year - firstYear
	return year >= firstYear && year <= lastYear && s.years[n/64]>>(n%64)&1 != 0 && s.month>>month&1 != 0
}

// scan returns the first bit of a set from bit i on, or -1.
func scan(set uint64, i, dir int) int {
	if dir < 0 {
		return bits.Len64(set&(1<<(i+1)-1)) - 1
	}
	if set &= ^uint64(0) << i; set == 0 {
		return -1
	}
	return bits.TrailingZeros64(set)
}

// edge is where a scan of a whole set begins.
func edge(dir int) int {
	if dir < 0 {
		return 63
	}
	return 0
}
