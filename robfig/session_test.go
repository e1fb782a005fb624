package cron_test

import (
	"context"
	"errors"
	"log"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/robfig"
)

// line is a store that cannot be reached while it is down, or takes no heartbeats, or whose calls hang.
type line struct {
	errand.Store
	down, mute, hangs atomic.Bool
}

func (l *line) try(ctx context.Context) error {
	if l.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if l.down.Load() {
		return errors.New("no route")
	}
	return nil
}

func (l *line) Schedules(ctx context.Context, q errand.ScheduleQuery) ([]errand.Schedule, error) {
	if err := l.try(ctx); err != nil {
		return nil, err
	}
	return l.Store.Schedules(ctx, q)
}

func (l *line) DueSchedules(ctx context.Context, limit int) (errand.DueSchedules, error) {
	if err := l.try(ctx); err != nil {
		return errand.DueSchedules{}, err
	}
	return l.Store.DueSchedules(ctx, limit)
}

func (l *line) SwapSchedules(ctx context.Context, changes []errand.ScheduleChange) ([]errand.Swapped, error) {
	if err := l.try(ctx); err != nil {
		return nil, err
	}
	return l.Store.SwapSchedules(ctx, changes)
}

func (l *line) Sessions(ctx context.Context) ([]errand.Session, error) {
	if err := l.try(ctx); err != nil {
		return nil, err
	}
	return l.Store.Sessions(ctx)
}

func (l *line) Beat(ctx context.Context, s errand.Session, runs []errand.Lease) (errand.Pulse, error) {
	if err := l.try(ctx); err != nil {
		return errand.Pulse{}, err
	}
	if l.mute.Load() {
		return errand.Pulse{}, errors.New("no heartbeats")
	}
	return l.Store.Beat(ctx, s, runs)
}

func (l *line) Claim(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
	if err := l.try(ctx); err != nil {
		return errand.Claimed{}, err
	}
	return l.Store.Claim(ctx, c)
}

func wantNames(t *testing.T, store errand.Store, want ...string) {
	t.Helper()
	if got := names(t, store); !slices.Equal(got, want) {
		t.Errorf("the schedules are %q, want %q", got, want)
	}
}

// text is a logger that keeps what is logged.
func text() (cron.Option, *strings.Builder) {
	b := &strings.Builder{}
	return cron.WithLogger(cron.PrintfLogger(log.New(b, "", 0))), b
}

// told is a job that says what it is.
type told struct {
	r    *record
	what string
}

func (j told) Run() { j.r.add(j.what) }

// Two Crons of one process leave each other's entries alone, also where they have the same job.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		here := func(what string) *cron.Cron {
			c := r.here(store)
			add(t, c, what, "@hourly", clean)
			if _, err := c.AddJob("@every 70s", told{r, what}); err != nil {
				t.Fatal(err)
			}
			return c
		}
		one, two := here("one"), here("two")
		one.Start()
		two.Start()
		time.Sleep(100 * time.Second)
		wantNames(t, store, "one: @hourly", "test/cron_test.told: @every 1m10s", "test/cron_test.told #2: @every 1m10s", "two: @hourly")
		<-one.Stop().Done()
		three := here("three")
		three.Start() // its entry takes the place of the first one's,
		one.Start()   // which gets another name
		time.Sleep(100 * time.Second)
		wantNames(t, store, "one: @hourly", "test/cron_test.told: @every 1m10s", "test/cron_test.told #2: @every 1m10s", "test/cron_test.told #3: @every 1m10s", "three: @hourly", "two: @hourly")
		for _, c := range []*cron.Cron{one, two, three} {
			<-c.Stop().Done()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		var ran []string
		for _, what := range r.runs {
			ran = append(ran, strings.Fields(what)[0])
		}
		slices.Sort(ran)
		if want := []string{"one", "one", "three", "two", "two"}; !slices.Equal(ran, want) {
			t.Errorf("ran %q, want %q", ran, want)
		}
	})
}

