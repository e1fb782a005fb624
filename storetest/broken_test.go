package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

// broken is a store of which some methods are replaced.
type broken struct {
	errand.Store
	insert  func(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error)
	list    func(ctx context.Context, q errand.Query) (errand.Page, error)
	entries func(ctx context.Context, id errand.ID, after int64, limit int) ([]errand.Entry, error)
	swap    func(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error)
	claim   func(ctx context.Context, c errand.Claim) (errand.Claimed, error)
	orphans func(ctx context.Context, limit int) ([]errand.Job, error)
	beat    func(ctx context.Context, s errand.Session, runs []errand.Lease) (errand.Pulse, error)
	prune   func(ctx context.Context, limit int) (int, error)
	stats   func(ctx context.Context) ([]errand.Count, error)
}

func (b *broken) Insert(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error) {
	return b.insert(ctx, jobs)
}

func (b *broken) List(ctx context.Context, q errand.Query) (errand.Page, error) {
	return b.list(ctx, q)
}

func (b *broken) Entries(ctx context.Context, id errand.ID, after int64, limit int) ([]errand.Entry, error) {
	return b.entries(ctx, id, after, limit)
}

func (b *broken) Swap(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
	return b.swap(ctx, changes)
}

func (b *broken) Claim(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
	return b.claim(ctx, c)
}

func (b *broken) Orphans(ctx context.Context, limit int) ([]errand.Job, error) {
	return b.orphans(ctx, limit)
}

func (b *broken) Beat(ctx context.Context, s errand.Session, runs []errand.Lease) (errand.Pulse, error) {
	return b.beat(ctx, s, runs)
}

func (b *broken) Prune(ctx context.Context, limit int) (int, error) { return b.prune(ctx, limit) }

func (b *broken) Stats(ctx context.Context) ([]errand.Count, error) { return b.stats(ctx) }

func openBroken(spoil func(*broken)) errand.Store {
	m := errand.Memory(&errand.MemoryOptions{Keep: -1})
	b := &broken{m, m.Insert, m.List, m.Entries, m.Swap, m.Claim, m.Orphans, m.Beat, m.Prune, m.Stats}
	spoil(b)
	return b
}

// inserting spoils what is inserted.
func inserting(spoil func(i int, j *errand.Job)) func(*broken) {
	return func(b *broken) {
		b.insert = func(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error) {
			jobs = slices.Clone(jobs)
			for i := range jobs {
				spoil(i, &jobs[i])
			}
			return b.Store.Insert(ctx, jobs)
		}
	}
}

// swapping spoils what is swapped, and the outcome.
func swapping(spoil func(b *broken, c *errand.Change), outcomes func(errand.Swapped) errand.Swapped) func(*broken) {
	return func(b *broken) {
		b.swap = func(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
			changes = slices.Clone(changes)
			for i := range changes {
				spoil(b, &changes[i])
			}
			out, err := b.Store.Swap(ctx, changes)
			for i := range out {
				out[i] = outcomes(out[i])
			}
			return out, err
		}
	}
}

// claiming spoils what was claimed.
func claiming(spoil func(*errand.Claimed)) func(*broken) {
	return func(b *broken) {
		b.claim = func(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
			got, err := b.Store.Claim(ctx, c)
			spoil(&got)
			return got, err
		}
	}
}

func asIs(s errand.Swapped) errand.Swapped { return s }

func keep(*broken, *errand.Change) {}

