package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var sizeCases = []testCase{
	{"size/megabytes", "args, checkpoint and result may have a mebibyte each, and the metadata 64 kibibytes", sizeMegabytes},
	{"size/names", "a name may have 255 bytes, and a job 32 tags", sizeNames},
	{"size/empty", "a batch of nothing is done at once", sizeEmpty},
}

// largeCases take many jobs. A short test goes without them.
var largeCases = []testCase{
	{"size/batch", "batches of ten thousand are what makes bulk work fast: no limit on parameters may show", sizeBatch},
	{"size/leases", "a process may have ten thousand runs under way", sizeLeases},
	{"list/many", "what few jobs among very many match is found in the end, and nothing twice", listMany},
	{"links/many", "one job may wait for a thousand, and a thousand for one", linksMany},
}

var contextCases = []testCase{
	{"context/cancelled", "who has gone wants no answer: nothing is written for a context that has ended", contextCancelled},
}

// letters returns a JSON string of n bytes.
func letters(n int) json.RawMessage {
	b := bytes.Repeat([]byte("x"), n)
	b[0], b[n-1] = '"', '"'
	return b
}

func sizeMegabytes(f *fixture) {
	j := f.insert(newJob(func(j *errand.Job) {
		j.Args = letters(errand.MaxArgs)
		j.Metadata = map[string]string{"k": string(letters(errand.MaxMetadata - 1))}
	}))
	f.stored(j)
	j = f.claim(uuid.New(), 1)[0]
	j = f.write(change(j, func(j *errand.Job) {
		j.Checkpoint, j.Result = letters(errand.MaxCheckpoint), letters(errand.MaxResult)
		j.Error, j.Reason = string(letters(errand.MaxError)), string(letters(errand.MaxReason))
	}))
	f.stored(j)
}

func sizeNames(f *fixture) {
	name := func(c byte) string { return string(bytes.Repeat([]byte{c}, errand.MaxName)) }
	j := newJob(func(j *errand.Job) {
		j.Kind, j.Queue, j.Unique, j.UniqueScope = name('k'), name('q'), name('u'), errand.UntilEnded
		for i := range errand.MaxTags {
			j.Tags = append(j.Tags, name('A'+byte(i)))
		}
	})
	f.insert(j)
	f.stored(j)
	f.collides(newJob(unique(name('u'), errand.UntilEnded)), j.ID)
	f.sameIDs("List", []errand.ID{j.ID}, f.list(errand.Query{Tags: []string{name('B')}, Kinds: []string{name('k')}}).Jobs)
	f.sameIDs("Claim", []errand.ID{j.ID}, f.claims(uuid.New(), lane(name('q'), 1, name('k'))).Jobs)
}

func sizeBatch(f *fixture) {
	jobs := newJobs(errand.MaxBatch)
	f.insert(jobs...)
	ids := idsOf(jobs)
	f.sameIDs("Get", ids, f.find(ids...))
	for i, j := range f.try(jobs...) {
		if j == nil || j.ID != ids[i] {
			f.Fatalf("the repeated insert answers %v for job %d", j, i)
		}
	}
	got := f.claim(uuid.New(), len(jobs))
	f.sameIDs("Claim", ids, got)
	changes := make([]errand.Change, len(got))
	for i, j := range got {
		changes[i] = change(j, expired)
		changes[i].Entries = []errand.Entry{entry(1, errand.EntryLog)}
		changes[i].Job.Entries = 1
	}
	f.write(changes...)
	f.stored(changes[len(changes)-1].Job)
	if n := f.prune(len(jobs)); n != len(jobs) {
		f.Errorf("Prune: %d jobs, want %d", n, len(jobs))
	}
	f.gone(ids...)
}

func sizeLeases(f *fixture) {
	s := newSession(time.Hour)
	runs := make([]errand.Lease, 0, 10_000)
	want := map[errand.ID]bool{}
	f.insert(newJobs(cap(runs))...)
	for i, j := range f.claim(s.ID, cap(runs)) {
		runs = append(runs, lease(j))
		if i%2500 == 7 {
			f.write(change(j, func(j *errand.Job) { j.Want = errand.Paused }))
			want[j.ID] = true
		}
	}
	got := map[errand.ID]bool{}
	for _, j := range f.beat(s, runs...).Changed {
		got[j.ID] = true
	}
	f.equal("what has changed", want, got)
}

func sizeEmpty(f *fixture) {
	f.try()
	f.sameIDs("Get of nothing", nil, f.find())
	f.swap()
	if got := f.claims(uuid.New()); len(got.Jobs) > 0 {
		f.Errorf("Claim without a lane: %d jobs", len(got.Jobs))
	}
	f.insert(newJob())
	f.try()
	f.swap()
	f.sameIDs("Claim with limit 0", nil, f.claim(uuid.New(), 0))
}

// underCancelled holds, by method, a call that would change or read something.
func underCancelled(s errand.Store, j, due errand.Job) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Insert":  func(ctx context.Context) error { _, err := s.Insert(ctx, newJobs(2)); return err },
		"Get":     func(ctx context.Context) error { _, err := s.Get(ctx, []errand.ID{j.ID}); return err },
		"List":    func(ctx context.Context) error { _, err := s.List(ctx, errand.Query{}); return err },
		"Entries": func(ctx context.Context) error { _, err := s.Entries(ctx, j.ID, 0, 10); return err },
		"Swap": func(ctx context.Context) error {
			_, err := s.Swap(ctx, []errand.Change{change(j, inState(errand.Paused)), remove(due)})
			return err
		},
		"Claim": func(ctx context.Context) error {
			_, err := s.Claim(ctx, errand.Claim{Session: uuid.New(), Lanes: []errand.Lane{lane("default", 10)}})
			return err
		},
		"Unblocked": func(ctx context.Context) error { _, err := s.Unblocked(ctx, 10); return err },
		"Orphans":   func(ctx context.Context) error { _, err := s.Orphans(ctx, 10); return err },
		"Beat":      func(ctx context.Context) error { _, err := s.Beat(ctx, newSession(time.Hour), nil); return err },
		"Sessions":  func(ctx context.Context) error { _, err := s.Sessions(ctx); return err },
		"Prune":     func(ctx context.Context) error { _, err := s.Prune(ctx, 10); return err },
		"Stats":     func(ctx context.Context) error { _, err := s.Stats(ctx); return err },
	}
}

func contextCancelled(f *fixture) {
	j, due := f.insert(newJob()), f.insert(newJob(scheduled(base)))
	over := f.write(change(f.insert(newJob(inState(errand.Paused))), expired))
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	for method, call := range underCancelled(f.store, j, due) {
		if err := call(ctx); err == nil {
			f.Errorf("%s with a cancelled context: no error", method)
		}
		f.stored(j)
		f.stored(due)
		f.stored(over)
		if n, s := len(f.listAll(errand.Query{})), len(f.sessions()); n != 3 || s != 0 {
			f.Fatalf("%s", fmt.Sprintf("%s with a cancelled context left %d jobs and %d sessions, want 3 and 0", method, n, s))
		}
	}
}
