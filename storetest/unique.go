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

var uniqueCases = []testCase{
	{"unique/until-ended", "the key is held while the job lives, its retries included, and free at its end", uniqueUntilEnded},
	{"unique/until-started", "such a key lets one job run and one wait: it is free from the first claim on, for good", uniqueUntilStarted},
	{"unique/until-time", "such a key is held for its window, whatever becomes of the job", uniqueUntilTime},
	{"unique/deleted", "a job that is gone holds nothing", uniqueDeleted},
	{"unique/pruned", "a job that is gone holds nothing", uniquePruned},
	{"unique/one-space", "a key means the same for every kind, queue and scope", uniqueOneSpace},
	{"unique/one-call", "a batch is gathered from many callers, two of whom may use one key", uniqueOneCall},
	{"unique/one-call-order", "of two jobs in one call the first one wins, as it would in two calls", uniqueOneCallOrder},
	{"unique/no-key", "no key is no conflict", uniqueNoKey},
	{"unique/exact", "keys are compared byte for byte", uniqueExact},
	{"unique/id-first", "a repeated insert is answered with the caller's own job, not with the holder of its key", uniqueIDFirst},
	{"unique/answer", "a conflict says which job is there and what it is doing", uniqueAnswer},
	{"unique/race", "two processes that enqueue at the same time get one job", uniqueRace},
}

var uniqueTimeCases = []testCase{
	{"unique/window-over", "a window that is over blocks nobody: the insert that meets it takes the key", uniqueWindowOver},
	{"unique/window-late", "a job that comes after its own window is kept out by a holder, but keeps nobody out", uniqueWindowLate},
	{"unique/window-past", "a window that was over when the job was made never held the key", uniqueWindowPast},
}

func uniqueUntilEnded(f *fixture) {
	for _, end := range []errand.State{errand.Succeeded, errand.Failed, errand.Cancelled} {
		key := "key " + string(end)
		key1 := unique(key, errand.UntilEnded)
		j := f.insert(newJob(key1))
		f.collides(newJob(key1), j.ID)
		j = f.claim(uuid.New(), 1)[0]
		f.collides(newJob(key1), j.ID)
		for _, s := range []errand.State{errand.Scheduled, errand.Paused, errand.Waiting} {
			j = f.write(change(j, inState(s)))
			f.collides(newJob(key1), j.ID)
		}
		f.write(change(j, ended(end)))
		next := f.insert(newJob(key1, inState(errand.Paused)))
		f.collides(newJob(key1), next.ID)
	}
}

func uniqueUntilStarted(f *fixture) {
	key := unique("k", errand.UntilStarted)
	j := f.insert(newJob(key, scheduled(future)))
	f.collides(newJob(key), j.ID)
	j = f.write(change(j, inState(errand.Paused)))
	f.collides(newJob(key), j.ID)
	f.write(change(j, inState(errand.Ready)))
	f.collides(newJob(key), j.ID)
	first := f.claim(uuid.New(), 1)[0]
	second := f.insert(newJob(key))
	f.collides(newJob(key), second.ID)
	f.write(change(first, inState(errand.Scheduled))) // its retry does not want the key back
	f.collides(newJob(key), second.ID)
	f.write(change(second, ended(errand.Cancelled))) // over without a start
	f.insert(newJob(key))
}

func uniqueUntilTime(f *fixture) {
	key := unique("k", errand.UntilTime)
	j := f.insert(newJob(key))
	f.collides(newJob(key), j.ID)
	j = f.claim(uuid.New(), 1)[0]
	f.collides(newJob(key), j.ID)
	f.write(change(j, ended(errand.Succeeded)))
	f.collides(newJob(key), j.ID)
}

func uniqueDeleted(f *fixture) {
	for _, scope := range []errand.Scope{errand.UntilEnded, errand.UntilStarted, errand.UntilTime} {
		key := unique(string(scope), scope)
		f.write(remove(f.insert(newJob(key))))
		f.insert(newJob(key))
	}
}

func uniquePruned(f *fixture) {
	key := unique("k", errand.UntilTime)
	j := f.insert(newJob(key))
	f.write(change(j, expired))
	f.collides(newJob(key), j.ID)
	f.prune(10)
	f.insert(newJob(key))
}

func uniqueOneSpace(f *fixture) {
	j := f.insert(newJob(unique("k", errand.UntilEnded)))
	f.collides(newJob(unique("k", errand.UntilStarted)), j.ID)
	f.collides(newJob(unique("k", errand.UntilTime)), j.ID)
	f.collides(newJob(unique("k", errand.UntilEnded), func(j *errand.Job) { j.Kind, j.Queue = "other", "other" }), j.ID)
}

