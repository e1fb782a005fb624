package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

var entryCases = []testCase{
	{"entries/fields", "the log is the job's story: every field of every line is kept", entriesFields},
	{"entries/paging", "a log is followed from the last line that was seen", entriesPaging},
	{"entries/own", "a job's log is its own", entriesOwn},
	{"entries/log-lines", "a chatty handler fills no disk: the newest lines stay", entriesLogLines},
	{"entries/log-lines-only", "log lines never push out the errors of attempts and what people did", entriesOthersStay},
	{"entries/all", "a job that is retried for ever fills no disk either", entriesAll},
	{"entries/one-change", "a single change may bring more lines than are kept", entriesOneChange},
}

func entry(seq int64, t errand.EntryType) errand.Entry {
	return errand.Entry{Seq: seq, Time: base.Add(time.Duration(seq) * time.Second), Type: t, Attempt: 1, Text: fmt.Sprint("entry ", seq)}
}

// log appends n entries of a type to the job's log, and returns the job.
func (f *fixture) log(j errand.Job, n int, t errand.EntryType) errand.Job {
	f.Helper()
	c := change(j)
	for range n {
		c.Job.Entries++
		c.Entries = append(c.Entries, entry(c.Job.Entries, t))
	}
	return f.write(c)
}

// keeps checks that the job's log holds just the entries in the ranges from, to, from, to …
func (f *fixture) keeps(id errand.ID, bounds ...int64) {
	f.Helper()
	var want, got []int64
	for i := 0; i < len(bounds); i += 2 {
		for seq := bounds[i]; seq <= bounds[i+1]; seq++ {
			want = append(want, seq)
		}
	}
	for _, e := range f.entries(id, 0, 10*errand.MaxEntries) {
		got = append(got, e.Seq)
	}
	f.equal("the Seqs in the log", want, got)
}

func entriesFields(f *fixture) {
	j := f.insert(newJob())
	c := change(j, func(j *errand.Job) { j.Entries = 5 })
	c.Entries = []errand.Entry{
		{Seq: 1, Time: base, Type: errand.EntryLog, Level: -4, Attempt: 0, Text: "", Attrs: nil},
		{Seq: 2, Time: base, Type: errand.EntryLog, Level: 8, Attempt: 7, Text: "žluť 猫\n", Attrs: json.RawMessage(`{ "n": 12345678901234567890, "n":1 }`)},
		{Seq: 3, Time: base.Add(-time.Hour), Type: errand.EntryAttempt, Level: math.MaxInt32, Attempt: 100_000, Text: strings.Repeat("x", errand.MaxError)},
		{Seq: 4, Time: future, Type: errand.EntryAction, Level: math.MinInt32, Attempt: 1, Text: "pause", Attrs: json.RawMessage(`{}`)},
		{Seq: 5, Time: base, Type: "another", Text: "a type of a later version"},
	}
	f.write(c)
	got := f.entries(j.ID, 0, 10)
	f.equal("the log", c.Entries, got)
	for _, e := range got {
		checkTimes(f, e)
	}
	if len(got) > 0 && got[0].Attrs != nil {
		f.Errorf("Attrs = %q, want nil", got[0].Attrs)
	}
}

func entriesPaging(f *fixture) {
	j := f.log(f.log(f.insert(newJob()), 4, errand.EntryLog), 3, errand.EntryAction)
	for _, c := range []struct {
		after int64
		limit int
		want  []int64
	}{
		{0, 3, []int64{1, 2, 3}},
		{3, 3, []int64{4, 5, 6}},
		{6, 3, []int64{7}},
		{7, 3, nil},
		{100, 3, nil},
		{0, 100, []int64{1, 2, 3, 4, 5, 6, 7}},
	} {
		var got []int64
		for _, e := range f.entries(j.ID, c.after, c.limit) {
			got = append(got, e.Seq)
		}
		f.equal(fmt.Sprintf("entries after %d, at most %d", c.after, c.limit), c.want, got)
	}
}

func entriesOwn(f *fixture) {
	jobs := newJobs(3)
	f.insert(jobs...)
	one, two := change(jobs[0]), change(jobs[1])
	one.Entries, one.Job.Entries = []errand.Entry{entry(1, errand.EntryLog)}, 1
	two.Entries, two.Job.Entries = []errand.Entry{entry(1, errand.EntryAction), entry(2, errand.EntryAttempt)}, 2
	f.write(one, two)
	f.equal("the first job's log", one.Entries, f.entries(jobs[0].ID, 0, 10))
	f.equal("the second job's log", two.Entries, f.entries(jobs[1].ID, 0, 10))
	f.equal("the third job's log", []errand.Entry(nil), f.entries(jobs[2].ID, 0, 10))
	f.equal("the log of no job", []errand.Entry(nil), f.entries(newJob().ID, 0, 10))
}

func entriesLogLines(f *fixture) {
	j := f.log(f.insert(newJob()), errand.MaxLogLines, errand.EntryLog)
	f.keeps(j.ID, 1, errand.MaxLogLines)
	j = f.log(j, 1, errand.EntryLog)
	f.keeps(j.ID, 2, errand.MaxLogLines+1)
	j = f.log(j, 600, errand.EntryLog)
	j = f.log(j, 600, errand.EntryLog)
	f.keeps(j.ID, 1202, errand.MaxLogLines+1201)
	f.stored(j)
}

func entriesOthersStay(f *fixture) {
	j := f.log(f.insert(newJob()), 2, errand.EntryAttempt)
	j = f.log(j, 500, errand.EntryLog)
	j = f.log(j, 1, errand.EntryAction)
	j = f.log(j, errand.MaxLogLines, errand.EntryLog)
	f.keeps(j.ID, 1, 2, 503, 1503)
}

func entriesAll(f *fixture) {
	j := f.log(f.insert(newJob()), 100, errand.EntryLog)
	j = f.log(j, errand.MaxEntries-100, errand.EntryAttempt)
	f.keeps(j.ID, 1, errand.MaxEntries)
	j = f.log(j, 60, errand.EntryAction)
	f.keeps(j.ID, 61, errand.MaxEntries+60)
	j = f.log(j, 60, errand.EntryLog)
	f.keeps(j.ID, 121, errand.MaxEntries+120)
}

func entriesOneChange(f *fixture) {
	j := f.log(f.insert(newJob()), errand.MaxLogLines+300, errand.EntryLog)
	f.keeps(j.ID, 301, errand.MaxLogLines+300)
	j = f.log(f.insert(newJob()), errand.MaxEntries+300, errand.EntryAttempt)
	f.keeps(j.ID, 301, errand.MaxEntries+300)
}
