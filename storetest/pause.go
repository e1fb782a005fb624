package storetest

import (
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var pauseCases = []testCase{
	{"pause/claim", "no job of a paused queue starts, and those of others do", pauseClaim},
	{"pause/wake", "a paused queue holds back nothing but claims: its due jobs become ready", pauseWake},
	{"pause/running", "jobs that run when their queue is paused go on and end", pauseRunning},
	{"pause/resume", "after a pause jobs start in the order in which they would have", pauseResume},
	{"pause/fields", "a pause says since when, by whom and why", pauseFields},
	{"pause/twice", "the first pause is the one that is kept, and the second is no error", pauseTwice},
	{"pause/not-paused", "resuming what is not paused, or not there, changes nothing", pauseNotPaused},
	{"pause/sorted", "a list without an order cannot be compared or shown", pauseSorted},
	{"pause/exact", "names of queues are compared byte for byte", pauseExact},
}

func (f *fixture) pauseQueue(queue string) {
	f.Helper()
	if err := f.store.PauseQueue(f.Context(), errand.QueuePause{Queue: queue, Since: base, Actor: "a", Reason: "r"}); err != nil {
		f.Fatalf("PauseQueue: %v", err)
	}
}

func (f *fixture) resumeQueue(queue string) {
	f.Helper()
	if err := f.store.ResumeQueue(f.Context(), queue); err != nil {
		f.Fatalf("ResumeQueue: %v", err)
	}
}

// paused checks which queues are paused, in their order, and returns the pauses.
func (f *fixture) paused(want ...string) []errand.QueuePause {
	f.Helper()
	got, err := f.store.PausedQueues(f.Context())
	if err != nil {
		f.Fatalf("PausedQueues: %v", err)
	}
	var names []string
	for _, p := range got {
		names = append(names, p.Queue)
	}
	f.equal("the paused queues", want, names)
	return got
}

func inQueue(name string) func(*errand.Job) { return func(j *errand.Job) { j.Queue = name } }

func pauseClaim(f *fixture) {
	f.insert(newJobs(3)...)
	other := f.insert(newJob(inQueue("other")))
	f.pauseQueue("default")
	got := f.claims(uuid.New(), lane("default", 2), lane("other", 2), lane("default", 5))
	f.sameIDs("the claimed jobs", []errand.ID{other.ID}, got.Jobs)
	if n := len(f.claim(uuid.New(), 10)); n != 0 {
		f.Errorf("%d jobs of a paused queue were claimed", n)
	}
	f.insert(newJobs(60)...) // jobs that come later are held back too
	if n := len(f.claim(uuid.New(), 10)); n != 0 {
		f.Errorf("%d jobs that came to a paused queue were claimed", n)
	}
}

func pauseWake(f *fixture) {
	j := f.insert(newJob(scheduled(base)))
	next := f.insert(newJob(scheduled(future)))
	f.pauseQueue("default")
	got := f.claims(uuid.New(), lane("default", 5))
	if len(got.Jobs) != 0 || !got.Next.Equal(next.Due) {
		f.Errorf("Claim: %d jobs, next due %v; want none and %v", len(got.Jobs), got.Next, next.Due)
	}
	if s := f.get(j.ID).State; s != errand.Ready {
		f.Errorf("the due job of a paused queue is %s, want ready", s)
	}
}

func pauseRunning(f *fixture) {
	s := newSession(time.Hour)
	f.beat(s)
	j := f.running(s.ID)
	f.pauseQueue("default")
	if p := f.beat(s, errand.Lease{ID: j.ID, Token: j.Token}); len(p.Changed) != 0 {
		f.Errorf("a heartbeat tells of %d changed jobs because their queue was paused", len(p.Changed))
	}
	f.stored(j)
	f.stored(f.write(change(j, ended(errand.Succeeded))))
}

func pauseResume(f *fixture) {
	jobs := newJobs(5)
	f.insert(jobs[:2]...)
	f.pauseQueue("default")
	f.claim(uuid.New(), 5)
	f.insert(jobs[2:]...)
	f.resumeQueue("default")
	f.paused()
	f.sameIDs("the order of claims", idsOf(jobs), f.claim(uuid.New(), 10))
}

func pauseFields(f *fixture) {
	want := errand.QueuePause{Queue: `q "ü" 'x'`, Since: base, Actor: "somebody 'ü'", Reason: "a long\nreason"}
	if err := f.store.PauseQueue(f.Context(), want); err != nil {
		f.Fatalf("PauseQueue: %v", err)
	}
	plain := errand.QueuePause{Queue: "plain", Since: base.Add(time.Microsecond)}
	if err := f.store.PauseQueue(f.Context(), plain); err != nil {
		f.Fatalf("PauseQueue: %v", err)
	}
	f.equal("the pauses", []errand.QueuePause{plain, want}, f.paused("plain", want.Queue))
}

func pauseTwice(f *fixture) {
	f.pauseQueue("default")
	if err := f.store.PauseQueue(f.Context(), errand.QueuePause{Queue: "default", Since: future, Actor: "another"}); err != nil {
		f.Fatalf("PauseQueue of a paused queue: %v", err)
	}
	if p := f.paused("default"); len(p) == 1 && (p[0].Actor != "a" || !p[0].Since.Equal(base)) {
		f.Errorf("the pause is now %+v, want the first one", p[0])
	}
	f.resumeQueue("default")
	f.insert(newJob())
	if n := len(f.claim(uuid.New(), 1)); n != 1 {
		f.Errorf("one resume does not end a pause that was asked for twice")
	}
}

func pauseNotPaused(f *fixture) {
	f.insert(newJob())
	f.resumeQueue("default")
	f.resumeQueue("none")
	f.pauseQueue("other")
	f.resumeQueue("default")
	f.paused("other")
	if n := len(f.claim(uuid.New(), 1)); n != 1 {
		f.Errorf("%d jobs were claimed, want 1", n)
	}
}

func pauseSorted(f *fixture) {
	for _, queue := range []string{"b", "a", "C", "ä", "a b", "B"} {
		f.pauseQueue(queue)
	}
	f.paused("B", "C", "a", "a b", "b", "ä")
}

func pauseExact(f *fixture) {
	f.insert(newJob(inQueue("Q")), newJob(inQueue("q ")))
	f.pauseQueue("q")
	if n := len(f.claims(uuid.New(), lane("Q", 1), lane("q ", 1)).Jobs); n != 2 {
		f.Errorf("%d jobs of queues with similar names were claimed, want 2", n)
	}
}
