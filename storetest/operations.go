package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/errandhq/errand"
)

// This file holds the operations of [Compare]. What they draw are small descriptions
// that print well: a failing sequence is read by a person.

// pool is how many jobs there are to insert: few, so that they meet again. A job has the
// same number whatever happens around it; so operations can be left out of a sequence and
// the others keep their meaning.
const pool = 10

var numbers = rapid.IntRange(1, pool)

// jobSpec describes a job to insert.
type jobSpec struct {
	number      int
	kind, queue string
	priority    int
	state       errand.State
	due         time.Time
	key         string
	scope       errand.Scope
	until       time.Time
	after       []int
	tag         string
}

// GoString is how rapid prints a draw.
func (s jobSpec) GoString() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "{%d: %s %s/%s", s.number, s.state, s.queue, s.kind)
	if s.priority != 0 {
		fmt.Fprintf(b, " priority %d", s.priority)
	}
	if !s.due.Equal(base) {
		fmt.Fprintf(b, " due %s", s.due.Format(time.DateTime))
	}
	if s.key != "" {
		fmt.Fprintf(b, " key %s until %s", s.key, s.scope)
		if s.scope == errand.UntilTime {
			fmt.Fprintf(b, " %s", s.until.Format(time.DateTime))
		}
	}
	if len(s.after) > 0 {
		fmt.Fprintf(b, " after %v", s.after)
	}
	if s.tag != "" {
		fmt.Fprintf(b, " tag %s", s.tag)
	}
	return b.String() + "}"
}

// specs draws jobs.
var specs = rapid.Custom(func(t *rapid.T) jobSpec {
	s := jobSpec{
		number:   numbers.Draw(t, "number"),
		kind:     rapid.SampledFrom([]string{"a", "b"}).Draw(t, "kind"),
		queue:    rapid.SampledFrom([]string{"x", "y"}).Draw(t, "queue"),
		priority: rapid.SampledFrom([]int{0, 1, -1}).Draw(t, "priority"),
		state:    rapid.SampledFrom([]errand.State{errand.Ready, errand.Scheduled, errand.Paused}).Draw(t, "state"),
		due: rapid.SampledFrom([]time.Time{
			base, base.Add(time.Second), base.Add(-time.Microsecond), future, future.Add(time.Hour),
		}).Draw(t, "due"),
		key:   rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key"),
		scope: rapid.SampledFrom([]errand.Scope{errand.UntilEnded, errand.UntilStarted, errand.UntilTime}).Draw(t, "scope"),
		until: rapid.SampledFrom([]time.Time{future, base}).Draw(t, "until"),
		after: rapid.SliceOfNDistinct(numbers, 0, 2, rapid.ID).Draw(t, "after"),
		tag:   rapid.SampledFrom([]string{"", "t", "u"}).Draw(t, "tag"),
	}
	if len(s.after) > 0 {
		s.state = errand.Waiting
	}
	return s
})

// job makes the job that the spec describes. It waits for none of the jobs in later: the
// contract does not say whether a job further on in the same call is there.
func (s jobSpec) job(later []jobSpec) errand.Job {
	j := errand.Job{
		ID: number(s.number), Kind: s.kind, Queue: s.queue, Args: json.RawMessage(fmt.Sprintf(`{"n": %d}`, s.number)),
		Priority: s.priority, MaxAttempts: 3, MaxCrashes: 3, Created: base, State: s.state, Version: 1, Due: s.due, Unique: s.key,
	}
	if s.key != "" {
		j.UniqueScope = s.scope
		if s.scope == errand.UntilTime {
			j.UniqueUntil = s.until
		}
	}
	if s.tag != "" {
		j.Tags = []string{s.tag}
	}
	for _, on := range s.after {
		if on != s.number && !slices.ContainsFunc(later, func(l jobSpec) bool { return l.number == on }) {
			j.After = append(j.After, number(on))
		}
	}
	j.Blocked = len(j.After)
	return j
}

func (m *machine) insert(t *rapid.T) {
	drawn := rapid.SliceOfN(specs, 1, 4).Draw(t, "jobs")
	jobs := make([]errand.Job, len(drawn))
	for i, s := range drawn {
		jobs[i] = s.job(drawn[i+1:])
	}
	m.both(t, "Insert", func(f *fixture) any { return f.try(slices.Clone(jobs)...) })
}

// laneSpec describes a lane.
type laneSpec errand.Lane

// GoString is how rapid prints a draw.
func (s laneSpec) GoString() string { return fmt.Sprintf("%d of %s/%s", s.Limit, s.Queue, s.Kinds) }

