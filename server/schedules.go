package server

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// Plan says when a schedule makes jobs.
type Plan struct {
	Spec    string         `json:"spec" minLength:"1" maxLength:"1000" doc:"A cron expression such as 0 7 * * MON-FRI, or @every 10m, @after 10m (counted from the end of the last job), @reboot (each start of a worker), or cron.NAME, see GET /specs"`
	Zone    string         `json:"zone,omitempty" maxLength:"255" doc:"Time zone of a cron expression, such as Europe/Berlin; default UTC"`
	Start   time.Time      `json:"start,omitzero" doc:"No nominal time is before"`
	End     time.Time      `json:"end,omitzero" doc:"No nominal time is at or after"`
	Jitter  Duration       `json:"jitter,omitzero" doc:"Each job starts up to so much later than its nominal time; at most 24h"`
	Overlap errand.Overlap `json:"overlap,omitempty" enum:"skip,queue_one,queue_all,cancel,allow" doc:"What to do when the last job has not ended; default skip, with misfire catch_up queue_all"`
	Misfire errand.Misfire `json:"misfire,omitempty" enum:"once,skip,catch_up" doc:"What to do about nominal times at which nobody was there to make a job; default once"`
	CatchUp int            `json:"catch_up,omitempty" minimum:"1" maximum:"100" doc:"With misfire catch_up: how many at most; default 100"`
	Window  Duration       `json:"window,omitzero" doc:"With misfire catch_up: none that is older than this; left out: however old"`
	Grace   Duration       `json:"grace,omitzero" doc:"How late a job may be made; what is past for longer was missed; default 1m"`
}

// Template is what a schedule makes jobs from. What a request leaves out is as in a [NewJob].
type Template struct {
	Kind        string            `json:"kind" minLength:"1" maxLength:"255" doc:"Selects the handler"`
	Args        json.RawMessage   `json:"args,omitempty" doc:"What the handler gets: any JSON value, 64 KiB at most; default null"`
	Queue       string            `json:"queue,omitempty" maxLength:"255" doc:"Default: default"`
	Priority    *int              `json:"priority,omitempty" minimum:"-32768" maximum:"32767" doc:"Higher first; default 0"`
	MaxAttempts int               `json:"max_attempts,omitempty" minimum:"1" maximum:"32767" doc:"Default 20"`
	MaxCrashes  int               `json:"max_crashes,omitempty" minimum:"1" maximum:"32767" doc:"Default 3"`
	Timeout     *Duration         `json:"timeout,omitempty" doc:"How long one run may take; 0s: no limit"`
	Retention   Duration          `json:"retention,omitzero" doc:"How long a job is kept once it ended; forever, or a duration"`
	Tags        []string          `json:"tags,omitempty" maxItems:"31" doc:"Besides schedule:NAME, which each of its jobs has"`
	Metadata    map[string]string `json:"metadata,omitempty" doc:"64 KiB at most; keys must not begin with errand."`
}

// Schedule makes jobs by its plan. Times that have no value yet are left out.
type Schedule struct {
	Name string `json:"name"`
	Plan
	Resolved string   `json:"resolved,omitempty" doc:"What spec stands for, if it is a name"`
	Describe string   `json:"describe" doc:"When it makes jobs, in English"`
	Job      Template `json:"job"`

	Created    time.Time   `json:"created"`
	Changed    time.Time   `json:"changed" doc:"When it was edited, paused or resumed last"`
	Registered bool        `json:"registered" doc:"A program registers it when it starts: deleted, it would be there again"`
	Actor      string      `json:"actor,omitempty" doc:"Who last edited, paused or resumed it"`
	Reason     string      `json:"reason,omitempty" doc:"And why"`
	Paused     time.Time   `json:"paused,omitzero" doc:"Since then it makes no jobs"`
	PausedBy   string      `json:"paused_by,omitempty" doc:"Who paused it"`
	PausedFor  string      `json:"paused_reason,omitempty" doc:"And why"`
	Next       time.Time   `json:"next,omitzero" doc:"The nominal time to come; left out: there is none, or it is not known yet"`
	Upcoming   []time.Time `json:"upcoming,omitempty" doc:"The next nominal times, five at most; not in lists, and not while it is paused"`
	Prev       time.Time   `json:"prev,omitzero" doc:"The latest nominal time that has come"`
	LateBy     Duration    `json:"late_by,omitzero" doc:"So long ago the nominal time to come has come: nobody has made its job yet"`
	Late       Duration    `json:"late,omitzero" doc:"How late the last job was made"`
	Made       int64       `json:"made" doc:"How many nominal times have come at which a job was made"`
	Skipped    int64       `json:"skipped" doc:"And none was, since the last one had not ended"`
	Missed     int64       `json:"missed" doc:"And none was, since nobody was there in time"`
	Last       *LastJob    `json:"last,omitempty" doc:"The job made last"`
	History    []Firing    `json:"history,omitempty" doc:"What it did at its latest nominal times, the newest first"`

	// Omitted names the fields that were left out of a list because they are long.
	Omitted []string `json:"omitted,omitempty" doc:"Fields left out here because they are long; GET the schedule for them"`
	// Warning says what may be wrong with the schedule that was written.
	Warning string `json:"warning,omitempty" doc:"What may be wrong with the schedule that was written"`
}

