package cron_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/robfig"
)

// record is when what ran, since the begin.
type record struct {
	begin time.Time
	mu    sync.Mutex
	runs  []string
}

func newRecord() *record { return &record{begin: time.Now()} }

func (r *record) job(name string) func() {
	return func() { r.add(name) }
}

func (r *record) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, fmt.Sprint(name, " ", time.Since(r.begin).Round(10*time.Millisecond)))
}

// want checks what ran since the last call.
func (r *record) want(t *testing.T, runs ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.runs)
	slices.Sort(runs)
	if !slices.Equal(r.runs, runs) {
		t.Errorf("ran %q, want %q", r.runs, runs)
	}
	r.runs = nil
}

// Printf has the record be a logger: nothing should be logged.
func (r *record) Printf(format string, args ...any) {
	r.add("log: " + fmt.Sprintf(format, args...))
}

// process is a store as another process sees it.
type process struct{ errand.Store }

// new returns the Cron of another process.
func (r *record) new(store errand.Store, options ...cron.Option) *cron.Cron {
	return r.here(&process{store}, options...)
}

// here returns a Cron of this process.
func (r *record) here(store errand.Store, options ...cron.Option) *cron.Cron {
	return cron.New(append([]cron.Option{cron.WithStore(store), cron.WithLocation(time.UTC), cron.WithLogger(cron.PrintfLogger(r)), cron.WithProgram("test")}, options...)...)
}

func add(t *testing.T, c *cron.Cron, name, spec string, f func()) cron.EntryID {
	t.Helper()
	id, err := c.AddNamed(name, spec, cron.FuncJob(f))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A process goes on where the one before was. It was away from 2:30 to 12:30.
func TestDurable(t *testing.T) {
	for name, c := range map[string]struct {
		options []cron.Option
		late    []string
	}{
		"skip": {late: []string{"every 12m30s"}}, // that of 11m40s is not missed yet, that of 10m is
		"once": {[]cron.Option{cron.WithPlan(errand.Plan{Grace: time.Second})}, []string{"every 12m30s", "five 12m30s"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, store := newRecord(), errand.Memory(nil)
				next := func() *cron.Cron {
					p := r.new(store, c.options...)
					add(t, p, "every", "@every 70s", r.job("every"))
					add(t, p, "five", "*/5 * * * *", r.job("five"))
					p.Start()
					return p
				}
				p := next()
				time.Sleep(150 * time.Second)
				<-p.Stop().Done()
				r.want(t, "every 1m10s", "every 2m20s")
				time.Sleep(10 * time.Minute)
				p = next()
				time.Sleep(time.Second)
				if next := p.Entries()[0].Next.Sub(r.begin); next != 770*time.Second {
					t.Errorf("it runs at %s next", next)
				}
				time.Sleep(3 * time.Minute)
				if prev := p.Entries()[0].Prev.Sub(r.begin); prev != 910*time.Second {
					t.Errorf("it ran at %s last", prev)
				}
				<-p.Stop().Done()
				r.want(t, append(c.late, "every 12m50s", "every 14m0s", "every 15m10s", "five 15m0s")...)
			})
		})
	}
}

// Of several processes one makes each run, whether the schedule can be stored or not.
func TestProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		var all []*cron.Cron
		for range 3 {
			c := r.new(store)
			add(t, c, "minute", "* * * * *", r.job("minute"))
			c.Schedule(odd{}, cron.FuncJob(r.job("odd")))
			c.Start()
			all = append(all, c)
		}
		time.Sleep(145 * time.Second)
		<-all[0].Stop().Done()
		<-all[1].Stop().Done()
		time.Sleep(125 * time.Second)
		r.want(t, "minute 1m0s", "minute 2m0s", "minute 3m0s", "minute 4m0s", "odd 50s", "odd 1m40s", "odd 2m30s", "odd 3m20s", "odd 4m10s")
		if e := all[2].Entry(1); e.Next.Sub(r.begin) != 5*time.Minute || e.Prev.Sub(r.begin) != 4*time.Minute {
			t.Errorf("the entry is %+v", e)
		}
		if e := all[2].Entry(2); e.Next.Sub(r.begin) != 5*time.Minute || e.Prev.Sub(r.begin) != 250*time.Second {
			t.Errorf("the odd entry is %+v", e)
		}
		all[2].Remove(2) // odd
		time.Sleep(time.Minute)
		<-all[2].Stop().Done()
		r.want(t, "minute 5m0s")
	})
}

// odd is a schedule of the program's own.
type odd struct{}

