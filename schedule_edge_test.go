package errand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
)

// flaky is a store of which some calls fail, and some replies are lost.
type flaky struct {
	errand.Store
	fail atomic.Int32 // calls of Schedules for all
	lose atomic.Int32 // replies of SwapSchedules that insert jobs
}

func (f *flaky) Schedules(ctx context.Context, q errand.ScheduleQuery) ([]errand.Schedule, error) {
	if q.Names == nil && f.fail.Add(-1) >= 0 {
		return nil, errors.New("away for a moment")
	}
	return f.Store.Schedules(ctx, q)
}

func (f *flaky) SwapSchedules(ctx context.Context, changes []errand.ScheduleChange) ([]errand.Swapped, error) {
	done, err := f.Store.SwapSchedules(ctx, changes)
	if len(changes[0].Jobs) > 0 && f.lose.Add(-1) >= 0 {
		return nil, errors.New("the reply was lost")
	}
	return done, err
}

// TestScheduleUnread: a process that cannot read the spec of a schedule leaves it to those that can.
func TestScheduleUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		x.schedule("@every 1m", nil)(errand.New(x.store, nil))
		swap := func(spec string) {
			s, err := errand.New(x.store, nil).GetSchedule(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			c := errand.ScheduleChange{Schedule: *s, Was: s.Version}
			c.Schedule.Spec, c.Schedule.Version = spec, s.Version+1
			if _, err := x.store.SwapSchedules(t.Context(), []errand.ScheduleChange{c}); err != nil {
				t.Fatal(err)
			}
		}
		swap("@sometimes") // as a later version may have it
		e := x.run(85*time.Second, errand.Config{}, nil)
		x.want()
		if n, err := e.Backfill(t.Context(), "s", x.begin, x.begin.Add(time.Minute)); !errors.Is(err, errand.ErrInvalid) {
			t.Errorf("backfill: %d, %v", n, err)
		}
		swap("@every 1m")
		x.run(time.Minute, errand.Config{}, nil)
		x.want("1m>1m30s", "2m>2m")
	})
}

// TestScheduleCancelTail: when the job that waits is cancelled or deleted, the next one waits for the one that runs all the same.
func TestScheduleCancelTail(t *testing.T) {
	for _, overlap := range []errand.Overlap{errand.OverlapQueueOne, errand.OverlapQueueAll, errand.OverlapSkip} {
		for verb, do := range map[string]func(*errand.Engine, errand.ID) error{
			"cancel": func(e *errand.Engine, id errand.ID) error {
				_, err := e.Cancel(context.Background(), id, "not needed")
				return err
			},
			"delete": func(e *errand.Engine, id errand.ID) error { return e.Delete(context.Background(), id) },
		} {
			t.Run(string(overlap)+"/"+verb, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { cancelTail(t, overlap, do) })
			})
		}
	}
}

func cancelTail(t *testing.T, overlap errand.Overlap, do func(*errand.Engine, errand.ID) error) {
	var running, most, runs atomic.Int64
	e := start(t, errand.Memory(nil), errand.Config{}, func(e *errand.Engine) {
		tickKind.Do(e, func(context.Context, errand.None) error {
			most.Store(max(most.Load(), running.Add(1)))
			runs.Add(1)
			time.Sleep(10 * time.Minute) // whatever the context says
			running.Add(-1)
			return nil
		})
		if _, err := e.Schedule(t.Context(), "s", "@every 1m", tickKind.New(errand.None{}), &errand.Plan{Overlap: overlap}); err != nil {
			t.Fatal(err)
		}
	})
	time.Sleep(61 * time.Second)
	if overlap == errand.OverlapSkip {
		if _, err := e.RunSchedule(t.Context(), "s", errand.ID{}); err != nil {
			t.Fatal(err)
		}
	} else {
		time.Sleep(time.Minute)
	}
	s, err := e.GetSchedule(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	if j, err := e.Get(t.Context(), s.Last); err != nil || j.State != errand.Waiting || s.Before != j.After[0] {
		t.Fatalf("%+v, %v", j, err)
	}
	if err := do(e, s.Last); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Minute)
	if most.Load() != 1 || runs.Load() != 1 {
		t.Errorf("%d ran side by side, %d in all", most.Load(), runs.Load())
	}
	time.Sleep(9 * time.Minute)
	if most.Load() != 1 || runs.Load() != 2 {
		t.Errorf("later %d ran side by side, %d in all", most.Load(), runs.Load())
	}
	if _, err := e.PauseSchedule(t.Context(), "s", ""); err != nil {
		t.Error(err)
	}
	time.Sleep(24 * time.Hour)
}

