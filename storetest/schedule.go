package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/errandhq/errand"
)

var scheduleCases = []testCase{
	{"schedule/fields", "what is not kept of a schedule is lost at a restart", scheduleFields},
	{"schedule/new", "two processes that register one schedule must not make two", scheduleNew},
	{"schedule/stale", "a firing of a schedule that another process has fired meanwhile must leave nothing behind", scheduleStale},
	{"schedule/jobs", "the jobs of a firing are jobs like any other", scheduleJobs},
	{"schedule/job-there", "the job of a nominal time is made once, whoever makes it again", scheduleJobThere},
	{"schedule/delete", "a schedule that is made anew has no past", scheduleDelete},
	{"schedule/list", "a list without an order cannot be compared or shown", scheduleList},
	{"schedule/due", "a schedule that is not seen in time fires late", scheduleDue},
	{"schedule/due-order", "when there is too much to do, what is late is done first", scheduleDueOrder},
	{"schedule/firings", "the record of what a schedule did must not grow without end", scheduleFirings},
	{"schedule/many", "ten thousand schedules fire in the same second", scheduleMany},
	{"schedule/race", "each nominal time is fired once however many processes there are", scheduleRace},
	{"schedule/cancelled", "who has gone wants no answer: nothing is written for a context that has ended", scheduleCancelled},
}

func newSchedule(name string, wake time.Time, edits ...func(*errand.Schedule)) errand.Schedule {
	s := errand.Schedule{
		Name: name, Version: 1, Wake: wake, Next: wake, Created: base, Changed: base,
		Plan: errand.Plan{Spec: "@every 1h", Overlap: errand.OverlapSkip, Misfire: errand.MisfireOnce, Job: errand.Template{
			Kind: "kind", Queue: "default", Args: json.RawMessage(`{"n":1}`), MaxAttempts: 3, MaxCrashes: 3,
		}},
	}
	for _, edit := range edits {
		edit(&s)
	}
	return s
}

func newFiring(s errand.Schedule, seq int64) errand.Firing {
	return errand.Firing{Schedule: s.Name, Seq: seq, Nominal: base.Add(time.Duration(seq) * time.Hour), At: base, Outcome: errand.OutcomeMade, Job: uuid.New()}
}

// create makes a change that stores a schedule which is not there.
func create(s errand.Schedule) errand.ScheduleChange { return errand.ScheduleChange{Schedule: s} }

// advance makes a change of a schedule, edited.
func advance(s errand.Schedule, edits ...func(*errand.ScheduleChange)) errand.ScheduleChange {
	c := errand.ScheduleChange{Schedule: s, Was: s.Version}
	c.Schedule.Version++
	for _, edit := range edits {
		edit(&c)
	}
	return c
}

func (f *fixture) swapSchedules(changes ...errand.ScheduleChange) []errand.Swapped {
	f.Helper()
	done, err := f.store.SwapSchedules(f.Context(), changes)
	if err != nil {
		f.Fatalf("SwapSchedules: %v", err)
	}
	return done
}

func (f *fixture) schedules(q errand.ScheduleQuery) []errand.Schedule {
	f.Helper()
	found, err := f.store.Schedules(f.Context(), q)
	if err != nil {
		f.Fatalf("Schedules: %v", err)
	}
	return found
}

func (f *fixture) dueSchedules(limit int) errand.DueSchedules {
	f.Helper()
	due, err := f.store.DueSchedules(f.Context(), limit)
	if err != nil {
		f.Fatalf("DueSchedules: %v", err)
	}
	return due
}

func (f *fixture) firings(limit int, names ...string) []errand.Firing {
	f.Helper()
	found, err := f.store.Firings(f.Context(), names, limit)
	if err != nil {
		f.Fatalf("Firings: %v", err)
	}
	return found
}

func namesOf(all []errand.Schedule) (names []string) {
	for i := range all {
		names = append(names, all[i].Name)
	}
	return names
}

