package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var claimCases = []testCase{
	{"claim/fields", "the claim gives the run all that its end needs, so that a finish reads nothing", claimFields},
	{"claim/priority", "urgent work first, then what has been due for longest", claimPriority},
	{"claim/insertion", "jobs alike run in the order in which they were enqueued", claimInsertion},
	{"claim/insertion-kept", "a job that was paused or retried keeps its place among its like", claimInsertionKept},
	{"claim/limit", "a worker never gets more than it has room for", claimLimit},
	{"claim/lanes", "a lane is one queue and some kinds: a job goes only to a worker that can run it", claimLanes},
	{"claim/lane-order", "lanes are served one after the other, each in its own order", claimLaneOrder},
	{"claim/lanes-overlap", "a job is taken once though two lanes of one claim would have it", claimOverlap},
	{"claim/ready-only", "nothing but a ready job starts", claimReadyOnly},
	{"claim/ready-is-ready", "whether a job may start was decided when it became ready: a store with a slow clock must not hold it back", claimReadyDue},
	{"claim/again", "the fencing token grows with every claim, so that an old run never looks like the new one", claimAgain},
	{"claim/lost-reply", "what was claimed and never heard of is found by session and state, and handed back", claimLostReply},
	{"claim/none", "an idle worker asks again and again", claimNone},
}

var claimRaceCases = []testCase{
	{"claim/race", "a job that two workers take at the same time runs twice", claimRace},
	{"claim/race-life", "claims, finishes and inserts at the same time neither fail nor lose or double a job", claimRaceLife},
}

func claimFields(f *fixture) {
	session := uuid.New()
	j := f.insert(newJob(fullNew, func(j *errand.Job) { j.State, j.Kind, j.Queue = errand.Ready, "kind", "default" }))
	before := f.now()
	got := f.claim(session, 5)
	now := f.now()
	if len(got) != 1 {
		f.Fatalf("Claim: %d jobs, want 1", len(got))
	}
	checkTimes(f, got[0])
	if s := got[0].Started; s.Before(before.Truncate(time.Microsecond)) || s.After(now) {
		f.Errorf("Started = %v, want between %v and %v, by the store's clock", s, before, now)
	}
	want := j
	want.State, want.Worker, want.Started = errand.Running, session, got[0].Started
	want.Version, want.Token, want.Attempt = j.Version+1, 1, 1
	f.equal("the claimed job", want, got[0])
	f.stored(want)
}

func claimPriority(f *fixture) {
	at := func(priority, minute int) errand.Job {
		return newJob(func(j *errand.Job) {
			j.Priority, j.Due = priority, base.Add(time.Duration(minute)*time.Minute)
		})
	}
	jobs := []errand.Job{at(0, 2), at(-5, 0), at(9, 3), at(0, 1), at(9, 1), at(-5, -9), at(100, 50)}
	f.insert(jobs...)
	var want []errand.ID
	for _, i := range []int{6, 4, 2, 3, 0, 5, 1} {
		want = append(want, jobs[i].ID)
	}
	got := f.claim(uuid.New(), 3)
	got = append(got, f.claim(uuid.New(), 1)...)
	got = append(got, f.claim(uuid.New(), 10)...)
	f.sameIDs("the order of claims", want, got)
}

func claimInsertion(f *fixture) {
	jobs := newJobs(12)
	f.insert(jobs[:7]...)
	f.insert(jobs[7])
	f.insert(jobs[8:]...)
	got := append(f.claim(uuid.New(), 5), f.claim(uuid.New(), 10)...)
	f.sameIDs("the order of claims", idsOf(jobs), got)
}

func claimInsertionKept(f *fixture) {
	jobs := newJobs(5)
	f.insert(jobs...)
	f.write(change(f.write(change(jobs[1], inState(errand.Paused))), inState(errand.Ready)))
	f.write(change(f.claim(uuid.New(), 1)[0], inState(errand.Ready)))
	f.sameIDs("the order of claims", idsOf(jobs), f.claim(uuid.New(), 10))
}