func (odd) Next(t time.Time) time.Time { return t.Truncate(50 * time.Second).Add(50 * time.Second) }

type backup struct{ r *record }

func (b *backup) Run() { b.r.add("backup") }

func clean() {}

func names(t *testing.T, store errand.Store) []string {
	t.Helper()
	all, err := store.Schedules(t.Context(), errand.ScheduleQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name+": "+s.Spec)
	}
	return names
}

// What an entry is called, and what becomes of it when the program changes.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		if _, err := errand.New(store, nil).Schedule(t.Context(), "another's", "@daily", errand.NewJob{Kind: "k"}, nil); err != nil {
			t.Fatal(err)
		}
		c := r.new(store)
		for _, spec := range []string{"@hourly", "@daily"} {
			if _, err := c.AddFunc(spec, clean); err != nil {
				t.Error(err)
			}
		}
		if _, err := c.AddJob("@weekly", &backup{r}); err != nil {
			t.Error(err)
		}
		add(t, c, "month end", "@monthly", clean)
		if _, err := c.AddNamed("month end", "@yearly", cron.FuncJob(clean)); err == nil {
			t.Error("two entries of one name")
		}
		c.Start()
		want := []string{"another's: @daily", "month end: @monthly", "test/*cron_test.backup: @weekly", "test/robfig_test.clean: @hourly", "test/robfig_test.clean #2: @daily"}
		if got := names(t, store); !slices.Equal(got, want) {
			t.Errorf("the schedules are %q, want %q", got, want)
		}
		time.Sleep(20 * time.Second)

		second := r.new(store) // another version, while the first one still works
		if _, err := second.AddFunc("@every 2h", clean); err != nil {
			t.Error(err)
		}
		second.Start()
		time.Sleep(10 * time.Minute)
		want[3] = "test/robfig_test.clean: @every 2h"
		if got := names(t, store); !slices.Equal(got, want) {
			t.Errorf("beside an older process the schedules are %q, want %q", got, want)
		}
		<-c.Stop().Done()
		<-second.Stop().Done()

		third := r.new(store)
		if _, err := third.AddFunc("@every 2h", clean); err != nil {
			t.Error(err)
		}
		third.Start()
		time.Sleep(61 * time.Second)
		if got, want := names(t, store), []string{"another's: @daily", "test/robfig_test.clean: @every 2h"}; !slices.Equal(got, want) {
			t.Errorf("after the change the schedules are %q, want %q", got, want)
		}
		third.Remove(1)
		if got := names(t, store); len(got) != 1 {
			t.Errorf("after Remove there are %q", got)
		}
		<-third.Stop().Done()
		r.want(t)
	})
}

// A panic fails the run and is logged; an operator can pause an entry.
func TestPanicAndPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		var text strings.Builder
		c := r.new(store, cron.WithLogger(cron.PrintfLogger(log.New(&text, "", 0))))
		id := add(t, c, "bad", "@every 1m", func() { panic("oh") })
		c.Start()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got := text.String(); !strings.Contains(got, "panic, error=oh, entry=1, stack=") || !strings.Contains(got, "cron_test.go") {
			t.Errorf("logged: %s", got)
		}
		e := errand.New(store, nil)
		page, err := e.List(t.Context(), errand.Query{Kinds: []string{"bad"}})
		if err != nil || len(page.Jobs) != 1 || page.Jobs[0].State != errand.Failed || page.Jobs[0].Error != "panic: oh" {
			t.Errorf("the jobs are %+v, %v", page.Jobs, err)
		}
		if _, err := e.PauseSchedule(t.Context(), "bad", "broken"); err != nil {
			t.Error(err)
		}
		if next := c.Entry(id).Next; !next.IsZero() {
			t.Errorf("next while it is paused: %s", next)
		}
		<-c.Stop().Done()
	})
}

