package errand_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/storetest"
)

// metronome is a kind of which a schedule makes jobs, and what they did.
type metronome struct {
	t     *testing.T
	store errand.Store
	begin time.Time
	takes time.Duration
	mu    sync.Mutex
	runs  []string // "nominal start" of each, since the begin
}

var tickKind = errand.Define[errand.None, errand.None]("tick", errand.MaxAttempts(1))

func newMetronome(t *testing.T, takes time.Duration) *metronome {
	return &metronome{t: t, store: errand.Memory(nil), begin: time.Now(), takes: takes}
}

// run works for a time.
func (x *metronome) run(d time.Duration, config errand.Config, setup func(*errand.Engine)) *errand.Engine {
	x.t.Helper()
	config.Log, config.ShutdownGrace = slog.New(slog.DiscardHandler), -1
	e := errand.New(x.store, &config)
	tickKind.Do(e, func(ctx context.Context, _ errand.None) error {
		job := errand.Current(ctx).Job()
		x.mu.Lock()
		x.runs = append(x.runs, fmt.Sprintf("%s>%s", short(job.Nominal().Sub(x.begin)), short(time.Since(x.begin))))
		x.mu.Unlock()
		select {
		case <-time.After(x.takes):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return nil
	})
	if setup != nil {
		setup(e)
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), d)
	defer cancel()
	if err := e.Run(ctx); err != nil {
		x.t.Fatal(err)
	}
	return e
}

func short(d time.Duration) string {
	text := d.Round(100 * time.Millisecond).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// want checks the runs since the last call.
func (x *metronome) want(runs ...string) {
	x.t.Helper()
	if !slices.Equal(x.runs, runs) {
		x.t.Errorf("the jobs were for>began %v, want %v", x.runs, runs)
	}
	x.runs = nil
}

func (x *metronome) schedule(spec string, plan *errand.Plan) func(*errand.Engine) {
	return func(e *errand.Engine) {
		x.t.Helper()
		if _, err := e.Schedule(x.t.Context(), "s", spec, tickKind.New(errand.None{}), plan); err != nil {
			x.t.Fatal(err)
		}
	}
}

func TestScheduleEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		set := x.schedule("@every 1m", nil)
		e := x.run(150*time.Second, errand.Config{}, set)
		x.want("1m>1m", "2m>2m")
		s, err := e.GetSchedule(t.Context(), "s")
		if err != nil || s.Made != 2 || s.Missed+s.Skipped != 0 || !s.Prev.Equal(x.begin.Add(2*time.Minute)) || !s.Next.Equal(x.begin.Add(3*time.Minute)) {
			t.Errorf("%+v, %v", s, err)
		}
		jobs, err := e.List(t.Context(), errand.Query{Tags: []string{errand.ScheduleTag("s")}})
		if err != nil || len(jobs.Jobs) != 2 || jobs.Jobs[0].ID != s.Last {
			t.Errorf("the jobs with its tag: %d, %v", len(jobs.Jobs), err)
		}
		firings, err := e.FiringsOf(t.Context(), []string{"s"}, 10)
		if err != nil || len(firings) != 2 || firings[0].Job != s.Last || firings[0].Outcome != errand.OutcomeMade {
			t.Errorf("the firings: %+v, %v", firings, err)
		}
		x.run(time.Minute, errand.Config{}, set) // a new process goes on where it was
		x.want("3m>3m")
	})
}

// TestScheduleOverlap: a job takes 2.5 times as long as the interval.
func TestScheduleOverlap(t *testing.T) {
	for overlap, want := range map[errand.Overlap][]string{
		errand.OverlapSkip:     {"1m>1m", "4m>4m", "7m>7m"},
		errand.OverlapQueueOne: {"1m>1m", "2m>3m30s", "4m>6m"},
		errand.OverlapQueueAll: {"1m>1m", "2m>3m30s", "3m>6m"},
		errand.OverlapAllow:    {"1m>1m", "2m>2m", "3m>3m", "4m>4m", "5m>5m", "6m>6m", "7m>7m", "8m>8m"},
		errand.OverlapCancel:   {"1m>1m", "2m>2m", "3m>3m", "4m>4m", "5m>5m", "6m>6m", "7m>7m", "8m>8m"},
	} {
		t.Run(string(overlap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newMetronome(t, 150*time.Second)
				e := x.run(8*time.Minute+time.Second, errand.Config{}, x.schedule("@every 1m", &errand.Plan{Overlap: overlap}))
				x.want(want...)
				s, err := e.GetSchedule(t.Context(), "s")
				if err != nil || s.Made+s.Skipped != 8 || s.Missed != 0 {
					t.Errorf("%d made, %d skipped, %d missed: %v", s.Made, s.Skipped, s.Missed, err)
				}
			})
		})
	}
}