func claimLimit(f *fixture) {
	f.insert(newJobs(10)...)
	for _, limit := range []int{3, 0, 1, 4} {
		if n := len(f.claim(uuid.New(), limit)); n != limit {
			f.Errorf("Claim with limit %d of many: %d jobs", limit, n)
		}
	}
	if n := len(f.claim(uuid.New(), 3)); n != 2 {
		f.Errorf("Claim of 3 where 2 are left: %d jobs", n)
	}
}

// in returns a job of a queue and kind.
func in(queue, kind string) errand.Job {
	return newJob(func(j *errand.Job) { j.Queue, j.Kind = queue, kind })
}

func claimLanes(f *fixture) {
	ax, ay, az, bx, by := in("a", "x"), in("a", "y"), in("a", "z"), in("b", "x"), in("b", "y")
	f.insert(ax, ay, az, bx, by)
	f.sameIDs("queue c", nil, f.claims(uuid.New(), lane("c", 9, "x", "y", "z")).Jobs)
	f.sameIDs("kind w", nil, f.claims(uuid.New(), lane("a", 9, "w")).Jobs)
	f.sameIDs("queue a, kinds y, z, w", []errand.ID{ay.ID, az.ID}, f.claims(uuid.New(), lane("a", 9, "y", "z", "w")).Jobs)
	f.sameIDs("queue b, kind y", []errand.ID{by.ID}, f.claims(uuid.New(), lane("b", 9, "y")).Jobs)
	for id, want := range map[errand.ID]errand.State{ax.ID: errand.Ready, bx.ID: errand.Ready, ay.ID: errand.Running} {
		if s := f.get(id).State; s != want {
			f.Errorf("State = %s, want %s", s, want)
		}
	}
}

func claimLaneOrder(f *fixture) {
	low := func(j errand.Job) errand.Job { j.Priority = -1; return j }
	jobs := []errand.Job{low(in("a", "x")), in("a", "x"), low(in("b", "x")), in("b", "x"), in("a", "x")}
	f.insert(jobs...)
	got := f.claims(uuid.New(), lane("b", 5, "x"), lane("a", 2, "x"), lane("c", 1, "x")).Jobs
	f.sameIDs("the claim", []errand.ID{jobs[3].ID, jobs[2].ID, jobs[1].ID, jobs[4].ID}, got)
}

func claimOverlap(f *fixture) {
	jobs := []errand.Job{in("a", "x"), in("a", "y"), in("a", "x"), in("a", "y"), in("a", "z")}
	f.insert(jobs...)
	got := f.claims(uuid.New(), lane("a", 1, "x", "y"), lane("a", 9, "x", "y"), lane("a", 9, "x")).Jobs
	f.sameIDs("the claim", idsOf(jobs[:4]), got)
	for _, j := range got {
		if j.Token != 1 || j.Version != 2 {
			f.Errorf("Token, Version = %d, %d, want 1, 2", j.Token, j.Version)
		}
	}
}

func claimReadyOnly(f *fixture) {
	f.insert(newJob(scheduled(future)), newJob(after(uuid.New())), newJob(inState(errand.Paused)))
	running := f.running(uuid.New())
	for _, end := range []errand.State{errand.Succeeded, errand.Failed, errand.Cancelled} {
		f.write(change(f.insert(newJob()), ended(end)))
	}
	f.sameIDs("Claim without a ready job", nil, f.claim(uuid.New(), 10))
	f.stored(running)
}

func claimReadyDue(f *fixture) {
	j := f.insert(newJob(func(j *errand.Job) { j.Due = future }))
	f.sameIDs("Claim of a ready job whose Due is to come", []errand.ID{j.ID}, f.claim(uuid.New(), 1))
}

func claimAgain(f *fixture) {
	j := f.insert(newJob())
	for run := range int64(4) {
		session := uuid.New()
		got := f.claim(session, 1)
		if len(got) != 1 {
			f.Fatalf("run %d: %d jobs", run, len(got))
		}
		want := j
		want.State, want.Worker, want.Started = errand.Running, session, got[0].Started
		want.Token, want.Attempt, want.Version = run+1, j.Attempt+1, j.Version+1
		f.equal("the claimed job", want, got[0])
		j = f.write(change(got[0], inState(errand.Ready), func(j *errand.Job) {
			j.Attempt = 0 // snooze and retry give attempts back, the token stays
			j.Version += 10
		}))
		f.stored(j)
	}
}

