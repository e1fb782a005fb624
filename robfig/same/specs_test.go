package same

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	ours "github.com/errandhq/errand/robfig"
	theirs "github.com/robfig/cron/v3"
)

// TestSpecs compares what random specs mean, where the package comment does not say that it differs.
func TestSpecs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	n := func(low, high int) int { return low + random.IntN(high-low+1) }
	field := func(low, high int, names ...string) string {
		var items []string
		for range n(1, 3) {
			a, b := n(low, high), n(low, high)
			a, b = min(a, b), max(a, b)
			name := func(v int) string {
				if len(names) > 0 && random.IntN(2) == 0 {
					return names[v-low]
				}
				return fmt.Sprint(v)
			}
			items = append(items, []string{
				name(a), name(a) + "-" + name(b), fmt.Sprintf("%d-%d/%d", a, b, n(1, 7)), fmt.Sprintf("%d/%d", a, n(1, 7)), fmt.Sprintf("*/%d", n(1, 7)),
			}[random.IntN(5)])
		}
		if random.IntN(3) == 0 {
			return "*"
		}
		return strings.Join(items, ",")
	}
	months := []string{"jan", "FEB", "Mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	days := []string{"sun", "MON", "Tue", "wed", "thu", "fri", "sat"}
	compared := 0
	for range 20_000 {
		dom, dow := field(1, 31), field(0, 6, days...)
		if random.IntN(4) == 0 {
			dow = "?"
		}
		if strings.Contains(dom, "*/") || strings.Contains(dow, "*/") { // days of steps are not "every day" to robfig
			continue
		}
		spec := strings.Join([]string{field(0, 59), field(0, 23), dom, field(1, 12, months...), dow}, " ")
		a, err := theirs.ParseStandard(spec)
		if err != nil {
			t.Fatalf("%q: %v", spec, err)
		}
		b, err := ours.ParseStandard(spec)
		at := time.Date(2000+n(0, 60), time.Month(n(1, 12)), n(1, 31), n(0, 23), n(0, 59), n(0, 59), n(0, 1), time.UTC)
		if err != nil {
			if next := a.Next(at); !next.IsZero() {
				t.Errorf("%q: %v; robfig: %s", spec, err, next)
			}
			continue
		}
		for k := range 5 {
			x, y := a.Next(at), b.Next(at)
			if x.IsZero() { // it looks five years ahead
				break
			}
			if !x.Equal(y) {
				t.Fatalf("%q: the %d. after %s is %s, to robfig %s", spec, k+1, at, y, x)
			}
			at = x
			compared++
		}
	}
	t.Log(compared, "times compared")
}

// TestSpecsDiffer has the differences that the package comment tells of.
func TestSpecsDiffer(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) // a Thursday
	next := func(s interface{ Next(time.Time) time.Time }, err error) string {
		if err != nil {
			return "error"
		}
		return s.Next(at).Format("Mon 2 Jan 15:04")
	}
	for spec, want := range map[string][2]string{ // what we say, what robfig says
		"0 0 */2 * MON": {"Mon 5 Jan 00:00", "Sat 3 Jan 00:00"},
		"0 0 * * 7":     {"Sun 4 Jan 00:00", "error"},
		"0 0 L * *":     {"Sat 31 Jan 00:00", "error"},
		"? 5 * * *":     {"error", "Thu 1 Jan 05:00"},
		"0 5 * * 1,":    {"error", "Mon 5 Jan 05:00"},
		"0 5 */40 * *":  {"error", "Thu 1 Jan 05:00"},
		"0 5 30 2 *":    {"error", "Mon 1 Jan 00:00"}, // zero: never
	} {
		a, errA := ours.ParseStandard(spec)
		b, errB := theirs.ParseStandard(spec)
		if got := [2]string{next(a, errA), next(b, errB)}; got != want {
			t.Errorf("%q: %q, want %q", spec, got, want)
		}
	}
}
