// Command embedded shows errand as a queue inside a program: nothing to install, nothing
// on disk. It hands jobs to a number of workers, tells what happens to them as it happens,
// and then takes a tour of what can be asked of a single job.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/errandhq/errand"
)

// Task is what a job gets: here, how long to work in so many steps.
type Task struct {
	Name  string
	Each  time.Duration
	Steps int
}

// sleep is the kind of job that all of this program's workers can do. It returns a text.
var sleep = errand.Define[Task, string]("sleep", errand.MaxAttempts(1))

// busy counts how many workers are at work, and the most there have been.
var busy, most atomic.Int64

// work is an ordinary function. The checkpoint lets a paused job go on where it stopped.
func work(ctx context.Context, t Task) (string, error) {
	for n, m := busy.Add(1), most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
	}
	defer busy.Add(-1)
	run := errand.Current(ctx)
	step, err := errand.Checkpoint[int](run)
	if err != nil {
		return "", err
	}
	for ; step < t.Steps; step++ {
		select {
		case <-time.After(t.Each / time.Duration(t.Steps)):
		case <-ctx.Done(): // an order: pause, cancel or quit
			return "", run.Stop(step)
		}
		run.Progress(int64(step+1), int64(t.Steps), "")
	}
	return t.Name + " is done", nil
}

// dispatcher hands jobs to the workers and reports what they do, of which it is told by
// subscription.
type dispatcher struct {
	*errand.Engine
	out            io.Writer
	begin          time.Time
	next           func() (errand.Event, bool)
	started, ended int
}

func main() {
	workers := flag.Int("workers", 10, "how many jobs run at the same time")
	jobs := flag.Int("jobs", 20, "how many jobs to hand to them, up to 500")
	each := flag.Duration("duration", 5*time.Second, "how long each job takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *workers, *jobs, *each); err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

// run starts the workers, does the work, and tells the workers to quit.
func run(ctx context.Context, out io.Writer, workers, jobs int, each time.Duration) error {
	if workers < 1 {
		return fmt.Errorf("%d workers: at least one is needed", workers)
	}
	if jobs < 1 || jobs > 500 || each < time.Millisecond {
		return fmt.Errorf("%d jobs of %s: use 1 to 500, of a millisecond or more", jobs, each)
	}
	engine := errand.New(errand.Memory(nil), &errand.Config{
		Queues:        map[string]int{"default": workers},
		Prefetch:      -1, // nobody claims ahead: a late job of high priority still comes first
		ShutdownGrace: -1, // to quit means now
		Log:           slog.New(slog.DiscardHandler),
	})
	sleep.Handle(engine, work)
	working, quit := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(working) }()

	next, unsubscribe := iter.Pull(engine.Events(ctx)) // publish/subscribe: from now on
	defer unsubscribe()
	d := &dispatcher{Engine: engine, out: out, begin: time.Now(), next: next}
	d.say("Running", "%d workers, %d jobs of %s", workers, jobs, each)
	err := d.many(ctx, jobs, each)
	if err == nil {
		err = d.tour(ctx)
	}
	quit()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	d.say("Finished", "the workers have quit")
	return nil
}

// many enqueues all jobs at once and reports until the last has ended. The later its number, the
// higher its priority.
func (d *dispatcher) many(ctx context.Context, n int, each time.Duration) error {
	var batch []errand.NewJob
	for i := 1; i <= n; i++ {
		task := Task{Name: fmt.Sprintf("job %d", i), Each: each, Steps: 1}
		batch = append(batch, sleep.New(task, errand.Priority(i)))
	}
	if _, err := d.Enqueue(ctx, batch...); err != nil {
		return err
	}
	err := d.report(ctx, func(errand.Job) bool { return d.ended == n })
	d.say("Finished", "%d jobs started, %d ended, at most %d at the same time", d.started, d.ended, most.Load())
	return err
}

// tour shows what can be asked of a single job by the handle that Enqueue returns.
func (d *dispatcher) tour(ctx context.Context) error {
	enqueue := func(name string, options ...errand.Option) *errand.Handle[string] {
		h, err := sleep.Enqueue(ctx, d.Engine, Task{name, 2 * time.Second, 8}, options...)
		if err != nil {
			panic(err) // only an invalid job can fail in a store of this process
		}
		return h
	}
	a, b := enqueue("A"), enqueue("B")
	c := enqueue("C", errand.In(2*time.Second)) // a time at which to execute
	err := errors.Join(
		d.report(ctx, func(j errand.Job) bool { return j.ID == a.ID && j.Progress.Done >= 2 }),
		d.order("pause A", a.Pause(ctx, "let others go first")), // the worker halts it, and is free
		d.until(ctx, a.ID, errand.Paused),
		d.order("cancel B", b.Cancel(ctx, "not needed")), // the worker halts it for good
		d.until(ctx, b.ID, errand.Cancelled),
		d.order("resume A", a.Resume(ctx, "its turn")),
		d.until(ctx, c.ID, errand.Succeeded),
	)
	for _, h := range []*errand.Handle[string]{a, b, c} {
		result, failure := h.Wait(ctx) // its result, once it has ended
		job, err := h.Now(ctx)         // its status
		if err != nil {
			return err
		}
		d.say("status", "%s: %s, result %q, error %v", name(*job), job.State, result, failure)
	}
	// A function that is no kind of its own: it runs once, here, and can be seen like the others.
	job, failure := d.Go(ctx, "one-off", func(context.Context) error { return nil })
	if err := errors.Join(err, failure); err != nil {
		return err
	}
	return d.until(ctx, job.ID, errand.Succeeded)
}

// order reports an order that was given.
func (d *dispatcher) order(what string, err error) error {
	d.say("order", "%s", what)
	return err
}

// until reports what happens until a job is in a state, or over.
func (d *dispatcher) until(ctx context.Context, id errand.ID, state errand.State) error {
	return d.report(ctx, func(j errand.Job) bool { return j.ID == id && (j.State == state || j.State.Ended()) })
}

// report tells what happens until enough says so.
func (d *dispatcher) report(ctx context.Context, enough func(errand.Job) bool) error {
	for {
		ev, ok := d.next()
		if !ok {
			return ctx.Err()
		}
		if ev.Job.State != ev.From { // else it reports its progress
			d.tell(ev)
		}
		if enough(ev.Job) {
			return nil
		}
	}
}

// tell prints and counts one event.
func (d *dispatcher) tell(ev errand.Event) {
	job := ev.Job
	switch {
	case job.State == errand.Running:
		d.started++
		d.say("start", "%s, priority %d", name(job), job.Priority)
	case job.State.Ended():
		d.ended++
		d.say("end", "%s %s after %.1fs", name(job), job.State, job.Duration(time.Now()).Seconds())
	case job.State == errand.Scheduled:
		d.say("scheduled", "%s, to start in %.1fs", name(job), time.Until(job.Due).Seconds())
	case job.State == errand.Paused:
		d.say("paused", "%s at step %d of %d: %s", name(job), job.Progress.Done, job.Progress.Total, job.Reason)
	}
}

// say prints one line, after the seconds since the beginning.
func (d *dispatcher) say(what, format string, args ...any) {
	fmt.Fprintf(d.out, "%5.1fs  %-9s %s\n", time.Since(d.begin).Seconds(), what, fmt.Sprintf(format, args...))
}

// name is what to call a job.
func name(j errand.Job) string {
	var t Task
	if json.Unmarshal(j.Args, &t) != nil || t.Name == "" {
		return j.Kind
	}
	return t.Name
}
