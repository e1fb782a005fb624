package server

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

type (
	whyOutput    struct{ Body Why }
	queuesOutput struct{ Body Queues }
	queueInput   struct {
		Queue string `path:"queue" maxLength:"255"`
	}
)

func (s *Server) registerQueues() {
	op := func(method, id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: Prefix + path, Summary: summary}
	}
	handle(s, op(http.MethodGet, "why-job", "/jobs/{id}/why", "Tell what keeps a job from running"), s.why)
	handle(s, op(http.MethodGet, "list-queues", "/queues", "List the queues"), s.queues)
	for _, v := range []struct {
		name, summary string
		do            func(context.Context, string, string) error
	}{
		{"pause", "Keep a queue's jobs from starting until resume; those that run go on", s.engine.PauseQueue},
		{"resume", "Let a paused queue's jobs start again", s.engine.ResumeQueue},
	} {
		path := "/queues/{queue}/" + v.name
		handle(s, op(http.MethodPost, v.name+"-queue", path, v.summary), func(ctx context.Context, in *queueInput) (*struct{}, error) {
			a, err := readAction(ctx)
			if err != nil {
				return nil, err
			}
			return nil, v.do(ctx, in.Queue, a.Reason)
		})
		takes[Action](s, Prefix+path, false)
	}
	for _, v := range []struct {
		name, summary string
		do            func(context.Context, uuid.UUID) error
	}{
		{"drain", "Tell a worker session to claim no more jobs; those that it runs go on", s.engine.DrainWorker},
		{"undrain", "Let a worker session claim jobs again", s.engine.UndrainWorker},
	} {
		handle(s, op(http.MethodPost, v.name+"-worker", "/workers/{id}/"+v.name, v.summary), func(ctx context.Context, in *idInput) (*struct{}, error) {
			err := v.do(ctx, uuid.UUID(in.ID))
			if isNotFound(err) {
				err = problem(http.StatusNotFound, "no worker session has this id")
			}
			return nil, err
		})
	}
}

func (s *Server) why(ctx context.Context, in *idInput) (*whyOutput, error) {
	job, obstacles, err := s.engine.Why(ctx, errand.ID(in.ID))
	if err != nil {
		return nil, err
	}
	if obstacles == nil {
		obstacles = []errand.Obstacle{}
	}
	return &whyOutput{Why{job.ID, job.State, obstacles}}, nil
}

func (s *Server) queues(ctx context.Context, _ *struct{}) (*queuesOutput, error) {
	counts, err := s.engine.Stats(ctx)
	if err != nil {
		return nil, err
	}
	pauses, err := s.engine.PausedQueues(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := s.engine.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]*QueueInfo{}
	queue := func(name string) *QueueInfo {
		q := all[name]
		if q == nil {
			q = &QueueInfo{Name: name, Jobs: map[errand.State]int64{}}
			all[name] = q
		}
		return q
	}
	for _, c := range counts {
		q := queue(c.Queue)
		q.Jobs[c.State] += c.Jobs
		if !c.OldestReady.IsZero() && (q.OldestReady.IsZero() || c.OldestReady.Before(q.OldestReady)) {
			q.OldestReady = c.OldestReady
		}
	}
	for _, p := range pauses {
		queue(p.Queue).Paused = &Pause{p.Since, p.Actor, p.Reason}
	}
	now := s.engine.Now()
	for i := range sessions {
		for name := range sessions[i].Queues {
			if sessions[i].Expires.After(now) {
				queue(name)
			}
		}
	}
	out := &queuesOutput{Queues{[]QueueInfo{}}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		q := all[name]
		for i := range sessions {
			if n := sessions[i].Slots(name); n > 0 && sessions[i].Expires.After(now) && !sessions[i].Draining {
				q.Slots += n
				q.Workers++
			}
		}
		out.Body.Queues = append(out.Body.Queues, *q)
	}
	return out, nil
}
