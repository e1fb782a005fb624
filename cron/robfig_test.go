package cron

// The cases of this file are those of github.com/robfig/cron/v3, spec_test.go, parser_test.go and constantdelay_test.go, which are
//
//	Copyright (C) 2012 Rob Figueiredo, all rights reserved,
//
// and under the MIT licence: permission is hereby granted, free of charge, to any person obtaining a copy of this software and
// associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
// rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons
// to whom the Software is furnished to do so, subject to the following conditions: the above copyright notice and this permission
// notice shall be included in all copies or substantial portions of the Software. The Software is provided "as is", without
// warranty of any kind, express or implied, including but not limited to the warranties of merchantability, fitness for a
// particular purpose and noninfringement. In no event shall the authors or copyright holders be liable for any claim, damages or
// other liability, whether in an action of contract, tort or otherwise, arising from, out of or in connection with the Software or
// the use or other dealings in the Software.

import (
	"strings"
	"testing"
	"time"
)

// Why this package differs from robfig/cron.
const (
	dayStar    = "*/n is a star: day-of-month and day-of-week must both match, as in Vixie cron"
	gap        = "a fixed time that is skipped runs after the gap, as in ISC cron"
	twice      = "a fixed time that comes twice runs once, as in ISC cron"
	impossible = "what can never match is an error"
)

var robfigActivation = []struct {
	time, spec     string
	robfig, errand bool
	why            string
}{
	{"Mon Jul 9 15:00 2012", "0/15 * * * *", true, true, ""},
	{"Mon Jul 9 15:45 2012", "0/15 * * * *", true, true, ""},
	{"Mon Jul 9 15:40 2012", "0/15 * * * *", false, false, ""},
	{"Mon Jul 9 15:05 2012", "5/15 * * * *", true, true, ""},
	{"Mon Jul 9 15:20 2012", "5/15 * * * *", true, true, ""},
	{"Mon Jul 9 15:50 2012", "5/15 * * * *", true, true, ""},
	{"Sun Jul 15 15:00 2012", "0/15 * * Jul *", true, true, ""},
	{"Sun Jul 15 15:00 2012", "0/15 * * Jun *", false, false, ""},
	{"Sun Jul 15 08:30 2012", "30 08 ? Jul Sun", true, true, ""},
	{"Sun Jul 15 08:30 2012", "30 08 15 Jul ?", true, true, ""},
	{"Mon Jul 16 08:30 2012", "30 08 ? Jul Sun", false, false, ""},
	{"Mon Jul 16 08:30 2012", "30 08 15 Jul ?", false, false, ""},
	{"Mon Jul 9 15:00 2012", "@hourly", true, true, ""},
	{"Mon Jul 9 15:04 2012", "@hourly", false, false, ""},
	{"Mon Jul 9 15:00 2012", "@daily", false, false, ""},
	{"Mon Jul 9 00:00 2012", "@daily", true, true, ""},
	{"Mon Jul 9 00:00 2012", "@weekly", false, false, ""},
	{"Sun Jul 8 00:00 2012", "@weekly", true, true, ""},
	{"Sun Jul 8 01:00 2012", "@weekly", false, false, ""},
	{"Sun Jul 8 00:00 2012", "@monthly", false, false, ""},
	{"Sun Jul 1 00:00 2012", "@monthly", true, true, ""},
	{"Sun Jul 15 00:00 2012", "* * 1,15 * Sun", true, true, ""},
	{"Fri Jun 15 00:00 2012", "* * 1,15 * Sun", true, true, ""},
	{"Wed Aug 1 00:00 2012", "* * 1,15 * Sun", true, true, ""},
	{"Sun Jul 15 00:00 2012", "* * */10 * Sun", true, false, dayStar},
	{"Sun Jul 15 00:00 2012", "* * * * Mon", false, false, ""},
	{"Mon Jul 9 00:00 2012", "* * 1,15 * *", false, false, ""},
	{"Sun Jul 15 00:00 2012", "* * 1,15 * *", true, true, ""},
	{"Sun Jul 15 00:00 2012", "* * */2 * Sun", true, true, ""},
}