func uniqueOneCall(f *fixture) {
	for _, scope := range []errand.Scope{errand.UntilEnded, errand.UntilStarted, errand.UntilTime} {
		jobs := newJobs(4, unique(string(scope), scope))
		jobs[2].Unique = "another " + string(scope)
		there := f.try(jobs...)
		if there[0] != nil || there[2] != nil {
			f.Errorf("%s: the first job with a key was not inserted", scope)
		}
		for _, i := range []int{1, 3} {
			if there[i] == nil || there[i].ID != jobs[0].ID {
				f.Errorf("%s: job %d with the key of job 0 is answered %v", scope, i, there[i])
			}
		}
		f.gone(jobs[1].ID, jobs[3].ID)
	}
}

func uniqueOneCallOrder(f *fixture) {
	key := unique("k", errand.UntilEnded)
	over := newJob(key, ended(errand.Succeeded)) // holds nothing
	first, second := newJob(key), newJob(key)
	there := f.try(over, first, second)
	if there[0] != nil || there[1] != nil || there[2] == nil || there[2].ID != first.ID {
		f.Errorf("answers %v, want nil, nil and the second job of the call", there)
	}
}

func uniqueNoKey(f *fixture) { f.insert(newJobs(3, unique("", errand.UntilEnded))...) }

func uniqueExact(f *fixture) {
	keys := []string{"key", "KEY", "key ", " key", "ke\u0301y", "k\u00e9y", "ß", "ss"}
	jobs := newJobs(len(keys))
	for i, key := range keys {
		unique(key, errand.UntilEnded)(&jobs[i])
	}
	f.insert(jobs...)
	f.collides(newJob(unique("KEY", errand.UntilEnded)), jobs[1].ID)
}

func uniqueIDFirst(f *fixture) {
	mine := f.insert(newJob(unique("mine", errand.UntilEnded)))
	f.insert(newJob(unique("other", errand.UntilEnded)))
	f.collides(newJob(unique("other", errand.UntilEnded), func(j *errand.Job) { j.ID = mine.ID }), mine.ID)
}

func uniqueAnswer(f *fixture) {
	key := unique("k", errand.UntilEnded)
	j := f.running(uuid.New(), key)
	there := f.try(newJob(), newJob(key), newJob())
	if there[0] != nil || there[1] == nil || there[2] != nil {
		f.Fatalf("answers %v, want only the second to be there", there)
	}
	f.equal("the answer", j, *there[1])
}

func uniqueRace(f *fixture) {
	const callers, keys = 8, 20
	var inserted atomic.Int64
	f.together(callers, func(ctx context.Context, i int) error {
		jobs := newJobs(keys)
		for k := range jobs {
			unique(fmt.Sprint("key", k), errand.UntilEnded)(&jobs[k])
		}
		if i%2 == 1 { // the opposite order, which must not lock the two up
			slices.Reverse(jobs)
		}
		there, err := f.store.Insert(ctx, jobs)
		for _, j := range there {
			if j == nil {
				inserted.Add(1)
			}
		}
		return err
	})
	if n := inserted.Load(); n != keys {
		f.Errorf("%d jobs were inserted for %d keys", n, keys)
	}
	if n := len(f.listAll(errand.Query{})); n != keys {
		f.Errorf("%d jobs are there for %d keys", n, keys)
	}
}

func uniqueWindowOver(f *fixture) {
	until := f.now().Add(150 * time.Millisecond).Truncate(time.Microsecond)
	key := unique("k", errand.UntilTime)
	first := f.insert(newJob(key, func(j *errand.Job) { j.UniqueUntil = until }))
	there := f.try(newJob(key))[0]
	if f.now().Before(until) && (there == nil || there.ID != first.ID) {
		f.Fatalf("the key was free %v before its time", until.Sub(f.now()))
	}
	if there != nil { // else all this has taken longer than the window
		f.eventually("the key is free", func() bool { return f.try(newJob(key))[0] == nil })
	}
	if now := f.now(); now.Before(until) {
		f.Errorf("the key was free at %v, before %v", now, until)
	}
	holder := f.try(newJob(key))[0]
	if holder == nil || holder.ID == first.ID {
		f.Fatalf("the key is held by %v, want by the job that took it over", holder)
	}
	f.write(change(f.get(first.ID), ended(errand.Succeeded))) // it takes nothing back
	f.collides(newJob(key), holder.ID)
	f.write(remove(f.get(first.ID))) // and has nothing to free
	f.collides(newJob(key), holder.ID)
}

func uniqueWindowLate(f *fixture) {
	holder := f.insert(newJob(unique("k", errand.UntilTime)))
	late := func(j *errand.Job) {
		j.Unique, j.UniqueScope, j.UniqueUntil = "k", errand.UntilTime, base.Add(time.Second)
	}
	f.collides(newJob(late), holder.ID)
	f.write(remove(holder))
	f.insert(newJobs(15, late)...)
	f.insert(newJob(late))
	f.insert(newJob(unique("k", errand.UntilEnded)))
}

func uniqueWindowPast(f *fixture) {
	past := func(j *errand.Job) { j.Unique, j.UniqueScope, j.UniqueUntil = "k", errand.UntilTime, base }
	f.insert(newJobs(2, past)...)
	f.insert(newJob(past))
	f.insert(newJob(unique("k", errand.UntilEnded)))
}
