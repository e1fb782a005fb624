package cron

import (
	"testing"
	"time"
)

var benchmarks = []struct{ name, spec string }{
	{"minute", "* * * * *"},
	{"weekdays", "*/15 9-17 * * MON-FRI"},
	{"daily", "0 7 * * *"},
	{"daily-NewYork", "TZ=America/New_York 0 7 * * *"},
	{"hourly-NewYork", "TZ=America/New_York 0 * * * *"},
	{"lastWeekday", "0 18 LW * ?"},
	{"secondFriday", "0 18 ? * FRI#2"},
	{"leapDay-NewYork", "TZ=America/New_York 0 0 29 2 ?"},
	{"leapSaturday", "0 0 ? FEB SAT#5"}, // every 28 or 40 years
	{"second", "* * * * * *"},
}

func BenchmarkNext(b *testing.B) {
	for _, c := range benchmarks {
		b.Run(c.name, func(b *testing.B) {
			s, from := parse(b, c.spec), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			b.ReportAllocs()
			for at := from; b.Loop(); {
				if at = s.Next(at); at.Year() > 2036 {
					at = from
				}
			}
		})
	}
}

func BenchmarkPrev(b *testing.B) {
	for _, c := range benchmarks {
		b.Run(c.name, func(b *testing.B) {
			s, from := parse(b, c.spec), time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
			b.ReportAllocs()
			for at := from; b.Loop(); {
				if at = s.Prev(at); at.Year() < 2026 {
					at = from
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range benchmarks {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parse(b, c.spec)
			}
		})
	}
}

// TestNextAllocates checks that neither Next nor Prev does.
func TestNextAllocates(t *testing.T) {
	for _, c := range benchmarks {
		s, at := parse(t, c.spec), time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)
		if n := testing.AllocsPerRun(100, func() { at = s.Next(at); s.Prev(at) }); n > 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
