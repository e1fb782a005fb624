package storetest

import (
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var historyCases = []testCase{
	{"history/counts", "what was added, started and ended is counted, once, whatever way it took", historyCounts},
	{"history/narrow", "the history of one queue or kind has nothing of others", historyNarrow},
	{"history/pruned", "jobs that are gone have happened all the same", historyPruned},
	{"history/waited", "how long jobs wait tells whether there are enough workers", historyWaited},
	{"history/old", "a span that is over is not asked for", historyOld},
}

// flows sums up the history.
func (f *fixture) flows(q errand.HistoryQuery) (sum errand.Flow) {
	f.Helper()
	if q.Step == 0 {
		q.Step = errand.HistoryStep
	}
	flows, err := f.store.History(f.Context(), q)
	if err != nil {
		f.Fatalf("History: %v", err)
	}
	last := time.Time{}
	for _, x := range flows {
		if !x.Time.After(last) || !x.Time.Equal(x.Time.Truncate(q.Step)) {
			f.Errorf("History: the span of %v comes after that of %v, with a step of %v", x.Time, last, q.Step)
		}
		last = x.Time
		sum.Added += x.Added
		sum.Started += x.Started
		sum.Succeeded += x.Succeeded
		sum.Failed += x.Failed
		sum.Cancelled += x.Cancelled
		sum.Waited += x.Waited
	}
	return sum
}

// flow checks the sums of the history, which may lag, but for the waiting.
func (f *fixture) flow(q errand.HistoryQuery, want errand.Flow) {
	f.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		f.prune(1) // a store may do its upkeep then
		got := f.flows(q)
		if got.Waited = 0; got == want {
			return
		}
		if time.Now().After(deadline) {
			f.equal("the history", want, got)
			return
		}
	}
}

func historyCounts(f *fixture) {
	f.insert(newJobs(20)...)
	f.insert(newJob(scheduled(base)))
	f.insert(newJob(scheduled(future), unique("k", errand.UntilEnded)))
	f.collides(newJob(unique("k", errand.UntilEnded)), f.listAll(errand.Query{States: []errand.State{errand.Scheduled}, Limit: 1})[0].ID)
	run := f.claim(uuid.New(), 7)
	f.write(change(run[0], ended(errand.Succeeded)), change(run[1], ended(errand.Failed)), change(run[2], ended(errand.Cancelled)))
	f.write(change(run[3], ended(errand.Succeeded)))
	f.write(change(run[4], inState(errand.Scheduled)))
	f.write(change(run[5], func(j *errand.Job) { j.Progress.Done = 1 }))
	f.write(change(f.get(run[3].ID), func(j *errand.Job) { j.Reason = "still over" }))
	f.write(remove(f.get(run[2].ID)))
	f.claim(uuid.New(), 1)
	want := errand.Flow{Added: 22, Started: 8, Succeeded: 2, Failed: 1, Cancelled: 1}
	since := f.now().Add(-time.Hour)
	f.flow(errand.HistoryQuery{Since: since}, want)
	f.flow(errand.HistoryQuery{Since: since, Step: time.Hour}, want)
}

func historyNarrow(f *fixture) {
	f.insert(newJob(inQueue("a")), newJob(inQueue("b")), newJob(inQueue("b"), func(j *errand.Job) { j.Kind = "other" }))
	since := f.now().Add(-time.Hour)
	f.flow(errand.HistoryQuery{Since: since}, errand.Flow{Added: 3})
	f.flow(errand.HistoryQuery{Since: since, Queue: "b"}, errand.Flow{Added: 2})
	f.flow(errand.HistoryQuery{Since: since, Queue: "b", Kind: "other"}, errand.Flow{Added: 1})
	f.flow(errand.HistoryQuery{Since: since, Kind: "none"}, errand.Flow{})
}

func historyPruned(f *fixture) {
	j := f.running(uuid.New())
	f.write(change(j, expired))
	f.prune(10)
	f.gone(j.ID)
	f.flow(errand.HistoryQuery{Since: f.now().Add(-time.Hour)}, errand.Flow{Added: 1, Started: 1, Succeeded: 1})
}

func historyWaited(f *fixture) {
	since := f.now().Add(-time.Hour)
	for _, ago := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, -time.Minute} {
		f.insert(newJob(func(j *errand.Job) { j.Due = since.Add(time.Hour - ago) }))
	}
	f.claim(uuid.New(), 2) // the earlier is due, the earlier it starts
	f.claim(uuid.New(), 1)
	f.claim(uuid.New(), 1) // ready before it was due: it has not waited
	took := f.now().Sub(since) - time.Hour
	q := errand.HistoryQuery{Since: since}
	f.flow(q, errand.Flow{Added: 4, Started: 4})
	if got := f.flows(q).Waited; got < 70*time.Second || got > 70*time.Second+3*took+5*time.Millisecond {
		f.Errorf("History: the jobs waited for %v; want 70 s and up to %v more", got, 3*took)
	}
}

func historyOld(f *fixture) {
	f.insert(newJob())
	now := f.now()
	f.flow(errand.HistoryQuery{Since: now.Add(-time.Minute)}, errand.Flow{Added: 1})
	f.flow(errand.HistoryQuery{Since: now.Add(time.Hour)}, errand.Flow{})
}
