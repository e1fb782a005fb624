package server

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

type createInput struct {
	Key string `header:"Idempotency-Key" maxLength:"255" doc:"Repeating the request with the same key creates nothing again"`
}

type createOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     Job
}

type batchOutput struct {
	Status int
	Body   Created
}

type idInput struct {
	ID idParam `path:"id"`
}

type jobOutput struct {
	ETag string `header:"ETag"`
	Body Job
}

func (s *Server) registerJobs() {
	jobs, batch := Prefix+"/jobs", Prefix+"/jobs/batch"
	handle(s, huma.Operation{
		OperationID: "create-job", Method: http.MethodPost, Path: jobs, Summary: "Create a job",
		Description:   "Answers 200 with the job that is there, duplicate set, where its unique key, id or Idempotency-Key was taken.",
		DefaultStatus: http.StatusCreated,
	}, s.create)
	takes[NewJob](s, jobs, true)
	also(s, jobs, "201", "200", "The job was already there")
	handle(s, huma.Operation{
		OperationID: "create-jobs", Method: http.MethodPost, Path: batch, Summary: "Create jobs, all or none",
		Description:   "Answers 200 where none had to be created.",
		DefaultStatus: http.StatusCreated,
	}, s.createBatch)
	takes[Batch](s, batch, true)
	also(s, batch, "201", "200", "All jobs were already there")
	for _, v := range []struct {
		name, summary string
		do            func(context.Context, errand.ID, string) (*errand.Job, error)
	}{
		{"pause", "Pause a job until resume; a running one saves a checkpoint and stops", s.engine.Pause},
		{"resume", "Let a paused job go on, from its checkpoint", s.again(s.engine.Resume)},
		{"cancel", "End a job for good; a running one is asked to stop first", s.engine.Cancel},
		{"terminate", "End a job at once, disowning its run", s.engine.Terminate},
		{"retry", "Run an ended job again, or a scheduled one now", s.again(s.engine.Retry)},
	} {
		path := Prefix + "/jobs/{id}/" + v.name
		handle(s, huma.Operation{
			OperationID: v.name + "-job", Method: http.MethodPost, Path: path, Summary: v.summary,
		}, func(ctx context.Context, in *idInput) (*jobOutput, error) { return act(ctx, in, v.do) })
		takes[Action](s, path, false)
	}
	handle(s, huma.Operation{
		OperationID: "delete-job", Method: http.MethodDelete, Path: Prefix + "/jobs/{id}",
		Summary: "Delete a job and its log; a running one must be cancelled or terminated first",
	}, s.remove)
}

func (s *Server) create(ctx context.Context, in *createInput) (*createOutput, error) {
	n, raw, err := readBody[NewJob](ctx, maxBody, true)
	if err != nil {
		return nil, err
	}
	rep := newRepeat(ctx, in.Key, raw)
	job, fields := n.newJob("body", rep, -1)
	if fields != nil {
		return nil, invalid(fields...)
	}
	warning, err := s.warn(ctx, "body.kind", n.Kind)
	if err != nil {
		return nil, err
	}
	jobs, err := s.engine.Enqueue(ctx, job)
	if err != nil {
		return nil, err
	}
	if err := rep.check(jobs); err != nil {
		return nil, err
	}
	out := &createOutput{Status: http.StatusCreated, Location: Prefix + "/jobs/" + jobs[0].ID.String(), Body: FromJob(&jobs[0])}
	if jobs[0].Duplicate {
		out.Status = http.StatusOK
	} else {
		out.Body.Warning = warning
	}
	return out, nil
}

func (s *Server) createBatch(ctx context.Context, in *createInput) (*batchOutput, error) {
	b, raw, err := readBody[Batch](ctx, maxBatchBody, true)
	if err != nil {
		return nil, err
	}
	if len(b.Jobs) == 0 || len(b.Jobs) > errand.MaxBatch {
		return nil, invalid(ProblemField{"body.jobs", "expected 1 to " + strconv.Itoa(errand.MaxBatch) + " jobs"})
	}
	rep := newRepeat(ctx, in.Key, raw)
	jobs, kinds, fields := b.newJobs(rep)
	if fields != nil {
		return nil, invalid(fields...)
	}
	var warnings []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		warning, err := s.warn(ctx, kinds[kind], kind)
		if err != nil {
			return nil, err
		}
		if warning != "" && len(warnings) < maxFields {
			warnings = append(warnings, kinds[kind]+": "+warning)
		}
	}
	done, err := s.enqueueBatch(ctx, rep, jobs)
	if err != nil {
		return nil, err
	}
	out := &batchOutput{Status: http.StatusCreated, Body: Created{briefs(done), warnings}}
	if !slices.ContainsFunc(done, func(j errand.Job) bool { return !j.Duplicate }) {
		out.Status, out.Body.Warnings = http.StatusOK, nil
	}
	return out, nil
}