var robfigNext = []struct{ time, spec, robfig, errand, why string }{
	{"Mon Jul 9 14:45 2012", "0 0/15 * * * *", "Mon Jul 9 15:00 2012", "Mon Jul 9 15:00 2012", ""},
	{"Mon Jul 9 14:59 2012", "0 0/15 * * * *", "Mon Jul 9 15:00 2012", "Mon Jul 9 15:00 2012", ""},
	{"Mon Jul 9 14:59:59 2012", "0 0/15 * * * *", "Mon Jul 9 15:00 2012", "Mon Jul 9 15:00 2012", ""},
	{"Mon Jul 9 15:45 2012", "0 20-35/15 * * * *", "Mon Jul 9 16:20 2012", "Mon Jul 9 16:20 2012", ""},
	{"Mon Jul 9 23:46 2012", "0 */15 * * * *", "Tue Jul 10 00:00 2012", "Tue Jul 10 00:00 2012", ""},
	{"Mon Jul 9 23:45 2012", "0 20-35/15 * * * *", "Tue Jul 10 00:20 2012", "Tue Jul 10 00:20 2012", ""},
	{"Mon Jul 9 23:35:51 2012", "15/35 20-35/15 * * * *", "Tue Jul 10 00:20:15 2012", "Tue Jul 10 00:20:15 2012", ""},
	{"Mon Jul 9 23:35:51 2012", "15/35 20-35/15 1/2 * * *", "Tue Jul 10 01:20:15 2012", "Tue Jul 10 01:20:15 2012", ""},
	{"Mon Jul 9 23:35:51 2012", "15/35 20-35/15 10-12 * * *", "Tue Jul 10 10:20:15 2012", "Tue Jul 10 10:20:15 2012", ""},
	{"Mon Jul 9 23:35:51 2012", "15/35 20-35/15 1/2 */2 * *", "Thu Jul 11 01:20:15 2012", "Thu Jul 11 01:20:15 2012", ""},
	{"Mon Jul 9 23:35:51 2012", "15/35 20-35/15 * 9-20 * *", "Wed Jul 10 00:20:15 2012", "Wed Jul 10 00:20:15 2012", ""},
	{"Mon Jul 9 23:35:51 2012", "15/35 20-35/15 * 9-20 Jul *", "Wed Jul 10 00:20:15 2012", "Wed Jul 10 00:20:15 2012", ""},
	{"Mon Jul 9 23:35 2012", "0 0 0 9 Apr-Oct ?", "Thu Aug 9 00:00 2012", "Thu Aug 9 00:00 2012", ""},
	{"Mon Jul 9 23:35 2012", "0 0 0 */5 Apr,Aug,Oct Mon", "Tue Aug 1 00:00 2012", "Mon Aug 6 00:00 2012", dayStar},
	{"Mon Jul 9 23:35 2012", "0 0 0 */5 Oct Mon", "Mon Oct 1 00:00 2012", "Mon Oct 1 00:00 2012", ""},
	{"Mon Jul 9 23:35 2012", "0 0 0 * Feb Mon", "Mon Feb 4 00:00 2013", "Mon Feb 4 00:00 2013", ""},
	{"Mon Jul 9 23:35 2012", "0 0 0 * Feb Mon/2", "Fri Feb 1 00:00 2013", "Fri Feb 1 00:00 2013", ""},
	{"Mon Dec 31 23:59:45 2012", "0 * * * * *", "Tue Jan 1 00:00:00 2013", "Tue Jan 1 00:00:00 2013", ""},
	{"Mon Jul 9 23:35 2012", "0 0 0 29 Feb ?", "Mon Feb 29 00:00 2016", "Mon Feb 29 00:00 2016", ""},
	{"2012-03-11T00:00:00-0500", "TZ=America/New_York 0 30 2 11 Mar ?", "2013-03-11T02:30:00-0400", "2012-03-11T03:00:00-0400", gap},
	{"2012-03-11T00:00:00-0500", "TZ=America/New_York 0 0 * * * ?", "2012-03-11T01:00:00-0500", "2012-03-11T01:00:00-0500", ""},
	{"2012-03-11T01:00:00-0500", "TZ=America/New_York 0 0 * * * ?", "2012-03-11T03:00:00-0400", "2012-03-11T03:00:00-0400", ""},
	{"2012-03-11T03:00:00-0400", "TZ=America/New_York 0 0 * * * ?", "2012-03-11T04:00:00-0400", "2012-03-11T04:00:00-0400", ""},
	{"2012-03-11T04:00:00-0400", "TZ=America/New_York 0 0 * * * ?", "2012-03-11T05:00:00-0400", "2012-03-11T05:00:00-0400", ""},
	{"2012-03-11T00:00:00-0500", "CRON_TZ=America/New_York 0 0 * * * ?", "2012-03-11T01:00:00-0500", "2012-03-11T01:00:00-0500", ""},
	{"2012-03-11T01:00:00-0500", "CRON_TZ=America/New_York 0 0 * * * ?", "2012-03-11T03:00:00-0400", "2012-03-11T03:00:00-0400", ""},
	{"2012-03-11T03:00:00-0400", "CRON_TZ=America/New_York 0 0 * * * ?", "2012-03-11T04:00:00-0400", "2012-03-11T04:00:00-0400", ""},
	{"2012-03-11T04:00:00-0400", "CRON_TZ=America/New_York 0 0 * * * ?", "2012-03-11T05:00:00-0400", "2012-03-11T05:00:00-0400", ""},
	{"2012-03-11T00:00:00-0500", "TZ=America/New_York 0 0 1 * * ?", "2012-03-11T01:00:00-0500", "2012-03-11T01:00:00-0500", ""},
	{"2012-03-11T01:00:00-0500", "TZ=America/New_York 0 0 1 * * ?", "2012-03-12T01:00:00-0400", "2012-03-12T01:00:00-0400", ""},
	{"2012-03-11T00:00:00-0500", "TZ=America/New_York 0 0 2 * * ?", "2012-03-12T02:00:00-0400", "2012-03-11T03:00:00-0400", gap},
	{"2012-11-04T00:00:00-0400", "TZ=America/New_York 0 30 2 04 Nov ?", "2012-11-04T02:30:00-0500", "2012-11-04T02:30:00-0500", ""},
	{"2012-11-04T01:45:00-0400", "TZ=America/New_York 0 30 1 04 Nov ?", "2012-11-04T01:30:00-0500", "2013-11-04T01:30:00-0500", twice},
	{"2012-11-04T00:00:00-0400", "TZ=America/New_York 0 0 * * * ?", "2012-11-04T01:00:00-0400", "2012-11-04T01:00:00-0400", ""},
	{"2012-11-04T01:00:00-0400", "TZ=America/New_York 0 0 * * * ?", "2012-11-04T01:00:00-0500", "2012-11-04T01:00:00-0500", ""},
	{"2012-11-04T01:00:00-0500", "TZ=America/New_York 0 0 * * * ?", "2012-11-04T02:00:00-0500", "2012-11-04T02:00:00-0500", ""},
	{"2012-11-04T00:00:00-0400", "TZ=America/New_York 0 0 1 * * ?", "2012-11-04T01:00:00-0400", "2012-11-04T01:00:00-0400", ""},
	{"2012-11-04T01:00:00-0400", "TZ=America/New_York 0 0 1 * * ?", "2012-11-04T01:00:00-0500", "2012-11-05T01:00:00-0500", twice},
	{"2012-11-04T01:00:00-0500", "TZ=America/New_York 0 0 1 * * ?", "2012-11-05T01:00:00-0500", "2012-11-05T01:00:00-0500", ""},
	{"2012-11-04T00:00:00-0400", "TZ=America/New_York 0 0 2 * * ?", "2012-11-04T02:00:00-0500", "2012-11-04T02:00:00-0500", ""},
	{"2012-11-04T02:00:00-0500", "TZ=America/New_York 0 0 2 * * ?", "2012-11-05T02:00:00-0500", "2012-11-05T02:00:00-0500", ""},
	{"2012-11-04T00:00:00-0400", "TZ=America/New_York 0 0 3 * * ?", "2012-11-04T03:00:00-0500", "2012-11-04T03:00:00-0500", ""},
	{"2012-11-04T03:00:00-0500", "TZ=America/New_York 0 0 3 * * ?", "2012-11-05T03:00:00-0500", "2012-11-05T03:00:00-0500", ""},
	{"TZ=America/New_York 2012-11-04T00:00:00-0400", "0 0 * * * ?", "2012-11-04T01:00:00-0400", "2012-11-04T01:00:00-0400", ""},
	{"TZ=America/New_York 2012-11-04T01:00:00-0400", "0 0 * * * ?", "2012-11-04T01:00:00-0500", "2012-11-04T01:00:00-0500", ""},
	{"TZ=America/New_York 2012-11-04T01:00:00-0500", "0 0 * * * ?", "2012-11-04T02:00:00-0500", "2012-11-04T02:00:00-0500", ""},
	{"TZ=America/New_York 2012-11-04T00:00:00-0400", "0 0 1 * * ?", "2012-11-04T01:00:00-0400", "2012-11-04T01:00:00-0400", ""},
	{"TZ=America/New_York 2012-11-04T01:00:00-0400", "0 0 1 * * ?", "2012-11-04T01:00:00-0500", "2012-11-05T01:00:00-0500", twice},
	{"TZ=America/New_York 2012-11-04T01:00:00-0500", "0 0 1 * * ?", "2012-11-05T01:00:00-0500", "2012-11-05T01:00:00-0500", ""},
	{"TZ=America/New_York 2012-11-04T00:00:00-0400", "0 0 2 * * ?", "2012-11-04T02:00:00-0500", "2012-11-04T02:00:00-0500", ""},
	{"TZ=America/New_York 2012-11-04T02:00:00-0500", "0 0 2 * * ?", "2012-11-05T02:00:00-0500", "2012-11-05T02:00:00-0500", ""},
	{"TZ=America/New_York 2012-11-04T00:00:00-0400", "0 0 3 * * ?", "2012-11-04T03:00:00-0500", "2012-11-04T03:00:00-0500", ""},
	{"TZ=America/New_York 2012-11-04T03:00:00-0500", "0 0 3 * * ?", "2012-11-05T03:00:00-0500", "2012-11-05T03:00:00-0500", ""},
	{"Mon Jul 9 23:35 2012", "0 0 0 30 Feb ?", "", "error", impossible},
	{"Mon Jul 9 23:35 2012", "0 0 0 31 Apr ?", "", "error", impossible},
	{"TZ=America/New_York 2012-11-04T00:00:00-0400", "0 0 3 3 * ?", "2012-12-03T03:00:00-0500", "2012-12-03T03:00:00-0500", ""},
	{"2018-10-17T05:00:00-0400", "TZ=America/Sao_Paulo 0 0 9 10 * ?", "2018-11-10T06:00:00-0500", "2018-11-10T06:00:00-0500", ""},
	{"2018-02-14T05:00:00-0500", "TZ=America/Sao_Paulo 0 0 9 22 * ?", "2018-02-22T07:00:00-0500", "2018-02-22T07:00:00-0500", ""},
	{"2016-01-03T13:09:03+0530", "14 14 * * *", "2016-01-03T14:14:00+0530", "2016-01-03T14:14:00+0530", ""},
	{"2016-01-03T04:09:03+0530", "14 14 * * ?", "2016-01-03T14:14:00+0530", "2016-01-03T14:14:00+0530", ""},
	{"2016-01-03T14:09:03+0530", "14 14 * * *", "2016-01-03T14:14:00+0530", "2016-01-03T14:14:00+0530", ""},
	{"2016-01-03T14:00:00+0530", "14 14 * * ?", "2016-01-03T14:14:00+0530", "2016-01-03T14:14:00+0530", ""},
}

