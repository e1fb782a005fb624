package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var insertCases = []testCase{
	{"insert/new", "what a new job was given is all that its run and its retries have to go by", insertNew},
	{"insert/fields", "a store keeps values: a job copied from another store arrives as it was", insertFields},
	{"insert/args", "args are the caller's bytes: big integers, spacing and repeated keys must survive", insertArgs},
	{"insert/unicode", "names and texts are in any language", insertUnicode},
	{"insert/empty", "no result and the result null are different things; so are a label that is empty and none", insertEmpty},
	{"insert/times", "times are compared for equality and order after a round trip", insertTimes},
	{"insert/extremes", "-1 as a retention means for ever: a store that rounds durations makes 0, the default, of it", insertExtremes},
	{"insert/repeat", "a caller whose reply was lost inserts again, and must not get the job twice", insertRepeat},
	{"insert/repeat-partly", "a batch may hold jobs that are there and others that are not", insertPartly},
	{"insert/repeat-in-call", "a batch is gathered from many callers, two of whom may name one ID", insertTwice},
	{"insert/answer", "who repeats an insert learns what has become of the job by now", insertAnswer},
	{"insert/whole", "somebody who sees one job of a batch relies on the others: a write is done whole or not at all", insertWhole},
}

var getCases = []testCase{
	{"get/order", "callers match answers to questions by order", getOrder},
	{"get/missing", "a deleted job is no error", getMissing},
}

// fullNew sets every field that is set when a job is created.
func fullNew(j *errand.Job) {
	*j = errand.Job{
		ID: j.ID, Kind: "mail", Queue: "media", Args: json.RawMessage(`{"to":"a@b.c"}`),
		Priority: -7, MaxAttempts: 100_000, MaxCrashes: 9, Timeout: 90 * time.Second, Retention: 48 * time.Hour,
		Unique: "key", UniqueScope: errand.UntilTime, UniqueUntil: future,
		After: []errand.ID{uuid.New(), uuid.New()}, OnFailure: errand.PauseAfter,
		Tags: []string{"red", "blue"}, Metadata: map[string]string{"tenant": "7", "empty": ""},
		Created: base, State: errand.Waiting, Version: 1, Due: base.Add(time.Hour), Blocked: 2,
	}
}

// fullState sets every field that the state machine sets, but for those that only a claim sets.
func fullState(j *errand.Job) {
	j.State, j.Due, j.Want = errand.Running, base.Add(2*time.Hour), errand.Paused
	j.Actor, j.Reason = "ann", "because"
	j.Attempt, j.Crashes, j.Blocked, j.CleanUp = 4, 2, 1, errand.CleanUpArmed
	j.Ended, j.Expires = base.Add(3*time.Hour), base.Add(4*time.Hour)
	j.Checkpoint, j.Result, j.Error = json.RawMessage(`[1, 2]`), json.RawMessage(`"done"`), "an error\nof two lines"
	j.Progress = errand.Progress{Done: 3, Total: math.MaxInt64, Text: "rows"}
	j.Entries = 12
}

func insertNew(f *fixture) { f.stored(f.insert(newJob(fullNew))) }

func insertFields(f *fixture) {
	j := newJob(fullNew, fullState)
	j.Version, j.Token, j.Worker, j.Started = 1<<40, 1<<41, uuid.New(), base.Add(time.Minute)
	f.insert(j)
	f.stored(j)
}

func insertArgs(f *fixture) {
	for _, args := range []string{
		`{"id":12345678901234567890123,"f":1.0,"e":1E+2,"tiny":1e-400}`,
		"{ \"b\" : 1,\n\t\"a\":2 , \"a\":3}",
		`null`, `[]`, `""`, `0`, `-0`, `"\u0000 \ud83d\ude00 \/ <&>"`, `"'; drop table jobs; --"`,
	} {
		j := f.insert(newJob(func(j *errand.Job) { j.Args = json.RawMessage(args) }))
		if got := f.get(j.ID).Args; string(got) != args {
			f.Errorf("Args = %q, want %q", got, args)
		}
	}
}

func insertUnicode(f *fixture) {
	const text = "žluťoučký кот 猫 🐈‍⬛ e\u0301 \u202e \\ ' \" % _ {,} \t"
	j := newJob(func(j *errand.Job) {
		j.Kind, j.Queue, j.Unique, j.UniqueScope = text, text, text, errand.UntilEnded
		j.Tags, j.Metadata = []string{text, "a,b", `"`, "NULL", "{}"}, map[string]string{text: text}
		j.Actor, j.Reason, j.Error, j.Progress.Text = text, text, text, text
		j.Args = json.RawMessage(`"` + `žluťoučký кот 猫 🐈‍⬛` + `"`)
	})
	f.insert(j)
	f.stored(j)
	f.sameIDs("List by tag", []errand.ID{j.ID}, f.list(errand.Query{Tags: []string{text}}).Jobs)
	f.sameIDs("Claim", []errand.ID{j.ID}, f.claims(uuid.New(), lane(text, 1, text)).Jobs)
}