func scheduleFields(f *fixture) {
	full := newSchedule(`n "ü" 'x' <b>`, future, func(s *errand.Schedule) {
		s.Plan = errand.Plan{
			Spec: "cron.name", Zone: "Europe/Berlin", Start: base, End: future, Jitter: time.Second + time.Microsecond, Overlap: errand.OverlapQueueOne,
			Misfire: errand.MisfireCatchUp, CatchUp: 7, Window: time.Hour, Grace: 3 * time.Second, Job: errand.Template{
				Kind: "k <i>", Queue: "q ü", Args: json.RawMessage(`{"big":12345678901234567890,"html":"<b>&","a":1.10}`), Priority: -3, MaxAttempts: 4, MaxCrashes: 5,
				Timeout: time.Minute, Retention: -1, Tags: []string{"a", "<b>"}, Metadata: map[string]string{"k": "<v>"},
			},
		}
		s.Resolved, s.Registered, s.Actor, s.Reason, s.Paused = "0 7 * * *", "print", "ann", "a long\nreason <b>", base
		s.PausedBy = errand.By{Actor: "bob", Reason: "why <b>"}
		s.Next, s.Prev, s.Last, s.Late = future, base, uuid.New(), 3*time.Millisecond
		s.Firings, s.Made, s.Skipped, s.Missed = 1<<40, 3, 2, 1
	})
	plain := newSchedule("plain", time.Time{})
	f.outcomes(f.swapSchedules(create(full), create(plain)), errand.Written, errand.Written)
	f.equal("the schedules", []errand.Schedule{full, plain}, f.schedules(errand.ScheduleQuery{}))
	fired := []errand.Firing{
		{Schedule: "plain", Seq: 1, Nominal: base, At: base.Add(time.Microsecond), Outcome: errand.OutcomeMissed, Missed: 1 << 40},
		{Schedule: "plain", Seq: 2, Nominal: future, At: base, Outcome: errand.OutcomeMade, Job: uuid.New()},
	}
	f.outcomes(f.swapSchedules(advance(plain, func(c *errand.ScheduleChange) { c.Firings = fired })), errand.Written)
	f.equal("the firings", []errand.Firing{fired[1], fired[0]}, f.firings(10, "plain"))
}

func scheduleNew(f *fixture) {
	s := newSchedule("a", future)
	f.outcomes(f.swapSchedules(create(s)), errand.Written)
	f.outcomes(f.swapSchedules(create(newSchedule("a", base))), errand.Stale)
	f.outcomes(f.swapSchedules(advance(newSchedule("b", base)), create(newSchedule("c", future))), errand.Stale, errand.Written)
	f.equal("the schedules", []errand.Schedule{s, newSchedule("c", future)}, f.schedules(errand.ScheduleQuery{}))
}

func scheduleStale(f *fixture) {
	s := newSchedule("a", future)
	f.swapSchedules(create(s))
	c := advance(s)
	f.outcomes(f.swapSchedules(c), errand.Written)
	again := advance(s, func(c *errand.ScheduleChange) {
		c.Schedule.Spec, c.Jobs, c.Firings = "@every 2h", newJobs(2), []errand.Firing{newFiring(s, 1)}
	})
	f.outcomes(f.swapSchedules(again), errand.Stale)
	f.equal("the schedules", []errand.Schedule{c.Schedule}, f.schedules(errand.ScheduleQuery{}))
	f.equal("the firings", []errand.Firing(nil), f.firings(10, "a"))
	f.gone(idsOf(again.Jobs)...)
	f.outcomes(f.swapSchedules(errand.ScheduleChange{Schedule: s, Was: 1, Delete: true}), errand.Stale)
}

func scheduleJobs(f *fixture) {
	s, other := newSchedule("a", future), newSchedule("b", future)
	f.swapSchedules(create(s), create(other))
	running := f.running(uuid.New())
	ready := newJob(func(j *errand.Job) { j.Tags = []string{"schedule:a"} })
	behind := newJob(after(running.ID))
	chained := newJob(after(ready.ID))
	f.outcomes(f.swapSchedules(
		advance(s, func(c *errand.ScheduleChange) { c.Jobs = []errand.Job{ready, chained} }),
		advance(other, func(c *errand.ScheduleChange) { c.Jobs = []errand.Job{behind, newJob(scheduled(future))} }),
	), errand.Written, errand.Written)
	f.sameIDs("List by tag", []errand.ID{ready.ID}, f.listAll(errand.Query{Tags: []string{"schedule:a"}}))
	total := int64(0)
	for _, c := range f.stats() {
		total += c.Jobs
	}
	f.equal("the jobs counted", int64(5), total)
	got := f.claim(uuid.New(), 10)
	f.sameIDs("Claim", []errand.ID{ready.ID}, got)
	f.write(change(got[0], ended(errand.Failed)), change(running, ended(errand.Succeeded)))
	f.equal("the links that have ended", map[errand.ID]map[errand.ID]errand.State{
		chained.ID: {ready.ID: errand.Failed}, behind.ID: {running.ID: errand.Succeeded},
	}, f.links(10))
}

func scheduleJobThere(f *fixture) {
	s := newSchedule("a", future)
	f.swapSchedules(create(s))
	there := f.insert(newJob())
	fresh, again := newJob(), newJob(func(j *errand.Job) { j.ID, j.Kind = there.ID, "another" })
	f.outcomes(f.swapSchedules(advance(s, func(c *errand.ScheduleChange) { c.Jobs = []errand.Job{again, fresh} })), errand.Written)
	f.stored(there)
	f.stored(fresh)
}

