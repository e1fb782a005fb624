package cron

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		spec    string
		field   string
		column  int
		problem string
	}{
		// How many fields.
		{"", "", 1, "0 fields: use 5 (minute, hour, day-of-month, month, day-of-week), 6 (second first) or 7 (second first, year last)"},
		{"  \t ", "", 5, "0 fields"},
		{"* * * *", "", 8, "4 fields"},
		{"* * * * * * * *", "", 15, "8 fields"},
		{"xyz", "", 4, "1 field: use"},
		{"TZ=UTC", "", 7, "0 fields"},
		{"TZ=UTC ", "", 8, "0 fields"},

		// Values.
		{"60 * * * *", "minute", 1, "60 is outside 0-59"},
		{"99999999999999999999 * * * *", "minute", 1, "99999999999999999999 is outside 0-59"},
		{"* 24 * * *", "hour", 3, "24 is outside 0-23"},
		{"* * 0 * *", "day-of-month", 5, "0 is outside 1-31"},
		{"* * 32 * *", "day-of-month", 5, "32 is outside 1-31"},
		{"* * * 13 *", "month", 7, "13 is outside 1-12"},
		{"* * * 0 *", "month", 7, "0 is outside 1-12"},
		{"* * * * 8", "day-of-week", 9, "8 is outside 0-7"},
		{"61 * * * * *", "second", 1, "61 is outside 0-59"},
		{"* * * * * * 1969", "year", 13, "1969 is outside 1970-2199"},
		{"* * * * * * 2200", "year", 13, "2200 is outside 1970-2199"},
		{"0 0 1 1 * 2027", "day-of-week", 11, "2027 is outside 0-7; a year is the last of seven fields, of which the first is the second"},
		{"5,60 * * * *", "minute", 3, "60 is outside 0-59"},
		{"-5 * * * *", "minute", 1, "a value is missing: use 0-59"},
		{"5,,6 * * * *", "minute", 3, "a value is missing: use 0-59"},
		{"5, * * * *", "minute", 3, "a value is missing: use 0-59"},
		{"* 5 j * *", "day-of-month", 5, `"J" is no day-of-month: use 1-31`},
		{"* j * * *", "hour", 3, `"J" is no hour: use 0-23`},
		{"* * * FRI *", "month", 7, `"FRI" is no month: use 1-12 or JAN-DEC`},
		{"* * * ANF *", "month", 7, `"ANF" is no month: use 1-12 or JAN-DEC`},
		{"* * * * MONDAY", "day-of-week", 9, `"MONDAY" is no day-of-week: use 0-7 or SUN-SAT`},
		{"* * * * XYZ", "day-of-week", 9, `"XYZ" is no day-of-week`},
		{"5x * * * *", "minute", 2, `unexpected "X": use values (0-59), ranges (a-b) and steps (/n), with commas between them`},
		{"5--7 * * * *", "minute", 3, "a value is missing: use 0-59"},
		{"** * * * *", "minute", 2, `unexpected "*"`},
		{"*-5 * * * *", "minute", 2, `unexpected "-"`},
		{"1.5 * * * *", "minute", 2, `unexpected "."`},
		{"* * * * MON–FRI", "", 12, `unexpected '–': use ASCII characters`},
		{"* * *\u00a0* *", "", 6, `unexpected '\u00a0'`},
		{"\xff * * * *", "", 1, `unexpected '�'`},
		{"\x00 * * * *", "minute", 1, "a value is missing"},

		// Ranges and steps.
		{"30-10 * * * *", "minute", 1, "30-10 runs backwards: use 10-30, or 30-59,0-10"},
		{"* 22-2 * * *", "hour", 3, "22-2 runs backwards: use 2-22, or 22-23,0-2"},
		{"* * 25-5 * *", "day-of-month", 5, "25-5 runs backwards: use 5-25, or 25-31,1-5"},
		{"* * * * * * 2030-2020", "year", 13, "2030-2020 runs backwards: use 2020-2030"},
		{"5- * * * *", "minute", 3, "a value is missing"},
		{"5-60 * * * *", "minute", 3, "60 is outside 0-59"},
		{"*/0 * * * *", "minute", 3, "0 is outside 1-60"},
		{"*/61 * * * *", "minute", 3, "61 is outside 1-60"},
		{"*/90 * * * *", "minute", 3, "90 is outside 1-60"},
		{"* */25 * * *", "hour", 5, "25 is outside 1-24"},
		{"*/ * * * *", "minute", 3, "a step is missing: use 1-60"},
		{"*/-5 * * * *", "minute", 3, "a step is missing"},
		{"*//5 * * * *", "minute", 3, "a step is missing"},
		{"*/5/5 * * * *", "minute", 4, `unexpected "/"`},
		{"* * * */JAN *", "month", 9, "a step is missing: use 1-12"},

		// ?, L, W and #.
		{"? * * * *", "minute", 1, "? stands alone, and for day-of-month or day-of-week only: use *"},
		{"* * * ? *", "month", 7, "? stands alone"},
		{"* * ?/2 * *", "day-of-month", 5, "? stands alone"},
		{"* * 1,? * *", "day-of-month", 7, "? stands alone"},
		{"L * * * *", "minute", 1, "L is for day-of-month and day-of-week: use 0-59"},
		{"* * * * L", "day-of-week", 9, "L needs a day before it: use FRIL for the last Friday of the month, or SAT for Saturday"},
		{"* * L-0 * *", "day-of-month", 7, "0 is outside 1-30"},
		{"* * L-31 * *", "day-of-month", 7, "31 is outside 1-30"},
		{"* * L- * *", "day-of-month", 7, "a number of days is missing: use 1-30"},
		{"* * L-3W * *", "day-of-month", 8, `unexpected "W"`},
		{"* * 5L * *", "day-of-month", 6, `unexpected "L"`},
		{"* * W * *", "day-of-month", 5, `"W" is no day-of-month: use 1-31`},
		{"* * 32W * *", "day-of-month", 5, "32 is outside 1-31"},
		{"* * 1-5W * *", "day-of-month", 8, `unexpected "W"`},
		{"* 5W * * *", "hour", 4, `unexpected "W"`},
		{"* * * * FRI#6", "day-of-week", 13, "6 is outside 1-5"},
		{"* * * * FRI#0", "day-of-week", 13, "0 is outside 1-5"},
		{"* * * * FRI#", "day-of-week", 13, "a place in the month is missing: use 1-5"},
		{"* * * * MON-FRI#2", "day-of-week", 16, `unexpected "#"`},
		{"* * * * MON-FRIL", "day-of-week", 16, `unexpected "L"`},
		{"* * 5#2 * *", "day-of-month", 6, `unexpected "#"`},

		// H.
		{"H * * * *", "minute", 1, "H needs a name to take a value from, and none was given: use a value (0-59)"},
		{"* * H * *", "day-of-month", 5, "H needs a name"},

		// Days that never come.
		{"0 0 31 2 *", "day-of-month", 5, "no month and year given has such a day: use another day or month"},
		{"0 0 30 2 ?", "day-of-month", 5, "no month and year given"},
		{"0 0 31 4,6,9,11 *", "day-of-month", 5, "no month and year given"},
		{"0 0 L-30 FEB,APR *", "day-of-month", 5, "no month and year given"},
		{"0 0 31W 6 *", "day-of-month", 5, "no month and year given"},
		{"0 0 0 29 2 ? 2027", "day-of-month", 7, "no month and year given has such a day: use another day, month or year"},
		{"0 0 0 29 2 ? 2100", "day-of-month", 7, "no month and year given"},
		{"0 0 0 */31 2 MON 2028", "day-of-month", 7, "no month and year given"}, // 1 February 2028 is a Tuesday
		{"0 0 0 ? 2 MON#5 2027", "day-of-week", 11, "no month and year given has such a day: use another day, month or year"},
		{"TZ=UTC 0 0 0 * FEB TUE#5 2027,2029", "day-of-week", 20, "no month and year given"},
		{"TZ=UTC 0 0 30 2 *", "day-of-month", 12, "no month and year given"},

		// Descriptors.
		{"@reboot", "descriptor", 1, "@reboot is no time: run what belongs to the start of a program there, without a schedule"},
		{"@fortnightly", "descriptor", 1, `"@fortnightly" is unknown: use @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every`},
		{"@", "descriptor", 1, `"@" is unknown`},
		{"@daily 5", "descriptor", 8, "nothing may follow @daily"},
		{"@every", "descriptor", 1, "@every takes one duration, such as @every 1h30m"},
		{"@every 1h 30m", "descriptor", 1, "@every takes one duration"},
		{"@every Xm", "descriptor", 8, `"Xm" does not do: use a duration of whole seconds, 1s or more, such as 90s or 1h30m`},
		{"@every 5", "descriptor", 8, `"5" does not do`},
		{"@every 0s", "descriptor", 8, `"0s" does not do`},
		{"@every -1m", "descriptor", 8, `"-1m" does not do`},
		{"@every 500ms", "descriptor", 8, `"500ms" does not do`},
		{"@every 1.5s", "descriptor", 8, `"1.5s" does not do`},
		{"@every5m", "descriptor", 1, `"@every5m" is unknown`},

		// Time zones.
		{"TZ=", "time zone", 4, "its name is missing: use one such as Europe/London"},
		{"CRON_TZ= 0 0 * * *", "time zone", 9, "its name is missing"},
		{"TZ=Europe/Atlantis 0 0 * * *", "time zone", 4, `"Europe/Atlantis" is unknown: use a name of the IANA time zone database, such as Europe/London`},
		{" CRON_TZ=../UTC 0 0 * * *", "time zone", 10, `"../UTC" is unknown`},
		{"TZ=/etc/localtime 0 0 * * *", "time zone", 4, `"/etc/localtime" is unknown`},
		{"tz=UTC 0 0 * * *", "second", 1, `"TZ" is no second: use 0-59`},
		{"TZ=UTC TZ=UTC 0 0 * * *", "second", 8, `"TZ" is no second`},

		// Length.
		{strings.Repeat("1,", 500) + "1 * * * *", "", 1001, "it is longer than 1000 bytes"},
	} {
		s, err := Parse(c.spec)
		var e *ParseError
		if !errors.As(err, &e) || s != nil {
			t.Errorf("%q: no error", c.spec)
			continue
		}
		if e.Field != c.field || e.Column != c.column || !strings.HasPrefix(e.Problem, c.problem) || e.Spec != c.spec {
			t.Errorf("%q: %s, column %d: %s\nwant %s, column %d: %s", c.spec, e.Field, e.Column, e.Problem, c.field, c.column, c.problem)
		}
		if text := err.Error(); strings.ContainsAny(text, "\n\r\x00") || len(text) > 400 {
			t.Errorf("%q: %q", c.spec, text)
		}
	}
}