// TestScheduleMisfire: nobody is there from 2:30 to 12:30.
func TestScheduleMisfire(t *testing.T) {
	for name, c := range map[string]struct {
		plan errand.Plan
		want []string
	}{
		"once":           {errand.Plan{}, []string{"12m>12m30s", "13m>13m"}}, // 12m is in time
		"once, late":     {errand.Plan{Grace: 10 * time.Second}, []string{"12m>12m30s", "13m>13m"}},
		"skip":           {errand.Plan{Misfire: errand.MisfireSkip}, []string{"12m>12m30s", "13m>13m"}},
		"skip, late":     {errand.Plan{Misfire: errand.MisfireSkip, Grace: 10 * time.Second}, []string{"13m>13m"}},
		"catch up":       {errand.Plan{Misfire: errand.MisfireCatchUp, CatchUp: 3, Overlap: errand.OverlapAllow}, []string{"9m>12m30s", "10m>12m30s", "11m>12m30s", "12m>12m30s", "13m>13m"}},
		"catch up, skip": {errand.Plan{Misfire: errand.MisfireCatchUp, CatchUp: 3, Grace: 10 * time.Second}, []string{"10m>12m30s", "11m>12m30s", "12m>12m30s", "13m>13m"}},
		"window":         {errand.Plan{Misfire: errand.MisfireCatchUp, Window: 150 * time.Second, Overlap: errand.OverlapAllow}, []string{"10m>12m30s", "11m>12m30s", "12m>12m30s", "13m>13m"}},
		"all":            {errand.Plan{Misfire: errand.MisfireCatchUp, Overlap: errand.OverlapAllow}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newMetronome(t, 0)
				set := x.schedule("@every 1m", &c.plan)
				x.run(150*time.Second, errand.Config{}, set)
				x.want("1m>1m", "2m>2m")
				time.Sleep(10 * time.Minute)
				e := x.run(time.Minute, errand.Config{}, set)
				if c.want == nil {
					for n := 3; n <= 12; n++ {
						c.want = append(c.want, fmt.Sprintf("%dm>12m30s", n))
					}
					c.want = append(c.want, "13m>13m")
				}
				slices.Sort(x.runs) // those made together begin in any order
				slices.Sort(c.want)
				x.want(c.want...)
				s, err := e.GetSchedule(t.Context(), "s")
				if err != nil || s.Made != int64(2+len(c.want)) || s.Made+s.Missed+s.Skipped != 13 {
					t.Errorf("%d made, %d missed, %d skipped: %v", s.Made, s.Missed, s.Skipped, err)
				}
			})
		})
	}
}

func TestScheduleAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 100*time.Second)
		set := x.schedule("@after 1m", nil)
		x.run(8*time.Minute, errand.Config{}, set)
		x.want("1m>1m", "3m40s>3m40s", "6m20s>6m20s") // each 1m after the 100s of the one before
	})
}

func TestScheduleReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		set := x.schedule("@reboot", nil)
		x.run(time.Minute, errand.Config{}, set)
		x.want("0s>0s")
		x.run(time.Minute, errand.Config{}, set)
		x.want("1m>1m")
	})
}

// TestScheduleStaysPaused: what an operator does outlives a deploy, a new plan of the program too.
func TestScheduleStaysPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		ctx := errand.WithActor(t.Context(), "ann")
		x.run(150*time.Second, errand.Config{}, func(e *errand.Engine) {
			x.schedule("@every 1m", nil)(e)
			time.AfterFunc(90*time.Second, func() {
				if _, err := e.PauseSchedule(ctx, "s", "month end"); err != nil {
					t.Error(err)
				}
			})
		})
		x.want("1m>1m")
		for _, spec := range []string{"@every 1m", "@every 30s"} {
			e := x.run(time.Minute, errand.Config{}, x.schedule(spec, nil))
			x.want()
			s, err := e.GetSchedule(ctx, "s")
			if err != nil || s.Spec != spec || s.PausedBy != (errand.By{Actor: "ann", Reason: "month end"}) || s.Paused.IsZero() || !s.Next.IsZero() {
				t.Errorf("%+v, %v", s, err)
			}
		}
		x.run(50*time.Second, errand.Config{}, func(e *errand.Engine) {
			x.schedule("@every 30s", nil)(e)
			if _, err := e.ResumeSchedule(ctx, "s", ""); err != nil { // at 4m30s; what passed meanwhile was not missed
				t.Error(err)
			}
		})
		x.want("5m>5m")
	})
}

