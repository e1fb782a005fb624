package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var swapCases = []testCase{
	{"swap/fields", "a change is the whole job as it should become", swapFields},
	{"swap/clears", "a retry clears result, error, end and checkpoint: empty values are values", swapClears},
	{"swap/states", "a store decides nothing: any state may follow any other", swapStates},
	{"swap/stale", "what was decided on an old version must not be written over a newer one", swapStale},
	{"swap/future", "a version that the store has not reached is not the stored one either", swapFuture},
	{"swap/gone", "a change never brings a deleted job back", swapGone},
	{"swap/repeat", "a change whose reply was lost is Stale when repeated, and is not written twice", swapRepeat},
	{"swap/zombie", "a run that was disowned while it was away can write nothing", swapZombie},
	{"swap/batch", "one stale change in a batch harms no other: they come from different runs", swapBatch},
	{"swap/delete", "a deletion names no new version, takes the log along and leaves nothing", swapDelete},
	{"swap/delete-stale", "a job that was retried meanwhile is not deleted", swapDeleteStale},
}

var swapRaceCases = []testCase{
	{"swap/race", "of two who change one version one wins, and the other knows", swapRace},
	{"swap/opposite", "batches that name the same jobs in different order must not lock each other up", swapOpposite},
	{"swap/whole", "who sees one change of a batch relies on the others: a write is done whole or not at all", swapWhole},
}

var swapUniqueCases = []testCase{
	{"swap/taken", "a retry whose key has a new holder is refused, and only it", swapTaken},
	{"swap/taken-in-call", "two retries in one call cannot both have the key", swapTakenInCall},
	{"swap/takes", "a retried job holds its key again", swapTakes},
	{"swap/holds", "a job that goes on holding its key is no conflict with itself", swapHolds},
}

func swapFields(f *fixture) {
	j := f.insert(newJob(fullNew))
	want := f.write(change(j, fullState))
	f.stored(want)
	page := f.list(errand.Query{})
	if len(page.Jobs) != 1 {
		f.Fatalf("List: %d jobs, want 1", len(page.Jobs))
	}
	f.equal("the listed job", want, page.Jobs[0])
}

func swapClears(f *fixture) {
	j := f.running(uuid.New(), func(j *errand.Job) { j.Retention = -1 })
	j = f.write(change(j, fullState))
	want := f.write(change(j, inState(errand.Ready), func(j *errand.Job) {
		j.Want, j.Actor, j.Reason, j.Error = "", "", "", ""
		j.Attempt, j.Crashes, j.Blocked, j.CleanUp = 0, 0, 0, errand.CleanUpNone
		j.Checkpoint, j.Result, j.Progress = nil, nil, errand.Progress{}
	}))
	f.stored(want)
	if got := f.get(j.ID); len(got.Checkpoint) > 0 || len(got.Result) > 0 {
		f.Errorf("Checkpoint, Result = %q, %q, want nothing", got.Checkpoint, got.Result)
	}
}

func swapStates(f *fixture) {
	j := f.insert(newJob())
	for _, from := range errand.States {
		for _, to := range errand.States {
			j = f.write(change(j, func(j *errand.Job) { j.State = from }))
			j = f.write(change(j, func(j *errand.Job) { j.State = to }))
			f.stored(j)
		}
	}
}

func swapStale(f *fixture) {
	j := f.insert(newJob())
	now := f.write(change(j, inState(errand.Paused)))
	c := change(j, ended(errand.Cancelled))
	c.Entries, c.Job.Entries = []errand.Entry{entry(1, errand.EntryAction)}, 1
	f.outcomes(f.swap(c), errand.Stale)
	f.stored(now)
	if n := len(f.entries(j.ID, 0, 10)); n != 0 {
		f.Errorf("a stale change left %d entries", n)
	}
}

func swapFuture(f *fixture) {
	j := f.insert(newJob())
	ahead := j
	ahead.Version = 5
	f.outcomes(f.swap(change(ahead, ended(errand.Cancelled))), errand.Stale)
	f.stored(j)
}

func swapGone(f *fixture) {
	j := f.insert(newJob())
	f.write(remove(j))
	f.outcomes(f.swap(change(j, inState(errand.Paused))), errand.Stale)
	f.outcomes(f.swap(remove(j)), errand.Stale)
	f.outcomes(f.swap(change(newJob(), inState(errand.Paused))), errand.Stale)
	f.gone(j.ID)
}

