package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// view shows on stderr how jobs go on: as bars on a terminal, else as lines.
type view struct {
	w      io.Writer // of lines; above the bars
	bars   *mpb.Progress
	stderr io.Writer
	names  bool // several jobs: each line tells which
}

func newView(cmd *cobra.Command, c *client, several bool) *view {
	v := &view{w: cmd.ErrOrStderr(), stderr: cmd.ErrOrStderr(), names: several}
	c.say = func(format string, args ...any) { fmt.Fprintf(v.w, "errand: "+format+"\n", args...) }
	if f, ok := v.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		v.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
		v.w = v.bars
	}
	return v
}

// close waits until the bars are drawn for the last time.
func (v *view) close() {
	if v.bars != nil {
		v.bars.Wait()
		v.w = v.stderr
	}
}

// job shows one job.
func (v *view) job(id errand.ID) *jobView {
	j := &jobView{view: v, id: id}
	if v.bars != nil {
		j.bar = v.bars.New(0, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return j.head() })),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return j.tail() })))
	}
	return j
}

// jobView is one job in a view.
type jobView struct {
	*view
	id  errand.ID
	bar *mpb.Bar

	mu      sync.Mutex
	job     server.Job
	printed string
}

func (v *jobView) head() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := shorten(harmless(v.job.Kind), 20)
	if v.names {
		s = v.id.String() + " " + s
	}
	return s + " " + stateText(&v.job) + " "
}

func (v *jobView) tail() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := " " + harmless(progressText(&v.job))
	if v.job.Attempt > 1 {
		s += fmt.Sprintf(" attempt %d/%d", v.job.Attempt, v.job.MaxAttempts)
	}
	if took := runTime(&v.job); took != "" {
		s += " " + took
	}
	return s
}

// see shows a new state of the job.
func (v *jobView) see(job server.Job) {
	v.mu.Lock()
	v.job = job
	line := v.line()
	isNew := line != v.printed && (!job.State.Ended() || job.State == errand.Succeeded) // others come as an error
	v.printed = line
	v.mu.Unlock()
	if v.bar == nil {
		if isNew {
			fmt.Fprintln(v.w, line)
		}
		return
	}
	if p := job.Progress; p != nil && p.Total > 0 {
		v.bar.SetTotal(max(p.Total, p.Done)+1, false) // full only at the end
		v.bar.SetCurrent(p.Done)
	}
	switch {
	case job.State == errand.Succeeded:
		v.bar.SetTotal(-1, true)
	case job.State.Ended():
		v.bar.Abort(false)
	}
}

// quit leaves the bar as it is.
func (v *jobView) quit() {
	if v.bar != nil {
		v.bar.Abort(false)
	}
}

// line tells the job's state where there is no bar. The caller holds v.mu.
func (v *jobView) line() string {
	j := &v.job
	s := "errand: "
	if v.names {
		s += v.id.String() + " "
	}
	s += stateText(j)
	if p := progressText(j); p != "" && j.State == errand.Running {
		s += " " + harmless(p)
	}
	if j.Attempt > 1 && !j.State.Ended() {
		s += fmt.Sprintf(" (attempt %d of %d)", j.Attempt, j.MaxAttempts)
	}
	if j.State == errand.Succeeded {
		s += " in " + runTime(j)
	}
	if j.State == errand.Scheduled {
		s += ", due " + j.Due.Local().Format("2006-01-02 15:04:05 MST")
	}
	return s
}

// follow shows a job until it has ended, its log too if asked, and returns it as it is then.
func follow(ctx context.Context, c *client, v *view, id errand.ID, withLog bool, each func(server.Job)) (server.Job, error) {
	jv := v.job(id)
	defer jv.quit()
	var wg sync.WaitGroup
	logs, stopLogs := context.WithCancel(ctx)
	defer stopLogs()
	if withLog {
		wg.Go(func() {
			_ = c.followLog(logs, id, 0, func(e server.Entry) { fmt.Fprintln(v.w, logLine(&e)) })
		})
	}
	err := c.watch(ctx, id, func(j server.Job) {
		if each != nil {
			each(j)
		}
		if !j.State.Ended() || !withLog {
			jv.see(j)
		}
	})
	if err != nil {
		return server.Job{}, err
	}
	waitOrStop(&wg, stopLogs, 10*time.Second) // the log has ended, or will at once
	job, err := c.job(ctx, id)
	if err == nil {
		jv.see(job)
	}
	return job, err
}

// waitOrStop waits for wg, and after d stops what it waits for.
func waitOrStop(wg *sync.WaitGroup, stop func(), d time.Duration) {
	t := time.AfterFunc(d, stop)
	defer t.Stop()
	wg.Wait()
}

// followLog calls see with each entry of a job's log after one, until the job has ended.
func (c *client) followLog(ctx context.Context, id errand.ID, after int64, see func(server.Entry)) error {
	return c.patiently(ctx, func(alive func()) error {
		for {
			log, err := c.entries(ctx, id, after, 1000, longPoll)
			if err != nil {
				return err
			}
			alive()
			for _, e := range log.Entries {
				see(e)
			}
			if after = log.After; log.Ended {
				return nil
			}
		}
	})
}

// ended makes an error of a job that ended other than well.
func ended(j *server.Job) error {
	switch j.State {
	case errand.Failed:
		return &codeError{fmt.Errorf("job %s failed after %s: %s", j.ID, plural(j.Attempt, "attempt"), harmlessLines(j.Error)), exitFailed}
	case errand.Cancelled:
		why := ""
		if j.Actor != "" {
			why += " by " + j.Actor
		}
		if j.Reason != "" {
			why += ": " + j.Reason
		}
		return &codeError{fmt.Errorf("job %s was cancelled%s", j.ID, harmless(why)), exitCancelled}
	}
	return nil
}