func TestParseErrorText(t *testing.T) {
	for spec, want := range map[string]string{
		"0 25 * * *": `cron: hour, column 3 of "0 25 * * *": 25 is outside 0-23`,
		"0 0":        `cron: column 4 of "0 0": 2 fields: use 5 (minute, hour, day-of-month, month, day-of-week), 6 (second first) or 7 (second first, year last)`,
		"a\n" + strings.Repeat("x", 90): `cron: column 93 of "a\n` + strings.Repeat("x", 78) + `…": ` +
			`2 fields: use 5 (minute, hour, day-of-month, month, day-of-week), 6 (second first) or 7 (second first, year last)`,
	} {
		if _, err := Parse(spec); err == nil || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", spec, err, want)
		}
	}
}

func TestHashErrors(t *testing.T) {
	for _, c := range []struct {
		spec    string
		column  int
		problem string
	}{
		{"H(5) * * * *", 2, "H takes one range: use H(a-b), with values of 0-59"},
		{"H(1-5 * * * *", 2, "H takes one range"},
		{"H(1-5,7) * * * *", 2, "H takes one range"},
		{"H() * * * *", 3, "a value is missing"},
		{"H(50-60) * * * *", 6, "60 is outside 0-59"},
		{"H(30-10) * * * *", 3, "30-10 runs backwards"},
		{"H/0 * * * *", 3, "0 is outside 1-60"},
		{"H/61 * * * *", 3, "61 is outside 1-60"},
		{"H-5 * * * *", 2, `unexpected "-"`},
		{"HH * * * *", 2, `unexpected "H"`},
		{"0 0 0 1 1 ? H", 13, "H is not for years: use 1970-2199"},
	} {
		_, err := Parse(c.spec, HashOf("x"))
		var e *ParseError
		if !errors.As(err, &e) || e.Column != c.column || !strings.HasPrefix(e.Problem, c.problem) {
			t.Errorf("%q: %v, want column %d: %s", c.spec, err, c.column, c.problem)
		}
	}
}

