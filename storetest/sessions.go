package storetest

import (
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var sessionCases = []testCase{
	{"sessions/fields", "the list of workers shows what each says of itself", sessionsFields},
	{"sessions/rewrite", "a heartbeat carries the worker's present figures", sessionsRewrite},
	{"sessions/order", "of many restarts the newest is of interest", sessionsOrder},
	{"sessions/remove", "a worker that leaves in good order is gone at once", sessionsRemove},
	{"sessions/lapsed", "a worker that was lost is still shown, so that somebody sees it", sessionsLapsed},
}

var beatCases = []testCase{
	{"beat/now", "the engine reads the store's clock from the heartbeat: it goes on and never back", beatNow},
	{"beat/quiet", "a run that goes on as it should needs no word", beatQuiet},
	{"beat/changed", "a worker must hear of every run that it no longer holds or that somebody wants to stop", beatChanged},
	{"beat/token", "a job that was taken from a session and given back to it is another run", beatToken},
	{"beat/reads-only", "a heartbeat changes no job", beatReadsOnly},
}

var orphanCases = []testCase{
	{"orphans/unknown-session", "a worker that died before its first heartbeat leaves its jobs to others", orphansUnknown},
	{"orphans/alive", "the job of a living worker is never taken, however long it runs", orphansAlive},
	{"orphans/lapsed", "a worker that sends no heartbeats has lost its jobs", orphansLapsed},
	{"orphans/revived", "a heartbeat that comes late renews the lease all the same", orphansRevived},
	{"orphans/left", "a session that was removed holds nothing", orphansLeft},
	{"orphans/running-only", "only a running job is held by anybody", orphansRunningOnly},
	{"orphans/limit", "after an outage there may be very many", orphansLimit},
}

func sessionsFields(f *fixture) {
	s := errand.Session{
		ID: uuid.New(), Host: "žluť-01", PID: 4_194_304, Version: "v1.2.3", Started: base, Lease: 90 * time.Second,
		Queues: map[string]int{"default": 10, "média": 2}, Kinds: []string{"b", "a", "猫"},
		Running: 7, Refused: math.MaxInt64,
	}
	now := f.beat(s).Now
	got := f.sessions()
	if len(got) != 1 {
		f.Fatalf("%d sessions, want 1", len(got))
	}
	checkTimes(f, got[0])
	s.Expires = now.Add(s.Lease)
	f.equal("the session", s, got[0])
}

func sessionsRewrite(f *fixture) {
	s := newSession(time.Hour)
	s.Kinds, s.Queues = []string{"a"}, map[string]int{"a": 1}
	f.beat(s)
	f.beat(newSession(time.Hour))
	s.Running, s.Refused, s.Lease, s.Kinds, s.Queues = 3, 2, 2*time.Hour, []string{"a", "b"}, map[string]int{"b": 2}
	s.Started = base.Add(time.Millisecond) // its first guess of the store's clock was wrong
	s.Expires = f.beat(s).Now.Add(s.Lease)
	got := f.sessions()
	i := slices.IndexFunc(got, func(x errand.Session) bool { return x.ID == s.ID })
	if len(got) != 2 || i < 0 {
		f.Fatalf("%d sessions, want 2, and the one that was written", len(got))
	}
	f.equal("the session", s, got[i])
}

func sessionsOrder(f *fixture) {
	var want, got []uuid.UUID
	for _, hours := range []int{3, 5, 1, 4, 2} {
		s := newSession(time.Hour)
		s.Started = base.Add(time.Duration(hours) * time.Hour)
		f.beat(s)
		want = append(want, s.ID)
	}
	for _, s := range f.sessions() {
		got = append(got, s.ID)
	}
	f.equal("the order of sessions", []uuid.UUID{want[1], want[3], want[0], want[4], want[2]}, got)
}

func sessionsRemove(f *fixture) {
	s, other := newSession(time.Hour), newSession(time.Hour)
	f.beat(s)
	f.beat(other)
	s.Lease = 0
	for range 2 { // it is safe to repeat
		f.beat(s)
		if got := f.sessions(); len(got) != 1 || got[0].ID != other.ID {
			f.Errorf("%d sessions, want the other one alone", len(got))
		}
	}
	f.beat(errand.Session{ID: uuid.New()}) // one that never was there
	if n := len(f.sessions()); n != 1 {
		f.Errorf("%d sessions, want 1", n)
	}
}

func sessionsLapsed(f *fixture) {
	s := newSession(time.Millisecond)
	f.beat(s)
	f.eventually("the session has lapsed", func() bool {
		now, got := f.now(), f.sessions()
		if len(got) != 1 || got[0].ID != s.ID {
			f.Fatalf("%d sessions, want the one that lapsed a moment ago", len(got))
		}
		return now.After(got[0].Expires)
	})
}

func beatNow(f *fixture) {
	s := newSession(time.Hour)
	last := f.beat(s).Now
	checkTimes(f, f.beat(s))
	f.eventually("the clock goes on", func() bool {
		now := f.now()
		if now.Before(last) {
			f.Fatalf("the clock went back from %v to %v", last, now)
		}
		return now.After(last)
	})
	if d := time.Since(last).Abs(); d > 24*time.Hour {
		f.Errorf("the store's clock is %v away from this machine's", d)
	}
}

func lease(j errand.Job) errand.Lease { return errand.Lease{ID: j.ID, Token: j.Token} }

func beatQuiet(f *fixture) {
	s := newSession(time.Hour)
	j := f.running(s.ID)
	j = f.write(change(j, func(j *errand.Job) { j.Progress.Done = 1 }))
	for range 2 {
		if p := f.beat(s, lease(j)); len(p.Changed) > 0 {
			f.Errorf("Changed = %v, want none", p.Changed)
		}
	}
	if p := f.beat(s); len(p.Changed) > 0 {
		f.Errorf("Changed = %v for no lease", p.Changed)
	}
}

func beatChanged(f *fixture) {
	s := newSession(time.Hour)
	var runs []errand.Lease
	want := map[errand.ID]errand.Job{}
	add := func(edits ...func(*errand.Job)) {
		j := f.running(s.ID)
		runs = append(runs, lease(j))
		want[j.ID] = f.write(change(j, edits...))
	}
	add(func(j *errand.Job) { j.Want, j.Actor, j.Reason = errand.Paused, "ann", "why" })
	add(func(j *errand.Job) { j.Want = errand.Cancelled })
	for _, state := range errand.States {
		if state != errand.Running && state != errand.Ready {
			add(func(j *errand.Job) { j.State, j.Due = state, future })
		}
	}
	deleted, taken, quiet := f.running(s.ID), f.running(s.ID), f.running(s.ID)
	f.write(remove(deleted))
	want[deleted.ID] = errand.Job{ID: deleted.ID}
	unknown := errand.Lease{ID: uuid.New(), Token: 1}
	want[unknown.ID] = errand.Job{ID: unknown.ID}
	f.write(change(taken, inState(errand.Ready)))
	want[taken.ID] = f.claim(uuid.New(), 1)[0]
	runs = append(runs, lease(deleted), unknown, lease(taken), lease(quiet))
	got := map[errand.ID]errand.Job{}
	p := f.beat(s, runs...)
	for _, j := range p.Changed {
		got[j.ID] = j
		checkTimes(f, j)
	}
	f.equal("what has changed", want, got)
	if len(p.Changed) != len(want) {
		f.Errorf("%d jobs in Changed, want %d", len(p.Changed), len(want))
	}
}

func beatToken(f *fixture) {
	s := newSession(time.Hour)
	old := f.running(s.ID)
	f.write(change(old, inState(errand.Ready)))
	run := f.claim(s.ID, 1)[0]
	p := f.beat(s, lease(old))
	f.equal("what has changed", []errand.Job{run}, p.Changed)
	if p = f.beat(s, lease(run)); len(p.Changed) > 0 {
		f.Errorf("Changed = %v for the run under way", p.Changed)
	}
}

func beatReadsOnly(f *fixture) {
	s := newSession(time.Hour)
	j := f.running(s.ID)
	j = f.write(change(j, func(j *errand.Job) { j.Want = errand.Paused }))
	f.beat(s, lease(j))
	f.stored(j)
	s.Lease = 0
	f.beat(s, lease(j))
	f.stored(j)
}

func orphansUnknown(f *fixture) {
	j := f.running(uuid.New())
	got := f.orphans(10)
	f.equal("the orphans", []errand.Job{j}, got)
	f.stored(j) // naming an orphan is not rescuing it
}

func orphansAlive(f *fixture) {
	s := newSession(time.Hour)
	f.beat(s)
	f.running(s.ID)
	f.sameIDs("the orphans", nil, f.orphans(10))
}

func orphansLapsed(f *fixture) {
	alive, s := newSession(time.Hour), newSession(40*time.Millisecond)
	f.beat(alive)
	f.running(alive.ID)
	f.beat(s)
	j := f.running(s.ID)
	expires := f.sessions()[0].Expires
	for _, x := range f.sessions() {
		if x.ID == s.ID {
			expires = x.Expires
		}
	}
	f.eventually("the job is an orphan", func() bool {
		got := f.orphans(10)
		if now := f.now(); len(got) > 0 && now.Before(expires) {
			f.Fatalf("an orphan at %v, before the lease ended at %v", now, expires)
		}
		return len(got) == 1 && got[0].ID == j.ID
	})
}

func orphansRevived(f *fixture) {
	s := newSession(time.Millisecond)
	f.beat(s)
	j := f.running(s.ID)
	f.eventually("the job is an orphan", func() bool { return len(f.orphans(10)) == 1 })
	s.Lease = time.Hour
	if p := f.beat(s, lease(j)); len(p.Changed) > 0 {
		f.Errorf("Changed = %v, want none: nobody has rescued the job", p.Changed)
	}
	f.sameIDs("the orphans", nil, f.orphans(10))
}

func orphansLeft(f *fixture) {
	s := newSession(time.Hour)
	f.beat(s)
	j := f.running(s.ID)
	s.Lease = 0
	f.beat(s)
	f.sameIDs("the orphans", []errand.ID{j.ID}, f.orphans(10))
}

func orphansRunningOnly(f *fixture) {
	for _, state := range errand.States {
		if state != errand.Running {
			f.write(change(f.running(uuid.New()), func(j *errand.Job) { j.State = state }))
			f.claim(uuid.New(), 0)
			f.write(change(f.list(errand.Query{Limit: 1}).Jobs[0], inState(errand.Paused)))
		}
	}
	f.sameIDs("the orphans", nil, f.orphans(100))
}

func orphansLimit(f *fixture) {
	s := newSession(time.Hour)
	f.beat(s)
	f.insert(newJobs(20)...)
	f.claim(s.ID, 10)
	f.claim(uuid.New(), 10)
	for _, limit := range []int{1, 7, 10, 11} {
		if n := len(f.orphans(limit)); n != min(limit, 10) {
			f.Errorf("Orphans(%d): %d jobs, want %d", limit, n, min(limit, 10))
		}
	}
}