func TestRobfigActivation(t *testing.T) {
	for _, c := range robfigActivation {
		at := robfigTime(t, c.time)
		got := parse(t, c.spec).Next(at.Add(-time.Second)).Equal(at)
		if got != c.errand || (c.why == "") != (c.robfig == c.errand) {
			t.Errorf("%s at %s: %v, want %v", c.spec, c.time, got, c.errand)
		}
	}
}

// TestRobfigNext gives the zone of the time to the spec, which robfig/cron does by itself.
func TestRobfigNext(t *testing.T) {
	for _, c := range robfigNext {
		at := robfigTime(t, c.time)
		s, err := Parse(c.spec, In(at.Location()))
		if c.errand == "error" {
			if err == nil {
				t.Errorf("%s: no error", c.spec)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got := s.Next(at); !got.Equal(robfigTime(t, c.errand)) || (c.why == "") != (c.robfig == c.errand) {
			t.Errorf("%s from %s: %s, want %s", c.spec, c.time, got, c.errand)
		}
	}
}

func TestRobfigErrors(t *testing.T) {
	for _, spec := range []string{
		"xyz", "60 0 * * *", "0 60 * * *", "0 0 * * XYZ",
		"TZ=America/New_York 15/0 * * * *",
		"* 5 j * * *", "@every Xm", "@unrecognized", "* * * *", "", "5 j * * *",
		"5--5 * * * *", "0 0 1 jan-x *", "2-x * * * *", "*/-12 * * * *", "*//2 * * * *", "0 0 0 * *", "0 0 32 * *", "5-3 * * * *", "*/0 * * * *",
	} {
		if _, err := Parse(spec); err == nil {
			t.Errorf("%q: no error", spec)
		}
	}
}

// TestRobfigParse pairs specs that mean the same.
func TestRobfigParse(t *testing.T) {
	for _, c := range []struct{ spec, same string }{
		{"0 5 * * * *", "5 * * * *"},
		{"CRON_TZ=UTC  0 5 * * * *", "5 * * * *"},
		{"CRON_TZ=UTC  5 * * * *", "5 * * * *"},
		{"CRON_TZ=Asia/Tokyo 0 5 * * * *", "TZ=Asia/Tokyo 5 * * * *"},
		{"@midnight", "0 0 0 * * *"},
		{"TZ=UTC  @midnight", "0 0 * * *"},
		{"TZ=Asia/Tokyo @midnight", "TZ=Asia/Tokyo 0 0 * * *"},
		{"@yearly", "0 0 1 1 *"},
		{"@annually", "0 0 1 1 *"},
		{"0 0 * * 5-6/2", "0 0 * * 5"},
		{"0 0 * * 5-7/2", "0 0 * * 5,7"},
		{"0 0 * * 5-7/1", "0 0 * * 5,6,0"},
		{"1,5-7/2,3 * * * *", "1,3,5,7 * * * *"},
	} {
		a, b := parse(t, c.spec), parse(t, c.same)
		if a.String() != c.spec || a.zone.String() != b.zone.String() {
			t.Errorf("%s in %s", a, a.zone)
		}
		a.spec, a.zone = b.spec, b.zone
		if *a != *b {
			t.Errorf("%s: %s, want %s", c.spec, a.Describe(), b.Describe())
		}
	}
}

// TestRobfigEvery leaves out delays that are not of whole seconds: robfig/cron rounds them, here they are errors.
func TestRobfigEvery(t *testing.T) {
	for _, c := range []struct{ time, delay, want string }{
		{"Mon Jul 9 14:59 2012", "15m", "Mon Jul 9 15:14 2012"},
		{"Mon Jul 9 14:59:59 2012", "15m", "Mon Jul 9 15:14:59 2012"},
		{"Mon Jul 9 15:45 2012", "35m", "Mon Jul 9 16:20 2012"},
		{"Mon Jul 9 23:46 2012", "14m", "Tue Jul 10 00:00 2012"},
		{"Mon Jul 9 23:45 2012", "35m", "Tue Jul 10 00:20 2012"},
		{"Mon Jul 9 23:35:51 2012", "44m24s", "Tue Jul 10 00:20:15 2012"},
		{"Mon Jul 9 23:35:51 2012", "25h44m24s", "Thu Jul 11 01:20:15 2012"},
		{"Mon Jul 9 23:35 2012", "2184h25m", "Thu Oct 9 00:00 2012"},
		{"Mon Dec 31 23:59:45 2012", "15s", "Tue Jan 1 00:00:00 2013"},
		{"Mon Jul 9 14:45:00.005 2012", "15m", "Mon Jul 9 15:00 2012"},
	} {
		if got := parse(t, "@every "+c.delay).Next(robfigTime(t, c.time)); !got.Equal(robfigTime(t, c.want)) {
			t.Errorf("%s from %s: %s, want %s", c.delay, c.time, got, c.want)
		}
	}
}

func robfigTime(t *testing.T, text string) time.Time {
	zone := time.UTC
	if name, rest, found := strings.Cut(strings.TrimPrefix(text, "TZ="), " "); found && rest[0] == '2' {
		var err error
		if zone, err = time.LoadLocation(name); err != nil {
			t.Fatal(err)
		}
		text = rest
	}
	for _, layout := range []string{"Mon Jan 2 15:04 2006", "Mon Jan 2 15:04:05 2006", "2006-01-02T15:04:05-0700"} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at
		}
	}
	t.Fatalf("%q is no time", text)
	return time.Time{}
}
