package storetest

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var linkCases = []testCase{
	{"links/end", "a waiting job learns of the end of each job that it waits for, whichever end", linksEnd},
	{"links/not-yet", "a job that has not ended releases nobody", linksNotYet},
	{"links/delete", "the deletion of a job is an end too, or whoever waits for it waits for ever", linksDelete},
	{"links/insert-ended", "a job may wait for one that is over already: nothing will mark that link later", linksInsertEnded},
	{"links/insert-unknown", "nor for one that was pruned before", linksInsertUnknown},
	{"links/insert-in-call", "a workflow is inserted in one call, each job after those that it waits for", linksInsertInCall},
	{"links/insert-conflict", "a job that was not inserted, since its key was taken, is not there to wait for", linksInsertConflict},
	{"links/race", "a job that ends while another begins to wait for it must not be missed", linksRace},
}

var linkLifeCases = []testCase{
	{"links/unblocks", "a link that was used is gone: it is never answered again", linksUnblocks},
	{"links/unblocks-stale", "a change that is not written uses up no link", linksUnblocksStale},
	{"links/retried", "a job that was retried has not ended: whoever waits for it goes on waiting", linksRetried},
	{"links/limit", "links that have nothing to say do not hide those that have", linksLimit},
	{"links/any-state", "a paused or cancelled job's links are settled too", linksAnyState},
	{"links/waiter-deleted", "the links of a deleted job go with it", linksWaiterDeleted},
	{"links/same-call", "two ends in one call are two ends", linksSameCall},
}

// linked checks what Unblocked answers: for each waiting job the ended ones with their states.
func (f *fixture) linked(want map[errand.ID]map[errand.ID]errand.State) {
	f.Helper()
	f.equal("what Unblocked answers", want, f.links(10_000))
}

// links by waiting job, and ended links of one.
type (
	byWaiter = map[errand.ID]map[errand.ID]errand.State
	byJob    = map[errand.ID]errand.State
)

func linksEnd(f *fixture) {
	jobs := newJobs(3)
	f.insert(jobs...)
	w := f.insert(newJob(after(idsOf(jobs)...)))
	ends, want := []errand.State{errand.Succeeded, errand.Failed, errand.Cancelled}, byJob{}
	for i, end := range ends {
		f.write(change(jobs[i], ended(end)))
		want[jobs[i].ID] = end
		f.linked(byWaiter{w.ID: want})
	}
	got, err := f.store.Unblocked(f.Context(), 10)
	if err != nil || len(got) != 1 {
		f.Fatalf("Unblocked: %d jobs, %v", len(got), err)
	}
	f.equal("the waiting job", w, got[0].Job)
	f.stored(w)
}

func linksNotYet(f *fixture) {
	j := f.insert(newJob(scheduled(base)))
	f.insert(newJob(after(j.ID)))
	j = f.claim(uuid.New(), 1)[0]
	for _, s := range []errand.State{errand.Paused, errand.Ready, errand.Scheduled, errand.Waiting} {
		j = f.write(change(j, inState(s)))
	}
	f.linked(nil)
}

func linksDelete(f *fixture) {
	live, over := f.insert(newJob()), f.insert(newJob())
	w := f.insert(newJob(after(live.ID, over.ID)))
	over = f.write(change(over, ended(errand.Failed)))
	f.linked(byWaiter{w.ID: byJob{over.ID: errand.Failed}})
	f.write(remove(live), remove(over))
	f.linked(byWaiter{w.ID: byJob{live.ID: "", over.ID: ""}})
}

func linksInsertEnded(f *fixture) {
	want := byWaiter{}
	for _, end := range []errand.State{errand.Succeeded, errand.Failed, errand.Cancelled} {
		j := f.write(change(f.insert(newJob()), ended(end)))
		w := f.insert(newJob(after(j.ID)))
		want[w.ID] = byJob{j.ID: end}
	}
	f.linked(want)
}

func linksInsertUnknown(f *fixture) {
	never, deleted, live := uuid.New(), f.insert(newJob()), f.insert(newJob())
	f.write(remove(deleted))
	w := f.insert(newJob(after(never, deleted.ID, live.ID)))
	f.linked(byWaiter{w.ID: byJob{never: "", deleted.ID: ""}})
}

func linksInsertInCall(f *fixture) {
	a, over := newJob(), newJob(ended(errand.Failed))
	b := newJob(after(a.ID))
	c := newJob(after(a.ID, b.ID, over.ID))
	f.insert(a, over, b, c)
	f.linked(byWaiter{c.ID: byJob{over.ID: errand.Failed}})
	f.write(change(a, ended(errand.Succeeded)))
	f.linked(byWaiter{b.ID: byJob{a.ID: errand.Succeeded}, c.ID: byJob{a.ID: errand.Succeeded, over.ID: errand.Failed}})
}

func linksInsertConflict(f *fixture) {
	key := unique("k", errand.UntilEnded)
	f.insert(newJob(key))
	refused := newJob(key)
	w := newJob(after(refused.ID))
	if there := f.try(refused, w); there[0] == nil || there[1] != nil {
		f.Fatalf("Insert: %v, want only the first to be there", there)
	}
	f.linked(byWaiter{w.ID: byJob{refused.ID: ""}})
}