// TestScheduleEdited: an operator's edit stays until the program has another plan.
func TestScheduleEdited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		e := errand.New(x.store, nil)
		code := func(spec string) *errand.Schedule {
			t.Helper()
			s, err := e.Schedule(t.Context(), "s", spec, tickKind.New(errand.None{}), nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := code("@every 1m")
		edited, err := e.EditSchedule(t.Context(), "s", "@every 5m", tickKind.New(errand.None{}), nil, s.Version, "too often")
		if err != nil || !edited.Next.Equal(x.begin.Add(5*time.Minute)) {
			t.Fatalf("%+v, %v", edited, err)
		}
		if s := code("@every 1m"); s.Spec != "@every 5m" || s.Version != edited.Version {
			t.Errorf("a deploy with the same plan made it %s", s.Spec)
		}
		if s := code("@every 2m"); s.Spec != "@every 2m" {
			t.Errorf("a deploy with a new plan left it %s", s.Spec)
		}
		if _, err := e.EditSchedule(t.Context(), "s", "@every 5m", tickKind.New(errand.None{}), nil, edited.Version, ""); !errors.Is(err, errand.ErrChanged) {
			t.Errorf("an edit of an old version: %v", err)
		}
		if _, err := e.EditSchedule(t.Context(), "s", "@every 5m", tickKind.New(errand.None{}), nil, -1, ""); !errors.Is(err, errand.ErrChanged) {
			t.Errorf("a new one of a name that is taken: %v", err)
		}
		if err := e.DeleteSchedule(t.Context(), "s"); err != nil {
			t.Error(err)
		}
		if _, err := e.PauseSchedule(t.Context(), "s", ""); !errors.Is(err, errand.ErrNoSchedule) {
			t.Errorf("a pause of one that is gone: %v", err)
		}
	})
}

// TestScheduleNames: specs by name, and what becomes of them when the settings change.
func TestScheduleNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 0)
		set := x.schedule("cron.often", nil)
		x.run(61*time.Second, errand.Config{Specs: map[string]string{"often": "@every 1m"}}, set)
		x.want("1m>1m")
		x.run(60*time.Second, errand.Config{Specs: map[string]string{"often": "@every 20s"}}, nil)
		x.want("1m20s>1m20s", "1m40s>1m40s", "2m>2m")
		e := errand.New(x.store, &errand.Config{Specs: map[string]string{"often": "@every 1m", "b": "@daily"}})
		_, err := e.Schedule(t.Context(), "s", "cron.none", tickKind.New(errand.None{}), nil)
		if want := `schedule "s": invalid spec "cron.none": no spec has this name (there are cron.b, cron.often)`; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

func TestScheduleRunNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 45*time.Second)
		x.run(200*time.Second, errand.Config{}, func(e *errand.Engine) {
			x.schedule("@every 1m", nil)(e)
			for _, at := range []time.Duration{10 * time.Second, 20 * time.Second, 70 * time.Second} {
				time.AfterFunc(at, func() {
					if _, err := e.RunSchedule(t.Context(), "s", errand.ID{}); err != nil {
						t.Error(err)
					}
				})
			}
			time.AfterFunc(30*time.Second, func() { // one waits
				var state *errand.StateError
				if _, err := e.RunSchedule(t.Context(), "s", errand.ID{}); !errors.As(err, &state) {
					t.Errorf("a third one: %v", err)
				}
			})
		})
		// The one of 1m would overlap, and so would that of 2m.
		x.want("10s>10s", "20s>55s", "1m10s>1m40s", "3m>3m")
	})
}

func TestScheduleBackfill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newMetronome(t, 10*time.Second)
		set := x.schedule("@every 1m", nil)
		x.run(150*time.Second, errand.Config{}, set)
		x.want("1m>1m", "2m>2m")
		time.Sleep(5 * time.Minute)
		e := errand.New(x.store, nil)
		if n, err := e.Backfill(t.Context(), "s", x.begin, x.begin.Add(5*time.Minute)); n != 2 || err != nil { // of 1m to 4m two are there
			t.Errorf("Backfill made %d, %v", n, err)
		}
		if n, err := e.Backfill(t.Context(), "s", x.begin, x.begin.Add(5*time.Minute)); n != 0 || err != nil {
			t.Errorf("Backfill again made %d, %v", n, err)
		}
		if _, err := e.Backfill(t.Context(), "s", x.begin, x.begin.Add(time.Hour)); !errors.Is(err, errand.ErrInvalid) {
			t.Errorf("Backfill of the future: %v", err)
		}
		x.run(29*time.Second, errand.Config{}, func(e *errand.Engine) { _, _ = e.PauseSchedule(t.Context(), "s", "") })
		x.want("3m>7m30s", "4m>7m40s")
	})
}

