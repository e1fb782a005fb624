// Package differential compares package cron with github.com/robfig/cron and github.com/adhocore/gronx: random specs, random
// instants, in UTC, where both are right. It is a module of its own so that errand does not depend on them.
//
// What is left out, because the peer is wrong there or does not have it:
//
//   - robfig/cron: L, W, # and 7 for Sunday, and ranges that go round the end, which it refuses; */n in one of the day fields while
//     the other is restricted, where it takes either day and Vixie cron only both.
//   - gronx: L-n and LW, and ranges that go round the end, which it refuses.
package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adhocore/gronx"
	"github.com/errandhq/errand/cron"
	robfig "github.com/robfig/cron/v3"
)

const specs = 8000

func TestRobfig(t *testing.T) {
	parser := robfig.NewParser(robfig.Second | robfig.Minute | robfig.Hour | robfig.Dom | robfig.Month | robfig.Dow)
	r := rand.New(rand.NewPCG(1, 1))
	compared, never := 0, 0
	for range specs {
		spec := randomSpec(r, false)
		theirs, err := parser.Parse(spec)
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		ours, err := cron.Parse(spec)
		if err != nil { // a day that never comes
			if at := theirs.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); !at.IsZero() {
				t.Errorf("%s: robfig/cron has %s, and here it is an error: %v", spec, at, err)
			}
			never++
			continue
		}
		for range 20 {
			at := randomTime(r)
			for range 3 {
				got, want := ours.Next(at), theirs.Next(at)
				if !got.Equal(want) {
					t.Fatalf("%s after %s: %s, robfig/cron has %s", spec, at, got, want)
				}
				at, compared = got, compared+1
			}
		}
	}
	t.Logf("%d specs, of which %d never match; %d times are the same", specs, never, compared)
}

func TestGronx(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	compared, never := 0, 0
	for range specs {
		spec := randomSpec(r, true)
		ours, err := cron.Parse(spec)
		if err != nil { // a day that never comes
			if at, err := gronx.NextTickAfter(spec, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), false); err == nil {
				t.Errorf("%s: gronx has %s, and here it is an error", spec, at)
			}
			never++
			continue
		}
		for range 4 {
			at := randomTime(r)
			next, err := gronx.NextTickAfter(spec, at, false)
			if err != nil || !ours.Next(at).Equal(next) {
				t.Fatalf("%s after %s: %s, gronx has %s, %v", spec, at, ours.Next(at), next, err)
			}
			prev, err := gronx.PrevTickBefore(spec, at, false)
			if err != nil || !ours.Prev(at).Equal(prev) {
				t.Fatalf("%s before %s: %s, gronx has %s, %v", spec, at, ours.Prev(at), prev, err)
			}
			compared += 2
		}
	}
	t.Logf("%d specs, of which %d never match; %d times are the same", specs, never, compared)
}

func randomTime(r *rand.Rand) time.Time {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(40*365*24*3600)) * time.Second)
}

type field struct {
	min, max int
	names    []string
}

var fields = []field{
	{0, 59, nil},
	{0, 59, nil},
	{0, 23, nil},
	{1, 31, nil},
	{1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{0, 6, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

const dom, dow = 3, 5

// randomSpec makes six fields of what both packages have.
func randomSpec(r *rand.Rand, wide bool) string {
	words := make([]string, len(fields))
	for i := range fields {
		switch n := r.IntN(20); {
		case n < 6:
			words[i] = "*"
		case n < 7 && (i == dom || i == dow):
			words[i] = "?"
		case n < 10:
			words[i] = fmt.Sprintf("*/%d", 1+r.IntN(fields[i].max))
		default:
			items := []string{item(r, i, wide)}
			for r.IntN(3) == 0 {
				items = append(items, item(r, i, wide))
			}
			words[i] = strings.Join(items, ",")
		}
	}
	starStep := strings.HasPrefix(words[dom], "*/") || strings.HasPrefix(words[dow], "*/")
	if starStep && !wide {
		words[dow-2*r.IntN(2)] = "*"
	}
	return strings.Join(words, " ")
}

func item(r *rand.Rand, i int, wide bool) string {
	f := &fields[i]
	name := func(v int) string {
		if f.names != nil && r.IntN(2) == 0 {
			return f.names[v-f.min]
		}
		return fmt.Sprint(v)
	}
	a, b := f.min+r.IntN(f.max-f.min+1), f.min+r.IntN(f.max-f.min+1)
	a, b = min(a, b), max(a, b)
	switch n := r.IntN(10); {
	case n < 3:
		return name(a) + "-" + name(b)
	case n < 4:
		return fmt.Sprintf("%s-%s/%d", name(a), name(b), 1+r.IntN(5))
	case n < 5:
		return fmt.Sprintf("%s/%d", name(a), 1+r.IntN(f.max))
	case n < 7 && wide && i == dom:
		return []string{"L", fmt.Sprintf("%dW", a)}[r.IntN(2)]
	case n < 7 && wide && i == dow:
		return []string{"7", fmt.Sprintf("%d-7", a), fmt.Sprintf("%dL", a), fmt.Sprintf("%d#%d", a, 1+r.IntN(5))}[r.IntN(4)]
	}
	return name(a)
}