func linksMany(f *fixture) {
	jobs := newJobs(errand.MaxAfter)
	f.insert(jobs...)
	w := f.insert(newJob(after(idsOf(jobs)...)))
	waiters := newJobs(errand.MaxAfter, after(jobs[0].ID))
	f.insert(waiters...)
	changes, want := make([]errand.Change, len(jobs)), byWaiter{w.ID: byJob{}}
	for i, j := range jobs {
		changes[i] = change(j, ended(errand.Succeeded))
		want[w.ID][j.ID] = errand.Succeeded
		want[waiters[i].ID] = byJob{jobs[0].ID: errand.Succeeded}
	}
	f.write(changes...)
	f.linked(want)
	settle := change(w, inState(errand.Ready))
	settle.Unblocks = idsOf(jobs)
	f.write(settle)
	delete(want, w.ID)
	f.linked(want)
}

func linksRace(f *fixture) {
	const rounds = 25
	for round := range rounds {
		j := f.insert(newJob())
		waiters := newJobs(3, after(j.ID))
		end := change(j, ended(errand.Succeeded))
		if round%3 == 2 {
			end = remove(j)
		}
		f.together(len(waiters)+1, func(ctx context.Context, i int) error {
			if i < len(waiters) {
				_, err := f.store.Insert(ctx, waiters[i:i+1])
				return err
			}
			out, err := f.store.Swap(ctx, []errand.Change{end})
			if err == nil && out[0] != errand.Written {
				err = fmt.Errorf("the end is %s", outcome(out[0]))
			}
			return err
		})
		got := f.links(10_000)
		for _, w := range waiters {
			if _, ok := got[w.ID][j.ID]; !ok {
				f.Fatalf("round %d: a job that began to wait while another ended was not released", round)
			}
		}
	}
}

func linksUnblocks(f *fixture) {
	a, b := f.insert(newJob()), f.insert(newJob())
	w := f.insert(newJob(after(a.ID, b.ID)))
	a = f.write(change(a, ended(errand.Succeeded)))
	c := change(w, func(j *errand.Job) { j.Blocked = 1 })
	c.Unblocks = []errand.ID{a.ID}
	w = f.write(c)
	f.stored(w) // After, what it was given, stays
	f.linked(nil)
	f.write(change(f.write(change(a, inState(errand.Ready))), ended(errand.Failed)))
	f.linked(nil)
	f.write(change(b, ended(errand.Failed)))
	f.linked(byWaiter{w.ID: byJob{b.ID: errand.Failed}})
}

func linksUnblocksStale(f *fixture) {
	a := f.insert(newJob())
	w := f.insert(newJob(after(a.ID)))
	f.write(change(a, ended(errand.Succeeded)))
	f.write(change(w, inState(errand.Paused)))
	c := change(w, inState(errand.Ready))
	c.Unblocks = []errand.ID{a.ID}
	f.outcomes(f.swap(c), errand.Stale)
	f.linked(byWaiter{w.ID: byJob{a.ID: errand.Succeeded}})
}

func linksRetried(f *fixture) {
	j := f.insert(newJob())
	w := f.insert(newJob(after(j.ID)))
	j = f.write(change(j, ended(errand.Failed)))
	j = f.write(change(j, inState(errand.Ready)))
	f.linked(nil)
	j = f.claim(uuid.New(), 1)[0]
	f.linked(nil)
	j = f.write(change(j, ended(errand.Succeeded)))
	f.linked(byWaiter{w.ID: byJob{j.ID: errand.Succeeded}})
}

func linksLimit(f *fixture) {
	retried := f.insert(newJob())
	f.insert(newJobs(5, after(retried.ID))...)
	retried = f.write(change(retried, ended(errand.Failed)))
	f.write(change(retried, inState(errand.Ready)))
	j := f.insert(newJob())
	waiters := newJobs(4, after(j.ID))
	f.insert(waiters...)
	f.write(change(j, ended(errand.Succeeded)))
	for _, limit := range []int{1, 3, 4, 5} {
		if n := len(f.links(limit)); n != min(limit, len(waiters)) {
			f.Errorf("Unblocked(%d): %d jobs, want %d", limit, n, min(limit, len(waiters)))
		}
	}
}

func linksAnyState(f *fixture) {
	j := f.insert(newJob())
	want := byWaiter{}
	for _, s := range []errand.State{errand.Paused, errand.Cancelled, errand.Ready, errand.Running} {
		w := f.insert(newJob(after(j.ID)))
		w = f.write(change(w, func(j *errand.Job) { j.State = s }))
		want[w.ID] = byJob{j.ID: errand.Failed}
	}
	f.write(change(j, ended(errand.Failed)))
	f.linked(want)
}

func linksWaiterDeleted(f *fixture) {
	j := f.insert(newJob())
	early, late := f.insert(newJob(after(j.ID))), f.insert(newJob(after(j.ID)))
	f.write(remove(early))
	f.write(change(j, expired))
	f.linked(byWaiter{late.ID: byJob{j.ID: errand.Succeeded}})
	f.write(remove(late))
	f.linked(nil)
	if n := f.prune(10); n != 1 {
		f.Errorf("Prune: %d jobs, want 1, since nobody waits for it any longer", n)
	}
}

func linksSameCall(f *fixture) {
	a, b, c := f.insert(newJob()), f.insert(newJob()), f.insert(newJob())
	w := f.insert(newJob(after(a.ID, b.ID, c.ID)))
	v := f.insert(newJob(after(a.ID, w.ID)))
	f.write(change(a, ended(errand.Failed)), change(w, ended(errand.Cancelled)), remove(c))
	f.linked(byWaiter{
		w.ID: byJob{a.ID: errand.Failed, c.ID: ""},
		v.ID: byJob{a.ID: errand.Failed, w.ID: errand.Cancelled},
	})
}
