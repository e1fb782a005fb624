package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

// newSchedules stores n schedules that are due, and returns them.
func newSchedules(t testing.TB, s *Store, n int) []errand.Schedule {
	now := now()
	changes, all := make([]errand.ScheduleChange, n), make([]errand.Schedule, n)
	for i := range all {
		all[i] = errand.Schedule{
			Name: fmt.Sprintf("report of customer %05d", i), Version: 1, Wake: now, Next: now, Created: now, Changed: now,
			Plan: errand.Plan{Spec: "*/5 * * * *", Zone: "Europe/Berlin", Overlap: errand.OverlapSkip, Misfire: errand.MisfireOnce, Job: errand.Template{
				Kind: "mail", Queue: "default", Args: benchArgs, MaxAttempts: 20, MaxCrashes: 3,
			}},
		}
		changes[i].Schedule = all[i]
	}
	if _, err := s.SwapSchedules(context.Background(), changes); err != nil {
		t.Fatal(err)
	}
	return all
}

// fire has each of the schedules make a job, as the engine does, and be due again at wake. It edits the schedules.
func fire(s *Store, all []errand.Schedule, wake time.Time) ([]errand.Swapped, error) {
	at := now()
	changes := make([]errand.ScheduleChange, len(all))
	for i := range all {
		j, x, c := newJob(at), &all[i], &changes[i]
		j.Tags = []string{errand.ScheduleTag(x.Name)}
		j.Metadata = map[string]string{errand.MetaSchedule: x.Name, errand.MetaNominal: at.Format(time.RFC3339Nano)}
		c.Was = x.Version
		x.Version, x.Firings, x.Last = x.Version+1, x.Firings+1, j.ID
		x.Prev, x.Next, x.Wake = at, wake, wake
		c.Schedule, c.Jobs = *x, []errand.Job{j}
		c.Firings = []errand.Firing{{Schedule: x.Name, Seq: x.Firings, Nominal: at, At: at, Outcome: errand.OutcomeMade, Job: j.ID}}
	}
	return s.SwapSchedules(context.Background(), changes)
}

// TestStoresFireOnce: stores that have one file open fire each nominal time once between them.
func TestStoresFireOnce(t *testing.T) {
	const schedules, rounds = 20, 10
	path := filepath.Join(t.TempDir(), "jobs.db")
	first := mustOpen(t, path)
	newSchedules(t, first, schedules)
	var wg sync.WaitGroup
	for range 4 {
		s := mustOpen(t, path)
		wg.Go(func() {
			for {
				due, err := s.DueSchedules(context.Background(), schedules)
				if err != nil {
					t.Error(err)
					return
				}
				due.Schedules = slices.DeleteFunc(due.Schedules, func(x errand.Schedule) bool { return x.Firings == rounds })
				if len(due.Schedules) == 0 {
					return
				}
				if _, err := fire(s, due.Schedules, due.Now); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	checkSound(t, first)
	all, err := first.Schedules(context.Background(), errand.ScheduleQuery{})
	for _, x := range all {
		if x.Firings != rounds || x.Version != rounds+1 {
			t.Errorf("schedule %q has version %d after %d firings", x.Name, x.Version, x.Firings)
		}
	}
	stats, err2 := first.Stats(context.Background())
	if err != nil || err2 != nil || len(stats) != 1 || stats[0].Jobs != schedules*rounds {
		t.Errorf("%v (%v, %v), want %d jobs", stats, err, err2, schedules*rounds)
	}
}

// BenchmarkFire has 500 of ten thousand schedules make a job each, in one call: before their record of firings is full, and then.
func BenchmarkFire(b *testing.B) {
	for _, before := range []int{0, errand.MaxFirings} {
		b.Run(fmt.Sprint(before), func(b *testing.B) {
			s := openBench(b)
			some := newSchedules(b, s, 10_000)[:500]
			one := func() {
				if done, err := fire(s, some, now().Add(time.Hour)); err != nil || slices.Contains(done, errand.Stale) {
					b.Fatal(done, err)
				}
			}
			for range before {
				one()
			}
			for b.Loop() {
				one()
			}
		})
	}
}

// BenchmarkDueSchedules looks which of ten thousand schedules are due: all of them are, of which it reads 500, and none is.
func BenchmarkDueSchedules(b *testing.B) {
	s := openBench(b)
	all := newSchedules(b, s, 10_000)
	for _, want := range []int{500, 0} {
		if want == 0 {
			if _, err := fire(s, all, now().Add(time.Hour)); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprint(want), func(b *testing.B) {
			for b.Loop() {
				if due, err := s.DueSchedules(context.Background(), 500); err != nil || len(due.Schedules) != want {
					b.Fatal(len(due.Schedules), err)
				}
			}
		})
	}
}
