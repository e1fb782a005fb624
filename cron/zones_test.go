package cron

import (
	"archive/zip"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var everyTransition = flag.Bool("transitions", false, "check every change of every clock from 1970 to 2100 (some minutes), not one of each sort from 2000 to 2037")

// civil is what a clock and a calendar show.
type civil struct {
	year              int
	month             time.Month
	day, last         int // of the month
	weekday           time.Weekday
	hour, min, second int
}

func civilOf(wall int64) civil {
	w := time.Unix(wall, 0).UTC()
	return civil{
		w.Year(), w.Month(), w.Day(), time.Date(w.Year(), w.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day(), w.Weekday(),
		w.Hour(), w.Minute(), w.Second(),
	}
}

// meaning is what a spec means, said without the package.
type meaning struct {
	spec  string
	wild  bool
	match func(c *civil) bool
}

// minutely are specs that fire at second 0.
var minutely = []meaning{
	// Fixed times.
	{"30 2 * * *", false, func(c *civil) bool { return c.hour == 2 && c.min == 30 }},
	{"0 0 * * *", false, func(c *civil) bool { return c.hour == 0 && c.min == 0 }},
	{"@daily", false, func(c *civil) bool { return c.hour == 0 && c.min == 0 }},
	{"15 1 * * *", false, func(c *civil) bool { return c.hour == 1 && c.min == 15 }},
	{"0 3 * * *", false, func(c *civil) bool { return c.hour == 3 && c.min == 0 }},
	{"59 23 * * *", false, func(c *civil) bool { return c.hour == 23 && c.min == 59 }},
	{"0,15,30,45 1,2,3 * * *", false, func(c *civil) bool { return c.hour >= 1 && c.hour <= 3 && c.min%15 == 0 }},
	{"0-59 0-4 * * *", false, func(c *civil) bool { return c.hour <= 4 }},
	{"0-59/20 0-23 * * *", false, func(c *civil) bool { return c.min%20 == 0 }},
	{"5/10 0 * * *", false, func(c *civil) bool { return c.hour == 0 && c.min%10 == 5 }},
	{"30 2 * * SUN", false, func(c *civil) bool { return c.hour == 2 && c.min == 30 && c.weekday == 0 }},
	{"30 1,2 8-14 3,11 ?", false, func(c *civil) bool {
		return (c.hour == 1 || c.hour == 2) && c.min == 30 && c.day >= 8 && c.day <= 14 && (c.month == 3 || c.month == 11)
	}},
	{"0 0 L * *", false, func(c *civil) bool { return c.hour == 0 && c.min == 0 && c.day == c.last }},
	{"30 0 1 * *", false, func(c *civil) bool { return c.hour == 0 && c.min == 30 && c.day == 1 }},
	{"30 23 L-1 * *", false, func(c *civil) bool { return c.hour == 23 && c.min == 30 && c.day == c.last-1 }},
	{"0 2 ? * 7L", false, func(c *civil) bool { return c.hour == 2 && c.min == 0 && c.weekday == 0 && c.day > c.last-7 }},
	{"0 2 ? * SUN#2", false, func(c *civil) bool {
		return c.hour == 2 && c.min == 0 && c.weekday == 0 && c.day > 7 && c.day <= 14
	}},
	{"45 0-2 ? * FRIL,SAT#5", false, func(c *civil) bool {
		return c.hour <= 2 && c.min == 45 && (c.weekday == 5 && c.day > c.last-7 || c.weekday == 6 && c.day > 28)
	}},
	{"0 2 LW * ?", false, func(c *civil) bool {
		lastWeekday := c.last
		switch (int(c.weekday) + c.last - c.day) % 7 {
		case 0:
			lastWeekday -= 2
		case 6:
			lastWeekday--
		}
		return c.hour == 2 && c.min == 0 && c.day == lastWeekday
	}},
	{"30 0 15W * ?", false, func(c *civil) bool {
		day := 15
		switch ((int(c.weekday)+15-c.day)%7 + 7) % 7 {
		case 0:
			day++
		case 6:
			day--
		}
		return c.hour == 0 && c.min == 30 && c.day == day
	}},
	{"0 1,2 13 * SUN", false, func(c *civil) bool {
		return (c.hour == 1 || c.hour == 2) && c.min == 0 && (c.day == 13 || c.weekday == 0)
	}},
	{"0 1,2 */2 * SUN", false, func(c *civil) bool {
		return (c.hour == 1 || c.hour == 2) && c.min == 0 && c.day%2 == 1 && c.weekday == 0
	}},
	{"10 2 29-31 3,10 *", false, func(c *civil) bool {
		return c.hour == 2 && c.min == 10 && c.day >= 29 && (c.month == 3 || c.month == 10)
	}},
	{"0 20 2 ? * SAT-MON 2007-2011", false, func(c *civil) bool {
		return c.hour == 2 && c.min == 20 && (c.weekday == 6 || c.weekday <= 1) && c.year >= 2007 && c.year <= 2011
	}},
	{"0 0 12 30 12 ? 2011", false, func(c *civil) bool {
		return c.hour == 12 && c.min == 0 && c.day == 30 && c.month == 12 && c.year == 2011
	}},

	// By real time.
	{"* * * * *", true, func(*civil) bool { return true }},
	{"@hourly", true, func(c *civil) bool { return c.min == 0 }},
	{"*/15 * * * *", true, func(c *civil) bool { return c.min%15 == 0 }},
	{"30 * * * *", true, func(c *civil) bool { return c.min == 30 }},
	{"0 */2 * * *", true, func(c *civil) bool { return c.min == 0 && c.hour%2 == 0 }},
	{"*/20 0-2 * * *", true, func(c *civil) bool { return c.min%20 == 0 && c.hour <= 2 }},
	{"*/30 2 * * SUN", true, func(c *civil) bool { return c.min%30 == 0 && c.hour == 2 && c.weekday == 0 }},
	{"45 * L * *", true, func(c *civil) bool { return c.min == 45 && c.day == c.last }},
	{"0 * * MAR,OCT SUNL", true, func(c *civil) bool {
		return c.min == 0 && (c.month == 3 || c.month == 10) && c.weekday == 0 && c.day > c.last-7
	}},
	{"* * 1 * ?", true, func(c *civil) bool { return c.day == 1 }},
}

// secondly are specs of seconds.
var secondly = []meaning{
	{"15,45 0,30 0-3 * * *", false, func(c *civil) bool { return c.hour <= 3 && c.min%30 == 0 && c.second%30 == 15 }},
	{"59 59 23,0-2 * * *", false, func(c *civil) bool { return (c.hour == 23 || c.hour <= 2) && c.min == 59 && c.second == 59 }},
	{"*/20 30 0-2 * * *", true, func(c *civil) bool { return c.hour <= 2 && c.min == 30 && c.second%20 == 0 }},
	{"10 */20 0-3 * * *", true, func(c *civil) bool { return c.hour <= 3 && c.min%20 == 0 && c.second == 10 }},
}

// tick is an instant of a scan, and what the clock shows.
type tick struct {
	t       int64
	now     civil
	repeat  bool    // the clock has been put back by less than three hours and has shown this before
	skipped []civil // what it has not shown, having just been put forward by less than three hours
}

// scanTicks goes over the seconds, or minutes, of a time, and notes what a clock shows, as the package comment tells it.
func scanTicks(zone *time.Location, from, to, step int64) []tick {
	const three = 3 * 60 * 60
	ticks := make([]tick, 0, (to-from+three)/step+1)
	walls := make([]int64, 0, cap(ticks))
	back := 0 // what the clock had shown before it was put back
	for t := from - three; t < to; t += step {
		_, offset := time.Unix(t, 0).In(zone).Zone()
		wall := t + int64(offset)
		k := tick{t: t, now: civilOf(wall)}
		if n := len(walls); n > 0 {
			if wall < walls[n-1] {
				back = n
			}
			at, seen := slices.BinarySearch(walls[:back], wall)
			k.repeat = seen && int64(n-at)*step < three
			if jump := wall - walls[n-1] - step; jump > 0 && jump < three {
				for w := walls[n-1] + step; w < wall; w += step {
					k.skipped = append(k.skipped, civilOf(w))
				}
			}
		}
		ticks, walls = append(ticks, k), append(walls, wall)
	}
	return ticks[three/step:]
}

// fires returns the instants that the rules give, by looking at each tick.
func (m *meaning) fires(ticks []tick) (list []int64) {
	for i := range ticks {
		k := &ticks[i]
		fire := m.match(&k.now) && (m.wild || !k.repeat)
		for j := 0; !m.wild && !fire && j < len(k.skipped); j++ {
			fire = m.match(&k.skipped[j])
		}
		if fire {
			list = append(list, k.t)
		}
	}
	return list
}

// zones reads the time zone database that comes with Go.
func zones(t *testing.T) map[string]*time.Location {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	all := map[string]*time.Location{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			continue // a directory
		}
		if all[f.Name], err = time.LoadLocationFromTZData(f.Name, data); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// transitions finds the instants at which a zone's offset changes, by halving.
func transitions(zone *time.Location, from, to time.Time) (list []int64) {
	offset := func(t int64) int {
		_, o := time.Unix(t, 0).In(zone).Zone()
		return o
	}
	for t := from.Unix(); t < to.Unix(); t += 86400 {
		if offset(t) == offset(t+86400) {
			continue
		}
		low, high := t, t+86400
		for high-low > 1 {
			if mid := (low + high) / 2; offset(mid) == offset(low) {
				low = mid
			} else {
				high = mid
			}
		}
		list = append(list, high)
	}
	return list
}

// TestEveryZone checks what happens where clocks are changed, for every zone: changes at which the clocks show the same before and
// after, in the same month, are of one sort, and one of each sort is checked; with -transitions all changes that differ in
// anything are. No zone in the database is changed twice in less than six days, so what is around a change is the same, too.
func TestEveryZone(t *testing.T) {
	from, to, sort := 2000, 2037, "01 15:04:05 -07:00:00 "
	if *everyTransition {
		from, to, sort = 1970, 2100, "2006-01-02 15:04:05 -07:00:00 "
	}
	if testing.Short() {
		to = 2000
	}
	all, seen := zones(t), map[string]bool{}
	found, lists, times := 0, 0, 0
	for name, zone := range all {
		last := int64(0)
		for _, at := range transitions(zone, time.Date(from, 1, 3, 0, 0, 0, 0, time.UTC), time.Date(to, 12, 31, 0, 0, 0, 0, time.UTC)) {
			found++
			if at-last < 6*day {
				t.Fatalf("the clocks of %s were changed twice in %d seconds", name, at-last)
			}
			last = at
			before, after := time.Unix(at-1, 0).In(zone), time.Unix(at, 0).In(zone)
			key := before.Format(sort) + after.Format(sort)
			if seen[key] {
				continue
			}
			seen[key] = true
			n, f := checkTransition(t, zone, at)
			if lists, times = lists+n, times+f; t.Failed() {
				t.Fatalf("in %s, %s -> %s", name, before, after)
			}
		}
	}
	t.Logf("%d zones, %d changes of a clock in %d-%d, of %d sorts; %d specs each; %d lists of %d times in all compared, forward and backward",
		len(all), found, from, to, len(seen), len(minutely)+len(secondly), lists, times)
}

// checkTransition compares the package with the scan for all specs.
func checkTransition(t *testing.T, zone *time.Location, at int64) (lists, times int) {
	step := int64(60)
	if _, offset := time.Unix(at-1, 0).In(zone).Zone(); offset%60 != 0 {
		step = 1
	}
	check := func(specs []meaning, ticks []tick) {
		for _, m := range specs {
			s, err := Parse(m.spec, In(zone))
			if err != nil {
				t.Fatal(err)
			}
			if match := m.match; ticks[1].t-ticks[0].t < 60 && strings.Count(m.spec, " ") < 5 {
				m.match = func(c *civil) bool { return c.second == 0 && match(c) }
			}
			want := m.fires(ticks)
			compare(t, s, want, ticks[0].t, ticks[len(ticks)-1].t)
			lists, times = lists+1, times+len(want)
		}
	}
	check(minutely, scanTicks(zone, at-2*86400, at+2*86400, step))
	check(secondly, scanTicks(zone, at-3*3600, at+3*3600, 1))
	return lists, times
}

// compare checks that the times of a schedule between two instants are these, forward and backward.
func compare(t *testing.T, s *Schedule, want []int64, from, to int64) {
	t.Helper()
	var got []int64
	for n := range s.All(time.Unix(from, -1)) {
		if n.Unix() > to {
			break
		}
		got = append(got, n.Unix())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s in %s: forward %s, want %s", s, s.Location(), stamps(s, got), stamps(s, want))
	}
	got = nil
	for p := s.Prev(time.Unix(to, 1)); !p.IsZero() && p.Unix() >= from; p = s.Prev(p) {
		got = append(got, p.Unix())
	}
	if slices.Reverse(got); !slices.Equal(got, want) {
		t.Errorf("%s in %s: backward %s, want %s", s, s.Location(), stamps(s, got), stamps(s, want))
	}
	for at := from; at < to; at += 7919 { // from elsewhere
		i, found := slices.BinarySearch(want, at)
		if i > 0 && s.Prev(time.Unix(at, 0)).Unix() != want[i-1] {
			t.Errorf("%s in %s: Prev(%s) is %s, want %s", s, s.Location(), stamps(s, []int64{at}), s.Prev(time.Unix(at, 0)), stamps(s, want[i-1:i]))
		}
		if found {
			i++
		}
		if i < len(want) && s.Next(time.Unix(at, 0)).Unix() != want[i] {
			t.Errorf("%s in %s: Next(%s) is %s, want %s", s, s.Location(), stamps(s, []int64{at}), s.Next(time.Unix(at, 0)), stamps(s, want[i:i+1]))
		}
	}
}

func stamps(s *Schedule, list []int64) string {
	var b strings.Builder
	for i, t := range list {
		if i == 40 {
			return fmt.Sprintf("%s and %d more", b.String(), len(list)-i)
		}
		b.WriteString(time.Unix(t, 0).In(s.Location()).Format("2006-01-02 15:04:05 -07:00; "))
	}
	return b.String()
}
