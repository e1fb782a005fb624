package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// fixture is a store under test with the calls that the cases make of it. A call that
// returns an error ends the case.
type fixture struct {
	tb
	store errand.Store
}

var (
	base   = time.Date(2024, 2, 29, 12, 30, 45, 678901000, time.UTC) // a time long past
	future = time.Date(2191, 1, 1, 0, 0, 0, 1000, time.UTC)          // and one that does not come
)

// newJob returns a ready job, edited. Its ID is random, so that no order is the order of IDs.
func newJob(edits ...func(*errand.Job)) errand.Job {
	j := errand.Job{
		ID: uuid.New(), Kind: "kind", Queue: "default", Args: json.RawMessage(`{"n":1}`),
		MaxAttempts: 3, MaxCrashes: 3, Created: base,
		State: errand.Ready, Version: 1, Due: base,
	}
	for _, edit := range edits {
		edit(&j)
	}
	return j
}

// newJobs returns n jobs, all edited alike.
func newJobs(n int, edits ...func(*errand.Job)) []errand.Job {
	jobs := make([]errand.Job, n)
	for i := range jobs {
		jobs[i] = newJob(edits...)
	}
	return jobs
}

func after(ids ...errand.ID) func(*errand.Job) {
	return func(j *errand.Job) { j.State, j.After, j.Blocked = errand.Waiting, ids, len(ids) }
}

func scheduled(due time.Time) func(*errand.Job) {
	return func(j *errand.Job) { j.State, j.Due = errand.Scheduled, due }
}

func unique(key string, scope errand.Scope) func(*errand.Job) {
	return func(j *errand.Job) {
		j.Unique, j.UniqueScope = key, scope
		if scope == errand.UntilTime {
			j.UniqueUntil = future
		}
	}
}

// ended moves a job to an end.
func ended(s errand.State) func(*errand.Job) {
	return func(j *errand.Job) { j.State, j.Want, j.Ended = s, "", base }
}

// inState moves a job to a state that is no end.
func inState(s errand.State) func(*errand.Job) {
	return func(j *errand.Job) { j.State, j.Ended, j.Expires = s, time.Time{}, time.Time{} }
}

func expired(j *errand.Job) { ended(errand.Succeeded)(j); j.Expires = base }

// change returns the change of j by the edits.
func change(j errand.Job, edits ...func(*errand.Job)) errand.Change {
	c := errand.Change{Job: j, Was: j.Version, From: j.State}
	c.Job.Version++
	for _, edit := range edits {
		edit(&c.Job)
	}
	return c
}

func remove(j errand.Job) errand.Change {
	return errand.Change{Job: j, Was: j.Version, From: j.State, Delete: true}
}

func idsOf(jobs []errand.Job) []errand.ID {
	ids := make([]errand.ID, len(jobs))
	for i := range jobs {
		ids[i] = jobs[i].ID
	}
	return ids
}

// try inserts jobs and returns the answer.
func (f *fixture) try(jobs ...errand.Job) []*errand.Job {
	f.Helper()
	there, err := f.store.Insert(f.Context(), jobs)
	if err != nil {
		f.Fatalf("Insert: %v", err)
	}
	if len(there) != len(jobs) {
		f.Fatalf("Insert of %d jobs answers %d elements", len(jobs), len(there))
	}
	return there
}

// insert inserts jobs, none of which is there, and returns the first.
func (f *fixture) insert(jobs ...errand.Job) errand.Job {
	f.Helper()
	for i, j := range f.try(jobs...) {
		if j != nil {
			f.Fatalf("Insert: job %d of %d is taken for a duplicate of %s", i, len(jobs), j.ID)
		}
	}
	return jobs[0]
}

// collides checks that inserting j answers the job that is there already.
func (f *fixture) collides(j errand.Job, with errand.ID) {
	f.Helper()
	switch got := f.try(j)[0]; {
	case got == nil:
		f.Errorf("Insert of job with key %q and state %s: inserted, want the answer %s", j.Unique, j.State, with)
	case got.ID != with:
		f.Errorf("Insert of job with key %q: answers job %s, want %s", j.Unique, got.ID, with)
	}
}

