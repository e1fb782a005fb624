package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
)

// trace is what happened when, since the begin.
type trace struct {
	begin time.Time
	mu    sync.Mutex
	lines []string
}

func (x *trace) say(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lines = append(x.lines, fmt.Sprint(time.Since(x.begin).Round(100*time.Millisecond), " ", fmt.Sprintf(format, args...)))
}

func (x *trace) job(name string, takes time.Duration) Job {
	return namedJob{name, func() {
		x.say("%s begins", name)
		time.Sleep(takes)
	}}
}

func (x *trace) want(t *testing.T, lines ...string) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Equal(x.lines, lines) {
		t.Errorf("what happened is\n%s\nwant\n%s", strings.Join(x.lines, "\n"), strings.Join(lines, "\n"))
	}
}

type namedJob struct {
	name string
	run  func()
}

func (j namedJob) Name() string { return j.name }
func (j namedJob) Run()         { j.run() }

// working calls f while the jobs of a pool run, and then goes on for a time.
func working(t *testing.T, store errand.Store, s settings, d time.Duration, f func(*Jobs, *trace)) *trace {
	x := &trace{begin: time.Now()}
	j := newJobs(store, &s)
	if err := j.start(t.Context(), func() error { f(j, x); return nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := j.run(ctx); err != nil {
		t.Error(err)
	}
	return x
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// Two run at the same time, the others wait, first in first out.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := working(t, errand.Memory(nil), settings{pool: 2}, 30*time.Second, func(j *Jobs, x *trace) {
			for n := range 4 {
				must(t, j.Now(x.job(fmt.Sprint("job ", n), time.Duration(4+n)*time.Second)))
				time.Sleep(time.Millisecond)
			}
			must(t, j.In(time.Second, x.job("later", 0)))
			must(t, j.Now(Func(func() { x.say("function begins") })))
		})
		slices.Sort(x.lines[:2])
		x.want(t, "0s job 0 begins", "0s job 1 begins", "4s job 2 begins", "5s job 3 begins", "10s function begins", "10s later begins")
	})
}

// A job that takes 15 s is to run every 10 s.
func TestSelfConcurrency(t *testing.T) {
	for concurrent, want := range map[bool][]string{
		false: {"10s a begins", "25s a begins", "40s a begins"},
		true:  {"10s a begins", "20s a begins", "30s a begins", "40s a begins"},
	} {
		synctest.Test(t, func(t *testing.T) {
			working(t, errand.Memory(nil), settings{pool: 10, selfConcurrent: concurrent}, 49*time.Second, func(j *Jobs, x *trace) {
				must(t, j.Every(10*time.Second, x.job("a", 15*time.Second)))
			}).want(t, want...)
		})
	}
}

func TestSpecs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins on a Saturday at midnight
		specs := map[string]string{"workhours_15m": "0 */15 9-17 ? * MON-FRI"}
		x := working(t, errand.Memory(nil), settings{pool: 10, cron: specs}, 57*time.Hour+20*time.Minute, func(j *Jobs, x *trace) {
			must(t, j.Schedule("cron.workhours_15m", x.job("work", 0)))
			must(t, j.Schedule("0 0 0 * * ?", x.job("six", 0)))
			must(t, j.Schedule("@midnight", x.job("midnight", 0)))
			must(t, j.Schedule("@every 24h", x.job("day", 0)))
			err := j.Schedule("cron.unknown", x.job("none", 0))
			if want := `invalid spec "cron.unknown": no spec has this name (there are cron.workhours_15m)`; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("an unknown name: %v", err)
			}
		})
		slices.SortStableFunc(x.lines, strings.Compare)
		x.want(t,
			"24h0m0s day begins", "24h0m0s midnight begins", "24h0m0s six begins",
			"48h0m0s day begins", "48h0m0s midnight begins", "48h0m0s six begins",
			"57h0m0s work begins", "57h15m0s work begins")
	})
}

// A job that panics is logged, and others go on.
func TestPanic(t *testing.T) {
	var text bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	defer slog.SetDefault(before)
	synctest.Test(t, func(t *testing.T) {
		x := working(t, errand.Memory(nil), settings{pool: 1}, 25*time.Second, func(j *Jobs, x *trace) {
			must(t, j.Every(10*time.Second, Func(broken)))
			must(t, j.Every(11*time.Second, x.job("a", 0)))
		})
		x.want(t, "11s a begins", "22s a begins")
	})
	if n := strings.Count(text.String(), `msg="job panicked" kind=webapp.broken`); n != 2 || !strings.Contains(text.String(), "app.go") {
		t.Errorf("logged %d panics: %s", n, &text)
	}
}