// enqueueBatch creates nothing if the batch repeats another with the same key.
func (s *Server) enqueueBatch(ctx context.Context, rep repeat, jobs []errand.NewJob) ([]errand.Job, error) {
	if rep.key != "" {
		defer s.repeats.lock(rep.id(0))()
		first, err := s.engine.Get(ctx, rep.id(0))
		if err == nil {
			err = rep.check([]errand.Job{*first})
		} else if isNotFound(err) {
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	done, err := s.engine.Enqueue(ctx, jobs...)
	if err != nil {
		return nil, err
	}
	return done, rep.check(done)
}

// newJobs returns the jobs for the engine, and where each kind is first met.
func (b *Batch) newJobs(rep repeat) (jobs []errand.NewJob, kinds map[string]string, fields []ProblemField) {
	jobs, kinds = make([]errand.NewJob, len(b.Jobs)), map[string]string{}
	for i := range b.Jobs {
		at := "body.jobs[" + strconv.Itoa(i) + "]"
		job, wrong := b.Jobs[i].newJob(at, rep, i)
		jobs[i] = job
		if fields = append(fields, wrong...); len(fields) >= maxFields {
			break
		}
		if _, met := kinds[job.Kind]; !met {
			kinds[job.Kind] = at + ".kind"
		}
	}
	return jobs, kinds, fields
}

// newJob returns the job for the engine, which checks what is not checked here. Index is -1
// outside of a batch.
func (n *NewJob) newJob(at string, rep repeat, index int) (errand.NewJob, []ProblemField) {
	if fields := n.check(at, rep); fields != nil {
		return errand.NewJob{}, fields
	}
	var o []errand.Option
	add := func(given bool, option errand.Option) {
		if given {
			o = append(o, option)
		}
	}
	add(n.Queue != "", errand.Queue(n.Queue))
	if n.Priority != nil {
		add(true, errand.Priority(*n.Priority))
	}
	add(n.MaxAttempts != 0, errand.MaxAttempts(n.MaxAttempts))
	add(n.MaxCrashes != 0, errand.MaxCrashes(n.MaxCrashes))
	if n.Timeout != nil {
		add(true, errand.Timeout(time.Duration(*n.Timeout)))
	}
	add(!n.At.IsZero(), errand.At(n.At))
	add(n.In != 0, errand.In(time.Duration(n.In)))
	add(n.Retention != 0, errand.Retain(time.Duration(n.Retention)))
	add(len(n.After) > 0, errand.After(n.After...))
	add(n.AfterOutcome != "", errand.AfterOutcome(n.AfterOutcome))
	add(len(n.Tags) > 0, errand.Tags(n.Tags...))
	for k, v := range n.Metadata {
		add(true, errand.Meta(k, v))
	}
	if n.Unique != nil {
		add(true, n.Unique.option())
	}
	add(n.ID != uuid.Nil, errand.WithID(n.ID))
	if rep.key != "" {
		add(true, errand.WithID(rep.id(max(index, 0))))
		add(true, errand.Meta(digestKey, rep.digest))
	}
	return errand.NewJob{Kind: n.Kind, Args: n.Args, Options: o}, nil
}

// check finds what is wrong and the engine could not tell.
func (n *NewJob) check(at string, rep repeat) (wrong []ProblemField) {
	bad := func(is bool, field, message string) {
		if is {
			wrong = append(wrong, ProblemField{at + "." + field, message})
		}
	}
	bad(n.Kind == "", "kind", "required: the kind of the job")
	bad(strings.HasPrefix(n.Kind, reserved), "kind", "kinds that begin with "+reserved+" are errand's own")
	bad(!n.At.IsZero() && n.In != 0, "in", "expected at or in, not both")
	bad(n.In < 0, "in", "expected a duration of 0s or more")
	bad(n.Timeout != nil && *n.Timeout < 0, "timeout", "expected 0s for no limit, or more")
	bad(n.ID != uuid.Nil && rep.key != "", "id", "expected an id or the header Idempotency-Key, not both")
	for k := range n.Metadata {
		bad(strings.HasPrefix(k, reserved), "metadata", "keys that begin with "+reserved+" are errand's own")
	}
	if u := n.Unique; u != nil {
		timed := cmp.Or(u.Scope, errand.UntilTime) == errand.UntilTime
		bad(u.Window < 0, "unique.window", "expected a duration of more than 0s")
		bad(u.Window != 0 && !timed, "unique.window", "expected only with scope time")
		bad(u.Window == 0 && u.Scope == errand.UntilTime, "unique.window", "required with scope time: for how long")
		bad(!u.Until.IsZero(), "unique.until", "read only; use window")
		switch u.Scope {
		case "", errand.UntilEnded, errand.UntilStarted, errand.UntilTime:
		default:
			bad(true, "unique.scope", "expected ended, started or time")
		}
	}
	return wrong
}

func (u *Unique) option() errand.Option {
	switch {
	case u.Window > 0:
		return errand.UniqueFor(u.Key, time.Duration(u.Window))
	case u.Scope == errand.UntilStarted:
		return errand.UniqueUntilStarted(u.Key)
	}
	return errand.Unique(u.Key)
}

// readAction reads the body of a verb, which may be missing.
func readAction(ctx context.Context) (Action, error) {
	a, _, err := readBody[Action](ctx, maxActionBody, false)
	if err == nil && len(a.Reason) > errand.MaxReason {
		err = invalid(ProblemField{"body.reason", "expected at most " + strconv.Itoa(errand.MaxReason) + " bytes"})
	}
	return a, err
}

// act does a verb to a job.
func act(ctx context.Context, in *idInput, do func(context.Context, errand.ID, string) (*errand.Job, error)) (*jobOutput, error) {
	a, err := readAction(ctx)
	if err != nil {
		return nil, err
	}
	job, err := do(ctx, errand.ID(in.ID), a.Reason)
	if err != nil {
		return nil, err
	}
	return &jobOutput{etag(job), FromJob(job)}, nil
}

func (s *Server) remove(ctx context.Context, in *idInput) (*struct{}, error) {
	return nil, s.engine.Delete(ctx, errand.ID(in.ID))
}