// TestParse checks the first times of every construct, from the beginning of 2026, a Thursday.
func TestParse(t *testing.T) {
	for _, c := range []struct{ spec, times string }{
		// Five, six and seven fields.
		{"* * * * *", "01-01 00:00:00, 01-01 00:01:00"},
		{"  5\t4   * * *\n", "01-01 04:05:00, 01-02 04:05:00"},
		{"30 5 4 * * *", "01-01 04:05:30, 01-02 04:05:30"},
		{"* * * * * *", "01-01 00:00:00, 01-01 00:00:01"},
		{"0 0 0 1 1 ? 2026,2028", "01-01 00:00:00, 2028-01-01 00:00:00, none"},
		{"0 0 0 1 1 ? 2190/4", "2190-01-01 00:00:00, 2194-01-01 00:00:00, 2198-01-01 00:00:00, none"},
		{"59 59 23 31 12 ? 2199", "2199-12-31 23:59:59, none"},
		{"0 0 0 1 1 ? 1970-2025", "none"},

		// Values, lists, ranges, steps.
		{"007 * * * *", "01-01 00:07:00, 01-01 01:07:00"},
		{"10,5,5 0 * * *", "01-01 00:05:00, 01-01 00:10:00, 01-02 00:05:00"},
		{"1-3 0 * * *", "01-01 00:01:00, 01-01 00:02:00, 01-01 00:03:00, 01-02 00:01:00"},
		{"58-59,0 0 * * *", "01-01 00:00:00, 01-01 00:58:00, 01-01 00:59:00, 01-02 00:00:00"},
		{"*/25 0 * * *", "01-01 00:00:00, 01-01 00:25:00, 01-01 00:50:00, 01-02 00:00:00"},
		{"10/25 0 * * *", "01-01 00:10:00, 01-01 00:35:00, 01-02 00:10:00"},
		{"10-35/25 0 * * *", "01-01 00:10:00, 01-01 00:35:00, 01-02 00:10:00"},
		{"10-34/25 0 * * *", "01-01 00:10:00, 01-02 00:10:00"},
		{"*/60 * * * *", "01-01 00:00:00, 01-01 01:00:00"},
		{"0 */24 * * *", "01-01 00:00:00, 01-02 00:00:00"},
		{"0 0 */31 * *", "01-01 00:00:00, 02-01 00:00:00"},
		{"0 0 1 */12 *", "01-01 00:00:00, 2027-01-01 00:00:00"},
		{"0 0 2/10 * *", "01-02 00:00:00, 01-12 00:00:00, 01-22 00:00:00, 02-02 00:00:00"},

		// Months.
		{"0 0 1 JAN,mar,Dec *", "01-01 00:00:00, 03-01 00:00:00, 12-01 00:00:00"},
		{"0 0 1 NOV-FEB *", "01-01 00:00:00, 02-01 00:00:00, 11-01 00:00:00, 12-01 00:00:00, 2027-01-01 00:00:00"},
		{"0 0 1 11-2/2 *", "01-01 00:00:00, 11-01 00:00:00, 2027-01-01 00:00:00"},
		{"0 0 1 FEB/6 *", "02-01 00:00:00, 08-01 00:00:00, 2027-02-01 00:00:00"},
		{"0 0 31 * *", "01-31 00:00:00, 03-31 00:00:00, 05-31 00:00:00, 07-31 00:00:00, 08-31 00:00:00, 10-31 00:00:00, 12-31 00:00:00"},
		{"0 0 29 2 *", "2028-02-29 00:00:00, 2032-02-29 00:00:00"},

		// Days of the week. The 4th is a Sunday.
		{"0 0 * * 0", "01-04 00:00:00, 01-11 00:00:00"},
		{"0 0 * * 7", "01-04 00:00:00, 01-11 00:00:00"},
		{"0 0 * * sun", "01-04 00:00:00, 01-11 00:00:00"},
		{"0 0 * * MON-FRI", "01-01 00:00:00, 01-02 00:00:00, 01-05 00:00:00"},
		{"0 0 * * 1-5", "01-01 00:00:00, 01-02 00:00:00, 01-05 00:00:00"},
		{"0 0 * * FRI-MON", "01-02 00:00:00, 01-03 00:00:00, 01-04 00:00:00, 01-05 00:00:00, 01-09 00:00:00"},
		{"0 0 * * MON-SUN", "01-01 00:00:00, 01-02 00:00:00, 01-03 00:00:00, 01-04 00:00:00, 01-05 00:00:00"},
		{"0 0 * * SAT-SUN", "01-03 00:00:00, 01-04 00:00:00, 01-10 00:00:00"},
		{"0 0 * * 6-7", "01-03 00:00:00, 01-04 00:00:00, 01-10 00:00:00"},
		{"0 0 * * 7-1", "01-04 00:00:00, 01-05 00:00:00, 01-11 00:00:00"},
		{"0 0 * * 7-7", "01-04 00:00:00, 01-11 00:00:00"},
		{"0 0 * * SUN-7", "01-01 00:00:00, 01-02 00:00:00, 01-03 00:00:00, 01-04 00:00:00"},
		{"0 0 * * 0-7/7", "01-04 00:00:00, 01-11 00:00:00"},
		{"0 0 * * 1-7/2", "01-02 00:00:00, 01-04 00:00:00, 01-05 00:00:00, 01-07 00:00:00"},
		{"0 0 * * FRI-TUE/2", "01-02 00:00:00, 01-04 00:00:00, 01-06 00:00:00, 01-09 00:00:00"},
		{"0 0 * * MON/2", "01-02 00:00:00, 01-05 00:00:00, 01-07 00:00:00, 01-09 00:00:00"},
		{"0 0 * * 7/3", "01-03 00:00:00, 01-04 00:00:00, 01-07 00:00:00"},
		{"0 0 * * */3", "01-03 00:00:00, 01-04 00:00:00, 01-07 00:00:00"},

		// Days of the month and of the week.
		{"0 0 13 * ?", "01-13 00:00:00, 02-13 00:00:00"},
		{"0 0 ? * FRI", "01-02 00:00:00, 01-09 00:00:00"},
		{"0 0 ? * ?", "01-01 00:00:00, 01-02 00:00:00"},
		{"0 0 6 * FRI", "01-02 00:00:00, 01-06 00:00:00, 01-09 00:00:00, 01-16 00:00:00"},
		{"0 0 */6 * FRI", "02-13 00:00:00, 03-13 00:00:00, 05-01 00:00:00"}, // both
		{"0 0 13 * */5", "02-13 00:00:00, 03-13 00:00:00, 09-13 00:00:00"},  // both
		{"0 0 1-31 * FRI", "01-01 00:00:00, 01-02 00:00:00, 01-03 00:00:00"},
		{"0 0 *,13 * FRI", "01-02 00:00:00, 01-09 00:00:00"},
		{"0 0 13,* * FRI", "01-01 00:00:00, 01-02 00:00:00"},

		// L, W and #.
		{"0 0 L * *", "01-31 00:00:00, 02-28 00:00:00, 03-31 00:00:00, 04-30 00:00:00"},
		{"0 0 L-3 * ?", "01-28 00:00:00, 02-25 00:00:00, 03-28 00:00:00, 04-27 00:00:00"},
		{"0 0 L-30 * *", "01-01 00:00:00, 03-01 00:00:00, 05-01 00:00:00"},
		{"0 0 l,l-1,1 * *", "01-01 00:00:00, 01-30 00:00:00, 01-31 00:00:00, 02-01 00:00:00"},
		{"0 0 LW * *", "01-30 00:00:00, 02-27 00:00:00, 03-31 00:00:00, 04-30 00:00:00, 05-29 00:00:00"},
		{"0 0 15W * *", "01-15 00:00:00, 02-16 00:00:00, 03-16 00:00:00, 04-15 00:00:00, 05-15 00:00:00, 06-15 00:00:00, 07-15 00:00:00, 08-14 00:00:00"},
		{"0 0 1W * *", "01-01 00:00:00, 02-02 00:00:00, 03-02 00:00:00, 04-01 00:00:00, 05-01 00:00:00, 06-01 00:00:00, 07-01 00:00:00, 08-03 00:00:00"},
		{"0 0 31W * *", "01-30 00:00:00, 03-31 00:00:00, 05-29 00:00:00, 07-31 00:00:00, 08-31 00:00:00"},
		{"0 0 1w,15W * ?", "01-01 00:00:00, 01-15 00:00:00, 02-02 00:00:00, 02-16 00:00:00"},
		{"0 0 ? * 5L", "01-30 00:00:00, 02-27 00:00:00, 03-27 00:00:00"},
		{"0 0 ? * FRIL", "01-30 00:00:00, 02-27 00:00:00, 03-27 00:00:00"},
		{"0 0 * * 7L", "01-25 00:00:00, 02-22 00:00:00, 03-29 00:00:00"},
		{"0 0 * * FRI#2", "01-09 00:00:00, 02-13 00:00:00, 03-13 00:00:00"},
		{"0 0 * * 5#5", "01-30 00:00:00, 05-29 00:00:00"},
		{"0 0 * * 7#1,MON#1", "01-04 00:00:00, 01-05 00:00:00, 02-01 00:00:00, 02-02 00:00:00"},
		{"0 0 * * SUN,FRIL", "01-04 00:00:00, 01-11 00:00:00, 01-18 00:00:00, 01-25 00:00:00, 01-30 00:00:00"},
		{"0 0 L * FRI#1", "01-02 00:00:00, 01-31 00:00:00, 02-06 00:00:00, 02-28 00:00:00"}, // either
		{"0 0 29 FEB ?", "2028-02-29 00:00:00"},
		{"0 0 ? FEB SAT#5", "2048-02-29 00:00:00, 2076-02-29 00:00:00, 2116-02-29 00:00:00"},

		// Descriptors.
		{"@yearly", "01-01 00:00:00, 2027-01-01 00:00:00"},
		{"@Annually", "01-01 00:00:00, 2027-01-01 00:00:00"},
		{"@monthly", "01-01 00:00:00, 02-01 00:00:00"},
		{"@weekly", "01-04 00:00:00, 01-11 00:00:00"},
		{"@daily", "01-01 00:00:00, 01-02 00:00:00"},
		{"@midnight", "01-01 00:00:00, 01-02 00:00:00"},
		{" @hourly ", "01-01 00:00:00, 01-01 01:00:00"},
		{"@every 1h30m", "01-01 01:29:59, 01-01 02:59:59"},
		{"@EVERY 1s", "01-01 00:00:00, 01-01 00:00:01"},
	} {
		s, err := Parse(c.spec)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.String() != c.spec {
			t.Errorf("%q: String is %q", c.spec, s)
		}
		at := time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC)
		for _, want := range strings.Split(c.times, ", ") {
			got := "none"
			if at = s.Next(at); !at.IsZero() {
				got = strings.TrimPrefix(at.Format(time.DateTime), "2026-")
			}
			if got != want {
				t.Errorf("%q: %s, want %s of %s", c.spec, got, want, c.times)
				break
			}
		}
	}
}