func scheduleDelete(f *fixture) {
	s := newSchedule("a", base)
	f.swapSchedules(create(s), create(newSchedule("b", future)))
	c := advance(s, func(c *errand.ScheduleChange) { c.Firings = []errand.Firing{newFiring(s, 1)} })
	f.swapSchedules(c)
	f.outcomes(f.swapSchedules(errand.ScheduleChange{Schedule: c.Schedule, Was: 2, Delete: true}), errand.Written)
	f.equal("the schedules", []string{"b"}, namesOf(f.schedules(errand.ScheduleQuery{})))
	f.equal("the firings", []errand.Firing(nil), f.firings(10, "a", "b"))
	f.equal("the due schedules", 0, len(f.dueSchedules(10).Schedules))
	f.outcomes(f.swapSchedules(errand.ScheduleChange{Schedule: c.Schedule, Was: 2, Delete: true}), errand.Stale)
	f.outcomes(f.swapSchedules(create(s)), errand.Written)
	f.equal("the firings of the new one", []errand.Firing(nil), f.firings(10, "a"))
}

func scheduleList(f *fixture) {
	var all []errand.ScheduleChange
	for _, name := range []string{"b", "ä", "a", "B", "a b", "_"} {
		all = append(all, create(newSchedule(name, future)))
	}
	f.swapSchedules(all...)
	list := func(q errand.ScheduleQuery, want ...string) {
		f.Helper()
		f.equal(fmt.Sprintf("the schedules of %+v", q), want, namesOf(f.schedules(q)))
	}
	list(errand.ScheduleQuery{}, "B", "_", "a", "a b", "b", "ä")
	list(errand.ScheduleQuery{Limit: 2}, "B", "_")
	list(errand.ScheduleQuery{Limit: 2, After: "_"}, "a", "a b")
	list(errand.ScheduleQuery{After: "ä"})
	list(errand.ScheduleQuery{Names: []string{"ä", "none", "a"}, Limit: 1}, "a", "ä")
	list(errand.ScheduleQuery{Names: []string{}})
}

func scheduleDue(f *fixture) {
	soon := f.now().Add(300 * time.Millisecond).Truncate(time.Microsecond)
	f.swapSchedules(create(newSchedule("never", time.Time{})), create(newSchedule("late", future)), create(newSchedule("soon", soon)))
	due := f.dueSchedules(10)
	f.equal("the due schedules", 0, len(due.Schedules))
	f.equal("the next to be due", soon, due.Next)
	f.eventually("soon is due", func() bool { return len(f.dueSchedules(10).Schedules) == 1 })
	due = f.dueSchedules(10)
	f.equal("the due schedules", []string{"soon"}, namesOf(due.Schedules))
	if due.Now.Before(soon) || due.Now.Sub(f.now()).Abs() > time.Minute {
		f.Errorf("DueSchedules says it is %v at %v", due.Now, f.now())
	}
	f.swapSchedules(advance(due.Schedules[0], func(c *errand.ScheduleChange) { c.Schedule.Wake = time.Time{} }))
	due = f.dueSchedules(10)
	f.equal("the due schedules when it has fired", 0, len(due.Schedules))
	f.equal("the next to be due then", future, due.Next)
}

func scheduleDueOrder(f *fixture) {
	f.swapSchedules(create(newSchedule("c", base.Add(2*time.Microsecond))), create(newSchedule("b", base)), create(newSchedule("a", base.Add(time.Second))), create(newSchedule("d", base.Add(-time.Hour))))
	f.equal("the due schedules", []string{"d", "b"}, namesOf(f.dueSchedules(2).Schedules))
	f.equal("all of them", 4, len(f.dueSchedules(10).Schedules))
}

func scheduleFirings(f *fixture) {
	a, b := newSchedule("a", future), newSchedule("b", future)
	f.swapSchedules(create(a), create(b))
	const n = errand.MaxFirings + 30
	for seq := int64(1); seq <= n; {
		c := advance(a)
		for range 40 {
			if seq <= n {
				c.Firings = append(c.Firings, newFiring(a, seq))
			}
			seq++
		}
		f.swapSchedules(c)
		a = c.Schedule
	}
	f.swapSchedules(advance(b, func(c *errand.ScheduleChange) { // more at once than are kept
		for seq := int64(1); seq <= 2*errand.MaxFirings+10; seq++ {
			c.Firings = append(c.Firings, newFiring(b, seq))
		}
	}))
	got := f.firings(errand.MaxFirings+1, "b", "a", "none")
	f.equal("how many are kept", 2*errand.MaxFirings, len(got))
	for i, x := range got[:errand.MaxFirings] {
		if x.Schedule != "a" || x.Seq != int64(n-i) {
			f.Fatalf("firing %d is %d of %s, want %d of a", i, x.Seq, x.Schedule, n-i)
		}
	}
	var seqs []int64
	for _, x := range f.firings(2, "a", "b") {
		seqs = append(seqs, x.Seq)
	}
	f.equal("the latest two of each", []int64{n, n - 1, 2*errand.MaxFirings + 10, 2*errand.MaxFirings + 9}, seqs)
}