// TestScheduleFaults: five engines on a store that fails and loses replies make each job once.
func TestScheduleFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		begin := time.Now()
		for n := range 5 {
			faulty := storetest.Faulty(store, uint64(n))
			e := start(t, faulty, errand.Config{Poll: 300 * time.Millisecond}, nil)
			faulty.Set(storetest.Faults{Before: 0.2, After: 0.2, Delay: 0.3, MaxDelay: 200 * time.Millisecond, Methods: []string{"SwapSchedules", "DueSchedules", "Schedules", "Get"}})
			for i := range 20 {
				for {
					if _, err := e.Schedule(t.Context(), fmt.Sprint("s", i), "@every 1s", errand.NewJob{Kind: "none"}, &errand.Plan{
						Start: begin.Add(10 * time.Second), End: begin.Add(70 * time.Second), Overlap: errand.OverlapAllow,
					}); err == nil {
						break
					}
				}
			}
		}
		time.Sleep(2*time.Minute - time.Since(begin))
		check := errand.New(store, nil)
		for i := range 20 {
			s, err := check.GetSchedule(t.Context(), fmt.Sprint("s", i))
			if err != nil || s.Made != 60 || s.Missed != 0 || !s.Next.IsZero() {
				t.Errorf("%+v, %v", s, err)
			}
			page, err := check.List(t.Context(), errand.Query{Tags: []string{errand.ScheduleTag(s.Name)}, Limit: 100})
			if err != nil || len(page.Jobs) != 60 {
				t.Errorf("%s has %d jobs, want 60: %v", s.Name, len(page.Jobs), err)
			}
		}
	})
}