// TestHash pins the values of H: no schedule may move with a new version.
func TestHash(t *testing.T) {
	for _, c := range []struct{ name, spec, same string }{
		{"digest", "H * * * *", "37 * * * *"},
		{"digest", "H H * * *", "37 21 * * *"},
		{"digest", "h h h h h", "37 21 19 2 1"},
		{"digest", "H H H H H H", "52 37 21 19 2 1"},
		{"digest", "H/15 * * * *", "7,22,37,52 * * * *"},
		{"digest", "H(0-29) * * * *", "7 * * * *"},
		{"digest", "H(0-29)/10 * * * *", "7,17,27 * * * *"},
		{"digest", "0 0 H/7 * *", "0 0 5,12,19,26 * *"},
		{"digest", "0 0 H(1-31) * *", "0 0 16 * *"},
		{"digest", "0 H(22-23) * * *", "0 23 * * *"},
		{"digest", "5,H(0-4)/9,30 * * * *", "2,5,30 * * * *"},
		{"backup", "H H H H H", "33 7 6 2 6"},
		{"backup", "0 0 * * H(MON-FRI)", "0 0 * * 2"},
		{"backup", "0 0 * * H(FRI-MON)", "0 0 * * 0"},
		{"backup", "0 0 1 H(NOV-FEB) *", "0 0 1 12 *"},
		{"job1", "H H * * *", "42 0 * * *"},
		{"job2", "H H * * *", "21 3 * * *"},
		{"é\x00", "H H * * *", "2 3 * * *"},
	} {
		h, err := Parse(c.spec, HashOf(c.name))
		if err != nil {
			t.Error(err)
			continue
		}
		s := parse(t, c.same)
		h.spec, h.wild = s.spec, s.wild
		if *h != *s {
			t.Errorf("%q of %q: %s, want %s", c.spec, c.name, h.Describe(), s.Describe())
		}
	}
}