// A new version starts right after the old one was killed. What it has no entry for goes when the session of the old one has lapsed, with the jobs that nobody would run.
func TestSweepAfterKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		quiet, _ := text()
		killed := &line{Store: store}
		old := r.here(killed, quiet)
		add(t, old, "kept", "@hourly", clean)
		add(t, old, "dropped", "@every 10s", clean)
		old.Start()
		time.Sleep(time.Second)
		killed.down.Store(true)
		c := r.new(store)
		add(t, c, "kept", "@hourly", clean)
		c.Start()
		time.Sleep(25 * time.Second)
		wantNames(t, store, "dropped: @every 10s", "kept: @hourly") // it might be alive
		time.Sleep(95 * time.Second)
		wantNames(t, store, "kept: @hourly")
		page, err := store.List(t.Context(), errand.Query{Kinds: []string{"dropped"}})
		if err != nil || len(page.Jobs) == 0 {
			t.Errorf("jobs %+v, %v", page.Jobs, err)
		}
		for _, j := range page.Jobs {
			if j.State != errand.Cancelled || j.Reason != "its entry was removed" {
				t.Errorf("a job is %s, %s", j.State, j.Reason)
			}
		}
		killed.down.Store(false)
		old.Stop()
		<-c.Stop().Done()
		r.want(t)
	})
}

// A process is silent for minutes, so that another one takes its entry for gone: it is there again.
func TestSilentProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		quiet, _ := text()
		l := &line{Store: store}
		silent, other := r.here(l, quiet), r.new(store)
		add(t, silent, "a", "@every 1m", clean)
		add(t, other, "b", "@hourly", clean)
		silent.Start()
		other.Start()
		time.Sleep(80 * time.Second)
		l.down.Store(true)
		time.Sleep(5 * time.Minute)
		wantNames(t, store, "b: @hourly")
		l.down.Store(false)
		time.Sleep(time.Minute)
		wantNames(t, store, "a: @every 1m", "b: @hourly")
		silent.Stop()
		<-other.Stop().Done()
	})
}

// A process looks for what is nobody's while another is just starting, and then while it has no session itself.
func TestSweepSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		quiet, _ := text()
		l := &line{Store: store}
		starting, other := r.here(l, quiet), r.new(store)
		add(t, starting, "a", "@hourly", clean)
		add(t, other, "b", "@hourly", clean)
		other.Start()
		time.Sleep(29 * time.Second)
		l.mute.Store(true)
		starting.Start()
		time.Sleep(2 * time.Second)
		wantNames(t, store, "a: @hourly", "b: @hourly")
		l.mute.Store(false)
		time.Sleep(10 * time.Second)
		<-other.Stop().Done()
		l.mute.Store(true)
		time.Sleep(5 * time.Minute)
		wantNames(t, store, "a: @hourly")
		l.mute.Store(false)
		<-starting.Stop().Done()
	})
}

// An entry is removed between a Stop and the next Start, while a run goes on.
func TestRemoveStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		c := r.here(store)
		add(t, c, "slow", "@every 1m", func() { time.Sleep(10 * time.Minute) })
		id := add(t, c, "removed", "@hourly", clean)
		c.Start()
		time.Sleep(61 * time.Second)
		c.Stop()
		c.Remove(id)
		c.Start()
		wantNames(t, store, "slow: @every 1m")
		<-c.Stop().Done()
		r.want(t)
	})
}

// A great many entries of one function have names of their own. (What is not linear in their number would take hours.)
func TestManyEntries(t *testing.T) {
	c := cron.New()
	for range 20_000 {
		c.Schedule(cron.Every(time.Hour), cron.FuncJob(clean))
	}
	c.Start()
	for range 10 {
		c.Schedule(cron.Every(time.Hour), cron.FuncJob(clean))
	}
	for _, e := range c.Entries() {
		if e.Next.IsZero() {
			t.Fatal("an entry does not run")
		}
	}
	<-c.Stop().Done()
}