func TestScheduleInvalid(t *testing.T) {
	e := errand.New(errand.Memory(nil), nil)
	job := errand.NewJob{Kind: "k"}
	for want, c := range map[string]struct {
		name, spec string
		job        errand.NewJob
		plan       errand.Plan
	}{
		`name "" of a schedule: use 1 to 240 bytes of printable UTF-8`:                                             {"", "@every 1m", job, errand.Plan{}},
		`interval "1ms": use a duration of 1s or more, such as 90s or 1h30m`:                                       {"s", "@every 1ms", job, errand.Plan{}},
		`interval "soon": use a duration of 1s or more, such as 90s or 1h30m`:                                      {"s", "@after soon", job, errand.Plan{}},
		`"@reboot 5": @reboot stands alone`:                                                                        {"s", "@reboot 5", job, errand.Plan{}},
		`zone: @every has none`:                                                                                    {"s", "@every 1m", job, errand.Plan{Zone: "Europe/Berlin"}},
		`zone "Mars/Olympus": use a name such as UTC or Europe/Berlin`:                                             {"s", "0 7 * * *", job, errand.Plan{Zone: "Mars/Olympus"}},
		`"TZ=Local 0 7 * * *": the zone Local is another one on each machine; use its name, such as Europe/Berlin`: {"s", "TZ=Local 0 7 * * *", job, errand.Plan{}},
		`overlap "x": use skip, queue_one, queue_all, cancel or allow`:                                             {"s", "@every 1m", job, errand.Plan{Overlap: "x"}},
		`misfire "x": use once, skip or catch_up`:                                                                  {"s", "@every 1m", job, errand.Plan{Misfire: "x"}},
		`catch up 101: use 1 to 100`:                                                                               {"s", "@every 1m", job, errand.Plan{Misfire: errand.MisfireCatchUp, CatchUp: 101}},
		`catch up and window: they belong to misfire catch_up`:                                                     {"s", "@every 1m", job, errand.Plan{CatchUp: 1}},
		`job of a schedule: it cannot be unique, Overlap does that`:                                                {"s", "@every 1m", errand.NewJob{Kind: "k", Options: []errand.Option{errand.Unique("x")}}, errand.Plan{}},
		`job of a schedule: it cannot wait for other jobs or a time of its own`:                                    {"s", "@every 1m", errand.NewJob{Kind: "k", Options: []errand.Option{errand.In(time.Hour)}}, errand.Plan{}},
		`kind "": use 1 to 255 bytes of printable UTF-8`:                                                           {"s", "@every 1m", errand.NewJob{}, errand.Plan{}},
		`end 2020-01-01 00:00:00 +0000 UTC: use a time after the start`:                                            {"s", "@every 1m", job, errand.Plan{Start: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}},
	} {
		_, err := e.Schedule(t.Context(), c.name, c.spec, c.job, &c.plan)
		if !errors.Is(err, errand.ErrInvalid) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// TestScheduleClockChanges: a fixed time that the clocks pass over runs right after, one that they show twice runs once; what goes by the hour
// goes by real time.
func TestScheduleClockChanges(t *testing.T) {
	for name, c := range map[string]struct {
		zone, from string // 4 hours from then on
		want       map[string][]string
	}{
		"New York, forward": {"America/New_York", "2026-03-08T05:59:59Z", map[string][]string{
			"30 2 * * *": {"03:00 EDT"}, "0 * * * *": {"01:00 EST", "03:00 EDT", "04:00 EDT", "05:00 EDT"}, "0 1,3 * * *": {"01:00 EST", "03:00 EDT"},
		}},
		"New York, back": {"America/New_York", "2026-11-01T04:59:59Z", map[string][]string{
			"30 1 * * *": {"01:30 EDT"}, "30 * * * *": {"01:30 EDT", "01:30 EST", "02:30 EST", "03:30 EST"},
		}},
		"London, forward": {"Europe/London", "2026-03-28T23:59:59Z", map[string][]string{
			"15 1 * * *": {"02:00 BST"}, "*/30 1-2 * * *": {"02:00 BST", "02:30 BST"},
		}},
		"London, back": {"Europe/London", "2026-10-24T23:59:59Z", map[string][]string{
			"0 1 * * *": {"01:00 BST"}, "*/30 * * * *": {"01:00 BST", "01:30 BST", "01:00 GMT", "01:30 GMT", "02:00 GMT", "02:30 GMT", "03:00 GMT", "03:30 GMT"},
		}},
		"Lord Howe, forward": {"Australia/Lord_Howe", "2026-10-03T14:59:59Z", map[string][]string{ // half an hour
			"15 2 * * *": {"02:30 +11"}, "45 1,2 * * *": {"01:45 +1030", "02:45 +11"},
		}},
		"Lord Howe, back": {"Australia/Lord_Howe", "2026-04-04T13:59:59Z", map[string][]string{
			"45 1 * * *": {"01:45 +11"}, "15,45 * * * *": {"01:15 +11", "01:45 +11", "01:45 +1030", "02:15 +1030", "02:45 +1030", "03:15 +1030", "03:45 +1030", "04:15 +1030"},
		}},
		"Casablanca, back for Ramadan": {"Africa/Casablanca", "2026-02-15T00:59:59Z", map[string][]string{
			"30 2 * * *": {"02:30 +01"}, "0 * * * *": {"02:00 +01", "02:00 +00", "03:00 +00", "04:00 +00"},
		}},
		"Casablanca, forward again": {"Africa/Casablanca", "2026-03-22T00:59:59Z", map[string][]string{
			"30 2 * * *": {"03:00 +01"}, "0 * * * *": {"01:00 +00", "03:00 +01", "04:00 +01", "05:00 +01"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zone, err := time.LoadLocation(c.zone)
				if err != nil {
					t.Fatal(err)
				}
				from, err := time.Parse(time.RFC3339, c.from)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(from))
				x := newMetronome(t, 0)
				got := map[string][]string{}
				x.run(4*time.Hour+500*time.Millisecond, errand.Config{}, func(e *errand.Engine) {
					for spec := range c.want {
						kind := errand.Define[string, errand.None](spec)
						kind.Do(e, func(ctx context.Context, spec string) error {
							job := errand.Current(ctx).Job()
							if nominal := job.Nominal(); time.Since(nominal) > time.Second {
								t.Errorf("%s for %s began at %s", spec, nominal, time.Now())
							}
							x.mu.Lock()
							defer x.mu.Unlock()
							got[spec] = append(got[spec], time.Now().In(zone).Format("15:04 MST"))
							return nil
						})
						if _, err := e.Schedule(t.Context(), spec, spec, kind.New(spec), &errand.Plan{Zone: c.zone}); err != nil {
							t.Fatal(err)
						}
					}
				})
				for spec, want := range c.want {
					if !slices.Equal(got[spec], want) {
						t.Errorf("%s ran at %v, want %v", spec, got[spec], want)
					}
				}
			})
		})
	}
}
