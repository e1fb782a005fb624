package server

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/errandhq/errand"
)

// NewBulk asks for a verb to be done to all jobs that match a filter.
type NewBulk struct {
	Verb   string `json:"verb" enum:"pause,resume,cancel,terminate,retry,delete"`
	Filter string `json:"filter" maxLength:"4096" doc:"As in the list of jobs. Empty: all jobs"`
	Reason string `json:"reason,omitempty" maxLength:"4096" doc:"Kept with the jobs"`
	Expect int    `json:"expect,omitempty" minimum:"0" doc:"How many are expected to match, for the progress"`
	DryRun bool   `json:"dry_run,omitempty" doc:"Only count the jobs that match"`
}

// Bulk is the answer to a [NewBulk].
type Bulk struct {
	Filter string `json:"filter" doc:"The filter, as it was understood"`
	Count  int    `json:"count,omitempty" doc:"Of a dry run: how many jobs match"`
	More   bool   `json:"more,omitempty" doc:"Of a dry run: these are not all; it has stopped counting"`
	Job    *Job   `json:"job,omitempty" doc:"The job that does it, of kind errand.bulk: watch, pause or cancel it. Its result says how many jobs matched, were changed, and refused"`
}

type bulkOutput struct {
	Status int
	Body   Bulk
}

// The limits of a dry run.
const (
	maxCount  = 1_000_000
	countTime = 5 * time.Second
)

func (s *Server) registerBulk() {
	path := Prefix + "/bulk"
	handle(s, huma.Operation{
		OperationID: "create-bulk", Method: http.MethodPost, Path: path, Summary: "Do a verb to all jobs that match a filter, in the background",
		Description:   "To jobs that match; those that are created later are left alone. Deleting needs the role admin. With dry_run it answers 200 and the number of jobs.",
		DefaultStatus: http.StatusAccepted,
	}, s.bulk)
	takes[NewBulk](s, path, true)
	also(s, path, "202", "200", "A dry run")
}

func (s *Server) bulk(ctx context.Context, _ *struct{}) (*bulkOutput, error) {
	b, _, err := readBody[NewBulk](ctx, maxActionBody, true)
	if err != nil {
		return nil, err
	}
	q, err := errand.ParseQuery(b.Filter, s.engine.Now())
	switch {
	case err != nil:
		return nil, invalid(ProblemField{"body.filter", filterProblem(err)})
	case len(b.Reason) > errand.MaxReason:
		return nil, invalid(ProblemField{"body.reason", "expected at most 4096 bytes"})
	case b.Expect < 0:
		return nil, invalid(ProblemField{"body.expect", "expected 0 or more"})
	case b.Verb == "delete" && !isAdmin(ctx):
		return nil, needsAdmin(ctx)
	}
	out := &bulkOutput{Status: http.StatusAccepted, Body: Bulk{Filter: q.String()}}
	if b.DryRun {
		counting, cancel := context.WithTimeout(ctx, countTime)
		defer cancel()
		n, err := s.engine.Count(counting, q, maxCount)
		if err != nil && (counting.Err() == nil || ctx.Err() != nil) {
			return nil, err
		}
		out.Status, out.Body.Count, out.Body.More = http.StatusOK, n, err != nil || n == maxCount
		return out, nil
	}
	job, err := s.engine.Bulk(ctx, b.Verb, q, b.Reason, b.Expect)
	if err != nil {
		return nil, err
	}
	v := FromJob(job)
	out.Body.Job = &v
	return out, nil
}

func isAdmin(ctx context.Context) bool { return ranks[principalOf(ctx).role] >= ranks[Admin] }

func needsAdmin(ctx context.Context) *Problem { return forbidden(Admin, principalOf(ctx).role) }

// again is a verb that has a job go on or run again. To a bulk that deletes only an admin may do it, as only an admin may make one.
func (s *Server) again(do func(context.Context, errand.ID, string) (*errand.Job, error)) func(context.Context, errand.ID, string) (*errand.Job, error) {
	return func(ctx context.Context, id errand.ID, reason string) (*errand.Job, error) {
		if !isAdmin(ctx) {
			job, err := s.engine.Get(ctx, id)
			if err != nil {
				return nil, err
			}
			var b errand.Bulk
			if job.Kind == errand.BulkKind && (json.Unmarshal(job.Args, &b) != nil || b.Verb == "delete") {
				return nil, needsAdmin(ctx)
			}
		}
		return do(ctx, id, reason)
	}
}