// What can never be stored does not keep the others from running.
func TestInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord()
		logs, text := text()
		c := r.new(errand.Memory(nil), logs)
		add(t, c, ".", "@hourly", clean)
		ages := c.Schedule(cron.Every(math.MaxInt64), cron.FuncJob(clean))
		add(t, c, "minute", "* * * * *", r.job("minute"))
		c.Start()
		if _, err := c.AddNamed("..", "@hourly", cron.FuncJob(clean)); !errors.Is(err, errand.ErrInvalid) {
			t.Errorf("a name that does not do: %v", err)
		}
		if next := c.Entry(ages).Next; next.Year() != 2292 {
			t.Errorf("it runs at %s", next)
		}
		time.Sleep(61 * time.Second)
		<-c.Stop().Done()
		r.want(t, "minute 1m0s")
		if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `cannot run an entry, error=schedule ".": invalid name "."`) {
			t.Errorf("logged %s", got)
		}
	})
}

// An engine that cannot start is followed by one that can.
func TestEngineFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord()
		logs, text := text()
		l := &line{Store: errand.Memory(nil)}
		l.down.Store(true)
		c := r.here(l, logs)
		add(t, c, "minute", "* * * * *", r.job("minute"))
		c.Schedule(odd{}, cron.FuncJob(r.job("odd")))
		c.Start()
		id := c.Schedule(cron.Every(time.Minute), cron.FuncJob(r.job("added"))) // it waits, unlike what AddFunc adds
		time.Sleep(12 * time.Second)
		l.down.Store(false)
		time.Sleep(70 * time.Second)
		if e := c.Entry(id); e.ID != 3 || e.Next.IsZero() {
			t.Errorf("the entry is %+v", e)
		}
		<-c.Stop().Done()
		r.want(t, "minute 1m0s", "odd 50s", "added 1m15s")
		for what, n := range map[string]int{"cannot run the entries": 3, "cannot store the entries; it is tried again": 5, "cannot store an entry, error=no route, entry=3": 1} {
			if got := strings.Count(text.String(), what); got != n {
				t.Errorf("%q was logged %d times, want %d: %s", what, got, n, text)
			}
		}
	})
}

// What Schedule adds while the store is away runs when that is back; what AddFunc adds is not there.
func TestScheduleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord()
		logs, text := text()
		l := &line{Store: errand.Memory(nil)}
		c := r.here(l, logs)
		c.Start()
		time.Sleep(time.Second)
		l.down.Store(true)
		id := c.Schedule(cron.Every(time.Minute), cron.FuncJob(r.job("added")))
		if _, err := c.AddFunc("@every 1m", r.job("refused")); err == nil {
			t.Error("an entry was added to a store that fails")
		}
		time.Sleep(10 * time.Second)
		l.down.Store(false)
		time.Sleep(68 * time.Second)
		if all := c.Entries(); len(all) != 1 || all[0].ID != id || id == 0 {
			t.Errorf("entry %d is among %+v", id, all)
		}
		<-c.Stop().Done()
		r.want(t, "added 1m15s")
		if !strings.Contains(text.String(), "cannot store an entry, error=no route, entry=1, name=") {
			t.Errorf("logged %s", text)
		}
	})
}

// Stop does what it says while the store hangs, whoever waits for that.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord()
		logs, _ := text()
		l := &line{Store: errand.Memory(nil)}
		c := r.here(l, logs)
		c.Schedule(odd{}, cron.FuncJob(r.job("odd")))
		c.Start()
		time.Sleep(time.Second)
		for name, call := range map[string]func(){
			"AddFunc": func() {
				if _, err := c.AddFunc("@hourly", clean); err != nil { // it waits for the next Start
					t.Error(err)
				}
			},
			"Entries": func() { c.Entries() },
			"Start":   c.Start,
			"nobody":  func() {},
		} {
			c.Start()
			l.hangs.Store(true)
			go call()
			synctest.Wait()
			begin := time.Now()
			stopped := c.Stop()
			if d := time.Since(begin); d > 4*time.Second {
				t.Errorf("Stop takes %s while %s waits", d, name)
			}
			l.hangs.Store(false)
			<-stopped.Done()
		}
		r.mu.Lock()
		r.runs = nil
		r.mu.Unlock()
		time.Sleep(2 * time.Minute)
		r.want(t)
		if n := len(c.Entries()); n != 2 {
			t.Errorf("there are %d entries", n)
		}
	})
}