func scheduleMany(f *fixture) {
	const n = 1000
	var all []errand.ScheduleChange
	for i := range n {
		all = append(all, create(newSchedule(fmt.Sprintf("s%04d", i), base)))
	}
	f.swapSchedules(all...)
	due := f.dueSchedules(n)
	f.equal("the due schedules", n, len(due.Schedules))
	for i := range all {
		s := due.Schedules[i]
		all[i] = advance(s, func(c *errand.ScheduleChange) {
			c.Schedule.Wake, c.Jobs, c.Firings = future, newJobs(1), []errand.Firing{newFiring(s, 1)}
		})
	}
	f.swapSchedules(all...)
	f.equal("the due schedules then", 0, len(f.dueSchedules(n).Schedules))
	f.equal("the jobs", n, len(f.claim(uuid.New(), 2*n)))
}

func scheduleRace(f *fixture) {
	const rounds, callers, n = 5, 8, 10
	now := make([]errand.Schedule, n)
	var all []errand.ScheduleChange
	for i := range now {
		now[i] = newSchedule(fmt.Sprint("s", i), base)
		all = append(all, create(now[i]))
	}
	f.swapSchedules(all...)
	for range rounds {
		wins := make([][]errand.Swapped, callers)
		f.together(callers, func(ctx context.Context, i int) (err error) {
			changes := make([]errand.ScheduleChange, n)
			for k := range changes {
				changes[(k+i)%n] = advance(now[k], func(c *errand.ScheduleChange) { c.Jobs = newJobs(1) })
			}
			wins[i], err = f.store.SwapSchedules(ctx, changes)
			return err
		})
		for k := range now {
			won := 0
			for i := range callers {
				if wins[i][(k+i)%n] == errand.Written {
					won++
				}
			}
			if won != 1 {
				f.Fatalf("%d of %d calls have fired schedule %d", won, callers, k)
			}
			now[k].Version++
		}
	}
	f.equal("the jobs", rounds*n, len(f.claim(uuid.New(), 2*rounds*n)))
}

func scheduleCancelled(f *fixture) {
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	if _, err := f.store.SwapSchedules(ctx, []errand.ScheduleChange{create(newSchedule("a", base))}); err == nil {
		f.Errorf("SwapSchedules with a context that has ended: no error")
	}
	f.equal("the schedules", 0, len(f.schedules(errand.ScheduleQuery{})))
}

// schedule makes, fires and deletes schedules.
func (m *machine) schedule(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "schedule")
	was, jobs, firings := rapid.Int64Range(0, 3).Draw(t, "was"), rapid.IntRange(0, 2).Draw(t, "jobs"), rapid.Int64Range(0, 2).Draw(t, "firings")
	remove := rapid.IntRange(0, 4).Draw(t, "remove") == 0
	wake := rapid.SampledFrom([]time.Time{{}, base, future}).Draw(t, "wake")
	first := rapid.IntRange(1, pool).Draw(t, "job")
	m.both(t, "SwapSchedules", func(f *fixture) any {
		c := errand.ScheduleChange{Schedule: newSchedule(name, wake), Was: was, Delete: remove}
		c.Schedule.Version = was + 1
		for n := range jobs {
			c.Jobs = append(c.Jobs, newJob(func(j *errand.Job) { j.ID, j.Kind, j.Queue = number((first+n)%pool+1), "a", "x" }))
		}
		for seq := range firings {
			x := newFiring(c.Schedule, was*2+seq)
			x.Job = number(first)
			c.Firings = append(c.Firings, x)
		}
		return f.swapSchedules(c)
	})
	m.both(t, "Schedules", func(f *fixture) any { return f.schedules(errand.ScheduleQuery{}) })
	m.both(t, "DueSchedules", func(f *fixture) any {
		due := f.dueSchedules(10)
		due.Now = time.Time{}
		return due
	})
	m.both(t, "Firings", func(f *fixture) any { return f.firings(3, "a", "b") })
}
