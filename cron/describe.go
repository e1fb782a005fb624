package cron

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Describe says in English when the schedule fires, such as "At 07:00, Monday to Friday, New York time".
// It does not tell what happens where clocks are changed.
func (s *Schedule) Describe() string {
	if s.every > 0 {
		return "Every " + spell(s.every)
	}
	parts := []string{s.timesText()}
	days := s.days.text()
	if days == "" && strings.HasPrefix(parts[0], "At ") && strings.Contains(parts[0], ":") {
		days = "every day"
	}
	if days != "" {
		parts = append(parts, days)
	}
	if months := members(s.month >> 1); len(months) < 12 {
		parts = append(parts, named("in ", months, 12, func(n int) string { return time.Month(n + 1).String() }))
	}
	if years := s.yearText(); years != "" {
		parts = append(parts, years)
	}
	return strings.Join(append(parts, zoneText(s.zone)), ", ")
}

// timesText is about the times of the day.
func (s *Schedule) timesText() string {
	seconds, minutes, hours := members(s.second), members(s.minute), members(s.hour)
	switch {
	case len(seconds) > 1:
		return secondsText(seconds, minutes, hours)
	case len(minutes) > 1:
		return minutesText(seconds[0], minutes, hours)
	}
	return hoursText(seconds[0], minutes[0], hours)
}

// hoursText is about one time in each of some hours.
func hoursText(second, minute int, hours []int) string {
	step, even := progression(hours)
	first, last := clock(hours[0], minute, second), clock(hours[len(hours)-1], minute, second)
	switch {
	case !even:
		return "At " + clocks(hours, []int{minute}, second)
	case minute == 0 && second == 0 && around(hours, 24):
		return every(step, "hour")
	case second == 0 && len(hours) == 24:
		return fmt.Sprintf("Every hour at minute %d", minute)
	}
	return fmt.Sprintf("%s from %s to %s", every(step, "hour"), first, last)
}

// minutesText is about one second in each of several minutes.
func minutesText(second int, minutes, hours []int) string {
	var text string
	first, last := minutes[0], minutes[len(minutes)-1]
	step, even := progression(minutes)
	switch {
	case !even && len(minutes)*len(hours) <= 4:
		return "At " + clocks(hours, minutes, second)
	case around(minutes, 60):
		text = every(minutes[1], "minute")
		switch {
		case len(hours) == 24:
		case adjacent(hours):
			text += fmt.Sprintf(" from %02d:00 to %02d:59", hours[0], hours[len(hours)-1])
		default:
			text += " of " + series("hour", hours)
		}
	case even && len(hours) == 1:
		text = fmt.Sprintf("%s from %02d:%02d to %02d:%02d", every(step, "minute"), hours[0], first, hours[0], last)
	case even:
		text = fmt.Sprintf("%s from minute %d to %d of %s", every(step, "minute"), first, last, scope("hour", hours, 24))
	default:
		text = fmt.Sprintf("At %s of %s", series("minute", minutes), scope("hour", hours, 24))
	}
	if second > 0 {
		text += fmt.Sprintf(", at second %d", second)
	}
	return text
}

// secondsText is about several seconds of a minute.
func secondsText(seconds, minutes, hours []int) string {
	step, even := progression(seconds)
	smooth := around(seconds, 60)
	text := "At " + series("second", seconds)
	if smooth {
		text = every(seconds[1], "second")
	} else if even {
		text = fmt.Sprintf("%s from second %d to %d", every(step, "second"), seconds[0], seconds[len(seconds)-1])
	}
	switch {
	case smooth && len(minutes) == 60 && len(hours) == 24:
		return text
	case smooth && len(minutes) == 60 && adjacent(hours), smooth && adjacent(minutes) && len(hours) == 1:
		return fmt.Sprintf("%s from %s to %s", text,
			clock(hours[0], minutes[0], 0)+":00", clock(hours[len(hours)-1], minutes[len(minutes)-1], 59))
	case len(minutes) == 60 && len(hours) == 24:
		return text + " of every minute"
	}
	return fmt.Sprintf("%s of %s of %s", text, scope("minute", minutes, 60), scope("hour", hours, 24))
}

// text is empty if it is every day.
func (d *days) text() string {
	anyDom, anyDow := d.dom == everyDom, d.dow == everyDow
	switch {
	case d.both && anyDom && anyDow, !d.both && (anyDom || anyDow):
		return ""
	case d.both && anyDow:
		return d.domText()
	case d.both && anyDom:
		return d.dowText()
	case d.both:
		return d.domText() + " and only " + d.dowText()
	}
	return d.domText() + ", or " + d.dowText()
}

func (d *days) domText() string {
	var parts []string
	if d.dom != 0 {
		parts = append(parts, series("day", members(d.dom)))
	}
	for _, n := range members(d.fromEnd) {
		switch n {
		case 0:
			parts = append(parts, "the last day")
		case 1:
			parts = append(parts, "the day before the last")
		default:
			parts = append(parts, fmt.Sprintf("the %s day before the last", ordinal(n)))
		}
	}
	for _, n := range members(d.nearest) {
		if n == 0 {
			parts = append(parts, "the last weekday")
		} else {
			parts = append(parts, fmt.Sprintf("the weekday nearest to day %d", n))
		}
	}
	return "on " + and(parts) + " of the month"
}