func swapRepeat(f *fixture) {
	jobs := newJobs(2)
	f.insert(jobs...)
	changes := []errand.Change{change(jobs[0], ended(errand.Failed)), change(jobs[1], inState(errand.Paused))}
	changes[0].Entries, changes[0].Job.Entries = []errand.Entry{entry(1, errand.EntryAttempt)}, 1
	f.write(changes...)
	f.outcomes(f.swap(changes...), errand.Stale, errand.Stale)
	f.stored(changes[0].Job)
	f.stored(changes[1].Job)
	if n := len(f.entries(jobs[0].ID, 0, 10)); n != 1 {
		f.Errorf("%d entries after the repeat, want 1", n)
	}
}

func swapZombie(f *fixture) {
	zombie := f.running(uuid.New())
	f.write(change(zombie, inState(errand.Ready)))
	run := f.claim(uuid.New(), 1)[0]
	f.outcomes(f.swap(change(zombie, ended(errand.Succeeded))), errand.Stale)
	f.stored(run)
}

func swapBatch(f *fixture) {
	jobs := newJobs(5)
	f.insert(jobs...)
	f.write(remove(jobs[1]))
	newer := f.write(change(jobs[3], inState(errand.Paused)))
	changes := make([]errand.Change, len(jobs))
	for i, j := range jobs {
		changes[i] = change(j, ended(errand.Succeeded), func(j *errand.Job) { j.Entries = 1 })
		changes[i].Entries = []errand.Entry{entry(1, errand.EntryLog)}
	}
	f.outcomes(f.swap(changes...), errand.Written, errand.Stale, errand.Written, errand.Stale, errand.Written)
	for _, i := range []int{0, 2, 4} {
		f.stored(changes[i].Job)
		f.equal("its log", changes[i].Entries, f.entries(jobs[i].ID, 0, 10))
	}
	f.stored(newer)
	f.gone(jobs[1].ID)
}

func swapDelete(f *fixture) {
	jobs := newJobs(3)
	f.insert(jobs...)
	c := change(jobs[0], ended(errand.Failed), func(j *errand.Job) { j.Entries = 1 })
	c.Entries = []errand.Entry{entry(1, errand.EntryLog)}
	j := f.write(c)
	f.write(remove(j), change(jobs[1], inState(errand.Paused)))
	f.gone(j.ID)
	if n := len(f.entries(j.ID, 0, 10)); n != 0 {
		f.Errorf("%d entries of a deleted job", n)
	}
	f.sameIDs("List", []errand.ID{jobs[2].ID, jobs[1].ID}, f.list(errand.Query{}).Jobs)
	f.insert(jobs[0]) // its ID is free again
	f.stored(jobs[0])
	if n := len(f.entries(j.ID, 0, 10)); n != 0 {
		f.Errorf("%d entries of a job that was deleted and inserted again", n)
	}
}

func swapDeleteStale(f *fixture) {
	j := f.insert(newJob())
	now := f.write(change(j, inState(errand.Paused)))
	f.outcomes(f.swap(remove(j)), errand.Stale)
	f.stored(now)
}

func swapRace(f *fixture) {
	const racers, rounds = 6, 5
	j := f.insert(newJob())
	for round := range rounds {
		var won atomic.Int64
		f.together(racers, func(ctx context.Context, i int) error {
			c := change(j, func(j *errand.Job) { j.Progress.Done = int64(i) })
			out, err := f.store.Swap(ctx, []errand.Change{c})
			if err == nil && out[0] == errand.Written {
				won.Add(1)
			}
			return err
		})
		if n := won.Load(); n != 1 {
			f.Errorf("round %d: %d of %d changes of one version were written", round, n, racers)
		}
		j = f.get(j.ID)
	}
	if j.Version != 1+rounds {
		f.Errorf("Version = %d after %d changes, want %d", j.Version, rounds, 1+rounds)
	}
}