// breakages are broken stores, each with the case that must find it out. Those that random
// operations must find out too are marked.
var breakages = []struct {
	name    string
	spoil   func(*broken)
	fails   string
	compare bool
}{
	{"ignores the version", swapping(func(b *broken, c *errand.Change) {
		now, err := b.Get(context.Background(), []errand.ID{c.Job.ID})
		if err == nil && len(now) == 1 {
			c.Was = now[0].Version
		}
	}, asIs), "swap/stale", true},
	{"says written for stale", swapping(keep, func(errand.Swapped) errand.Swapped { return errand.Written }), "swap/repeat", true},
	{"says stale for taken", swapping(keep, func(s errand.Swapped) errand.Swapped { return min(s, errand.Stale) }), "swap/taken", true},
	{"keeps used links", swapping(func(_ *broken, c *errand.Change) { c.Unblocks = nil }, asIs), "links/unblocks", true},
	{"cancels for deletes", swapping(func(_ *broken, c *errand.Change) {
		if c.Delete {
			c.Delete, c.Job.State, c.Job.Version = false, errand.Cancelled, c.Was+1
		}
	}, asIs), "swap/delete", true},
	{"writes a batch in pieces", inPieces, "swap/whole", false},
	{"forgets priorities", inserting(func(_ int, j *errand.Job) { j.Priority = 0 }), "claim/priority", true},
	{"forgets links", inserting(func(_ int, j *errand.Job) { j.After = nil }), "links/end", true},
	{"forgets a key within a call", inserting(func(i int, j *errand.Job) {
		if i > 0 {
			j.Unique = ""
		}
	}), "unique/one-call", true},
	{"parses args", inserting(func(_ int, j *errand.Job) { j.Args = reparse(j.Args) }), "insert/args", true},
	{"keeps milliseconds", inserting(func(_ int, j *errand.Job) { j.Due = j.Due.Truncate(time.Millisecond) }), "insert/times", true},
	{"makes local times", inserting(func(_ int, j *errand.Job) { j.Due = j.Due.In(time.FixedZone("", 3600)) }), "insert/new", false},
	{"answers what was given", answersGiven, "insert/answer", true},
	{"claims backwards", claiming(func(c *errand.Claimed) { slices.Reverse(c.Jobs) }), "claim/insertion", true},
	{"claims with one token", claiming(func(c *errand.Claimed) {
		for i := range c.Jobs {
			c.Jobs[i].Token = 1
		}
	}), "claim/again", true},
	{"knows no next", claiming(func(c *errand.Claimed) { c.Next = time.Time{} }), "wake/next", true},
	{"claims for the dead", func(b *broken) {
		b.claim = func(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
			return b.Store.Claim(context.WithoutCancel(ctx), c)
		}
	}, "context/cancelled", false},
	{"claims from paused queues", func(b *broken) {
		b.claim = func(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
			for _, l := range c.Lanes {
				_ = b.Store.ResumeQueue(ctx, l.Queue)
			}
			return b.Store.Claim(ctx, c)
		}
	}, "pause/claim", true},
	{"claims one more", func(b *broken) {
		b.claim = func(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
			c.Lanes = slices.Clone(c.Lanes)
			for i := range c.Lanes {
				c.Lanes[i].Limit++
			}
			return b.Store.Claim(ctx, c)
		}
	}, "claim/limit", true},
	{"pages in a circle", func(b *broken) {
		b.list = func(ctx context.Context, q errand.Query) (errand.Page, error) {
			q.Cursor = ""
			return b.Store.List(ctx, q)
		}
	}, "list/pages", true},
	{"filters pages afterwards", filtersAfterwards, "list/pages-filtered", true},
	{"repeats a log line", func(b *broken) {
		b.entries = func(ctx context.Context, id errand.ID, after int64, limit int) ([]errand.Entry, error) {
			return b.Store.Entries(ctx, id, after-1, limit)
		}
	}, "entries/paging", true},
	{"sees no orphans", func(b *broken) {
		b.orphans = func(context.Context, int) ([]errand.Job, error) { return nil, nil }
	}, "orphans/unknown-session", true},
	{"keeps wishes to itself", func(b *broken) {
		b.beat = func(ctx context.Context, s errand.Session, runs []errand.Lease) (errand.Pulse, error) {
			p, err := b.Store.Beat(ctx, s, runs)
			p.Changed = slices.DeleteFunc(p.Changed, func(j errand.Job) bool { return j.State == errand.Running && j.Want != "" })
			return p, err
		}
	}, "beat/changed", false},
	{"removes no session", func(b *broken) {
		b.beat = func(ctx context.Context, s errand.Session, runs []errand.Lease) (errand.Pulse, error) {
			s.Lease = max(s.Lease, time.Millisecond)
			return b.Store.Beat(ctx, s, runs)
		}
	}, "sessions/remove", true},
	{"prunes without limit", func(b *broken) {
		b.prune = func(ctx context.Context, limit int) (int, error) { return b.Store.Prune(ctx, limit*100) }
	}, "prune/limit", false},
	{"counts once", func(b *broken) {
		once := sync.OnceValues(func() ([]errand.Count, error) { return b.Store.Stats(context.Background()) })
		b.stats = func(context.Context) ([]errand.Count, error) { return once() }
	}, "stats/workload", true},
}