var lanes = rapid.Custom(func(t *rapid.T) laneSpec {
	return laneSpec{
		Queue: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "queue"),
		Kinds: rapid.SampledFrom([][]string{{"a", "b"}, {"a"}, {"b"}, {"b", "none"}}).Draw(t, "kinds"),
		Limit: rapid.IntRange(0, 3).Draw(t, "limit"),
	}
})

func (m *machine) claim(t *rapid.T) {
	session := sessionNumber(rapid.IntRange(1, 3).Draw(t, "session"))
	var all []errand.Lane
	for _, s := range rapid.SliceOfN(lanes, 0, 3).Draw(t, "lanes") {
		all = append(all, errand.Lane(s))
	}
	m.both(t, "Claim", func(f *fixture) any { return f.claims(session, all...) })
}

// changeSpec describes a change of a job.
type changeSpec struct {
	job   int
	verb  string
	stale bool
}

// GoString is how rapid prints a draw.
func (s changeSpec) GoString() string {
	if s.stale {
		return fmt.Sprintf("%s %d (stale)", s.verb, s.job)
	}
	return fmt.Sprintf("%s %d", s.verb, s.job)
}

// edits are the changes that are made, by verb. They need not make sense: a store decides nothing.
var edits = map[string]func(*errand.Change){
	"pause":    func(c *errand.Change) { inState(errand.Paused)(&c.Job) },
	"ready":    func(c *errand.Change) { inState(errand.Ready)(&c.Job) },
	"wait":     func(c *errand.Change) { inState(errand.Waiting)(&c.Job) },
	"snooze":   func(c *errand.Change) { inState(errand.Scheduled)(&c.Job); c.Job.Due = future.Add(time.Minute) },
	"retry":    func(c *errand.Change) { inState(errand.Scheduled)(&c.Job); c.Job.Due = base; c.Job.Attempt = 0 },
	"ask":      func(c *errand.Change) { c.Job.Want, c.Job.Actor, c.Job.Reason = errand.Cancelled, "ann", "so" },
	"progress": func(c *errand.Change) { c.Job.Progress.Done++; c.Job.Checkpoint = json.RawMessage(`{"at": 1}`) },
	"succeed": func(c *errand.Change) {
		ended(errand.Succeeded)(&c.Job)
		c.Job.Result, c.Job.Expires = json.RawMessage(`"ok"`), future
	},
	"fail":    func(c *errand.Change) { ended(errand.Failed)(&c.Job); c.Job.Error = "an error" },
	"cancel":  func(c *errand.Change) { ended(errand.Cancelled)(&c.Job) },
	"expire":  func(c *errand.Change) { expired(&c.Job) },
	"unblock": func(c *errand.Change) { c.Unblocks, c.Job.Blocked = c.Job.After, 0 },
	"delete":  func(c *errand.Change) { c.Delete = true; c.Job.Version = c.Was },
	"log": func(c *errand.Change) {
		for _, t := range []errand.EntryType{errand.EntryLog, errand.EntryAction} {
			c.Job.Entries++
			c.Entries = append(c.Entries, entry(c.Job.Entries, t))
		}
	},
}

var verbs = func() []string {
	var all []string
	for verb := range edits {
		all = append(all, verb)
	}
	slices.Sort(all)
	return all
}()

// changes draws changes, each of another job.
var changes = rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) changeSpec {
	return changeSpec{
		job:   numbers.Draw(t, "job"),
		verb:  rapid.SampledFrom(verbs).Draw(t, "verb"),
		stale: rapid.IntRange(0, 9).Draw(t, "stale") == 9,
	}
}), 1, 4, func(c changeSpec) int { return c.job })

// change makes the change of the job as f has it. A job that is gone is changed as it was
// at first.
func (s changeSpec) change(f *fixture) errand.Change {
	j := newJob(func(j *errand.Job) { j.ID = number(s.job) })
	if there := f.find(j.ID); len(there) == 1 {
		j = there[0]
	}
	c := errand.Change{Job: j, Was: j.Version, From: j.State}
	if s.stale {
		c.Was--
		c.From = errand.Ready
	}
	c.Job.Version = c.Was + 1
	edits[s.verb](&c)
	return c
}

func (m *machine) swap(t *rapid.T) {
	drawn := changes.Draw(t, "changes")
	m.both(t, "Swap", func(f *fixture) any {
		var all []errand.Change
		keys := map[string]bool{}
		for _, s := range drawn {
			c := s.change(f)
			// The contract does not say in which order the changes of one call free and take
			// a key.
			if c.Job.Unique == "" || !keys[c.Job.Unique] {
				keys[c.Job.Unique] = true
				all = append(all, c)
			}
		}
		return f.swap(all...)
	})
}