// LastJob is the job that a schedule has made last, in brief.
type LastJob struct {
	ID      errand.ID    `json:"id" format:"uuid"`
	State   errand.State `json:"state,omitempty" enum:"scheduled,waiting,ready,running,paused,succeeded,failed,cancelled" doc:"Left out: the job is no longer kept"`
	Started time.Time    `json:"started,omitzero"`
	Ended   time.Time    `json:"ended,omitzero"`
	Error   string       `json:"error,omitempty" doc:"The beginning of its latest error"`
}

// Firing is what a schedule did at a nominal time, with its job in brief.
type Firing struct {
	Seq     int64          `json:"seq" doc:"1, 2, 3 … within the schedule"`
	Nominal time.Time      `json:"nominal" doc:"The nominal time; of several that were missed, the latest"`
	At      time.Time      `json:"at" doc:"When it was"`
	Outcome errand.Outcome `json:"outcome" enum:"made,skipped,missed,manual,backfilled" doc:"made: a job; skipped: none, the last one had not ended; missed: none, nobody was there in time; manual: a job, because somebody asked for it; backfilled: a job, because somebody asked for those of a range"`
	Missed  int64          `json:"missed,omitempty" doc:"So many nominal times"`
	Job     errand.ID      `json:"job,omitzero" format:"uuid"`
	State   errand.State   `json:"state,omitempty" enum:"scheduled,waiting,ready,running,paused,succeeded,failed,cancelled" doc:"Of the job; left out: it is no longer kept"`
	Started time.Time      `json:"started,omitzero" doc:"Of the job"`
	Ended   time.Time      `json:"ended,omitzero" doc:"Of the job"`
}

// Schedules is one page of the schedules, by name. Long args and metadata are left out, see [Schedule].Omitted.
type Schedules struct {
	Schedules []Schedule `json:"schedules"`
	Next      string     `json:"next,omitempty" doc:"The after of the following page; left out on the last one"`
}

// Firings is what a schedule did lately, the newest first.
type Firings struct {
	Firings []Firing `json:"firings"`
}

// Specs lists the specs that have a name in the server's settings, by name.
type Specs struct {
	Specs []Spec `json:"specs"`
}

// Spec is a spec with a name.
type Spec struct {
	Name     string `json:"name" example:"cron.nightly" doc:"What a plan's spec may be"`
	Spec     string `json:"spec" doc:"What it stands for"`
	Describe string `json:"describe" doc:"When that is, in English, in UTC"`
}