func claimLostReply(f *fixture) {
	session := uuid.New()
	f.insert(newJobs(3)...)
	lost := f.claim(session, 2)
	f.claim(uuid.New(), 1)
	got := f.list(errand.Query{States: []errand.State{errand.Running}, Worker: session}).Jobs
	f.sameIDs("List by session", []errand.ID{lost[1].ID, lost[0].ID}, got)
}

func claimNone(f *fixture) {
	for range 3 {
		got := f.claims(uuid.New(), lane("default", 100))
		if len(got.Jobs) != 0 || !got.Next.IsZero() {
			f.Errorf("Claim in an empty store: %d jobs, Next %v", len(got.Jobs), got.Next)
		}
	}
}

// tally counts how often each job was seen, from many goroutines.
type tally struct {
	mu   sync.Mutex
	seen map[errand.ID]int
}

// add counts jobs and reports the first that is no first run, and how many there are by now.
func (t *tally) add(jobs []errand.Job) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[errand.ID]int{}
	}
	var err error
	for _, j := range jobs {
		t.seen[j.ID]++
		if t.seen[j.ID] > 1 || j.Token != 1 || j.State != errand.Running {
			err = fmt.Errorf("job %s was claimed %d times: state %s, token %d", j.ID, t.seen[j.ID], j.State, j.Token)
		}
	}
	return len(t.seen), err
}

func claimRace(f *fixture) {
	const workers, jobs = 8, 600
	all := newJobs(jobs)
	for i := range all {
		if i%3 == 0 {
			scheduled(base)(&all[i]) // these are woken in the same call
		}
	}
	f.insert(all...)
	var t tally
	f.together(workers, func(ctx context.Context, i int) error {
		claim := errand.Claim{Session: uuid.New(), Lanes: []errand.Lane{lane("default", 5+i)}}
		for {
			got, err := f.store.Claim(ctx, claim)
			if err != nil {
				return err
			}
			// Nothing is left, or other calls under way hold what is left: then they count it.
			if _, err = t.add(got.Jobs); err != nil || len(got.Jobs) == 0 {
				return err
			}
		}
	})
	if n, err := t.add(f.claim(uuid.New(), jobs)); err != nil || n != jobs {
		f.Errorf("%d of %d jobs were claimed: %v", n, jobs, err)
	}
}

func claimRaceLife(f *fixture) {
	const workers, size, batches = 3, 20, 6
	var t tally
	f.together(2*workers, func(ctx context.Context, i int) error {
		if i < workers {
			for range batches {
				if _, err := f.store.Insert(ctx, newJobs(size)); err != nil {
					return err
				}
			}
			return nil
		}
		return workUntil(ctx, f.store, &t, workers*size*batches)
	})
	done := f.listAll(errand.Query{States: []errand.State{errand.Succeeded}})
	if len(done) != workers*size*batches {
		f.Errorf("%d jobs succeeded, want %d", len(done), workers*size*batches)
	}
}

// workUntil claims and finishes jobs until all workers together have claimed total.
func workUntil(ctx context.Context, store errand.Store, t *tally, total int) error {
	claim := errand.Claim{Session: uuid.New(), Lanes: []errand.Lane{lane("default", 15)}}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		got, err := store.Claim(ctx, claim)
		if err != nil {
			return err
		}
		n, err := t.add(got.Jobs)
		if err != nil {
			return err
		}
		changes := make([]errand.Change, len(got.Jobs))
		for i, j := range got.Jobs {
			changes[i] = change(j, ended(errand.Succeeded))
		}
		out, err := store.Swap(ctx, changes)
		if err != nil {
			return err
		}
		for _, s := range out {
			if s != errand.Written {
				return fmt.Errorf("the finish of a run is %s", outcome(s))
			}
		}
		if n == total {
			return nil
		}
		if len(got.Jobs) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return fmt.Errorf("not all of %d jobs were claimed in 30 seconds", total)
}
