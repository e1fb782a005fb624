package storetest

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var wakeCases = []testCase{
	{"wake/due", "a job whose time has come is woken and taken in one call, each a change of its own", wakeDue},
	{"wake/not-due", "a job never starts before its time", wakeNotDue},
	{"wake/comes-due", "a claimer sleeps until Next: what it says must be exact, and true", wakeComesDue},
	{"wake/next", "Next is the earliest of all that still wait, whoever may run them", wakeNext},
	{"wake/any-claim", "there is no leader: any claim wakes whatever is due, of any queue and kind", wakeAnyClaim},
	{"wake/order", "what was woken takes its place by priority, due time and insertion like any other", wakeOrder},
	{"wake/bound", "a hundred thousand jobs due at once do not make one claim take seconds: the earliest are first", wakeBound},
	{"wake/only-scheduled", "a paused job, or one that waits for others, is not woken by the clock", wakeOnlyScheduled},
}

func wakeDue(f *fixture) {
	session := uuid.New()
	j := f.insert(newJob(scheduled(base)))
	got := f.claims(session, lane("default", 1))
	if len(got.Jobs) != 1 || !got.Next.IsZero() {
		f.Fatalf("Claim: %d jobs, Next %v, want one job and no Next", len(got.Jobs), got.Next)
	}
	want := j
	want.State, want.Worker, want.Started = errand.Running, session, got.Jobs[0].Started
	want.Version, want.Token, want.Attempt = j.Version+2, 1, 1
	f.equal("the claimed job", want, got.Jobs[0])
	f.stored(want)
}

func wakeNotDue(f *fixture) {
	j := f.insert(newJob(scheduled(future)))
	got := f.claims(uuid.New(), lane("default", 1))
	if len(got.Jobs) != 0 || !got.Next.Equal(future) {
		f.Errorf("Claim: %d jobs, Next %v, want none and %v", len(got.Jobs), got.Next, future)
	}
	f.stored(j)
}

func wakeComesDue(f *fixture) {
	due := f.now().Add(60 * time.Millisecond).Truncate(time.Microsecond)
	f.insert(newJob(scheduled(due)))
	got := f.claims(uuid.New(), lane("default", 1))
	if len(got.Jobs) == 0 && !got.Next.Equal(due) {
		f.Errorf("Next = %v, want %v", got.Next, due)
	}
	if loc := got.Next.Location(); loc != time.UTC {
		f.Errorf("Next is in %v, want UTC", loc)
	}
	f.eventually("the job is claimed", func() bool {
		if len(got.Jobs) == 0 {
			got = f.claims(uuid.New(), lane("default", 1))
		}
		return len(got.Jobs) > 0
	})
	if s := got.Jobs[0].Started; s.Before(due) {
		f.Errorf("started at %v, before it was due at %v", s, due)
	}
}

func wakeNext(f *fixture) {
	jobs := newJobs(4, scheduled(future))
	for i := range jobs {
		jobs[i].Due = future.Add(time.Duration(3-i) * time.Microsecond)
	}
	jobs[3].Queue, jobs[3].Kind = "other", "other"
	f.insert(jobs...)
	f.insert(newJob(scheduled(base)), newJob(func(j *errand.Job) { j.State, j.Due = errand.Paused, base }))
	for _, want := range []errand.Job{jobs[3], jobs[2], jobs[1], jobs[0]} {
		got := f.claims(uuid.New(), lane("default", 1))
		if !got.Next.Equal(want.Due) {
			f.Errorf("Next = %v, want %v", got.Next, want.Due)
		}
		f.write(change(want, ended(errand.Cancelled)))
	}
	if got := f.claims(uuid.New(), lane("default", 1)); !got.Next.IsZero() {
		f.Errorf("Next = %v with nothing scheduled", got.Next)
	}
}

func wakeAnyClaim(f *fixture) {
	jobs := newJobs(3, scheduled(base))
	jobs[1].Queue, jobs[2].Kind = "other", "other"
	f.insert(jobs...)
	f.claims(uuid.New()) // no lane at all
	for _, j := range jobs {
		j.State, j.Version = errand.Ready, j.Version+1
		f.stored(j)
	}
}

func wakeOrder(f *fixture) {
	jobs := newJobs(6)
	for i := range jobs {
		if i%2 == 0 {
			jobs[i].State = errand.Scheduled
		}
	}
	jobs[4].Priority = 1
	jobs[2].Due = base.Add(-time.Hour)
	f.insert(jobs...)
	var want []errand.ID
	for _, i := range []int{4, 2, 0, 1, 3, 5} {
		want = append(want, jobs[i].ID)
	}
	f.sameIDs("the order of claims", want, f.claim(uuid.New(), 10))
}

func wakeBound(f *fixture) {
	const more = 200
	jobs := newJobs(errand.MaxWake+more, scheduled(base))
	for i := range jobs { // inserted with the latest first
		jobs[i].Due = base.Add(time.Duration(len(jobs)-i) * time.Second)
	}
	f.insert(jobs...)
	slices.Reverse(jobs)
	first := f.claims(uuid.New(), lane("default", len(jobs)))
	f.sameIDs("the first claim", idsOf(jobs[:errand.MaxWake]), first.Jobs)
	if want := jobs[errand.MaxWake].Due; !first.Next.Equal(want) {
		f.Errorf("Next = %v, want %v, the earliest that was left", first.Next, want)
	}
	second := f.claims(uuid.New(), lane("default", len(jobs)))
	f.sameIDs("the second claim", idsOf(jobs[errand.MaxWake:]), second.Jobs)
	if !second.Next.IsZero() {
		f.Errorf("Next = %v, want none", second.Next)
	}
}

func wakeOnlyScheduled(f *fixture) {
	paused := f.insert(newJob(inState(errand.Paused)))
	waiting := f.insert(newJob(after(uuid.New())))
	if got := f.claims(uuid.New(), lane("default", 5)); len(got.Jobs) > 0 || !got.Next.IsZero() {
		f.Errorf("Claim: %d jobs, Next %v, want nothing", len(got.Jobs), got.Next)
	}
	f.stored(paused)
	f.stored(waiting)
}