func swapOpposite(f *fixture) {
	const writers, rounds = 4, 5
	jobs := newJobs(40)
	f.insert(jobs...)
	var written atomic.Int64
	f.together(writers, func(ctx context.Context, i int) error {
		for range rounds {
			now, err := f.store.Get(ctx, idsOf(jobs))
			if err != nil {
				return err
			}
			changes := make([]errand.Change, len(now))
			for k, j := range now {
				changes[k] = change(j, func(j *errand.Job) { j.Progress.Done++ })
			}
			if i%2 == 1 {
				slices.Reverse(changes)
			}
			out, err := f.store.Swap(ctx, changes)
			if err != nil {
				return err
			}
			for _, s := range out {
				if s == errand.Written {
					written.Add(1)
				}
			}
		}
		return nil
	})
	var done int64
	for _, j := range f.find(idsOf(jobs)...) {
		done += j.Progress.Done
		if j.Version != 1+j.Progress.Done {
			f.Errorf("Version %d after %d changes", j.Version, j.Progress.Done)
		}
	}
	if done != written.Load() {
		f.Errorf("%d changes are stored, %d were answered Written", done, written.Load())
	}
}

func swapWhole(f *fixture) {
	jobs := newJobs(50)
	f.insert(jobs...)
	readWhileWriting(f, func() {
		now := jobs
		for range 10 {
			changes := make([]errand.Change, len(now))
			next := make([]errand.Job, len(now))
			for i, j := range now {
				changes[i] = change(j, func(j *errand.Job) { j.Progress.Done++ })
				next[i] = changes[i].Job
			}
			f.write(changes...)
			now = next
			time.Sleep(time.Millisecond)
		}
	}, func() error {
		got, err := f.store.Get(f.Context(), idsOf(jobs))
		for _, j := range got {
			if j.Version != got[0].Version {
				return fmt.Errorf("Get while batches are swapped: versions %d and %d", got[0].Version, j.Version)
			}
		}
		return err
	})
}

// reborn ends a job that holds the key, and gives the key to another, which it returns.
func (f *fixture) reborn(key func(*errand.Job)) (old, holder errand.Job) {
	f.Helper()
	old = f.write(change(f.insert(newJob(key)), ended(errand.Failed)))
	return old, f.insert(newJob(key))
}

func swapTaken(f *fixture) {
	for _, scope := range []errand.Scope{errand.UntilEnded, errand.UntilStarted} {
		old, holder := f.reborn(unique("key "+string(scope), scope))
		others := newJobs(2)
		f.insert(others...)
		c := change(old, inState(errand.Ready), func(j *errand.Job) { j.Entries = 1 })
		c.Entries = []errand.Entry{entry(1, errand.EntryAction)}
		pause := change(others[0], inState(errand.Paused))
		end := change(others[1], ended(errand.Succeeded))
		f.outcomes(f.swap(pause, c, end), errand.Written, errand.Taken, errand.Written)
		f.stored(old)
		f.stored(holder)
		f.stored(pause.Job)
		f.stored(end.Job)
		if n := len(f.entries(old.ID, 0, 10)); n != 0 {
			f.Errorf("a change that was refused left %d entries", n)
		}
		f.write(change(holder, ended(errand.Succeeded)))
		f.write(c) // the key is free by now
	}
}

func swapTakenInCall(f *fixture) {
	key := unique("k", errand.UntilEnded)
	one := f.write(change(f.insert(newJob(key)), ended(errand.Failed)))
	two := f.write(change(f.insert(newJob(key)), ended(errand.Failed)))
	other := f.insert(newJob())
	out := f.swap(change(one, inState(errand.Ready)), change(other, inState(errand.Paused)), change(two, inState(errand.Ready)))
	f.outcomes(out, errand.Written, errand.Written, errand.Taken)
	f.stored(two)
	f.collides(newJob(key), one.ID)
}

func swapTakes(f *fixture) {
	for _, scope := range []errand.Scope{errand.UntilEnded, errand.UntilStarted} {
		key := unique("key "+string(scope), scope)
		j := f.write(change(f.insert(newJob(key)), ended(errand.Cancelled)))
		f.write(change(j, inState(errand.Ready)))
		f.collides(newJob(key), j.ID)
	}
}

func swapHolds(f *fixture) {
	for _, scope := range []errand.Scope{errand.UntilEnded, errand.UntilStarted, errand.UntilTime} {
		key := unique("key "+string(scope), scope)
		j := f.insert(newJob(key))
		j = f.write(change(j, inState(errand.Paused)))
		j = f.write(change(j, inState(errand.Scheduled)))
		f.collides(newJob(key), j.ID)
	}
}