func (d *days) dowText() string {
	name := func(n int) string { return time.Weekday(n).String() }
	var parts []string
	if d.dow != 0 {
		parts = append(parts, named("on ", members(d.dow), 7, name))
	}
	var places []string
	for n := 1; n <= 5; n++ {
		for _, day := range members(d.nth[n]) {
			places = append(places, fmt.Sprintf("the %s %s", ordinal(n), name(day)))
		}
	}
	for _, day := range members(d.nth[0]) {
		places = append(places, "the last "+name(day))
	}
	if places != nil {
		parts = append(parts, "on "+and(places)+" of the month")
	}
	return strings.Join(parts, " and ")
}

// yearText is empty if it is every year.
func (s *Schedule) yearText() string {
	var years []int
	for y := firstYear; y <= lastYear; y++ {
		if n := y - firstYear; s.years[n/64]>>(n%64)&1 != 0 {
			years = append(years, y)
		}
	}
	text := series("year", years)
	switch {
	case len(years) > lastYear-firstYear:
		return ""
	case strings.HasPrefix(text, "every"):
		return "in " + text
	}
	return "in the " + text
}

// zoneText is the city of a zone, if it is named after one.
func zoneText(zone *time.Location) string {
	name := zone.String()
	region, _, _ := strings.Cut(name, "/")
	if name == "Etc/UTC" {
		region = "UTC"
	}
	switch region {
	case "UTC":
		return "UTC"
	case "Local":
		return "local time"
	case "": // an offset only
		return time.Unix(0, 0).In(zone).Format("UTC-07:00")
	case "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific":
		name = strings.ReplaceAll(name[strings.LastIndexByte(name, '/')+1:], "_", " ")
	}
	return name + " time"
}

// spell writes a duration in words, which follow "Every".
func spell(d time.Duration) string {
	var parts []string
	for _, u := range []struct {
		unit string
		size time.Duration
	}{{"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := int(d / u.size); n > 0 {
			parts = append(parts, plural(n, u.unit))
		}
		d %= u.size
	}
	if len(parts) == 1 {
		return strings.TrimPrefix(parts[0], "1 ")
	}
	return strings.Join(parts, " ")
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func every(n int, unit string) string { return "Every " + strings.TrimPrefix(plural(n, unit), "1 ") }

func ordinal(n int) string {
	suffix := "th"
	if n/10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// clock writes a time of the day, its second only if there is one.
func clock(hour, minute, second int) string {
	if second == 0 {
		return fmt.Sprintf("%02d:%02d", hour, minute)
	}
	return fmt.Sprintf("%02d:%02d:%02d", hour, minute, second)
}

func clocks(hours, minutes []int, second int) string {
	var list []string
	for _, h := range hours {
		for _, m := range minutes {
			list = append(list, clock(h, m, second))
		}
	}
	return and(list)
}

func members(set uint64) (list []int) {
	for ; set != 0; set &= set - 1 {
		list = append(list, bits.TrailingZeros64(set))
	}
	return list
}

// progression reports whether there are three numbers or more, each greater than the one before by the same step.
func progression(list []int) (step int, ok bool) {
	if len(list) < 3 {
		return 0, false
	}
	step = list[1] - list[0]
	for i := range list[1:] {
		if list[i+1]-list[i] != step {
			return 0, false
		}
	}
	return step, true
}

// around reports whether numbers divide a circle into equal parts, from 0 on.
func around(list []int, size int) bool {
	if len(list) < 2 || list[0] != 0 {
		return false
	}
	_, even := progression(append(list[:len(list):len(list)], size))
	return even
}

// adjacent reports whether numbers follow one another without a gap.
func adjacent(list []int) bool { return list[len(list)-1]-list[0] == len(list)-1 }

// scope is a series, or "every" if there are as many as can be.
func scope(unit string, list []int, size int) string {
	if len(list) == size {
		return "every " + unit
	}
	return series(unit, list)
}

// series names numbers: minute 5, minutes 5-10 and 30, every 2nd minute from 5 to 59.
func series(unit string, list []int) string {
	if step, even := progression(list); even && step > 1 && len(list) > 3 {
		return fmt.Sprintf("every %s %s from %d to %d", ordinal(step), unit, list[0], list[len(list)-1])
	}
	if len(list) > 1 {
		unit += "s"
	}
	return unit + " " + and(runs(list, "-", strconv.Itoa))
}

// runs names numbers, three or more that follow one another as one.
func runs(list []int, to string, name func(int) string) (texts []string) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n] == list[0]+n {
			n++
		}
		if n < 3 {
			texts, list = append(texts, name(list[0])), list[1:]
		} else {
			texts, list = append(texts, name(list[0])+to+name(list[n-1])), list[n:]
		}
	}
	return texts
}

// named names months or weekdays, of which the first follows the last.
func named(preposition string, list []int, size int, name func(int) string) string {
	n := len(list)
	for n > 0 && list[n-1]-n == size-1-len(list) {
		n--
	}
	if list[0] == 0 && n > 0 { // what ends the year, or the week, comes first
		var turned []int
		turned = append(turned, list[n:]...)
		for _, v := range list[:n] {
			turned = append(turned, v+size)
		}
		list = turned
	}
	texts := runs(list, " to ", func(n int) string { return name(n % size) })
	if len(list) > 2 && list[2] == list[0]+2 { // it begins with a range
		return and(texts)
	}
	return preposition + and(texts)
}

func and(list []string) string {
	last := len(list) - 1
	if last < 1 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:last], ", ") + " and " + list[last]
}