func insertEmpty(f *fixture) {
	j := f.insert(newJob(func(j *errand.Job) { j.Args, j.Tags, j.Metadata, j.After = nil, nil, nil, nil }))
	f.stored(j)
	if got := f.get(j.ID); len(got.Args) != 0 || len(got.Result) != 0 || len(got.Checkpoint) != 0 {
		f.Errorf("Args, Result, Checkpoint = %q, %q, %q, want nothing", got.Args, got.Result, got.Checkpoint)
	}
	f.stored(f.insert(newJob(func(j *errand.Job) {
		j.Tags, j.Metadata, j.After = []string{}, map[string]string{}, []errand.ID{}
	})))
	f.stored(f.insert(newJob(func(j *errand.Job) {
		j.Args, j.Result, j.Checkpoint = json.RawMessage("null"), json.RawMessage("null"), json.RawMessage("null")
		j.Metadata = map[string]string{"": "", "x": ""}
	})))
}

func insertTimes(f *fixture) {
	for _, at := range []time.Time{
		time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC),
		time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2024, 12, 31, 23, 59, 59, 1000, time.UTC),
		time.Date(2262, 5, 1, 0, 0, 0, 1000, time.UTC), // past the end of int64 nanoseconds
		time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
	} {
		j := f.insert(newJob(scheduled(at), func(j *errand.Job) { j.Created = at }))
		got := f.get(j.ID)
		if !got.Due.Equal(at) || !got.Created.Equal(at) {
			f.Errorf("Due, Created = %v, %v, want %v", got.Due, got.Created, at)
		}
		if !got.Started.IsZero() || !got.Ended.IsZero() || !got.Expires.IsZero() || !got.UniqueUntil.IsZero() {
			f.Errorf("zero times come back as %v, %v, %v, %v", got.Started, got.Ended, got.Expires, got.UniqueUntil)
		}
	}
}

func insertExtremes(f *fixture) {
	f.stored(f.insert(newJob(func(j *errand.Job) {
		j.Priority, j.Retention, j.Timeout = 32767, -1, time.Hour+time.Nanosecond
	})))
	f.stored(f.insert(newJob(func(j *errand.Job) {
		j.Priority, j.Retention, j.Timeout = -32768, math.MaxInt64, math.MaxInt64
		j.MaxAttempts, j.MaxCrashes = math.MaxInt32, math.MaxInt32
	})))
}

func insertRepeat(f *fixture) {
	jobs := newJobs(3, unique("", ""))
	jobs[1].Unique, jobs[1].UniqueScope = "k", errand.UntilEnded
	f.insert(jobs...)
	for i, j := range f.try(jobs...) {
		if j == nil {
			f.Fatalf("the repeat inserted job %d again", i)
		}
		f.equal("the answer", jobs[i], *j)
	}
	if n := len(f.listAll(errand.Query{})); n != 3 {
		f.Errorf("%d jobs after the repeat, want 3", n)
	}
}

func insertPartly(f *fixture) {
	jobs := newJobs(4)
	f.insert(jobs[1], jobs[3])
	there := f.try(jobs...)
	for i, j := range there {
		if wasThere := i%2 == 1; (j != nil) != wasThere {
			f.Errorf("job %d: answered as there: %v, want %v", i, j != nil, wasThere)
		}
	}
	f.sameIDs("Get", idsOf(jobs), f.find(idsOf(jobs)...))
}

func insertTwice(f *fixture) {
	j, other := newJob(), newJob()
	there := f.try(j, other, j)
	if there[0] != nil || there[1] != nil || there[2] == nil {
		f.Fatalf("there: %v, %v, %v, want only the last to be there", there[0] != nil, there[1] != nil, there[2] != nil)
	}
	f.equal("the answer", j, *there[2])
	if n := len(f.listAll(errand.Query{})); n != 2 {
		f.Errorf("%d jobs, want 2", n)
	}
}

func insertAnswer(f *fixture) {
	j := f.running(uuid.New())
	j = f.write(change(j, func(j *errand.Job) { j.Progress.Done = 5 }))
	again := newJob(func(n *errand.Job) { n.ID, n.Kind = j.ID, "other" })
	there := f.try(again)[0]
	if there == nil {
		f.Fatalf("the repeat was inserted")
	}
	checkTimes(f, *there)
	f.equal("the answer", j, *there)
	f.stored(j)
}

func insertWhole(f *fixture) {
	const rounds, size = 10, 50
	batches := make([][]errand.Job, rounds)
	for i := range batches {
		batches[i] = newJobs(size)
	}
	readWhileWriting(f, func() {
		for _, b := range batches {
			f.insert(b...)
		}
	}, func() error {
		for _, b := range batches {
			got, err := f.store.Get(f.Context(), idsOf(b))
			if err != nil || len(got) != 0 && len(got) != size {
				return fmt.Errorf("Get while batches of %d are inserted: %d jobs, %v", size, len(got), err)
			}
		}
		return nil
	})
}

// readWhileWriting calls read again and again until write has returned.
func readWhileWriting(f *fixture, write func(), read func() error) {
	f.Helper()
	stop, bad := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(bad)
		for {
			if err := read(); err != nil {
				bad <- err
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	func() {
		defer close(stop) // write may end the case
		write()
	}()
	if err := <-bad; err != nil {
		f.Errorf("%v", err)
	}
}

func getOrder(f *fixture) {
	jobs := newJobs(20)
	f.insert(jobs...)
	ids := idsOf(jobs)
	slices.Reverse(ids)
	ids[3], ids[4] = ids[4], ids[3]
	f.sameIDs("Get", ids, f.find(ids...))
}

func getMissing(f *fixture) {
	jobs := newJobs(2)
	f.insert(jobs...)
	f.sameIDs("Get", idsOf(jobs), f.find(uuid.New(), jobs[0].ID, uuid.New(), jobs[1].ID, uuid.UUID{}))
}