// find returns those of the jobs that are there.
func (f *fixture) find(ids ...errand.ID) []errand.Job {
	f.Helper()
	jobs, err := f.store.Get(f.Context(), ids)
	if err != nil {
		f.Fatalf("Get: %v", err)
	}
	return jobs
}

// get returns the job, which must be there.
func (f *fixture) get(id errand.ID) errand.Job {
	f.Helper()
	jobs := f.find(id)
	if len(jobs) != 1 {
		f.Fatalf("Get of one job that is there: %d jobs", len(jobs))
	}
	checkTimes(f, jobs[0])
	return jobs[0]
}

// gone checks that none of the jobs is there.
func (f *fixture) gone(ids ...errand.ID) {
	f.Helper()
	if left := f.find(ids...); len(left) > 0 {
		f.Errorf("%d of %d jobs are there, want none; the first is %s, %s", len(left), len(ids), left[0].ID, left[0].State)
	}
}

// stored checks that the job is stored just so.
func (f *fixture) stored(want errand.Job) {
	f.Helper()
	f.equal("the stored job", want, f.get(want.ID))
}

// swap writes changes and returns the outcomes.
func (f *fixture) swap(changes ...errand.Change) []errand.Swapped {
	f.Helper()
	out, err := f.store.Swap(f.Context(), changes)
	if err != nil {
		f.Fatalf("Swap: %v", err)
	}
	if len(out) != len(changes) {
		f.Fatalf("Swap of %d changes answers %d outcomes", len(changes), len(out))
	}
	return out
}

// write writes changes that must all be written, and returns the first job as it now is.
func (f *fixture) write(changes ...errand.Change) errand.Job {
	f.Helper()
	for i, s := range f.swap(changes...) {
		if s != errand.Written {
			f.Fatalf("Swap: outcome of change %d of %d is %s, want Written", i, len(changes), outcome(s))
		}
	}
	return changes[0].Job
}

func outcome(s errand.Swapped) string {
	switch s {
	case errand.Written:
		return "Written"
	case errand.Stale:
		return "Stale"
	case errand.Taken:
		return "Taken"
	}
	return "unknown"
}

// outcomes checks the outcomes of changes.
func (f *fixture) outcomes(got []errand.Swapped, want ...errand.Swapped) {
	f.Helper()
	for i := range want {
		if got[i] != want[i] {
			f.Errorf("Swap: outcome of change %d is %s, want %s", i, outcome(got[i]), outcome(want[i]))
		}
	}
}

func lane(queue string, limit int, kinds ...string) errand.Lane {
	if len(kinds) == 0 {
		kinds = []string{"kind"}
	}
	return errand.Lane{Queue: queue, Kinds: kinds, Limit: limit}
}

// claims claims for a session and returns the whole answer.
func (f *fixture) claims(session uuid.UUID, lanes ...errand.Lane) errand.Claimed {
	f.Helper()
	got, err := f.store.Claim(f.Context(), errand.Claim{Session: session, Lanes: lanes})
	if err != nil {
		f.Fatalf("Claim: %v", err)
	}
	return got
}

// claim claims up to n jobs of the default queue and kind.
func (f *fixture) claim(session uuid.UUID, n int) []errand.Job {
	f.Helper()
	return f.claims(session, lane("default", n)).Jobs
}

// running inserts a job, claims it for the session and returns it.
func (f *fixture) running(session uuid.UUID, edits ...func(*errand.Job)) errand.Job {
	f.Helper()
	j := f.insert(newJob(edits...))
	got := f.claims(session, lane(j.Queue, 1, j.Kind)).Jobs
	if len(got) != 1 || got[0].ID != j.ID {
		f.Fatalf("Claim of the only ready job: got %d jobs", len(got))
	}
	return got[0]
}

// beat sends a heartbeat.
func (f *fixture) beat(s errand.Session, runs ...errand.Lease) errand.Pulse {
	f.Helper()
	p, err := f.store.Beat(f.Context(), s, runs)
	if err != nil {
		f.Fatalf("Beat: %v", err)
	}
	return p
}

// now returns the time by the store's clock.
func (f *fixture) now() time.Time {
	f.Helper()
	return f.beat(errand.Session{ID: uuid.New()}).Now
}

func newSession(lease time.Duration) errand.Session {
	return errand.Session{ID: uuid.New(), Host: "host", PID: 1, Started: base, Lease: lease}
}