func inPieces(b *broken) {
	b.swap = func(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
		var all []errand.Swapped
		for i := range changes {
			out, err := b.Store.Swap(ctx, changes[i:i+1])
			if err != nil {
				return nil, err
			}
			all = append(all, out...)
			time.Sleep(10 * time.Microsecond)
		}
		return all, nil
	}
}

func answersGiven(b *broken) {
	b.insert = func(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error) {
		out, err := b.Store.Insert(ctx, jobs)
		for i := range out {
			if out[i] != nil {
				out[i] = &jobs[i]
			}
		}
		return out, err
	}
}

func filtersAfterwards(b *broken) {
	b.list = func(ctx context.Context, q errand.Query) (errand.Page, error) {
		kinds := q.Kinds
		q.Kinds = nil
		p, err := b.Store.List(ctx, q)
		p.Jobs = slices.DeleteFunc(p.Jobs, func(j errand.Job) bool { return len(kinds) > 0 && !slices.Contains(kinds, j.Kind) })
		return p, err
	}
}

// reparse is what a store does to JSON that keeps it parsed.
func reparse(b json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return b
	}
	return out.Bytes()
}

// recorder stands in for a testing.T and notes whether the test failed.
type recorder struct {
	*testing.T
	mu     sync.Mutex
	text   string
	failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Logf(string, ...any) {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failed {
		r.text = fmt.Sprintf(format, args...)
	}
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) FailNow() { runtime.Goexit() }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// record runs a test that is expected to fail.
func record(t *testing.T, test func(r *recorder)) *recorder {
	r := &recorder{T: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return r
}

// The suite is known to bite: each broken store fails the case that is meant for it.
func TestRunFindsBrokenStores(t *testing.T) {
	all := map[string]testCase{}
	for _, c := range cases() {
		if all[c.name].run != nil || c.why == "" {
			t.Errorf("case %s is there twice, or has no reason", c.name)
		}
		all[c.name] = c
	}
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			c, ok := all[b.fails]
			if !ok {
				t.Fatalf("no case %s", b.fails)
			}
			r := record(t, func(r *recorder) { c.run(&fixture{tb: r, store: openBroken(b.spoil)}) })
			if !r.Failed() {
				t.Errorf("a store that %s passes %s", b.name, b.fails)
			}
		})
	}
}

func TestCompareFindsBrokenStores(t *testing.T) {
	sequences, steps := "400", "30"
	if testing.Short() {
		sequences, steps = "2000", "60" // of which rapid does a fifth and a half
	}
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "1ms", "rapid.seed": "1", "rapid.checks": sequences, "rapid.steps": steps} {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = flag.Set(name, old) }()
	}
	for _, b := range breakages {
		if !b.compare {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			r := record(t, func(r *recorder) { compare(r, time.Hour, func() errand.Store { return openBroken(b.spoil) }) })
			if !r.Failed() {
				t.Errorf("Compare does not find a store that %s", b.name)
			}
		})
	}
}
