package errand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// BulkKind is the kind of the jobs that [Engine.Bulk] creates. Every worker handles it.
const BulkKind = "errand.bulk"

// bulkQueue is their queue: every worker works on it, beside what its settings say, so that no backlog and no pause of other queues
// is in the way of who wants to do something about it.
const bulkQueue = "errand"

const (
	bulkSlots = 2   // bulks that a worker runs at once
	bulkPage  = 500 // jobs read and written at once
)

// Bulk is one verb for all jobs that match: the args of a job of [BulkKind].
type Bulk struct {
	Verb   string `json:"verb"` // pause, resume, cancel, terminate, retry or delete
	Query  Query  `json:"query"`
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
	Expect int    `json:"expect,omitempty"` // how many are expected to match, for the progress
}

// BulkResult is what a bulk has done so far: its checkpoint, and in the end its result.
type BulkResult struct {
	Matched int               `json:"matched"`          // jobs that it has looked at
	Changed int               `json:"changed"`          // of these, jobs that it has changed
	Refused int               `json:"refused"`          // jobs to which the verb did not apply
	Why     map[string]string `json:"why,omitempty"`    // of some of these, by their ID
	Cursor  string            `json:"cursor,omitempty"` // where it goes on
}

// bulkVerbs are the verbs of a bulk.
var bulkVerbs = map[string]func(*Change, By) error{
	"pause": (*Change).pause, "resume": (*Change).resume, "cancel": (*Change).cancel,
	"terminate": (*Change).terminate, "retry": (*Change).retry,
	"delete": func(c *Change, _ By) error { return c.remove() },
}

// Bulk does a verb (pause, resume, cancel, terminate, retry or delete) to all jobs that match now, in the background: it returns a job of
// [BulkKind] that does so on any worker, with progress and a [BulkResult], and can be paused and cancelled itself. A job that is created
// later is not touched, nor is a bulk; one that is there and comes to match before the bulk gets to it is. The query's Cursor and Limit mean nothing. Expect is how many are expected to match, for the progress; 0: unknown.
func (e *Engine) Bulk(ctx context.Context, verb string, q Query, reason string, expect int) (*Job, error) {
	if bulkVerbs[verb] == nil {
		return nil, fmt.Errorf("%w verb %q: use %s", ErrInvalid, verb, strings.Join(slices.Sorted(maps.Keys(bulkVerbs)), ", "))
	}
	if e.inTx {
		return nil, errInTx
	}
	filter, now := q.String(), timestamp(e.Now()).Add(time.Microsecond)
	if q.Cursor, q.Limit = "", 0; q.CreatedBefore.IsZero() || q.CreatedBefore.After(now) {
		q.CreatedBefore = now
	}
	actor, _ := ctx.Value(actorKey{}).(string)
	args, err := json.Marshal(Bulk{verb, q, cut(reason, MaxReason), actor, expect})
	if err != nil {
		return nil, err
	}
	jobs, err := e.Enqueue(ctx, NewJob{Kind: BulkKind, Args: args, Options: []Option{Queue(bulkQueue), MaxAttempts(5), Retain(7 * 24 * time.Hour)}})
	if err != nil {
		return nil, err
	}
	e.log.Info("bulk started", "verb", verb, "filter", filter, "actor", actor, "job", jobs[0].ID)
	return &jobs[0], nil
}

// Count returns how many jobs match, limit at most. It goes through them, and looks no further once ctx ends: then it returns how many it has found, and its error.
func (e *Engine) Count(ctx context.Context, q Query, limit int) (int, error) {
	q.Cursor = ""
	for n := 0; ; {
		q.Limit = max(1, min(limit-n, MaxPage))
		p, err := e.List(ctx, q)
		if err != nil {
			return n, err
		}
		n += len(p.Jobs)
		if q.Cursor = p.Next; p.Next == "" || n >= limit {
			return n, nil
		}
	}
}

// bulk runs one bulk.
func (e *Engine) bulk(ctx context.Context, run *Run) (json.RawMessage, error) {
	b, err := decode[Bulk](run)
	if err != nil {
		return nil, err
	}
	verb := bulkVerbs[b.Verb]
	if verb == nil {
		return nil, Permanent(fmt.Errorf("%w verb %q", ErrInvalid, b.Verb))
	}
	done, err := Checkpoint[BulkResult](run)
	if err != nil {
		return nil, err
	}
	ctx = WithActor(ctx, b.Actor)
	q := b.Query
	q.Cursor, q.Limit = done.Cursor, bulkPage
	for {
		if ctx.Err() != nil {
			return nil, run.Stop(done)
		}
		p, err := e.List(ctx, q)
		if err == nil {
			err = e.bulkPage(ctx, &b, verb, p.Jobs, &done)
		}
		if err != nil {
			return nil, err
		}
		run.Progress(int64(done.Matched), int64(max(b.Expect, done.Matched)), fmt.Sprintf("%d changed, %d refused", done.Changed, done.Refused))
		if q.Cursor, done.Cursor = p.Next, p.Next; p.Next == "" {
			return json.Marshal(done)
		}
		if err := run.Save(done); err != nil {
			return nil, err
		}
	}
}

// bulkPage does the verb to some jobs.
func (e *Engine) bulkPage(ctx context.Context, b *Bulk, verb func(*Change, By) error, jobs []Job, done *BulkResult) error {
	by := By{Actor: b.Actor, Reason: b.Reason}
	var changes []Change
	for i := range jobs {
		if jobs[i].Kind == BulkKind {
			continue
		}
		done.Matched++
		c := e.change(&jobs[i])
		if err := verb(c, by); err != nil {
			done.refuse(jobs[i].ID, err)
		} else if c.changed() {
			changes = append(changes, *c)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	out, err := e.swap(ctx, changes)
	if err != nil {
		return err
	}
	ended := false
	for i := range out {
		c := &changes[i]
		switch out[i] {
		case Written:
			done.Changed++
			ended = ended || c.Delete || c.Job.State.Ended()
		case Taken:
			done.refuse(c.Job.ID, &UniqueError{ID: c.Job.ID, Key: c.Job.Unique})
		case Stale:
			if err := e.bulkAgain(ctx, b, verb, c.Job.ID, done); err != nil {
				return err
			}
		}
	}
	if ended {
		e.worker.unblock(ctx)
	}
	return nil
}

// bulkAgain does the verb to a job that has changed meanwhile, if it still matches.
func (e *Engine) bulkAgain(ctx context.Context, b *Bulk, verb func(*Change, By) error, id ID, done *BulkResult) error {
	job, err := e.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || !b.Query.matches(job) {
		return err
	}
	_, err = e.act(ctx, id, b.Reason, verb)
	var state *StateError
	var unique *UniqueError
	switch {
	case err == nil:
		done.Changed++
	case errors.As(err, &state), errors.As(err, &unique), errors.Is(err, ErrNotFound):
		done.refuse(id, err)
	default:
		return err
	}
	return nil
}

// maxRefusals is how many refusals a bulk names.
const maxRefusals = 20

func (r *BulkResult) refuse(id ID, err error) {
	r.Refused++
	if len(r.Why) < maxRefusals {
		if r.Why == nil {
			r.Why = map[string]string{}
		}
		r.Why[id.String()] = err.Error()
	}
}