func (f *fixture) list(q errand.Query) errand.Page {
	f.Helper()
	p, err := f.store.List(f.Context(), q)
	if err != nil {
		f.Fatalf("List: %v", err)
	}
	return p
}

// listAll reads all pages.
func (f *fixture) listAll(q errand.Query) []errand.Job {
	f.Helper()
	var all []errand.Job
	for range 1000 {
		p := f.list(q)
		all = append(all, p.Jobs...)
		if p.Next == "" {
			return all
		}
		q.Cursor = p.Next
	}
	f.Fatalf("List does not come to an end")
	return nil
}

func (f *fixture) entries(id errand.ID, after int64, limit int) []errand.Entry {
	f.Helper()
	got, err := f.store.Entries(f.Context(), id, after, limit)
	if err != nil {
		f.Fatalf("Entries: %v", err)
	}
	return got
}

// links returns the ended links by job.
func (f *fixture) links(limit int) map[errand.ID]map[errand.ID]errand.State {
	f.Helper()
	got, err := f.store.Unblocked(f.Context(), limit)
	if err != nil {
		f.Fatalf("Unblocked: %v", err)
	}
	all := map[errand.ID]map[errand.ID]errand.State{}
	for _, u := range got {
		if all[u.Job.ID] != nil {
			f.Errorf("Unblocked names job %s twice", u.Job.ID)
		}
		if len(u.Links) == 0 {
			f.Errorf("Unblocked names job %s without a link", u.Job.ID)
		}
		all[u.Job.ID] = map[errand.ID]errand.State{}
		for _, l := range u.Links {
			all[u.Job.ID][l.ID] = l.State
		}
	}
	return all
}

func (f *fixture) orphans(limit int) []errand.Job {
	f.Helper()
	got, err := f.store.Orphans(f.Context(), limit)
	if err != nil {
		f.Fatalf("Orphans: %v", err)
	}
	return got
}

func (f *fixture) prune(limit int) int {
	f.Helper()
	n, err := f.store.Prune(f.Context(), limit)
	if err != nil {
		f.Fatalf("Prune: %v", err)
	}
	return n
}

func (f *fixture) sessions() []errand.Session {
	f.Helper()
	got, err := f.store.Sessions(f.Context())
	if err != nil {
		f.Fatalf("Sessions: %v", err)
	}
	return got
}

func (f *fixture) stats() []errand.Count {
	f.Helper()
	got, err := f.store.Stats(f.Context())
	if err != nil {
		f.Fatalf("Stats: %v", err)
	}
	return got
}

// same is how values are compared: nil and empty are one, and Job.Duplicate, which is not
// stored, does not count. JSON is compared byte for byte, as a text that can be read.
var same = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(errand.Job{}, "Duplicate"),
	cmp.FilterValues(func(a, b json.RawMessage) bool { return len(a)+len(b) > 0 },
		cmp.Transformer("text", func(b json.RawMessage) string { return string(b) })),
	cmp.Transformer("id", uuid.UUID.String),
}

func (f *fixture) equal(what string, want, got any) {
	f.Helper()
	if diff := cmp.Diff(want, got, same); diff != "" {
		f.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

// sameIDs checks that got are the wanted jobs in their order.
func (f *fixture) sameIDs(what string, want []errand.ID, got []errand.Job) {
	f.Helper()
	if !slices.Equal(want, idsOf(got)) {
		f.equal(what, want, idsOf(got))
	}
}

// checkTimes checks that all times in v, a struct, are UTC in whole microseconds.
func checkTimes(t tb, v any) {
	t.Helper()
	s := reflect.ValueOf(v)
	for i := range s.NumField() {
		at, ok := s.Field(i).Interface().(time.Time)
		if !ok {
			continue
		}
		if at.Location() != time.UTC || at.Nanosecond()%1000 != 0 {
			t.Errorf("%s.%s = %v, want UTC in whole microseconds", s.Type(), s.Type().Field(i).Name, at)
		}
	}
}

// eventually polls until done, for ten seconds at most.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(deadline) {
			f.Fatalf("after ten seconds still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// together runs n calls of do at once and ends the case if one fails.
func (f *fixture) together(n int, do func(ctx context.Context, i int) error) {
	f.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(f.Context(), i)
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		f.Fatalf("calls at the same time: %v", err)
	}
}
