package cron

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		// Hours.
		{"0 7 * * *", "At 07:00, every day, UTC"},
		{"0 7 * * MON-FRI", "At 07:00, Monday to Friday, UTC"},
		{"TZ=America/New_York 0 7 * * MON-FRI", "At 07:00, Monday to Friday, New York time"},
		{"30 0 7 * * *", "At 07:00:30, every day, UTC"},
		{"30 7,19 * * *", "At 07:30 and 19:30, every day, UTC"},
		{"0 22-23,0-2 * * *", "At 00:00, 01:00, 02:00, 22:00 and 23:00, every day, UTC"},
		{"@hourly", "Every hour, UTC"},
		{"30 * * * *", "Every hour at minute 30, UTC"},
		{"15 30 * * * *", "Every hour from 00:30:15 to 23:30:15, UTC"},
		{"0 9-17 * * *", "Every hour from 09:00 to 17:00, UTC"},
		{"0 */2 * * *", "Every 2 hours, UTC"},
		{"0 1/2 * * *", "Every 2 hours from 01:00 to 23:00, UTC"},
		{"0 */5 * * *", "Every 5 hours from 00:00 to 20:00, UTC"},
		{"5 1/3 * * *", "Every 3 hours from 01:05 to 22:05, UTC"},
		{"0 0,12 * * *", "At 00:00 and 12:00, every day, UTC"},

		// Minutes.
		{"* * * * *", "Every minute, UTC"},
		{"*/15 * * * *", "Every 15 minutes, UTC"},
		{"0,30 * * * *", "Every 30 minutes, UTC"},
		{"*/15 9-17 * * MON-FRI", "Every 15 minutes from 09:00 to 17:59, Monday to Friday, UTC"},
		{"* 9 * * *", "Every minute from 09:00 to 09:59, UTC"},
		{"*/15 8,10 * * *", "Every 15 minutes of hours 8 and 10, UTC"},
		{"*/15 */2 * * *", "Every 15 minutes of every 2nd hour from 0 to 22, UTC"},
		{"*/7 * * * *", "Every 7 minutes from minute 0 to 56 of every hour, UTC"},
		{"5/15 * * * *", "Every 15 minutes from minute 5 to 50 of every hour, UTC"},
		{"*/7 9 * * *", "Every 7 minutes from 09:00 to 09:56, UTC"},
		{"0-29 * * * *", "Every minute from minute 0 to 29 of every hour, UTC"},
		{"1-59/2 8-11,20 * * *", "Every 2 minutes from minute 1 to 59 of hours 8-11 and 20, UTC"},
		{"5,12,40 9-17 * * *", "At minutes 5, 12 and 40 of hours 9-17, UTC"},
		{"0,1,2,3,30,50,51 3 * * *", "At minutes 0-3, 30, 50 and 51 of hour 3, UTC"},
		{"0,20 9,17 * * *", "At 09:00, 09:20, 17:00 and 17:20, every day, UTC"},
		{"30 */15 * * * *", "Every 15 minutes, at second 30, UTC"},
		{"30 5,12,40 * * * *", "At minutes 5, 12 and 40 of every hour, at second 30, UTC"},
		{"30 0,20 9 * * *", "At 09:00:30 and 09:20:30, every day, UTC"},

		// Seconds.
		{"* * * * * *", "Every second, UTC"},
		{"*/10 * * * * *", "Every 10 seconds, UTC"},
		{"0,30 * * * * *", "Every 30 seconds, UTC"},
		{"5/10 * * * * *", "Every 10 seconds from second 5 to 55 of every minute, UTC"},
		{"1,5 * * * * *", "At seconds 1 and 5 of every minute, UTC"},
		{"* * 9-17 * * *", "Every second from 09:00:00 to 17:59:59, UTC"},
		{"* 30-34 9 * * *", "Every second from 09:30:00 to 09:34:59, UTC"},
		{"*/20 30 2 * * *", "Every 20 seconds from 02:30:00 to 02:30:59, UTC"},
		{"*/20 */15 * * * *", "Every 20 seconds of every 15th minute from 0 to 45 of every hour, UTC"},
		{"*/20 * 8,12 * * *", "Every 20 seconds of every minute of hours 8 and 12, UTC"},
		{"0,20 30 * * * *", "At seconds 0 and 20 of minute 30 of every hour, UTC"},

		// Days of the month.
		{"0 0 1 * *", "At 00:00, on day 1 of the month, UTC"},
		{"0 0 1,15,20-25 * *", "At 00:00, on days 1, 15 and 20-25 of the month, UTC"},
		{"0 0 */2 * *", "At 00:00, on every 2nd day from 1 to 31 of the month, UTC"},
		{"0 0 1-7 * *", "At 00:00, on days 1-7 of the month, UTC"},
		{"0 0 L * *", "At 00:00, on the last day of the month, UTC"},
		{"0 0 L-1 * *", "At 00:00, on the day before the last of the month, UTC"},
		{"0 0 L-3 * *", "At 00:00, on the 3rd day before the last of the month, UTC"},
		{"0 0 LW * *", "At 00:00, on the last weekday of the month, UTC"},
		{"0 0 15W * *", "At 00:00, on the weekday nearest to day 15 of the month, UTC"},
		{"0 0 1,L,20W * *", "At 00:00, on day 1, the last day and the weekday nearest to day 20 of the month, UTC"},

		// Days of the week.
		{"0 0 * * MON", "At 00:00, on Monday, UTC"},
		{"0 0 * * MON,WED,FRI", "At 00:00, on Monday, Wednesday and Friday, UTC"},
		{"0 0 * * SAT,SUN", "At 00:00, on Saturday and Sunday, UTC"},
		{"0 0 * * FRI-MON", "At 00:00, Friday to Monday, UTC"},
		{"0 0 * * SUN-TUE,THU", "At 00:00, Sunday to Tuesday and Thursday, UTC"},
		{"0 0 * * FRI#2", "At 00:00, on the 2nd Friday of the month, UTC"},
		{"0 0 * * FRIL", "At 00:00, on the last Friday of the month, UTC"},
		{"0 0 * * MON,FRI#1,SATL", "At 00:00, on Monday and on the 1st Friday and the last Saturday of the month, UTC"},
		{"0 0 * * 0-7", "At 00:00, every day, UTC"},

		// Both.
		{"0 0 13 * FRI", "At 00:00, on day 13 of the month, or on Friday, UTC"},
		{"0 0 1-7 * MON-FRI", "At 00:00, on days 1-7 of the month, or Monday to Friday, UTC"},
		{"0 0 */2 * MON", "At 00:00, on every 2nd day from 1 to 31 of the month and only on Monday, UTC"},
		{"0 0 1-7 * */2", "At 00:00, on days 1-7 of the month and only on Saturday, Sunday, Tuesday and Thursday, UTC"},
		{"0 0 1-31 * FRI", "At 00:00, every day, UTC"},
		{"0 0 1-31 * *", "At 00:00, every day, UTC"},
		{"0 0 ? * ?", "At 00:00, every day, UTC"},

		// Months and years.
		{"0 0 1 1 *", "At 00:00, on day 1 of the month, in January, UTC"},
		{"0 0 * JAN,JUL *", "At 00:00, every day, in January and July, UTC"},
		{"0 0 * MAY-AUG *", "At 00:00, every day, May to August, UTC"},
		{"*/5 * * NOV-FEB *", "Every 5 minutes, November to February, UTC"},
		{"0 0 * */3 *", "At 00:00, every day, in January, April, July and October, UTC"},
		{"0 0 0 1 1 ? 2027", "At 00:00, on day 1 of the month, in January, in the year 2027, UTC"},
		{"0 0 0 * * ? 2027-2030,2040", "At 00:00, every day, in the years 2027-2030 and 2040, UTC"},
		{"0 0 0 * * ? 2027/2", "At 00:00, every day, in every 2nd year from 2027 to 2199, UTC"},

		// Descriptors and zones.
		{"@yearly", "At 00:00, on day 1 of the month, in January, UTC"},
		{"@weekly", "At 00:00, on Sunday, UTC"},
		{"@every 1s", "Every second"},
		{"@every 5m", "Every 5 minutes"},
		{"@every 90m", "Every 1 hour 30 minutes"},
		{"@every 24h0m1s", "Every 24 hours 1 second"},
		{"TZ=America/Argentina/Buenos_Aires @daily", "At 00:00, every day, Buenos Aires time"},
		{"0 0 * 12,1,2,6 *", "At 00:00, every day, December to February and June, UTC"},
		{"0 0 * 3,6-8 *", "At 00:00, every day, in March and June to August, UTC"},
		{"TZ=Etc/UTC @daily", "At 00:00, every day, UTC"},
		{"TZ=Etc/GMT+5 @daily", "At 00:00, every day, Etc/GMT+5 time"},
		{"TZ=US/Eastern @daily", "At 00:00, every day, US/Eastern time"},
		{"TZ=Japan @daily", "At 00:00, every day, Japan time"},
		{"TZ=Local @daily", "At 00:00, every day, local time"},
	} {
		if got := parse(t, c.spec).Describe(); got != c.want {
			t.Errorf("%q: %s\nwant %s", c.spec, got, c.want)
		}
	}
	if got := parse(t, "@hourly", In(time.FixedZone("", -5400))).Describe(); got != "Every hour, UTC-01:30" {
		t.Error(got)
	}
}

// TestDescribeOnce checks that no two different schedules have the same description.
func TestDescribeOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	type fires struct {
		second, minute, hour, month uint64
		years                       [4]uint64
		days                        [28 * 12]uint64 // in 28 years there is every kind of month
	}
	seen := map[string]fires{}
	specs := map[string]string{}
	for range 20_000 {
		spec := randomSpec(r)
		s, err := Parse(spec, HashOf("x"))
		if err != nil {
			continue
		}
		f := fires{second: s.second, minute: s.minute, hour: s.hour, month: s.month, years: s.years}
		for i := range f.days {
			f.days[i] = s.days.in(2001+i/12, time.Month(1+i%12))
		}
		text := s.Describe()
		if was, found := seen[text]; found && was != f {
			t.Errorf("%q and %q: %s", specs[text], spec, text)
		}
		seen[text], specs[text] = f, spec
	}
	t.Logf("%d descriptions", len(seen))
}
