package cron

import (
	"math/bits"
	"time"
)

// days are the days on which a schedule fires.
type days struct {
	dom     uint64    // bit n: day n of the month
	fromEnd uint64    // bit n: the day n days before the last of the month
	nearest uint64    // bit n: the weekday nearest to day n of the month; bit 0: to the last
	dow     uint64    // bit n: weekday n, Sunday being 0
	nth     [6]uint64 // [n] bit d: the n-th weekday d of the month; [0]: the last
	both    bool      // the day must match as day of the month and as day of the week; else one of them will do
}

// What a field has that leaves no day out.
const (
	everyDom = 1<<32 - 2
	everyDow = 1<<7 - 1
)

// in returns the days of a month: bit n for day n.
func (d *days) in(year int, month time.Month) uint64 {
	first := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	weekday, last := int(first.Weekday()), daysIn(year, month)
	all := uint64(1)<<(last+1) - 2

	dom := d.dom
	for set := d.fromEnd; set != 0; set &= set - 1 {
		if n := bits.TrailingZeros64(set); n < last {
			dom |= 1 << (last - n)
		}
	}
	for set := d.nearest; set != 0; set &= set - 1 {
		n := bits.TrailingZeros64(set)
		if n == 0 {
			n = last
		}
		if n <= last {
			dom |= 1 << nearest(n, (weekday+n-1)%7, last)
		}
	}

	dow := onDays(d.dow, weekday)
	if d.nth[0] != 0 {
		dow |= onDays(d.nth[0], weekday) & (all &^ (1<<(last-6) - 1))
	}
	for n := 1; n <= 5; n++ {
		if d.nth[n] != 0 {
			dow |= onDays(d.nth[n], weekday) & (0x7f << (7*n - 6))
		}
	}
	if d.both {
		return dom & dow & all
	}
	return (dom | dow) & all
}

// onDays turns a set of weekdays into a set of days of a month that begins with a weekday.
func onDays(weekdays uint64, first int) uint64 {
	const everySeventh = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28 | 1<<35
	return weekdays * everySeventh >> first << 1
}

// nearest returns the day from Monday to Friday that is nearest to a day, in the same month.
func nearest(day, weekday, last int) int {
	switch {
	case weekday == 6 && day == 1:
		return 3
	case weekday == 6:
		return day - 1
	case weekday == 0 && day == last:
		return day - 2
	case weekday == 0:
		return day + 1
	}
	return day
}

func daysIn(year int, month time.Month) int {
	if month == time.February && (year%4 != 0 || year%100 == 0 && year%400 != 0) {
		return 28
	}
	return [...]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month]
}