// TestHashSpread checks that many names are spread over all minutes of a day.
func TestHashSpread(t *testing.T) {
	var count [24][60]int
	for i := range 14_400 {
		s, err := Parse("H H * * *", HashOf(fmt.Sprintf("job-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		at := s.Next(time.Time{})
		count[at.Hour()][at.Minute()]++
	}
	chi := 0.0
	for _, hour := range count {
		for _, n := range hour {
			chi += float64((n-10)*(n-10)) / 10
		}
	}
	if chi /= 1439; chi > 1.2 {
		t.Errorf("chi-squared is %.2f a degree of freedom, it should be about 1", chi)
	}
}

func parse(t testing.TB, spec string, opts ...Option) *Schedule {
	t.Helper()
	s, err := Parse(spec, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestZoneOfSchedule(t *testing.T) {
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec string
		opts []Option
		want string
	}{
		{"0 7 * * *", nil, "2026-01-01T07:00:00Z"},
		{"0 7 * * *", []Option{In(nil)}, "2026-01-01T07:00:00Z"},
		{"0 7 * * *", []Option{In(tokyo)}, "2026-01-02T07:00:00+09:00"},
		{"TZ=America/New_York 0 7 * * *", nil, "2026-01-01T07:00:00-05:00"},
		{"TZ=America/New_York 0 7 * * *", []Option{In(tokyo)}, "2026-01-01T07:00:00-05:00"},
		{" CRON_TZ=Asia/Tokyo\t0 7 * * *", nil, "2026-01-02T07:00:00+09:00"},
		{"TZ=Asia/Tokyo @daily", nil, "2026-01-02T00:00:00+09:00"},
		{"TZ=Asia/Tokyo @every 1h", nil, "2026-01-01T10:00:00+09:00"},
		{"TZ=UTC 0 7 * * *", []Option{In(tokyo)}, "2026-01-01T07:00:00Z"},
		{"0 7 * * *", []Option{In(time.FixedZone("", 5400))}, "2026-01-01T07:00:00+01:30"},
	} {
		s, err := Parse(c.spec, c.opts...)
		if err != nil {
			t.Error(err)
			continue
		}
		after := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).In(tokyo)
		if got := s.Next(after).Format(time.RFC3339); got != c.want {
			t.Errorf("%q: %s, want %s", c.spec, got, c.want)
		}
		if s.Next(after).Location() != s.Location() || s.Prev(after).Location() != s.Location() {
			t.Errorf("%q: times are not in %s", c.spec, s.Location())
		}
	}
}

// TestStar checks which specs are wildcards, and in which a day must match both day fields.
func TestStar(t *testing.T) {
	for _, c := range []struct {
		spec       string
		wild, both bool
	}{
		{"0 1 2 * 3", false, false},
		{"* 1 2 * 3", true, false},
		{"*/5 1 2 * 3", true, false},
		{"0 * 2 * 3", true, false},
		{"* 0 1 2 * 3", true, false},
		{"*,5 1 2 * 3", true, false},
		{"5,* 1 2 * 3", false, false},
		{"0-59 0-23 2 * 3", false, false},
		{"0/5 1 2 * 3", false, false},
		{"H H 2 * 3", false, false},
		{"h/5 1 2 * 3", true, false},
		{"H(0-59)/5 1 2 * 3", false, false},
		{"0 1 * * 3", false, true},
		{"0 1 2 * *", false, true},
		{"0 1 ? * 3", false, true},
		{"0 1 2 * ?", false, true},
		{"0 1 */2 * 3", false, true},
		{"0 1 H/2 * 3", false, true},
		{"0 1 H * 3", false, false},
		{"0 1 2 * */2", false, true},
		{"0 1 *,2 * 3", false, true},
		{"0 1 2,* * 3", false, false},
		{"0 1 L * FRI#2", false, false},
		{"@hourly", true, true},
		{"@daily", false, true},
	} {
		if s := parse(t, c.spec, HashOf("x")); s.wild != c.wild || s.days.both != c.both {
			t.Errorf("%s: wildcard %v, both days %v", c.spec, s.wild, s.days.both)
		}
	}
}
