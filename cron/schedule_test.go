package cron

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBounds(t *testing.T) {
	east, west := In(time.FixedZone("", 14*3600)), In(time.FixedZone("", -12*3600))
	first, last := time.Time{}, time.Unix(1<<62, 0)
	for _, c := range []struct {
		spec       string
		zone       Option
		next, prev string // of the first and the last time there is
	}{
		{"* * * * *", In(time.UTC), "1970-01-01T00:00Z", "2199-12-31T23:59Z"},
		{"* * * * *", east, "1970-01-01T00:00+14:00", "2199-12-31T23:59+14:00"},
		{"* * * * *", west, "1970-01-01T00:00-12:00", "2199-12-31T23:59-12:00"},
		{"0 12 * * *", In(time.UTC), "1970-01-01T12:00Z", "2199-12-31T12:00Z"},
		{"0 0 29 2 *", In(time.UTC), "1972-02-29T00:00Z", "2196-02-29T00:00Z"},
		{"0 0 0 1 1 ? 2000", In(time.UTC), "2000-01-01T00:00Z", "2000-01-01T00:00Z"},
		{"@every 1h", In(time.UTC), "1970-01-01T01:00Z", "2200-01-02T22:59:59Z"},
		{"@every 2562047h", In(time.UTC), "none", "none"},
	} {
		s := parse(t, c.spec, c.zone)
		next, prev := s.Next(first), s.Prev(last)
		if stamp(next) != c.next || stamp(prev) != c.prev {
			t.Errorf("%s: from %s to %s, want from %s to %s", c.spec, stamp(next), stamp(prev), c.next, c.prev)
		}
		if s.every == 0 && !(s.Prev(next).IsZero() && s.Next(prev).IsZero()) {
			t.Errorf("%s: before %s is %s, after %s is %s", c.spec, stamp(next), s.Prev(next), stamp(prev), s.Next(prev))
		}
		for _, at := range []int64{-1 << 63, -1<<63 + 1, -1 << 62, 1 << 62, 1<<63 - 1} {
			if n := s.Next(time.Unix(at, 0)); at > 0 && !n.IsZero() {
				t.Errorf("%s: %s is after %d", c.spec, n, at)
			}
			if p := s.Prev(time.Unix(at, 999)); at < 0 && !p.IsZero() {
				t.Errorf("%s: %s is before %d", c.spec, p, at)
			}
		}
	}
}

// TestLeapDay goes over the year 2100, which is no leap year.
func TestLeapDay(t *testing.T) {
	s := parse(t, "0 0 29 2 ?")
	if at := s.Next(time.Date(2096, 2, 29, 0, 0, 0, 0, time.UTC)); stamp(at) != "2104-02-29T00:00Z" || stamp(s.Prev(at)) != "2096-02-29T00:00Z" {
		t.Error(at, s.Prev(at))
	}
}

func TestFractions(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		spec       string
		at         time.Duration // from noon on
		next, prev time.Duration
	}{
		{"* * * * * *", 0, time.Second, -time.Second},
		{"* * * * * *", 1, time.Second, 0},
		{"* * * * * *", -1, 0, -time.Second},
		{"* * * * *", 1, time.Minute, 0},
		{"* * * * *", -1, 0, -time.Minute},
		{"@every 90s", 0, 90 * time.Second, -90 * time.Second},
		{"@every 90s", 1, 90 * time.Second, -89 * time.Second},
		{"@every 90s", -1, 89 * time.Second, -90 * time.Second},
	} {
		s := parse(t, c.spec)
		next, prev := s.Next(noon.Add(c.at)).Sub(noon), s.Prev(noon.Add(c.at)).Sub(noon)
		if next != c.next || prev != c.prev {
			t.Errorf("%s at %d: %s and %s, want %s and %s", c.spec, c.at, next, prev, c.next, c.prev)
		}
	}
}

func TestInterval(t *testing.T) {
	if d, ok := parse(t, "@every 1h30m").Interval(); d != 90*time.Minute || !ok {
		t.Error(d, ok)
	}
	if d, ok := parse(t, "*/5 * * * *").Interval(); d != 0 || ok {
		t.Error(d, ok)
	}
}

func TestAll(t *testing.T) {
	s := parse(t, "0 0 0 1 1 ? 2027-2029")
	var years []int
	for at := range s.All(time.Time{}) {
		years = append(years, at.Year())
	}
	if !slices.Equal(years, []int{2027, 2028, 2029}) {
		t.Error(years)
	}
	for range s.All(time.Time{}) {
		break
	}
}

// TestRandom compares with a look at every second, or minute, of some days, by the fields as they were read.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	specs, times := 0, 0
	count := 400
	if testing.Short() {
		count = 100
	}
	for range count {
		spec := randomSpec(r)
		s, err := Parse(spec, HashOf("x"))
		if err != nil {
			if !strings.Contains(err.Error(), "no month and year") {
				t.Fatal(err)
			}
			continue
		}
		from := time.Date(2020+r.IntN(10), time.Month(1+r.IntN(12)), 1+r.IntN(28), r.IntN(24), r.IntN(60), 0, 0, time.UTC)
		step, span := time.Minute, 40*24*time.Hour
		if s.second != 1 {
			step, span = time.Second, 30*time.Hour
		}
		var want []int64
		for at := from; at.Before(from.Add(span)); at = at.Add(step) {
			if s.second>>at.Second()&1 != 0 && s.minute>>at.Minute()&1 != 0 && s.hour>>at.Hour()&1 != 0 &&
				s.has(at.Year(), at.Month()) && s.days.in(at.Year(), at.Month())>>at.Day()&1 != 0 {
				want = append(want, at.Unix())
			}
		}
		compare(t, s, want, from.Unix(), from.Add(span).Unix()-1)
		specs, times = specs+1, times+len(want)
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d specs, %d times", specs, times)
}

// randomSpec makes a spec of what the language has, but for years.
func randomSpec(r *rand.Rand) string {
	value := func(f *field) string {
		v := f.min + r.IntN(f.size())
		if f.names != "" && r.IntN(2) == 0 {
			return f.names[3*(v-f.min):][:3]
		}
		return fmt.Sprint(v)
	}
	item := func(f *field) string {
		v, step := value(f), 1+r.IntN(f.size())
		switch n := r.IntN(20); {
		case n < 4:
			return fmt.Sprintf("*/%d", step)
		case n < 6:
			return fmt.Sprintf("%s/%d", v, step)
		case n < 9:
			a, b := r.IntN(f.size()), r.IntN(f.size())
			return fmt.Sprintf("%d-%d/%d", f.min+min(a, b), f.min+max(a, b), 1+r.IntN(3))
		case n < 10:
			return "H"
		case n < 11:
			return fmt.Sprintf("H/%d", step)
		case n < 13 && f.names != "":
			return v + "-" + value(f)
		case n < 16 && f.isDom():
			return []string{"L", "LW", fmt.Sprintf("L-%d", 1+r.IntN(30)), v + "W"}[r.IntN(4)]
		case n < 16 && f.isDow():
			return v + []string{"L", "#1", "#2", "#5"}[r.IntN(4)]
		}
		return v
	}
	var words []string
	for i := range fields[:yearField] {
		f := &fields[i]
		switch n := r.IntN(10); {
		case i == 0 && n < 7:
			continue // five fields
		case n < 4:
			words = append(words, "*")
		default:
			items := []string{item(f)}
			for r.IntN(3) == 0 {
				items = append(items, item(f))
			}
			words = append(words, strings.Join(items, ","))
		}
	}
	return strings.Join(words, " ")
}