// TestScheduleAfterWaits: @after heeds its start, a pause, and that its last job is retried.
func TestScheduleAfterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		x.run(62*time.Minute+30*time.Second, errand.Config{}, func(e *errand.Engine) {
			x.schedule("@after 1m", &errand.Plan{Start: x.begin.Add(time.Hour)})(e)
			time.AfterFunc(30*time.Second, func() { e.RunSchedule(t.Context(), "s", errand.ID{}) })
		})
		x.want("30s>30s", "1h1m>1h1m", "1h2m>1h2m")
	})
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		x.run(12*time.Hour, errand.Config{}, func(e *errand.Engine) {
			x.schedule("@after 1h", nil)(e)
			time.AfterFunc(90*time.Minute, func() { e.PauseSchedule(t.Context(), "s", "") })
			time.AfterFunc(10*time.Hour+10*time.Minute, func() { e.ResumeSchedule(t.Context(), "s", "") })
		})
		x.want("1h0m>1h0m", "11h10m>11h10m")
	})
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 10*time.Minute)
		x.run(100*time.Minute, errand.Config{}, func(e *errand.Engine) {
			x.schedule("@after 30m", nil)(e)
			time.AfterFunc(69*time.Minute, func() { // a minute before the next one
				s, _ := e.GetSchedule(t.Context(), "s")
				if _, err := e.Retry(t.Context(), s.Last, ""); err != nil {
					t.Error(err)
				}
			})
		})
		x.want("30m>30m", "30m>1h9m")
	})
}

// TestScheduleRebootOnce: a start counts within the bounds, once whatever the store does.
func TestScheduleRebootOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		set := x.schedule("@reboot", &errand.Plan{Start: x.begin.Add(time.Hour), End: x.begin.Add(2 * time.Hour)})
		for range 3 {
			x.run(time.Minute, errand.Config{}, set)
			time.Sleep(59 * time.Minute)
		}
		x.want("1h0m>1h0m")
	})
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		f := &flaky{Store: x.store}
		x.store = f
		x.schedule("@reboot", nil)(errand.New(f, nil))
		f.fail.Store(2)
		f.lose.Store(2)
		x.run(time.Hour, errand.Config{}, nil)
		if len(x.runs) != 1 {
			t.Errorf("runs: %v", x.runs)
		}
	})
}

// TestScheduleRunAgain: a run that is asked for again, since its answer was lost, is the same.
func TestScheduleRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, time.Second)
		f := &flaky{Store: x.store}
		x.store = f
		x.run(time.Minute, errand.Config{}, func(e *errand.Engine) {
			x.schedule("@every 24h", nil)(e)
			time.AfterFunc(time.Second, func() {
				id := errand.ID{6: 0x70, 8: 0x80, 15: 1}
				f.lose.Store(1)
				if _, err := e.RunSchedule(t.Context(), "s", id); err == nil {
					t.Error("no reply was lost")
				}
				j, err := e.RunSchedule(t.Context(), "s", id)
				if err != nil || j.ID != id || !j.Duplicate {
					t.Errorf("%+v, %v", j, err)
				}
				other, err := tickKind.Enqueue(t.Context(), e, errand.None{}, errand.In(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := e.RunSchedule(t.Context(), "s", other.ID); !errors.Is(err, errand.ErrInvalid) {
					t.Errorf("the ID of another job: %v", err)
				}
			})
		})
		if len(x.runs) != 1 {
			t.Errorf("runs: %v", x.runs)
		}
	})
}