// A run that goes on at Stop is waited for; one that would begin then is left to others.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord()
		engine := errand.New(errand.Memory(nil), &errand.Config{ShutdownGrace: -1, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- engine.Run(ctx) }()
		c := r.here(nil, cron.WithEngine(engine))
		add(t, c, "slow", "@every 1m", func() {
			r.add("begins")
			time.Sleep(100 * time.Second)
			r.add("ends")
		})
		c.Start()
		time.Sleep(90 * time.Second)
		stopped := c.Stop()
		<-stopped.Done()
		r.want(t, "begins 1m0s", "ends 2m40s")
		time.Sleep(90 * time.Second)
		r.want(t)
		c.Start() // at 4m10s: the three that were made meanwhile
		time.Sleep(10 * time.Second)
		r.mu.Lock()
		if n := len(r.runs); n != 3 {
			t.Errorf("after the second Start began %q", r.runs)
		}
		r.mu.Unlock()
		<-c.Stop().Done()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A store that is not to be reached at the start is tried again.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := newRecord(), errand.Memory(nil)
		var text strings.Builder
		failing := &failing{Store: store, until: time.Now().Add(12 * time.Second)}
		c := r.new(failing, cron.WithLogger(cron.PrintfLogger(log.New(&text, "", 0))))
		add(t, c, "minute", "* * * * *", r.job("minute"))
		c.Start()
		if _, err := c.AddFunc("@hourly", clean); err == nil {
			t.Error("an entry was added to a store that fails")
		}
		time.Sleep(61 * time.Second)
		<-c.Stop().Done()
		r.want(t, "minute 1m0s")
		if n := strings.Count(text.String(), "cannot store the entries; it is tried again, error=no route"); n != 3 {
			t.Errorf("logged %d times: %s", n, &text)
		}
	})
}

type failing struct {
	errand.Store
	until time.Time
}

func (f *failing) Schedules(ctx context.Context, q errand.ScheduleQuery) ([]errand.Schedule, error) {
	if time.Now().Before(f.until) {
		return nil, errors.New("no route")
	}
	return f.Store.Schedules(ctx, q)
}

func TestParse(t *testing.T) {
	begin := time.Date(2026, 3, 28, 12, 30, 0, 0, time.UTC) // a Saturday
	standard := cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor
	for _, c := range []struct {
		options cron.ParseOption
		spec    string
		want    string // the next time, or what the error says
	}{
		{standard, "0 7 * * MON-FRI", "Mon 30 Mar 07:00:00"},
		{standard, "0 7 ? * 1", "Mon 30 Mar 07:00:00"},
		{standard, "CRON_TZ=Europe/Berlin 30 2 * * *", "Sun 29 Mar 01:00:00"}, // the clocks go from 02:00 to 03:00
		{standard, "TZ=UTC 30 2 * * *", "Sun 29 Mar 02:30:00"},
		{standard, "  @midnight ", "Sun 29 Mar 00:00:00"},
		{standard, "@every 90m", "Sat 28 Mar 14:00:00"},
		{standard, "@every 10ms", "Sat 28 Mar 12:30:01"},
		{standard, "0 0 L * *", "Tue 31 Mar 00:00:00"},
		{standard, "", "the spec is empty"},
		{standard, "TZ=UTC", "the spec is empty"},
		{standard, "TZ=Mars/Olympus * * * * *", `"Mars/Olympus" is unknown`},
		{standard, "0 0 7 * * *", `"0 0 7 * * *" has 6 fields: use 5`},
		{standard, "@every soon", `time: invalid duration "soon"`},
		{standard, "@reboot", "@reboot is no time"},
		{standard, "0 0 30 2 *", "no month and year given has such a day"},
		{standard &^ cron.Descriptor, "@daily", "descriptors are not to be used here"},
		{standard | cron.Second, "15 0 7 * * MON", "Mon 30 Mar 07:00:15"},
		{standard | cron.SecondOptional, "15 0 7 * * MON", "Mon 30 Mar 07:00:15"},
		{standard | cron.SecondOptional, "0 7 * * MON", "Mon 30 Mar 07:00:00"},
		{standard | cron.SecondOptional, "0 7 * *", "has 4 fields: use 5 or 6"},
		{cron.Dom | cron.Month | cron.DowOptional, "15 */3", "Wed 15 Apr 00:00:00"},
		{cron.Hour, "14", "Sat 28 Mar 14:00:00"},
	} {
		s, err := cron.NewParser(c.options).Parse(c.spec)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: error %v, want %s", c.spec, err, c.want)
			}
			continue
		}
		if got := s.Next(begin).Format("Mon _2 Jan 15:04:05"); got != c.want {
			t.Errorf("%q: next is %s, want %s", c.spec, got, c.want)
		}
	}
}

func ExampleNew() {
	c := cron.New(cron.WithStore(errand.Memory(nil))) // or sqlite.Open("jobs.db", nil), postgres.Open(ctx, url, nil)
	if _, err := c.AddFunc("30 3-6,20-23 * * *", func() { fmt.Println("report") }); err != nil {
		fmt.Println(err)
	}
	c.Start()
	defer c.Stop()
	fmt.Println(len(c.Entries()), "entry")
	// Output: 1 entry
}
