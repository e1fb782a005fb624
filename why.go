package errand

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Gate is one of the things that a job must pass to run.
type Gate string

// The gates, in the order in which a job comes to them.
const (
	GateEnded   Gate = "ended"   // it is over
	GateUnique  Gate = "unique"  // it is over, and could not be retried: another job holds its unique key
	GateRunning Gate = "running" // it runs
	GatePaused  Gate = "paused"  // somebody has paused it
	GateWaiting Gate = "waiting" // it waits for other jobs
	GateDue     Gate = "due"     // its time has not come
	GateQueue   Gate = "queue"   // its queue is paused
	GateWorker  Gate = "worker"  // no live worker works on its queue and handles its kind
	GateSlots   Gate = "slots"   // all slots that it could have are taken
	GateAhead   Gate = "ahead"   // other jobs come before it
)

// Obstacle is one thing that keeps a job from running.
type Obstacle struct {
	Gate    Gate        `json:"gate"`
	Text    string      `json:"text"`              // what it is, in a sentence
	Until   time.Time   `json:"until,omitzero"`    // when it is over by itself, where that is known
	Jobs    []ID        `json:"jobs,omitempty"`    // the jobs that it is about, at most [MaxWhy] of them
	Workers []uuid.UUID `json:"workers,omitempty"` // the worker sessions that it is about
	Count   int         `json:"count,omitempty"`   // how many jobs it is about, up to [MaxAhead]
	Actor   string      `json:"actor,omitempty"`   // who is behind it
	Reason  string      `json:"reason,omitempty"`  // and why
	Since   time.Time   `json:"since,omitzero"`    // since when
}

// Limits of what [Engine.Why] tells.
const (
	MaxWhy   = 20     // jobs named
	MaxAhead = 10_000 // jobs counted
)

