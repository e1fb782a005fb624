package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/cron"
)

// NewSchedule is what a schedule is to become.
type NewSchedule struct {
	Plan
	Job    Template `json:"job"`
	Reason string   `json:"reason,omitempty" maxLength:"4096" doc:"Kept with the schedule"`
}

// NewPreview asks what a schedule would do.
type NewPreview struct {
	Plan
	Name   string    `json:"name,omitempty" maxLength:"240" doc:"Of a schedule that is there: an interval is counted from its creation. Some cron expressions depend on it too"`
	Job    *Template `json:"job,omitempty" doc:"Checked if it is there"`
	Reason string    `json:"reason,omitempty" maxLength:"4096" doc:"Not looked at"`
	N      int       `json:"n,omitempty" minimum:"1" maximum:"100" doc:"How many nominal times to tell; default 5"`
}

// Preview says what a schedule would do.
type Preview struct {
	Spec     string      `json:"spec"`
	Resolved string      `json:"resolved,omitempty" doc:"What spec stands for, if it is a name"`
	Zone     string      `json:"zone,omitempty"`
	Describe string      `json:"describe" doc:"When it makes jobs, in English"`
	Next     []time.Time `json:"next" doc:"The next nominal times. Empty: there are none, or they cannot be foretold (@after, @reboot)"`
	Warning  string      `json:"warning,omitempty" doc:"What may be wrong with it"`
}

// NewBackfill asks for the jobs of nominal times that have passed.
type NewBackfill struct {
	From   time.Time `json:"from" doc:"The first nominal time, or one before it"`
	To     time.Time `json:"to" doc:"The end: jobs are made of nominal times before it. Not in the future"`
	DryRun bool      `json:"dry_run,omitempty" doc:"Only count the nominal times"`
}

// Backfill is the answer to a [NewBackfill].
type Backfill struct {
	NominalTimes int `json:"nominal_times" doc:"How many there are"`
	Made         int `json:"made" doc:"How many jobs were made: those that were there already are left out"`
}

type (
	putScheduleInput struct {
		Name        string `path:"name" maxLength:"240" doc:"In percent-encoding: a slash is %2F"`
		IfMatch     string `header:"If-Match" doc:"ETags; answers 412 if the schedule has none of them, since somebody has changed it"`
		IfNoneMatch string `header:"If-None-Match" enum:"*" doc:"Answers 412 if there is a schedule of this name"`
	}
	putScheduleOutput struct {
		Status   int
		Location string `header:"Location"`
		ETag     string `header:"ETag"`
		Body     Schedule
	}
	runScheduleInput struct {
		Name string `path:"name" maxLength:"240" doc:"In percent-encoding: a slash is %2F"`
		Key  string `header:"Idempotency-Key" maxLength:"255" doc:"Repeating the request with the same key creates nothing again"`
	}
	previewOutput  struct{ Body Preview }
	backfillOutput struct{ Body Backfill }
)

const (
	anyKind    = "any"     // stands for a kind where there is none yet
	anySpec    = "@reboot" // and this for a spec
	maxPreview = 100
)

func (s *Server) registerScheduleEdits(op func(method, id, path, summary string) huma.Operation) {
	put := op(http.MethodPut, "put-schedule", "/schedules/{name}", "Make a schedule, or set its plan")
	put.Description = "What is left out gets its default: the plan that is there is replaced, not changed. Answers 201 if it made the schedule."
	handle(s, put, s.putSchedule)
	takes[NewSchedule](s, Prefix+"/schedules/{name}", true)
	also(s, Prefix+"/schedules/{name}", "200", "201", "The schedule was made")
	run := op(http.MethodPost, "run-schedule", "/schedules/{name}/run", "Make a job of a schedule now, paused or not")
	run.Description = "If the last one has not ended the new one waits for it, unless they may overlap. Answers 409 if one waits already, and 200 with the job of the Idempotency-Key if that is there."
	run.DefaultStatus = http.StatusCreated
	handle(s, run, s.runSchedule)
	handle(s, op(http.MethodPost, "backfill-schedule", "/schedules/{name}/backfill", "Make the jobs of nominal times that have passed; 10,000 at most"), s.backfill)
	takes[NewBackfill](s, Prefix+"/schedules/{name}/backfill", true)
	handle(s, op(http.MethodPost, "preview-schedule", "/schedules/preview", "Tell what a schedule would do, without making it"), s.preview)
	takes[NewPreview](s, Prefix+"/schedules/preview", true)
}

