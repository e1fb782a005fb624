package errand

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/google/uuid"
)

// NewJob is a job to be enqueued by the name of its kind.
type NewJob struct {
	Kind    string
	Args    json.RawMessage // any JSON value; nil means null
	Options []Option

	whole bool // Options include the kind's own
	err   error
}

// Enqueue creates jobs, all or none, in their order. When it returns without error they are
// stored and will run, except that a job whose ID or unique key was taken is answered
// by the one that is there, with Duplicate set. On an error of the store it is unknown whether they were stored: enqueue again
// with the same IDs ([WithID]). A job can wait only for jobs that are there, or come earlier
// in the call.
func (e *Engine) Enqueue(ctx context.Context, jobs ...NewJob) ([]Job, error) {
	if len(jobs) > MaxBatch {
		return nil, fmt.Errorf("%w batch of %d jobs: at most %d at once", ErrInvalid, len(jobs), MaxBatch)
	}
	e.ask(ctx)
	built := make([]Job, len(jobs))
	for i := range jobs {
		if err := e.build(&built[i], &jobs[i]); err != nil {
			if len(jobs) > 1 {
				err = fmt.Errorf("job %d of %d: %w", i+1, len(jobs), err)
			}
			return nil, err
		}
	}
	if err := e.checkAfter(ctx, built); err != nil {
		return nil, err
	}
	existing, err := e.inserter.insert(ctx, e, built)
	if err != nil {
		return nil, err
	}
	waits := false
	for i := range built {
		if existing[i] != nil {
			built[i] = *existing[i]
			built[i].Duplicate = true
			continue
		}
		if e.inTx {
			e.uncommitted.add(e, built[i])
			continue
		}
		waits = waits || built[i].State == Waiting
		e.bus.publish("", &built[i])
	}
	if waits {
		e.worker.unblock(ctx)
	}
	return built, nil
}

// build makes a whole and valid job.
func (e *Engine) build(j *Job, n *NewJob) error {
	if n.err != nil {
		return n.err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	now := timestamp(e.Now())
	*j = Job{
		ID: id, Kind: n.Kind, Queue: "default", Args: n.Args, OnFailure: CancelAfter,
		MaxAttempts: DefaultMaxAttempts, MaxCrashes: DefaultMaxCrashes,
		Created: now, Version: 1,
	}
	if j.Args == nil {
		j.Args = json.RawMessage("null")
	}
	if !n.whole {
		for _, o := range e.handlings.get(n.Kind).Options {
			o(j)
		}
		if !json.Valid(j.Args) {
			return fmt.Errorf("%w args of kind %q: not JSON", ErrInvalid, n.Kind)
		}
		j.Args = slices.Clone(j.Args) // the caller may use its buffer again
	}
	for _, o := range n.Options {
		o(j)
	}
	j.Due = timestamp(j.Due)
	j.Blocked = len(j.After)
	j.begin(now)
	return j.validate()
}

func (j *Job) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w "+format, append([]any{ErrInvalid}, args...)...)
	}
	for _, name := range [...][2]string{{"kind", j.Kind}, {"queue", j.Queue}} {
		if s := name[1]; s == "" || len(s) > MaxName || !printable(s) {
			return bad("%s %q: use 1 to %d bytes of printable UTF-8", name[0], s, MaxName)
		}
	}
	meta := 0
	for k, v := range j.Metadata {
		meta += len(k) + len(v)
		if k == "" || !clean(k) || !clean(v) {
			return bad("metadata %q: use a key that is not empty, and UTF-8 without NUL", k)
		}
	}
	for _, t := range j.Tags {
		if t == "" || len(t) > MaxName || !printable(t) {
			return bad("tag %q: use 1 to %d bytes of printable UTF-8", t, MaxName)
		}
	}
	switch {
	case !utf8.Valid(j.Args):
		return bad("args: not UTF-8")
	case len(j.Args) > MaxArgs:
		return bad("args of %d bytes: at most %d; store the data elsewhere and pass a reference", len(j.Args), MaxArgs)
	case j.ID == uuid.Nil:
		return bad("id: the zero UUID cannot name a job")
	case j.Priority < -32768 || j.Priority > 32767:
		return bad("priority %d: use -32768 to 32767", j.Priority)
	case j.MaxAttempts < 1 || j.MaxAttempts > 32767:
		return bad("max attempts %d: use 1 to 32767", j.MaxAttempts)
	case j.MaxCrashes < 1 || j.MaxCrashes > 32767:
		return bad("max crashes %d: use 1 to 32767", j.MaxCrashes)
	case j.Timeout < 0:
		return bad("timeout %s: use 0 for none, or more", j.Timeout)
	case j.Due.Year() > 9999:
		return bad("due time %s: use a year up to 9999", j.Due)
	case j.Unique != "" && (len(j.Unique) > len(j.Kind)+1+MaxName || !clean(j.Unique)):
		return bad("unique key of %d bytes: use at most %d bytes of UTF-8 without NUL", len(j.Unique)-len(j.Kind)-1, MaxName)
	case j.UniqueScope == UntilTime && !j.UniqueUntil.After(j.Created):
		return bad("unique window: use more than 0")
	case len(j.Tags) > MaxTags:
		return bad("%d tags: use at most %d", len(j.Tags), MaxTags)
	case meta > MaxMetadata:
		return bad("metadata of %d bytes: use at most %d", meta, MaxMetadata)
	case len(j.After) > MaxAfter:
		return bad("%d jobs to wait for: use at most %d", len(j.After), MaxAfter)
	case j.OnFailure != CancelAfter && j.OnFailure != RunAfter && j.OnFailure != PauseAfter:
		return bad("outcome %q of a job it waits for: use %s, %s or %s", j.OnFailure, CancelAfter, RunAfter, PauseAfter)
	}
	return nil
}

