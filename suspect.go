package errand

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// A job is a suspect if it becomes poison when one more worker dies under it. Workers that die take the
// jobs of others with them, so a worker runs one suspect at a time and puts the others off: an innocent one is
// then not beside the one that kills, succeeds, and is cleared.

// suspected reports whether the job fails as poison at the next crash, and not for the first.
func (j *Job) suspected() bool { return j.Crashes > 0 && j.Crashes >= j.crashLimit()-1 }

// putOff returns a claimed job that has not started. It costs no attempt, and clears the job of nothing.
func (c *Change) putOff(d time.Duration) {
	c.Job.Attempt--
	c.Job.Due = timestamp(c.now.Add(d))
	c.enter()
}

// putOffSuspects returns the claimed jobs that may start, and puts off the others.
func (w *worker) putOffSuspects(ctx context.Context, jobs []Job) []Job {
	if !slices.ContainsFunc(jobs, func(j Job) bool { return j.suspected() }) {
		return jobs
	}
	var start []Job
	var changes []Change
	for i := range jobs {
		if j := &jobs[i]; j.suspected() && !w.suspects(j.ID) {
			c := w.e.change(j)
			c.putOff(jitter(w.e.config.Lease / 10))
			changes = append(changes, *c)
		} else {
			start = append(start, *j)
		}
	}
	if len(changes) > 0 {
		if _, err := w.e.swap(ctx, changes); err != nil {
			w.warn(ctx, "cannot put off jobs", err)
			w.unsure = true // they are strays now
		}
	}
	return start
}

// suspects notes that the worker runs this suspect, unless it runs another one.
func (w *worker) suspects(id ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.suspect != uuid.Nil {
		return false
	}
	w.suspect = id
	return true
}

// cleared notes that a job is no longer a suspect that runs here. The caller holds w.mu.
func (w *worker) cleared(id ID) {
	if w.suspect == id {
		w.suspect = uuid.Nil
	}
}
