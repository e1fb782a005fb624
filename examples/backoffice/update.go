package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/errandhq/errand"
)

// updateTask resumes, pauses or terminates a job, and answers once its worker has obeyed.
func (a *app) updateTask(r *http.Request) (any, error) {
	id, action := r.FormValue("id"), r.FormValue("action")
	if id == "" {
		return nil, problem{http.StatusBadRequest, "invalid_id"}
	}
	verb, obeyed := a.action(action)
	if verb == nil {
		return nil, problem{http.StatusBadRequest, "invalid_action"}
	}
	ctx := errand.WithActor(r.Context(), "updateTask from "+r.RemoteAddr)
	job, err := verb(ctx, errandID(id), "")
	var refused *errand.StateError
	switch {
	case errors.Is(err, errand.ErrNotFound):
		return nil, problem{http.StatusNotFound, "id_doesn't_exist"}
	case errors.As(err, &refused): // it is over: there is nothing left to do
		job, err = a.jobs.Get(ctx, errandID(id))
	case err == nil:
		job, err = a.await(ctx, job, obeyed)
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{"status": status(job)}, nil
}

type verb func(ctx context.Context, id errand.ID, reason string) (*errand.Job, error)

// action returns what to do, and how to see that the worker has done it.
func (a *app) action(name string) (verb, func(*errand.Job) bool) {
	switch name {
	case "start":
		return a.jobs.Resume, func(*errand.Job) bool { return true }
	case "stop":
		return a.jobs.Pause, func(j *errand.Job) bool { return j.State != errand.Running }
	case "terminate":
		return a.jobs.Terminate, func(j *errand.Job) bool {
			return j.State.Ended() || j.CleanUp == errand.CleanUpDue && j.Progress.Text == rollingBack
		}
	}
	return nil, nil
}

// await waits until a worker has obeyed, in whatever process it is.
func (a *app) await(ctx context.Context, job *errand.Job, obeyed func(*errand.Job) bool) (*errand.Job, error) {
	patience, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	job, err := a.jobs.WaitFor(patience, job.ID, obeyed)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, problem{http.StatusInternalServerError, "worker_unresponsive"}
	}
	return job, err
}

// status says what a job is about.
func status(job *errand.Job) string {
	switch {
	case job.State == errand.Cancelled:
		return "terminated"
	case job.State.Ended():
		return "already " + string(job.State)
	case job.Want == errand.Cancelled:
		return "terminating"
	case job.State == errand.Ready:
		return "running" // within a moment
	}
	return string(job.State)
}