func (m *machine) beat(t *rapid.T) {
	n := rapid.IntRange(1, 3).Draw(t, "session")
	s := errand.Session{
		ID: sessionNumber(n), Host: "host", PID: n, Version: "v1", Started: base.Add(time.Duration(n) * time.Second),
		Lease:  rapid.SampledFrom([]time.Duration{time.Hour, time.Millisecond, 0}).Draw(t, "lease"),
		Queues: map[string]int{"x": 1},
	}
	var runs []errand.Lease
	for _, job := range rapid.SliceOfNDistinct(numbers, 0, 3, rapid.ID).Draw(t, "runs") {
		runs = append(runs, errand.Lease{ID: number(job), Token: int64(rapid.IntRange(1, 2).Draw(t, "token"))})
	}
	m.both(t, "Beat", func(f *fixture) any { return byID(f.beat(s, runs...).Changed) })
	if s.Lease == time.Millisecond {
		time.Sleep(3 * s.Lease) // so that it has lapsed on both
	}
}

// control pauses and resumes queues, and drains sessions.
func (m *machine) control(t *rapid.T) {
	queue, pause := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "queue"), rapid.Bool().Draw(t, "pause")
	m.both(t, "PauseQueue", func(f *fixture) any {
		if pause {
			f.pauseQueue(queue)
		} else {
			f.resumeQueue(queue)
		}
		paused, err := f.store.PausedQueues(f.Context())
		if err != nil {
			f.Fatalf("PausedQueues: %v", err)
		}
		return paused
	})
	session, drain := sessionNumber(rapid.IntRange(1, 3).Draw(t, "session")), rapid.Bool().Draw(t, "drain")
	m.both(t, "Drain", func(f *fixture) any {
		found, err := f.store.Drain(f.Context(), session, drain)
		if err != nil {
			f.Fatalf("Drain: %v", err)
		}
		return found
	})
}

// prune prunes in small steps until nothing is left: in which order is up to the store.
func (m *machine) prune(t *rapid.T) {
	limit := rapid.IntRange(1, 3).Draw(t, "limit")
	m.both(t, "Prune", func(f *fixture) any {
		total := 0
		for {
			n := f.prune(limit)
			if total += n; n == 0 {
				return total
			}
			if n > limit {
				f.Fatalf("Prune(%d) removed %d jobs", limit, n)
			}
		}
	})
}

// read reads jobs and logs, and all pages of a query.
func (m *machine) read(t *rapid.T) {
	after, limit := rapid.Int64Range(0, 3).Draw(t, "after"), rapid.IntRange(1, 3).Draw(t, "limit")
	m.both(t, "Get", func(f *fixture) any { return f.find(number(3), number(1), number(pool+1), number(2), number(4)) })
	for n := range pool {
		m.both(t, "Entries", func(f *fixture) any { return f.entries(number(n+1), after, limit) })
	}
	q := errand.Query{
		States: rapid.SliceOfNDistinct(rapid.SampledFrom(errand.States), 0, 3, rapid.ID).Draw(t, "states"),
		Kinds:  rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2, rapid.ID).Draw(t, "kinds"),
		Queues: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 0, 2, rapid.ID).Draw(t, "queues"),
		Tags:   rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"t", "u"}), 0, 2, rapid.ID).Draw(t, "tags"),
		Limit:  rapid.IntRange(1, 4).Draw(t, "limit"),
	}
	switch rapid.IntRange(0, 5).Draw(t, "text") {
	case 0:
		q.Error = "AN"
	case 1:
		q.Args = []errand.ArgMatch{{Path: []string{"n"}, Value: "3"}}
	case 2:
		q.Unique = "k"
	case 3:
		q.Kinds = append(q.Kinds, "a*")
	}
	kinds := rapid.SampledFrom([][]string{{"a"}, {"a", "b"}}).Draw(t, "kinds ahead")
	m.both(t, "Ahead", func(f *fixture) any {
		var all []int
		for n := range pool {
			j := newJob(func(j *errand.Job) { j.ID, j.Queue = number(n+1), "x" })
			if there := f.find(j.ID); len(there) == 1 {
				j = there[0]
			}
			ahead, err := f.store.Ahead(f.Context(), &j, kinds, limit)
			if err != nil {
				f.Fatalf("Ahead: %v", err)
			}
			all = append(all, ahead)
		}
		return all
	})
	if n := rapid.IntRange(0, 3).Draw(t, "worker"); n > 0 {
		q.Worker = sessionNumber(n)
	}
	m.both(t, "List", func(f *fixture) any {
		var pages [][]errand.Job
		for q := q; ; {
			p := f.list(q)
			pages = append(pages, p.Jobs)
			if q.Cursor = p.Next; q.Cursor == "" || len(pages) > pool {
				return pages
			}
		}
	})
}
