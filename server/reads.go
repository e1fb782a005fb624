package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// maxLogBytes bounds one page of a log, roughly; it has one entry at least.
const maxLogBytes = 4 << 20

type listInput struct {
	State  []errand.State `query:"state,explode" maxItems:"8" enum:"scheduled,waiting,ready,running,paused,succeeded,failed,cancelled" doc:"Any of these; repeat the parameter"`
	Kind   []string       `query:"kind,explode" maxItems:"100" doc:"Any of these; repeat the parameter"`
	Queue  []string       `query:"queue,explode" maxItems:"100" doc:"Any of these; repeat the parameter"`
	Tag    []string       `query:"tag,explode" maxItems:"32" doc:"Has all these tags; repeat the parameter"`
	Filter string         `query:"filter" maxLength:"4096" doc:"Terms with spaces between them, all of which must hold: state:failed,cancelled kind:mail* queue:x tag:y worker:UUID unique:KIND:KEY error:\"text\" args.customer.id=42 age>1h age<7d ended<10m"`
	Worker idParam        `query:"worker" doc:"Runs or ran last in this worker session"`
	Cursor string         `query:"cursor" maxLength:"1000" doc:"The next of the page before"`
	Limit  int            `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type pageOutput struct{ Body Page }

type getInput struct {
	ID          idParam   `path:"id"`
	Wait        waitParam `query:"wait" doc:"Wait so long, 1m at most, until the job has ended; the answer is the job as it is then"`
	IfNoneMatch string    `header:"If-None-Match" doc:"ETags; answers 304 if the job has one of them"`
}

type getOutput struct {
	Status int
	ETag   string `header:"ETag"`
	Body   Job
}

type logInput struct {
	ID    idParam   `path:"id"`
	After int64     `query:"after" minimum:"0" doc:"Only entries with a greater seq"`
	Limit int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Wait  waitParam `query:"wait" doc:"Wait so long, 1m at most, for entries while there are none and the job has not ended"`
}

type historyInput struct {
	Range string `query:"range" enum:"15m,1h,24h,168h" default:"1h" doc:"How far back, in steps of 10s, 10s, 5m and 1h"`
	Queue string `query:"queue" maxLength:"255" doc:"Of this queue only"`
	Kind  string `query:"kind" maxLength:"255" doc:"Of this kind only"`
}

type (
	historyOutput struct{ Body History }
	meOutput      struct{ Body Me }
	logOutput     struct{ Body Log }
	statsOutput   struct{ Body Stats }
	workersOutput struct{ Body Workers }
	kindsOutput   struct{ Body Kinds }
)

func (s *Server) registerReads() {
	get := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: Prefix + path, Summary: summary}
	}
	handle(s, get("list-jobs", "/jobs", "List jobs, the newest first"), s.list)
	one := get("get-job", "/jobs/{id}", "Get a job, or wait for its end")
	one.Responses = map[string]*huma.Response{"304": {Description: "The job has not changed"}}
	handle(s, one, s.get)
	handle(s, get("get-log", "/jobs/{id}/log", "Get a part of a job's log, or wait for more of it"), s.getLog)
	handle(s, get("get-stats", "/stats", "Count the jobs by queue, kind and state"), s.stats)
	handle(s, get("get-history", "/history", "Count what was added, started and ended over time"), s.history)
	handle(s, get("get-me", "/me", "Tell who makes the request, and what that may do"), s.me)
	handle(s, get("list-workers", "/workers", "List the worker sessions, the newest first"), s.workers)
	handle(s, get("list-kinds", "/kinds", "List the kinds that somebody handles"), s.listKinds)
}

func (s *Server) list(ctx context.Context, in *listInput) (*pageOutput, error) {
	q, err := errand.ParseQuery(in.Filter, s.engine.Now())
	if err != nil {
		return nil, invalid(ProblemField{"query.filter", filterProblem(err)})
	}
	q.States, q.Kinds, q.Queues, q.Tags = append(q.States, in.State...), append(q.Kinds, in.Kind...), append(q.Queues, in.Queue...), append(q.Tags, in.Tag...)
	if in.Worker != (idParam{}) {
		q.Worker = uuid.UUID(in.Worker)
	}
	q.Cursor, q.Limit = in.Cursor, in.Limit
	return s.page(ctx, q)
}

// filterProblem says what is wrong with a filter, without its values.
func filterProblem(err error) string {
	return strings.TrimLeft(strings.TrimPrefix(withoutValues(err), "filter: "), ": ")
}

// page reads a page piece by piece, so that at most pieceJobs whole jobs, each of up to three
// megabytes, are in memory at a time. It goes on while the page is not full, for a while.
func (s *Server) page(ctx context.Context, q errand.Query) (*pageOutput, error) {
	const pieceJobs = 50
	out := &pageOutput{Page{Jobs: []Job{}}}
	end := time.Now().Add(pageTime)
	for left := q.Limit; left > 0; left = q.Limit - len(out.Body.Jobs) {
		piece := q
		piece.Limit = min(left, pieceJobs)
		p, err := s.engine.List(ctx, piece)
		if err != nil {
			return nil, err
		}
		out.Body.Jobs = append(out.Body.Jobs, briefs(p.Jobs)...)
		out.Body.Next, q.Cursor = p.Next, p.Next
		if p.Next == "" || time.Now().After(end) {
			break
		}
	}
	return out, nil
}

// pageTime is how long a page is looked for that is not full; then the client is told where to go on.
const pageTime = 60 * time.Millisecond

func (s *Server) get(ctx context.Context, in *getInput) (*getOutput, error) {
	job, err := s.await(ctx, in.ID, in.Wait.Duration, func(j *errand.Job) bool { return j.State.Ended() })
	if err != nil {
		return nil, err
	}
	out := &getOutput{Status: http.StatusOK, ETag: etag(job)}
	if matches(in.IfNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
		return out, nil
	}
	out.Body = FromJob(job)
	return out, nil
}

// etag names one version of one job.
func etag(j *errand.Job) string {
	return `"` + j.ID.String() + "." + strconv.FormatInt(j.Version, 10) + `"`
}

func matches(ifNoneMatch, etag string) bool {
	for tag := range strings.SplitSeq(ifNoneMatch, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == etag {
			return true
		}
	}
	return false
}

func (s *Server) getLog(ctx context.Context, in *logInput) (*logOutput, error) {
	job, err := s.await(ctx, in.ID, in.Wait.Duration, func(j *errand.Job) bool { return j.State.Ended() || j.Entries > in.After })
	if err != nil {
		return nil, err
	}
	entries, err := s.engine.Log(ctx, job.ID, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	size, all := 0, len(entries) < in.Limit
	for i := range entries {
		size += len(entries[i].Text) + len(entries[i].Attrs)
		if i > 0 && size > maxLogBytes {
			entries, all = entries[:i], false
			break
		}
	}
	out := &logOutput{Log{Entries: fromEntries(entries), After: in.After}}
	if n := len(entries); n > 0 {
		out.Body.After = entries[n-1].Seq
	}
	out.Body.Ended = job.State.Ended() && all
	return out, nil
}

func (s *Server) stats(ctx context.Context, _ *struct{}) (*statsOutput, error) {
	counts, err := s.engine.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return &statsOutput{Stats{fromCounts(counts)}}, nil
}

// historySteps are the ranges of a history, each with its step.
var historySteps = map[string][2]time.Duration{
	"15m":  {15 * time.Minute, 10 * time.Second},
	"1h":   {time.Hour, 10 * time.Second},
	"24h":  {24 * time.Hour, 5 * time.Minute},
	"168h": {168 * time.Hour, time.Hour},
}

func (s *Server) history(ctx context.Context, in *historyInput) (*historyOutput, error) {
	span, step := historySteps[in.Range][0], historySteps[in.Range][1]
	now := s.engine.Now().UTC()
	from := now.Add(-span).Truncate(step).Add(step)
	flows, err := s.engine.History(ctx, errand.HistoryQuery{Since: from, Step: step, Queue: in.Queue, Kind: in.Kind})
	if err != nil {
		return nil, err
	}
	out := &historyOutput{History{Step: Duration(step)}}
	for at := from; !at.After(now); at = at.Add(step) {
		point := Point{Flow: errand.Flow{Time: at}}
		if len(flows) > 0 && flows[0].Time.Equal(at) {
			point.Flow, flows = flows[0], flows[1:]
		}
		if point.Started > 0 {
			wait := Duration(point.Flow.Wait())
			point.Wait = &wait
		}
		out.Body.Points = append(out.Body.Points, point)
	}
	return out, nil
}

func (s *Server) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	who := principalOf(ctx)
	return &meOutput{Me{who.name, who.role, s.config.ReadOnly, s.config.Version}}, nil
}

func (s *Server) workers(ctx context.Context, _ *struct{}) (*workersOutput, error) {
	sessions, err := s.engine.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	out := &workersOutput{Workers{make([]Session, len(sessions))}}
	now := s.engine.Now()
	for i := range sessions {
		out.Body.Workers[i] = fromSession(&sessions[i], now)
	}
	return out, nil
}

func (s *Server) listKinds(ctx context.Context, _ *struct{}) (*kindsOutput, error) {
	sessions, err := s.engine.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	kinds := map[string]*Kind{}
	kind := func(name string) *Kind {
		if kinds[name] == nil {
			kinds[name] = &Kind{Name: name}
		}
		return kinds[name]
	}
	for _, name := range s.engine.Kinds() {
		kind(name).Here = true
	}
	now := s.engine.Now()
	for _, x := range sessions {
		if x.Expires.After(now) {
			for _, name := range x.Kinds {
				kind(name).Workers++
			}
		}
	}
	out := &kindsOutput{Kinds{Kinds: []Kind{}}}
	for _, k := range kinds {
		out.Body.Kinds = append(out.Body.Kinds, *k)
	}
	slices.SortFunc(out.Body.Kinds, func(a, b Kind) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
