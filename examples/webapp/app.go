package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// app is an application that counts its visitors.
type app struct {
	jobs   *Jobs
	data   string
	visits atomic.Int64 // since they were written last
	total  atomic.Int64 // that are written

	mu sync.Mutex // of the files
}

func newApp(jobs *Jobs, data string) *app { return &app{jobs: jobs, data: data} }

// onStart is called when the application starts.
func (a *app) onStart() error {
	for _, err := range []error{
		a.jobs.Now(Func(a.recall)), // does not hold up the start
		a.jobs.Schedule("cron.visits", Func(a.writeVisits)),
		a.jobs.Schedule("cron.workhours_15m", Func(report)),
		a.jobs.Schedule("cron.slow", slow{5 * time.Second}),
		a.jobs.Schedule("@midnight", reminders{a}),
		a.jobs.Every(30*time.Second, Func(broken)),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "You are visitor %d.\n", a.visits.Add(1)+a.total.Load())
	})
	mux.HandleFunc("POST /remind", func(w http.ResponseWriter, r *http.Request) {
		text := strings.ToValidUTF8(r.FormValue("text"), "")
		if err := a.jobs.In(time.Minute, Func(func() { a.write("reminders.txt", text) })); err != nil {
			slog.Error("cannot queue a reminder", "error", err)
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}

// recall adds up the visits that were written.
func (a *app) recall() {
	a.mu.Lock()
	defer a.mu.Unlock()
	text, _ := os.ReadFile(filepath.Join(a.data, "visits.txt")) // at first there is none
	for line := range strings.Lines(string(text)) {
		var at string
		var n int64
		if _, err := fmt.Sscan(line, &at, &n); err == nil {
			a.total.Add(n)
		}
	}
}

// writeVisits writes down how many visits there were.
func (a *app) writeVisits() {
	n := a.visits.Swap(0)
	a.total.Add(n)
	a.write("visits.txt", fmt.Sprint(n))
}

// write adds a line to a file. It panics if it cannot.
func (a *app) write(file, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(a.data, file), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		panic(err)
	}
	_, err = fmt.Fprintf(f, "%s %s\n", time.Now().UTC().Format(time.RFC3339), strings.Join(strings.Fields(text), " "))
	if e := f.Close(); err != nil || e != nil {
		panic(fmt.Sprint(err, e))
	}
}

// reminders is a job that removes old reminders.
type reminders struct{ *app }

func (r reminders) Run() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = os.Remove(filepath.Join(r.data, "reminders.txt"))
}

// slow is a job that takes its time.
type slow struct{ time.Duration }

func (s slow) Run() { time.Sleep(s.Duration) }

func report() { slog.Info("it is working time") }

func broken() { panic("this job always panics") }
