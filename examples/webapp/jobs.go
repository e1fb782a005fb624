package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// Job is anything that can be run. What has a method Name() string is called by that; other jobs by their type, or the function that they are.
type Job interface{ Run() }

// Func is a function as a job.
type Func func()

// Run calls the function.
func (f Func) Run() { f() }

// Jobs runs jobs at their times, now, or later.
type Jobs struct {
	engine  *errand.Engine
	overlap errand.Overlap
	oneOff  *errand.Kind[string, errand.None] // of the jobs given to Now and In: their names, as they themselves are in the memory of this process

	mu    sync.Mutex
	names []string          // of the scheduled jobs
	once  map[errand.ID]Job // given to Now and In, and not run yet
}

const (
	lease      = 3 * time.Second // what a killed process was doing is taken up again within seconds
	oneOffKind = "once/"         // and the process
)

func newJobs(store errand.Store, s *settings) *Jobs {
	j := &Jobs{
		overlap: errand.OverlapQueueOne,
		oneOff:  errand.Define[string, errand.None](oneOffKind+uuid.NewString(), errand.MaxAttempts(1), errand.MaxCrashes(1)),
		once:    map[errand.ID]Job{},
	}
	if s.selfConcurrent {
		j.overlap = errand.OverlapAllow
	}
	j.engine = errand.New(store, &errand.Config{
		Queues:   map[string]int{"default": s.pool},
		Prefetch: -1,
		Lease:    lease,
		Specs:    s.cron,
	})
	j.oneOff.Do(j.engine, j.runOnce)
	return j
}

// Schedule runs a job at the times of a spec, or of the one of that name ("cron.workhours_15m") in the settings. It must be called when the
// application starts.
func (j *Jobs) Schedule(spec string, job Job) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	name := nameOf(job)
	for n := 2; slices.Contains(j.names, name); n++ {
		name = fmt.Sprintf("%s #%d", nameOf(job), n)
	}
	kind := errand.Define[errand.None, errand.None](name, errand.MaxAttempts(1))
	kind.Do(j.engine, errand.Runs(job))
	_, err := j.engine.Schedule(context.Background(), name, spec, kind.New(errand.None{}), &errand.Plan{Overlap: j.overlap})
	if err == nil {
		j.names = append(j.names, name)
	}
	return err
}

// Every is [Jobs.Schedule] for equal intervals.
func (j *Jobs) Every(d time.Duration, job Job) error {
	return j.Schedule("@every "+d.String(), job)
}

// Now runs a job once, as soon as the pool has room. It is cancelled if the process ends before.
func (j *Jobs) Now(job Job) error { return j.In(0, job) }

// In is [Jobs.Now] after some time.
func (j *Jobs) In(d time.Duration, job Job) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.once[id] = job
	j.mu.Unlock()
	if _, err := j.oneOff.Enqueue(context.Background(), j.engine, nameOf(job), errand.WithID(id), errand.In(d)); err != nil {
		_ = j.take(id)
		return err
	}
	return nil
}

func (j *Jobs) runOnce(ctx context.Context, name string) error {
	run := errand.Current(ctx).Job()
	job := j.take(run.ID)
	if job == nil {
		return errand.Permanent(fmt.Errorf("%s has run", name))
	}
	return errand.Runs(job)(ctx, errand.None{})
}

func (j *Jobs) take(id errand.ID) Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	job := j.once[id]
	delete(j.once, id)
	return job
}

// start calls the application's start-up functions, which schedule jobs and queue others. Of the schedules of earlier times it removes those that nobody has registered.
func (j *Jobs) start(ctx context.Context, onStart ...func() error) error {
	for _, f := range onStart {
		if err := f(); err != nil {
			return err
		}
	}
	all, err := j.engine.Schedules(ctx, errand.ScheduleQuery{Limit: errand.MaxPage})
	for i := range all {
		if !slices.Contains(j.names, all[i].Name) {
			err = errors.Join(err, j.engine.DeleteSchedule(ctx, all[i].Name))
		}
	}
	return err
}

// run runs the jobs until ctx ends.
func (j *Jobs) run(ctx context.Context) error {
	go func() {
		gone := map[string]bool{}
		for tick := time.Tick(30 * time.Second); ; {
			select {
			case <-tick:
				gone = j.forget(ctx, gone)
			case <-ctx.Done():
				return
			}
		}
	}()
	return j.engine.Run(ctx)
}

// forget cancels jobs that were in the memory of processes that have ended: that are not there, and were gone the last time too, as a process that is just
// starting, or that was asleep with the machine, is not to be seen for a moment. It returns which are gone now, by the kind of their jobs.
func (j *Jobs) forget(ctx context.Context, before map[string]bool) map[string]bool {
	sessions, err := j.engine.Sessions(ctx)
	alive, gone := map[string]bool{j.oneOff.Name(): true}, map[string]bool{}
	for _, s := range sessions {
		for _, kind := range s.Kinds {
			alive[kind] = alive[kind] || s.Expires.After(j.engine.Now())
		}
	}
	q := errand.Query{States: []errand.State{errand.Scheduled, errand.Ready}, Kinds: []string{oneOffKind + "*"}, Limit: errand.MaxPage}
	for more := true; more && err == nil; more = q.Cursor != "" {
		var page errand.Page
		page, err = j.engine.List(ctx, q)
		for i := range page.Jobs {
			job := &page.Jobs[i]
			if gone[job.Kind] = !alive[job.Kind]; gone[job.Kind] && before[job.Kind] {
				_, e := j.engine.Cancel(ctx, job.ID, "the process that was to run it has ended")
				err = errors.Join(err, e)
			}
		}
		q.Cursor = page.Next
	}
	if err != nil && ctx.Err() == nil {
		slog.Error("cannot cancel the jobs of processes that have ended", "error", err)
	}
	return gone
}

// nameOf is what to call a job.
func nameOf(job Job) string {
	if named, ok := job.(interface{ Name() string }); ok {
		return named.Name()
	}
	if v := reflect.ValueOf(job); v.Kind() == reflect.Func {
		return strings.TrimSuffix(path.Base(runtime.FuncForPC(v.Pointer()).Name()), "-fm") // of a method value
	}
	return fmt.Sprintf("%T", job)
}
