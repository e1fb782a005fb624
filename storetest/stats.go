package storetest

import (
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var statsCases = []testCase{
	{"stats/empty", "an empty store has nothing to count", statsEmpty},
	{"stats/counts", "counts are by queue, kind and state", statsCounts},
	{"stats/oldest", "the age of the oldest ready job is the figure to alert on", statsOldest},
	{"stats/workload", "counts that are kept and not scanned must still be true after every kind of change", statsWorkload},
}

// countKey is what jobs are counted by.
type countKey struct {
	Queue, Kind string
	State       errand.State
}

// counted checks that Stats agrees with a count over List, and returns that.
func (f *fixture) counted() map[countKey]errand.Count {
	f.Helper()
	want, got := map[countKey]errand.Count{}, map[countKey]errand.Count{}
	for _, j := range f.listAll(errand.Query{Limit: 1000}) {
		k := countKey{j.Queue, j.Kind, j.State}
		c, ok := want[k]
		if !ok {
			c = errand.Count{Queue: j.Queue, Kind: j.Kind, State: j.State}
		}
		c.Jobs++
		if j.State == errand.Ready && (c.OldestReady.IsZero() || j.Due.Before(c.OldestReady)) {
			c.OldestReady = j.Due
		}
		want[k] = c
	}
	for _, c := range f.stats() {
		checkTimes(f, c)
		k := countKey{c.Queue, c.Kind, c.State}
		if _, twice := got[k]; twice {
			f.Errorf("Stats counts %v twice", k)
		}
		if c.Jobs != 0 {
			got[k] = c
		}
	}
	f.equal("Stats", want, got)
	return want
}

func statsEmpty(f *fixture) {
	f.counted()
	f.write(remove(f.insert(newJob())))
	f.counted()
}

func statsCounts(f *fixture) {
	variety(f, uuid.New())
	if n := len(f.counted()); n < 20 {
		f.Errorf("the case is void: %d counts", n)
	}
}

func statsOldest(f *fixture) {
	jobs := newJobs(4)
	for i := range jobs {
		jobs[i].Due, jobs[i].Priority = base.Add(time.Duration(3-i)*time.Minute), 3-i
	}
	f.insert(jobs...)
	f.insert(newJob(scheduled(base.Add(-time.Hour))), in("other", "kind"))
	f.counted()
	f.write(change(jobs[3], inState(errand.Paused)))
	f.counted()
	f.claim(uuid.New(), 2)
	f.counted()
	f.claim(uuid.New(), 10)
	f.counted()
}

func statsWorkload(f *fixture) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		jobs := newJobs(25)
		for i := range jobs {
			jobs[i].Queue, jobs[i].Kind = []string{"a", "b"}[r.IntN(2)], []string{"x", "y", "z"}[r.IntN(3)]
			jobs[i].Due = base.Add(time.Duration(r.IntN(100)) * time.Second)
			jobs[i].State = []errand.State{errand.Ready, errand.Scheduled, errand.Paused}[r.IntN(3)]
			jobs[i].Unique, jobs[i].UniqueScope = []string{"", "", "k1", "k2"}[r.IntN(4)], errand.UntilEnded
		}
		f.try(jobs...)
		f.claims(uuid.New(), lane("a", 8, "x", "y"), lane("b", r.IntN(9), "z"))
		var changes []errand.Change
		for _, j := range f.listAll(errand.Query{}) {
			c := change(j, inState(errand.States[r.IntN(len(errand.States))]))
			switch {
			case j.Unique != "" || r.IntN(3) > 0:
				continue
			case r.IntN(5) == 0:
				c = remove(j)
			case r.IntN(5) == 0:
				c.Was, c.Job.Version = c.Was-1, c.Job.Version-1
			case r.IntN(3) == 0:
				expired(&c.Job)
			}
			changes = append(changes, c)
		}
		f.swap(changes...)
		f.prune(r.IntN(5))
		f.counted()
	}
}