// Why returns a job and what keeps it from running, by the gates that a claim goes by: the first obstacle is the one that it
// meets now, further ones it would meet next. There are none if it is about to start.
func (e *Engine) Why(ctx context.Context, id ID) (*Job, []Obstacle, error) {
	job, err := e.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	e.ask(ctx)
	w := why{e: e, job: job, now: e.Now()}
	if job.State.Ended() || job.State == Running {
		err = w.settled(ctx)
	} else {
		err = w.gates(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	return job, w.found, nil
}

// why gathers the obstacles of a job.
type why struct {
	e     *Engine
	job   *Job
	now   time.Time
	found []Obstacle
}

func (w *why) add(o Obstacle) { w.found = append(w.found, o) }

// settled is about a job that is over, or runs.
func (w *why) settled(ctx context.Context) error {
	j := w.job
	if j.State == Running {
		return w.running(ctx)
	}
	w.add(Obstacle{Gate: GateEnded, Since: j.Ended, Actor: j.Actor, Reason: j.Reason, Text: fmt.Sprintf("It is over: %s.", j.State)})
	if j.Unique == "" || !retried(*j).HoldsUnique(w.now) {
		return nil
	}
	p, err := w.e.List(ctx, Query{Unique: j.Unique, Limit: 1})
	if err == nil && len(p.Jobs) > 0 && p.Jobs[0].ID != j.ID {
		w.add(Obstacle{
			Gate: GateUnique, Jobs: []ID{p.Jobs[0].ID}, Count: 1,
			Text: fmt.Sprintf("It could not be retried: job %s holds its unique key.", p.Jobs[0].ID),
		})
	}
	return err
}

// retried is an ended job as a retry would make it.
func retried(j Job) *Job {
	j.State = Ready
	return &j
}

func (w *why) running(ctx context.Context) error {
	j := w.job
	o := Obstacle{Gate: GateRunning, Since: j.Started, Workers: []uuid.UUID{j.Worker}, Text: "It runs."}
	if j.Want != "" {
		o.Actor, o.Reason = j.Actor, j.Reason
		o.Text = fmt.Sprintf("It runs, and was asked to stop (%s): its handler has not returned yet.", j.Want)
	}
	sessions, err := w.e.Sessions(ctx)
	if err != nil {
		return err
	}
	alive := slices.ContainsFunc(sessions, func(s Session) bool { return s.ID == j.Worker && s.Expires.After(w.now) })
	if !alive {
		o.Text = "Its worker is lost: it sends no heartbeats. The job is about to be taken from it."
	}
	w.add(o)
	return nil
}

// gates is about a job that is to run.
func (w *why) gates(ctx context.Context) error {
	j := w.job
	if j.State == Paused {
		o := Obstacle{Gate: GatePaused, Actor: j.Actor, Reason: j.Reason, Text: "It is paused"}
		if j.Actor != "" {
			o.Text += " by " + j.Actor
		}
		o.Text += ", until somebody resumes it."
		w.add(o)
	}
	if j.Blocked > 0 {
		if err := w.waiting(ctx); err != nil {
			return err
		}
	}
	if j.State != Ready && j.Due.After(w.now) {
		w.due()
	}
	pauses, err := w.e.PausedQueues(ctx)
	if err != nil {
		return err
	}
	for _, p := range pauses {
		if p.Queue == j.Queue {
			o := Obstacle{Gate: GateQueue, Since: p.Since, Actor: p.Actor, Reason: p.Reason, Text: fmt.Sprintf("Its queue %q is paused", p.Queue)}
			if p.Actor != "" {
				o.Text += " by " + p.Actor
			}
			o.Text += "."
			w.add(o)
		}
	}
	return w.workers(ctx)
}

// waiting names jobs that this one waits for.
func (w *why) waiting(ctx context.Context) error {
	o := Obstacle{Gate: GateWaiting, Count: w.job.Blocked, Text: fmt.Sprintf("It waits for %s to end.", jobs(w.job.Blocked, "other job", "other jobs"))}
	for ids := range slices.Chunk(w.job.After, 100) {
		there, err := w.e.store.Get(ctx, ids)
		if err != nil {
			return err
		}
		for i := range there {
			if !there[i].State.Ended() && len(o.Jobs) < MaxWhy {
				o.Jobs = append(o.Jobs, there[i].ID)
			}
		}
		if len(o.Jobs) == MaxWhy {
			break
		}
	}
	w.add(o)
	return nil
}

func jobs(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (w *why) due() {
	j := w.job
	o := Obstacle{Gate: GateDue, Until: j.Due, Text: "Its time has not come."}
	switch {
	case j.Attempt > 0 && j.Error != "":
		o.Text = fmt.Sprintf("It waits to be tried again: %d of %d attempts have failed.", j.Attempt, j.MaxAttempts)
	case j.Token > 0:
		o.Text = "It is to go on later."
	}
	w.add(o)
}

// workers is about who could run the job.
func (w *why) workers(ctx context.Context) error {
	j := w.job
	all, err := w.e.Sessions(ctx)
	if err != nil {
		return err
	}
	var able []Session
	draining := 0
	for _, s := range all {
		switch {
		case !s.Expires.After(w.now) || !s.handles(j.Queue, j.Kind):
		case s.Draining:
			draining++
		default:
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		w.add(Obstacle{Gate: GateWorker, Text: w.nobody(all, draining)})
		return nil
	}
	if j.State != Ready {
		return nil
	}
	if err := w.slots(ctx, able); err != nil || strings.HasPrefix(j.Queue, localPrefix) {
		return err
	}
	return w.ahead(ctx, able)
}

// nobody says why no worker takes the job.
func (w *why) nobody(all []Session, draining int) string {
	j := w.job
	if draining > 0 {
		return fmt.Sprintf("The only workers that could run it are draining (%d).", draining)
	}
	alive, kind, queue := 0, false, false
	for i := range all {
		if s := &all[i]; s.Expires.After(w.now) {
			alive++
			kind = kind || j.Kind == BulkKind || slices.Contains(s.Kinds, j.Kind)
			queue = queue || s.Slots(j.Queue) > 0
		}
	}
	switch {
	case strings.HasPrefix(j.Queue, localPrefix):
		return "It is a function of a process that is gone."
	case alive == 0:
		return "No worker is running."
	case !kind:
		return fmt.Sprintf("No live worker handles its kind %q.", j.Kind)
	case !queue:
		return fmt.Sprintf("No live worker works on its queue %q.", j.Queue)
	}
	return fmt.Sprintf("No live worker both works on its queue %q and handles its kind %q.", j.Queue, j.Kind)
}

// claimed is a running job: of the same kind, or not.
type claimed struct {
	id     ID
	worker uuid.UUID
	alike  bool
}

// slots looks whether all slots that the job could have are taken, and by which jobs.
func (w *why) slots(ctx context.Context, able []Session) error {
	j := w.job
	var running []claimed
	of, ofKind := map[uuid.UUID]int{}, map[uuid.UUID]int{}
	q := Query{States: []State{Running}, Queues: []string{j.Queue}, Limit: MaxPage}
	for more := true; more && len(running) < MaxAhead; {
		p, err := w.e.List(ctx, q)
		if err != nil {
			return err
		}
		for i := range p.Jobs {
			r := claimed{p.Jobs[i].ID, p.Jobs[i].Worker, p.Jobs[i].Kind == j.Kind}
			running = append(running, r)
			if of[r.worker]++; r.alike {
				ofKind[r.worker]++
			}
		}
		q.Cursor, more = p.Next, p.Next != ""
	}
	o := Obstacle{Gate: GateSlots}
	slots, byKind := 0, false
	for i := range able {
		s := &able[i]
		n, limit := s.Slots(j.Queue), s.Limits[j.Kind]
		switch {
		case limit > 0 && ofKind[s.ID] >= limit:
			slots, byKind = slots+limit, true
		case of[s.ID] >= n:
			slots += n
		default:
			return nil
		}
		o.Workers = append(o.Workers, s.ID)
	}
	for _, r := range running {
		if slices.Contains(o.Workers, r.worker) && (!byKind || r.alike) {
			if o.Count++; len(o.Jobs) < MaxWhy {
				o.Jobs = append(o.Jobs, r.id)
			}
		}
	}
	all, whose := fmt.Sprintf("All %d slots", slots), fmt.Sprintf("of its queue %q are taken.", j.Queue)
	if byKind {
		whose = fmt.Sprintf("for its kind %q are taken.", j.Kind)
	}
	if slots == 1 {
		all, whose = "The only slot", strings.Replace(whose, "are", "is", 1)
	}
	o.Text = all + " " + whose
	w.add(o)
	return nil
}

// ahead counts the jobs that come first.
func (w *why) ahead(ctx context.Context, able []Session) error {
	kinds := map[string]bool{w.job.Kind: true}
	for i := range able {
		for _, kind := range able[i].Kinds {
			kinds[kind] = true
		}
	}
	n, err := w.e.store.Ahead(ctx, w.job, slices.Sorted(maps.Keys(kinds)), MaxAhead)
	if err != nil || n == 0 {
		return err
	}
	text := jobs(n, "job of its queue comes first.", "jobs of its queue come first.")
	if n == MaxAhead {
		text = fmt.Sprintf("%d jobs of its queue or more come first.", n)
	}
	w.add(Obstacle{Gate: GateAhead, Count: n, Text: text})
	return nil
}