type (
	schedulesInput struct {
		After   string `query:"after" maxLength:"240" doc:"The next of the page before: only schedules whose names come after this one"`
		Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"100"`
		Search  string `query:"search" maxLength:"255" doc:"Only those with this in their name, spec, kind or queue, whatever the case"`
		Only    string `query:"only" enum:"paused,late" doc:"Only those that are paused; only those whose job is late by a second or more"`
		History int    `query:"history" minimum:"0" maximum:"100" default:"20" doc:"How many firings of each to tell"`
	}
	scheduleInput struct {
		Name string `path:"name" maxLength:"240" doc:"In percent-encoding: a slash is %2F"`
	}
	getScheduleInput struct {
		Name    string `path:"name" maxLength:"240" doc:"In percent-encoding: a slash is %2F"`
		History int    `query:"history" minimum:"0" maximum:"100" default:"20" doc:"How many firings to tell"`
	}
	firingsInput struct {
		Name  string `path:"name" maxLength:"240" doc:"In percent-encoding: a slash is %2F"`
		Limit int    `query:"limit" minimum:"1" maximum:"100" default:"100"`
	}
	schedulesOutput struct{ Body Schedules }
	firingsOutput   struct{ Body Firings }
	specsOutput     struct{ Body Specs }
	scheduleOutput  struct {
		ETag string `header:"ETag"`
		Body Schedule
	}
)

func (s *Server) registerSchedules() {
	op := func(method, id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: Prefix + path, Summary: summary}
	}
	handle(s, op(http.MethodGet, "list-schedules", "/schedules", "List the schedules, by name"), s.schedules)
	one := op(http.MethodGet, "get-schedule", "/schedules/{name}", "Get a schedule")
	one.Description = "Its ETag names the plan: it changes when the schedule is edited, paused or resumed, and not when it makes a job."
	handle(s, one, s.getSchedule)
	handle(s, op(http.MethodGet, "list-firings", "/schedules/{name}/firings", "List what a schedule did lately, the newest first"), s.firings)
	handle(s, op(http.MethodGet, "list-specs", "/specs", "List the specs that have a name"), s.specs)
	for _, v := range []struct {
		name, summary string
		do            func(context.Context, string, string) (*errand.Schedule, error)
	}{
		{"pause", "Keep a schedule from making jobs until resume; those it has made run", s.engine.PauseSchedule},
		{"resume", "Let a paused schedule make jobs again, at the nominal times to come", s.engine.ResumeSchedule},
	} {
		path := "/schedules/{name}/" + v.name
		handle(s, op(http.MethodPost, v.name+"-schedule", path, v.summary), func(ctx context.Context, in *scheduleInput) (*scheduleOutput, error) {
			a, err := readAction(ctx)
			if err != nil {
				return nil, err
			}
			done, err := v.do(ctx, in.Name, a.Reason)
			if err != nil {
				return nil, err
			}
			return s.oneSchedule(ctx, done, 0)
		})
		takes[Action](s, Prefix+path, false)
	}
	handle(s, op(http.MethodDelete, "delete-schedule", "/schedules/{name}", "Delete a schedule and the record of its firings; its jobs stay"),
		func(ctx context.Context, in *scheduleInput) (*struct{}, error) {
			return nil, s.engine.DeleteSchedule(ctx, in.Name)
		})
	s.registerScheduleEdits(op)
}

func (s *Server) schedules(ctx context.Context, in *schedulesInput) (*schedulesOutput, error) {
	page, err := s.engine.Schedules(ctx, errand.ScheduleQuery{After: in.After, Limit: in.Limit + 1, Match: in.match(s.engine.Now())})
	if err != nil {
		return nil, err
	}
	out := &schedulesOutput{}
	if len(page) > in.Limit {
		page = page[:in.Limit]
		out.Body.Next = page[in.Limit-1].Name
	}
	if out.Body.Schedules, err = s.fromSchedules(ctx, page, in.History); err != nil {
		return nil, err
	}
	for i := range out.Body.Schedules {
		out.Body.Schedules[i].shorten()
	}
	return out, nil
}

// match is what selects schedules; nil: nothing does.
func (in *schedulesInput) match(now time.Time) func(*errand.Schedule) bool {
	text := strings.ToLower(in.Search)
	if text == "" && in.Only == "" {
		return nil
	}
	return func(x *errand.Schedule) bool {
		if in.Only == "paused" && x.Paused.IsZero() || in.Only == "late" && x.LateBy(now) < time.Second {
			return false
		}
		return slices.ContainsFunc([]string{x.Name, x.Spec, x.Resolved, x.Job.Kind, x.Job.Queue}, func(s string) bool {
			return strings.Contains(strings.ToLower(s), text)
		})
	}
}

func (s *Server) getSchedule(ctx context.Context, in *getScheduleInput) (*scheduleOutput, error) {
	found, err := s.engine.GetSchedule(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return s.oneSchedule(ctx, found, in.History)
}

func (s *Server) oneSchedule(ctx context.Context, x *errand.Schedule, history int) (*scheduleOutput, error) {
	all, err := s.fromSchedules(ctx, []errand.Schedule{*x}, history)
	if err != nil {
		return nil, err
	}
	if x.Paused.IsZero() {
		all[0].Upcoming = x.Upcoming(s.engine.Now(), 5)
	}
	return &scheduleOutput{planTag(x), all[0]}, nil
}

func (s *Server) firings(ctx context.Context, in *firingsInput) (*firingsOutput, error) {
	found, err := s.engine.GetSchedule(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	all, err := s.engine.FiringsOf(ctx, []string{found.Name}, in.Limit)
	if err != nil {
		return nil, err
	}
	jobs, err := s.glimpse(ctx, nil, all)
	if err != nil {
		return nil, err
	}
	out := &firingsOutput{Firings{make([]Firing, len(all))}}
	for i := range all {
		out.Body.Firings[i] = fromFiring(&all[i], jobs)
	}
	return out, nil
}

func (s *Server) specs(context.Context, *struct{}) (*specsOutput, error) {
	out := &specsOutput{Specs{[]Spec{}}}
	specs := s.engine.Specs()
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		full, describe := "cron."+name, ""
		if p, err := s.engine.PreviewSchedule(name, full, errand.NewJob{Kind: anyKind}, nil); err == nil {
			describe = p.Describe()
		}
		out.Body.Specs = append(out.Body.Specs, Spec{full, specs[name], describe})
	}
	return out, nil
}

// fromSchedules is schedules as the API shows them, each with so many of its firings. However many they are, they are read together.
func (s *Server) fromSchedules(ctx context.Context, all []errand.Schedule, history int) ([]Schedule, error) {
	out, at, names := make([]Schedule, len(all)), map[string]*Schedule{}, make([]string, len(all))
	now := s.engine.Now()
	for i := range all {
		out[i] = fromSchedule(&all[i], now)
		names[i], at[all[i].Name] = all[i].Name, &out[i]
	}
	var firings []errand.Firing
	var err error
	if history > 0 && len(all) > 0 {
		if firings, err = s.engine.FiringsOf(ctx, names, history); err != nil {
			return nil, err
		}
	}
	jobs, err := s.glimpse(ctx, out, firings)
	if err != nil {
		return nil, err
	}
	for i := range firings {
		if x := at[firings[i].Schedule]; x != nil {
			x.History = append(x.History, fromFiring(&firings[i], jobs))
		}
	}
	for i := range out {
		if last := out[i].Last; last != nil {
			*last = jobs[last.ID]
			last.ID = all[i].Last
		}
	}
	return out, nil
}

// glimpse reads the jobs that schedules made last, and those of firings. Those that are gone are not in the map.
func (s *Server) glimpse(ctx context.Context, last []Schedule, firings []errand.Firing) (map[errand.ID]LastJob, error) {
	const pieceJobs = 50 // a whole job takes up to three megabytes
	found := map[errand.ID]LastJob{}
	var ids []errand.ID
	add := func(id errand.ID) {
		if _, met := found[id]; id != uuid.Nil && !met {
			found[id] = LastJob{ID: id}
			ids = append(ids, id)
		}
	}
	for i := range last {
		if last[i].Last != nil {
			add(last[i].Last.ID)
		}
	}
	for i := range firings {
		add(firings[i].Job)
	}
	for len(ids) > 0 {
		n := min(len(ids), pieceJobs)
		jobs, err := s.engine.Jobs(ctx, ids[:n])
		if err != nil {
			return nil, err
		}
		for i := range jobs {
			j := &jobs[i]
			found[j.ID] = LastJob{j.ID, j.State, j.Started, j.Ended, beginning(j.Error)}
		}
		ids = ids[n:]
	}
	return found, nil
}

// beginning is the first kilobyte of an error.
func beginning(text string) string {
	const most = 1 << 10
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func fromSchedule(x *errand.Schedule, now time.Time) Schedule {
	v := Schedule{
		Name: x.Name, Resolved: x.Resolved, Describe: x.Describe(), Job: fromTemplate(&x.Job),
		Plan: Plan{
			Spec: x.Spec, Zone: x.Zone, Start: x.Start, End: x.End, Jitter: Duration(x.Jitter), Overlap: x.Overlap, Misfire: x.Misfire,
			CatchUp: x.CatchUp, Window: Duration(x.Window), Grace: Duration(x.Grace),
		},
		Created: x.Created, Changed: x.Changed, Registered: x.Registered != "", Actor: x.Actor, Reason: x.Reason, Paused: x.Paused, PausedBy: x.PausedBy.Actor, PausedFor: x.PausedBy.Reason,
		Next: x.Next, Prev: x.Prev, Late: Duration(x.Late), Made: x.Made, Skipped: x.Skipped, Missed: x.Missed,
		LateBy: Duration(x.LateBy(now).Truncate(time.Millisecond)),
	}
	if x.Last != uuid.Nil {
		v.Last = &LastJob{ID: x.Last}
	}
	return v
}

func fromTemplate(t *errand.Template) Template {
	v := Template{
		Kind: t.Kind, Args: t.Args, Queue: t.Queue, Priority: &t.Priority, MaxAttempts: t.MaxAttempts, MaxCrashes: t.MaxCrashes,
		Retention: Duration(t.Retention), Tags: t.Tags, Metadata: shown(t.Metadata),
	}
	if t.Timeout > 0 {
		v.Timeout = (*Duration)(&t.Timeout)
	}
	return v
}

func fromFiring(f *errand.Firing, jobs map[errand.ID]LastJob) Firing {
	j := jobs[f.Job]
	return Firing{
		Seq: f.Seq, Nominal: f.Nominal, At: f.At, Outcome: f.Outcome, Missed: f.Missed,
		Job: f.Job, State: j.State, Started: j.Started, Ended: j.Ended,
	}
}

// shorten leaves out what is long.
func (v *Schedule) shorten() {
	if len(v.Job.Args) > BriefLimit {
		v.Job.Args, v.Omitted = nil, append(v.Omitted, "job.args")
	}
	if sizeOf(v.Job.Metadata) > BriefLimit {
		v.Job.Metadata, v.Omitted = nil, append(v.Omitted, "job.metadata")
	}
}