// clean reports whether every store can keep s.
func clean(s string) bool { return s == cut(s, len(s)) }

func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// checkAfter refuses jobs that wait for jobs which are not there.
func (e *Engine) checkAfter(ctx context.Context, jobs []Job) error {
	var ask []ID
	known := map[ID]bool{}
	for i := range jobs {
		for k, id := range jobs[i].After {
			for _, other := range jobs[i].After[:k] {
				if other == id {
					return fmt.Errorf("%w job: it waits twice for job %s", ErrInvalid, id)
				}
			}
			if !known[id] {
				ask = append(ask, id)
			}
		}
		if len(ask) > 0 || len(jobs) > 1 {
			known[jobs[i].ID] = true
		}
	}
	if len(ask) == 0 {
		return nil
	}
	there, err := e.store.Get(ctx, ask)
	if err != nil {
		return err
	}
	for i := range there {
		known[there[i].ID] = true
	}
	for _, id := range ask {
		if !known[id] {
			return fmt.Errorf("%w job to wait for: %w: %s", ErrInvalid, ErrNotFound, id)
		}
	}
	return nil
}

// Parallel is a [Store] that works on several large inserts at the same time faster than on one after the other. An
// optional part of a store.
type Parallel interface {
	// Inserts is how many to have under way at once.
	Inserts() int
}

// inserter writes concurrent enqueues together: while one insert is under way, the jobs
// of all other callers gather for the next. An idle engine inserts at once. In a store that is [Parallel], a batch that has
// become large does not wait for its turn.
type inserter struct {
	mu      sync.Mutex
	flights int // inserts under way
	next    *insertBatch
}

// largeInsert is how many jobs are worth an insert of their own: fewer waits for commits, for more of the
// server's time. From 16 callers 3 enqueues a tenth to a quarter more than 50.
const largeInsert = 3

// insertBatch gathers the jobs of several callers. The first of them inserts for all.
type insertBatch struct {
	jobs     []Job
	existing []*Job
	err      error
	turn     chan struct{} // its first caller may go
	done     chan struct{}
}

func (in *inserter) insert(ctx context.Context, e *Engine, jobs []Job) ([]*Job, error) {
	if _, direct := e.store.(*memory); direct || e.inTx { // no commit to share
		return e.insert(ctx, jobs)
	}
	if inserts(e.store) > 1 && slices.ContainsFunc(jobs, func(j Job) bool { return j.Unique != "" }) {
		return e.insert(ctx, jobs) // it may have to wait for a transaction that holds the key: nobody else shall wait with it
	}
	in.mu.Lock()
	if in.flights == 0 {
		in.flights++
		in.mu.Unlock()
		defer in.pass()
		return e.insert(ctx, jobs)
	}
	b, first := in.next, false
	if b == nil || len(b.jobs)+len(jobs) > MaxBatch {
		if b != nil { // full: this caller goes alone
			in.mu.Unlock()
			return e.insert(ctx, jobs)
		}
		b, first = &insertBatch{turn: make(chan struct{}), done: make(chan struct{})}, true
		in.next = b
	}
	at := len(b.jobs)
	b.jobs = append(b.jobs, jobs...)
	if len(b.jobs) >= largeInsert && in.flights < inserts(e.store) {
		in.flights++
		in.start()
	}
	in.mu.Unlock()
	if first {
		<-b.turn
		// The others' jobs must not depend on this caller's context.
		b.existing, b.err = e.insert(context.WithoutCancel(ctx), b.jobs)
		close(b.done)
		in.pass()
	} else {
		select {
		case <-b.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	return b.existing[at : at+len(jobs)], nil
}

func inserts(s Store) int {
	if p, ok := s.(Parallel); ok {
		return p.Inserts()
	}
	return 1
}

// start lets the next batch go. The caller holds in.mu.
func (in *inserter) start() {
	close(in.next.turn)
	in.next = nil
}

// pass ends an insert, and lets the next batch go in its place.
func (in *inserter) pass() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.next != nil {
		in.start()
		return
	}
	in.flights--
}

func (e *Engine) insert(ctx context.Context, jobs []Job) ([]*Job, error) {
	start := e.callStarts()
	existing, err := e.store.Insert(ctx, jobs)
	e.called("Insert", len(jobs), start, err)
	if err != nil {
		return nil, err
	}
	for i := range jobs {
		if existing[i] == nil && !e.inTx {
			e.worker.inserted(&jobs[i])
		}
	}
	return existing, nil
}