// Schedules survive in a store; one that is not registered any more goes, and so does a job that was in the memory of a process that has ended.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		x := &trace{begin: time.Now()}
		process := func(names ...string) (*Jobs, context.CancelFunc) {
			j := newJobs(store, &settings{pool: 1})
			must(t, j.start(t.Context(), func() error {
				for _, name := range names {
					must(t, j.Schedule("@every 1m", x.job(name, 0)))
				}
				return j.In(45*time.Second, x.job("once by "+names[0], 0))
			}))
			ctx, cancel := context.WithCancel(t.Context())
			go func() { must(t, j.run(ctx)) }()
			return j, cancel
		}
		_, end := process("a", "b")
		time.Sleep(10 * time.Second)
		end()
		time.Sleep(10 * time.Second)
		_, end = process("a") // at 20s
		time.Sleep(30 * time.Second)
		j, endToo := process("a") // at 50s, beside the other
		time.Sleep(59 * time.Second)
		end()
		endToo()
		synctest.Wait()
		x.want(t, "1m0s a begins", "1m5s once by a begins", "1m35s once by a begins")
		if jobs := cancelled(t, j); len(jobs) != 1 || jobs[0].Reason != "the process that was to run it has ended" {
			t.Errorf("cancelled are %+v", jobs)
		}
	})
}

// A process that has queued a job and does not get to work leaves it to be cancelled, at whatever time that was.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		x := working(t, store, settings{pool: 1}, 5*time.Minute, func(j *Jobs, x *trace) {
			must(t, j.In(4*time.Minute, x.job("later", 0)))
			go func() {
				time.Sleep(time.Minute)
				must(t, newJobs(store, &settings{pool: 1}).Now(x.job("never", 0)))
				time.Sleep(10 * time.Second)
				if n := len(cancelled(t, j)); n > 0 {
					t.Errorf("%d jobs are cancelled whose process may just be starting", n)
				}
				time.Sleep(time.Minute)
				if n := len(cancelled(t, j)); n != 1 {
					t.Errorf("%d jobs are cancelled", n)
				}
			}()
		})
		x.want(t, "4m0s later begins")
	})
}

func cancelled(t *testing.T, j *Jobs) []errand.Job {
	t.Helper()
	page, err := j.engine.List(t.Context(), errand.Query{States: []errand.State{errand.Cancelled}})
	must(t, err)
	return page.Jobs
}

// Names are text, whatever is in them.
func TestPageText(t *testing.T) {
	const name = `<img src=x onerror="alert(1)">&amp;`
	j := newJobs(errand.Memory(nil), &settings{pool: 1})
	must(t, j.start(t.Context(), func() error { return j.Schedule("@daily", namedJob{name, func() {}}) }))
	mux := http.NewServeMux()
	(&page{jobs: j, settings: &settings{pool: 1}}).routes(mux)
	r := httptest.NewRequest("GET", "http://localhost/@jobs", nil)
	r.RemoteAddr = "[::1]:1234"
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	if body := w.Body.String(); w.Code != 200 || strings.Contains(body, "<img") || !strings.Contains(body, "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;amp;<small>") {
		t.Errorf("the page is %d %s", w.Code, body)
	}
}

func TestSettings(t *testing.T) {
	s := &settings{cron: map[string]string{}}
	for _, c := range []struct{ key, value, want string }{
		{"jobs.pool", "3", ""},
		{"jobs.pool", "10000", ""},
		{"jobs.pool", "0", `jobs.pool = "0": use a number from 1 to 10000`},
		{"jobs.pool", "10001", `jobs.pool = "10001": use a number from 1 to 10000`},
		{"jobs.pool", "many", `jobs.pool = "many": use a number from 1 to 10000`},
		{"jobs.selfconcurrent", "perhaps", `jobs.selfconcurrent = "perhaps": use true or false`},
		{"jobs.selfconcurrent", "true", ""},
		{"cron.quoted", `"0 0 * * *"`, ""},
		{"cron.bare", `0 0 * * *`, ""},
		{"cron.open", `"0 0 * * *`, "cron.open: its quotes do not match"},
		{"jobs.size", "5", "jobs.size is no setting"},
	} {
		got := ""
		if err := s.set(c.key, c.value); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s = %s: %q, want %q", c.key, c.value, got, c.want)
		}
	}
	if s.cron["quoted"] != s.cron["bare"] || !s.selfConcurrent {
		t.Errorf("the settings are %+v", s)
	}
}