// TestScheduleBackfillWaits: what is made up for by hand runs after what runs, and what comes meanwhile after that.
func TestScheduleBackfillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 50*time.Second)
		e := x.run(10*time.Minute+30*time.Second, errand.Config{}, func(e *errand.Engine) {
			x.schedule("* * * * *", nil)(e)
			x.begin = x.begin.Truncate(time.Minute)
			time.AfterFunc(5*time.Minute+10*time.Second, func() {
				for want := 3; want >= 0; want -= 3 {
					if n, err := e.Backfill(t.Context(), "s", x.begin.Add(-3*time.Minute), x.begin); n != want || err != nil {
						t.Errorf("%d made, %v; want %d", n, err, want)
					}
				}
			})
		})
		x.want("1m>1m", "2m>2m", "3m>3m", "4m>4m", "5m>5m", "-3m>5m50s", "-2m>6m40s", "-1m>7m30s", "9m>9m", "10m>10m")
		firings, err := e.FiringsOf(t.Context(), []string{"s"}, 100)
		backfilled := slices.DeleteFunc(firings, func(f errand.Firing) bool { return f.Outcome != errand.OutcomeBackfilled })
		if err != nil || len(backfilled) != 3 || !backfilled[0].Nominal.Equal(x.begin.Add(-time.Minute)) {
			t.Errorf("%+v, %v", backfilled, err)
		}
	})
}

// TestScheduleCatchUpAll: with the default overlap catching up leaves no hole.
func TestScheduleCatchUpAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 40*time.Second)
		set := x.schedule("@every 1m", &errand.Plan{Misfire: errand.MisfireCatchUp})
		x.run(170*time.Second, errand.Config{}, set)
		time.Sleep(10 * time.Minute)
		e := x.run(45*time.Minute, errand.Config{}, set)
		for i, run := range x.runs {
			if want := fmt.Sprintf("%s>", short(time.Duration(i+1)*time.Minute)); !strings.HasPrefix(run, want) {
				t.Fatalf("run %d is %s, want that of %s", i, run, want)
			}
		}
		if s, err := e.GetSchedule(t.Context(), "s"); err != nil || s.Overlap != errand.OverlapQueueAll || s.Skipped+s.Missed != 0 || len(x.runs) < 55 {
			t.Errorf("%d runs; %+v, %v", len(x.runs), s, err)
		}
	})
}

// TestScheduleOtherSpellings: @every is one however it is written.
func TestScheduleOtherSpellings(t *testing.T) {
	e := errand.New(errand.Memory(nil), nil)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, spec := range []string{"@every 10m", "@Every 10m", "@every\t10m", "TZ=UTC @every 10m"} {
		s, err := e.PreviewSchedule("s", spec, tickKind.New(errand.None{}), &errand.Plan{Start: start})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Upcoming(start.Add(15*time.Minute), 1); s.Describe() != "Every 10m" || !got[0].Equal(start.Add(20*time.Minute)) {
			t.Errorf("%q: %s, %v", spec, s.Describe(), got)
		}
	}
}

// TestScheduleActor: who has changed a schedule last is the program, when it registers another plan.
func TestScheduleActor(t *testing.T) {
	e := errand.New(errand.Memory(nil), nil)
	ctx, job := t.Context(), tickKind.New(errand.None{})
	if _, err := e.Schedule(ctx, "s", "@every 1m", job, nil); err != nil {
		t.Fatal(err)
	}
	if s, err := e.EditSchedule(errand.WithActor(ctx, "ann"), "s", "@every 5m", job, nil, 0, "too often"); err != nil || s.Actor != "ann" || s.Reason != "too often" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := e.Schedule(ctx, "s", "@every 1m", job, nil); err != nil || s.Spec != "@every 5m" || s.Actor != "ann" {
		t.Errorf("the same plan: %+v, %v", s, err)
	}
	if s, err := e.Schedule(ctx, "s", "@every 2m", job, nil); err != nil || s.Spec != "@every 2m" || s.Actor+s.Reason != "" {
		t.Errorf("another plan: %+v, %v", s, err)
	}
}
