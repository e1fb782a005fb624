package storetest

import (
	"time"

	"github.com/errandhq/errand"
)

var pruneCases = []testCase{
	{"prune/expired", "an ended job is kept until Expires, and no longer", pruneExpired},
	{"prune/comes", "the time of pruning is the store's", pruneComes},
	{"prune/ended-only", "work that is not over is never removed", pruneEndedOnly},
	{"prune/log", "a pruned job's log goes with it", pruneLog},
	{"prune/limit", "a big clean-up is done in small steps, and says when it is done", pruneLimit},
	{"prune/linked", "a job that another still waits for stays, or its outcome would be lost", pruneLinked},
	{"prune/linked-limit", "jobs that must stay do not keep others from being pruned", pruneLinkedLimit},
	{"prune/chain", "a pruned job waits for nothing", pruneChain},
}

func pruneExpired(f *fixture) {
	for _, end := range []errand.State{errand.Succeeded, errand.Failed, errand.Cancelled} {
		gone := f.write(change(f.insert(newJob()), expired, func(j *errand.Job) { j.State = end }))
		kept := f.write(change(f.insert(newJob()), ended(end), func(j *errand.Job) { j.Expires = future }))
		ever := f.write(change(f.insert(newJob()), ended(end)))
		if n := f.prune(10); n != 1 {
			f.Errorf("Prune: %d jobs, want 1", n)
		}
		f.gone(gone.ID)
		f.stored(kept)
		f.stored(ever)
	}
}

func pruneComes(f *fixture) {
	expires := f.now().Add(60 * time.Millisecond).Truncate(time.Microsecond)
	f.write(change(f.insert(newJob()), expired, func(j *errand.Job) { j.Expires = expires }))
	f.eventually("the job is pruned", func() bool { return f.prune(10) == 1 })
	if now := f.now(); now.Before(expires) {
		f.Errorf("pruned at %v, before %v", now, expires)
	}
}

func pruneEndedOnly(f *fixture) {
	var jobs []errand.Job
	for _, s := range errand.States {
		j := f.write(change(f.insert(newJob()), expired, func(j *errand.Job) { j.State = s }))
		if !s.Ended() {
			jobs = append(jobs, j)
		}
	}
	if n := f.prune(100); n != 3 {
		f.Errorf("Prune: %d jobs, want the 3 that ended", n)
	}
	for _, j := range jobs {
		f.stored(j)
	}
	back := f.write(change(f.insert(newJob()), expired))
	back = f.write(change(back, inState(errand.Ready))) // a retry
	f.prune(100)
	f.stored(back)
}

func pruneLog(f *fixture) {
	j := f.log(f.insert(newJob()), 3, errand.EntryLog)
	f.write(change(j, expired))
	f.prune(1)
	f.gone(j.ID)
	if n := len(f.entries(j.ID, 0, 10)); n != 0 {
		f.Errorf("%d entries of a pruned job", n)
	}
}

func pruneLimit(f *fixture) {
	jobs := newJobs(10)
	f.insert(jobs...)
	changes := make([]errand.Change, len(jobs))
	for i, j := range jobs {
		changes[i] = change(j, expired)
	}
	f.write(changes...)
	for i, want := range []int{4, 4, 2, 0} {
		if n := f.prune(4); n != want {
			f.Errorf("call %d of Prune(4): %d jobs, want %d", i, n, want)
		}
	}
	f.gone(idsOf(jobs)...)
}

func pruneLinked(f *fixture) {
	j := f.insert(newJob())
	w := f.insert(newJob(after(j.ID)))
	j = f.write(change(j, expired))
	late := f.insert(newJob(after(j.ID)))
	for range 2 {
		if n := f.prune(10); n != 0 {
			f.Errorf("Prune: %d jobs, want none", n)
		}
		f.stored(j)
		for _, waiter := range []errand.Job{w, late} {
			c := change(waiter, inState(errand.Ready))
			c.Unblocks = []errand.ID{j.ID}
			if f.swap(c)[0] == errand.Written {
				break // one a round
			}
		}
	}
	if n := f.prune(10); n != 1 {
		f.Errorf("Prune once the links were used: %d jobs, want 1", n)
	}
	f.gone(j.ID)
}

func pruneLinkedLimit(f *fixture) {
	jobs := newJobs(6)
	f.insert(jobs...)
	changes := make([]errand.Change, len(jobs))
	for i, j := range jobs {
		changes[i] = change(j, expired)
		if i < 5 { // the ones that must stay expired first
			changes[i].Job.Expires = base.Add(-time.Hour)
		}
	}
	f.insert(newJob(after(idsOf(jobs[:5])...)))
	f.write(changes...)
	if n := f.prune(1); n != 1 {
		f.Errorf("Prune(1): %d jobs, want 1", n)
	}
	f.gone(jobs[5].ID)
}

func pruneChain(f *fixture) {
	j := f.insert(newJob())
	w := f.insert(newJob(after(j.ID)))
	j = f.write(change(j, ended(errand.Succeeded)))
	f.write(change(w, expired))
	if n := f.prune(10); n != 1 {
		f.Errorf("Prune: %d jobs, want the one that waited", n)
	}
	f.linked(nil)
	f.write(change(j, expired))
	if n := f.prune(10); n != 1 {
		f.Errorf("Prune: %d jobs, want the one it waited for", n)
	}
}