func (s *Server) putSchedule(ctx context.Context, in *putScheduleInput) (*putScheduleOutput, error) {
	n, _, err := readBody[NewSchedule](ctx, maxBody, true)
	if err != nil {
		return nil, err
	}
	if in.IfMatch != "" && in.IfNoneMatch != "" {
		return nil, invalid(ProblemField{"header.If-None-Match", "expected If-Match or If-None-Match, not both"})
	}
	c := &checked{nameAt: "path.name", name: in.Name, plan: n.Plan, template: &n.Job, reason: n.Reason}
	if _, err := s.check(c); err != nil {
		return nil, err
	}
	warning, err := s.warn(ctx, "body.job.kind", n.Job.Kind)
	if err != nil {
		return nil, err
	}
	done, err := s.edit(ctx, in, c)
	if err != nil {
		return nil, err
	}
	one, err := s.oneSchedule(ctx, done, 0)
	if err != nil {
		return nil, err
	}
	out := &putScheduleOutput{http.StatusOK, Prefix + "/schedules/" + url.PathEscape(in.Name), one.ETag, one.Body}
	if out.Body.Warning = warning; done.Changed.Equal(done.Created) {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// edit sets the plan of a schedule if it is as the request's conditions say. They are about the plan, while the engine's version
// grows with each firing too: so it is tried again when that is all that has changed.
func (s *Server) edit(ctx context.Context, in *putScheduleInput, c *checked) (*errand.Schedule, error) {
	for {
		version := int64(0)
		switch {
		case in.IfNoneMatch != "":
			version = -1
		case in.IfMatch != "":
			found, err := s.engine.GetSchedule(ctx, in.Name)
			if err != nil && !errors.Is(err, errand.ErrNoSchedule) {
				return nil, err
			}
			if err != nil || !matches(in.IfMatch, planTag(found)) {
				return nil, changed(found)
			}
			version = found.Version
		}
		done, err := s.engine.EditSchedule(ctx, c.name, c.plan.Spec, c.job, c.plan.plan(), version, c.reason)
		switch {
		case !errors.Is(err, errand.ErrChanged):
			return done, err
		case in.IfNoneMatch != "":
			return nil, problem(http.StatusPreconditionFailed, "there is a schedule of this name already")
		}
	}
}

// changed is the problem of an edit of what is not there any more.
func changed(found *errand.Schedule) *Problem {
	if found == nil {
		return problem(http.StatusPreconditionFailed, "there is no schedule of this name; it may have been deleted meanwhile")
	}
	p := problem(http.StatusPreconditionFailed, "the schedule was changed meanwhile")
	if found.Actor != "" {
		p.Detail += " by " + found.Actor
	}
	p.Hint = "read it again, and edit it as it is now"
	return p
}

// planTag names one plan of one schedule.
func planTag(x *errand.Schedule) string {
	return `"` + strconv.FormatInt(x.Created.UnixMicro(), 36) + "." + strconv.FormatInt(x.Changed.UnixMicro(), 36) + `"`
}

func (s *Server) preview(ctx context.Context, _ *struct{}) (*previewOutput, error) {
	n, _, err := readBody[NewPreview](ctx, maxBody, true)
	if err != nil {
		return nil, err
	}
	if n.N < 0 || n.N > maxPreview {
		return nil, invalid(ProblemField{"body.n", "expected 1 to " + strconv.Itoa(maxPreview)})
	}
	would, err := s.check(&checked{nameAt: "body.name", name: cmp.Or(n.Name, "new"), plan: n.Plan, template: n.Job, reason: n.Reason})
	if err != nil {
		return nil, err
	}
	if found, err := s.engine.GetSchedule(ctx, would.Name); err == nil {
		would.Created = found.Created
	}
	out := &previewOutput{Preview{
		Spec: would.Spec, Resolved: would.Resolved, Zone: would.Zone, Describe: would.Describe(),
		Next: would.Upcoming(s.engine.Now(), cmp.Or(n.N, 5)),
	}}
	if out.Body.Next == nil {
		out.Body.Next = []time.Time{}
	}
	if n.Job != nil {
		out.Body.Warning, err = s.warn(ctx, "body.job.kind", n.Job.Kind)
	}
	return out, err
}

func (s *Server) runSchedule(ctx context.Context, in *runScheduleInput) (*createOutput, error) {
	id := errand.ID{}
	if in.Key != "" {
		id = newRepeat(ctx, in.Key, nil).id(0)
	}
	job, err := s.engine.RunSchedule(ctx, in.Name, id)
	var state *errand.StateError
	switch {
	case errors.As(err, &state):
		p := problem(http.StatusConflict, "a job of this schedule waits already for the one before to end")
		p.State, p.Hint = state.State, "cancel one of the two, or wait"
		return nil, p
	case errors.Is(err, errand.ErrInvalid):
		return nil, problem(http.StatusUnprocessableEntity, "this Idempotency-Key was used with another request",
			ProblemField{"header.Idempotency-Key", "expected a key of its own for each request"})
	case err != nil:
		return nil, err
	}
	status := http.StatusCreated
	if job.Duplicate {
		status = http.StatusOK
	}
	return &createOutput{Status: status, Location: Prefix + "/jobs/" + job.ID.String(), Body: FromJob(job)}, nil
}

func (s *Server) backfill(ctx context.Context, in *scheduleInput) (*backfillOutput, error) {
	n, _, err := readBody[NewBackfill](ctx, maxActionBody, true)
	if err != nil {
		return nil, err
	}
	x, err := s.engine.GetSchedule(ctx, in.Name)
	switch {
	case err != nil:
		return nil, err
	case n.From.IsZero():
		return nil, invalid(ProblemField{"body.from", "required: a time"})
	case !n.To.After(n.From):
		return nil, invalid(ProblemField{"body.to", "expected a time after from"})
	case n.To.After(s.engine.Now()):
		return nil, invalid(ProblemField{"body.to", "expected a time that is not in the future"})
	}
	out := &backfillOutput{}
	for _, t := range x.Upcoming(n.From.Add(-time.Microsecond), errand.MaxBatch+1) {
		if t.Before(n.To) {
			out.Body.NominalTimes++
		}
	}
	if out.Body.NominalTimes > errand.MaxBatch {
		return nil, invalid(ProblemField{"body.to", "expected a range of at most " + strconv.Itoa(errand.MaxBatch) + " nominal times"})
	}
	if !n.DryRun {
		out.Body.Made, err = s.engine.Backfill(ctx, in.Name, n.From, n.To)
	}
	return out, err
}

func (p *Plan) plan() *errand.Plan {
	return &errand.Plan{
		Zone: p.Zone, Start: p.Start, End: p.End, Jitter: time.Duration(p.Jitter), Overlap: p.Overlap, Misfire: p.Misfire,
		CatchUp: p.CatchUp, Window: time.Duration(p.Window), Grace: time.Duration(p.Grace),
	}
}

// newJob returns the job for the engine, which checks what is not checked here.
func (t *Template) newJob() (errand.NewJob, []ProblemField) {
	n := NewJob{
		Kind: t.Kind, Args: t.Args, Queue: t.Queue, Priority: t.Priority, MaxAttempts: t.MaxAttempts, MaxCrashes: t.MaxCrashes,
		Timeout: t.Timeout, Retention: t.Retention, Tags: t.Tags, Metadata: t.Metadata,
	}
	return n.newJob("body.job", repeat{}, -1)
}

// checked is what a request wants a schedule to be.
type checked struct {
	nameAt, name string
	plan         Plan
	template     *Template // nil: none yet
	job          errand.NewJob
	reason       string
	wrong        []ProblemField
}

// check makes the schedule, without storing it. If it cannot be, the error names the fields that are wrong.
func (s *Server) check(c *checked) (*errand.Schedule, error) {
	c.job = errand.NewJob{Kind: anyKind}
	if c.template != nil {
		c.job, c.wrong = c.template.newJob()
	}
	if len(c.reason) > errand.MaxReason {
		c.bad("body.reason", "expected at most "+strconv.Itoa(errand.MaxReason)+" bytes")
	}
	if c.plan.Spec == "" {
		c.bad("body.spec", "required: a cron expression such as 0 7 * * *, or @every 10m")
	}
	for _, d := range []struct {
		field string
		value Duration
	}{{"jitter", c.plan.Jitter}, {"window", c.plan.Window}, {"grace", c.plan.Grace}} {
		if d.value < 0 {
			c.bad("body."+d.field, "expected a duration of 0s or more")
		}
	}
	x, err := s.engine.PreviewSchedule(c.name, c.plan.Spec, c.job, c.plan.plan())
	if err != nil && !errors.Is(err, errand.ErrInvalid) {
		return nil, err
	}
	if err != nil {
		s.locatePlan(c)
		s.locateJob(c)
	}
	switch {
	case len(c.wrong) > 0:
		return nil, invalid(c.wrong[:min(len(c.wrong), maxFields)]...)
	case err != nil:
		return nil, err
	}
	return x, nil
}

func (c *checked) bad(at, message string) { c.wrong = append(c.wrong, ProblemField{at, message}) }

// try notes what is wrong with one field, in a schedule that is right otherwise.
func (s *Server) try(c *checked, at, spec string, job errand.NewJob, plan errand.Plan) bool {
	if slices.ContainsFunc(c.wrong, func(f ProblemField) bool { return f.Location == at }) {
		return false
	}
	_, err := s.engine.PreviewSchedule(c.name, spec, job, &plan)
	if err != nil {
		c.bad(at, planProblem(err))
	}
	return err == nil
}

// planProblem says what is wrong with a plan, without its values, but for the part of a spec that is wrong: that is no secret, and else
// nobody would find it.
func planProblem(err error) string {
	var p *cron.ParseError
	switch {
	case !errors.As(err, &p):
		return withoutValues(err)
	case p.Field == "":
		return fmt.Sprintf("column %d: %s", p.Column, p.Problem)
	}
	return fmt.Sprintf("%s, column %d: %s", p.Field, p.Column, p.Problem)
}

// locatePlan finds the fields of a plan that are wrong.
func (s *Server) locatePlan(c *checked) {
	p, job := c.plan.plan(), errand.NewJob{Kind: anyKind}
	if !s.try(c, c.nameAt, anySpec, job, errand.Plan{}) {
		c.name = "new"
	}
	if s.try(c, "body.spec", c.plan.Spec, job, errand.Plan{}) {
		s.try(c, "body.zone", c.plan.Spec, job, errand.Plan{Zone: p.Zone})
	}
	one := func(field string, plan errand.Plan) bool { return s.try(c, "body."+field, anySpec, job, plan) }
	if !one("start", errand.Plan{Start: p.Start}) {
		p.Start = time.Time{}
	}
	one("end", errand.Plan{Start: p.Start, End: p.End})
	one("jitter", errand.Plan{Jitter: p.Jitter})
	one("grace", errand.Plan{Grace: p.Grace})
	misfires := one("misfire", errand.Plan{Misfire: p.Misfire})
	if one("overlap", errand.Plan{Overlap: p.Overlap}) && misfires {
		one("overlap", errand.Plan{Overlap: p.Overlap, Misfire: p.Misfire})
	}
	if misfires {
		one("catch_up", errand.Plan{Misfire: p.Misfire, CatchUp: p.CatchUp})
		one("window", errand.Plan{Misfire: p.Misfire, Window: p.Window})
	}
}

// locateJob finds the fields of a template that are wrong.
func (s *Server) locateJob(c *checked) {
	t := c.template
	if t == nil {
		return
	}
	s.try(c, "body.job.kind", anySpec, errand.NewJob{Kind: t.Kind}, errand.Plan{})
	for _, only := range []struct {
		field string
		Template
	}{
		{"args", Template{Args: t.Args}},
		{"queue", Template{Queue: t.Queue}},
		{"priority", Template{Priority: t.Priority}},
		{"max_attempts", Template{MaxAttempts: t.MaxAttempts}},
		{"max_crashes", Template{MaxCrashes: t.MaxCrashes}},
		{"tags", Template{Tags: t.Tags}},
		{"metadata", Template{Metadata: t.Metadata}},
	} {
		only.Kind = anyKind
		job, _ := only.newJob()
		s.try(c, "body.job."+only.field, anySpec, job, errand.Plan{})
	}
}
