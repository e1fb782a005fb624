package storetest

import (
	"bytes"
	"flag"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/errandhq/errand"
)

// compareBudget is how long Compare goes on for each hundred sequences.
const compareBudget = 5 * time.Second

// Compare performs random operations on a store and on [errand.Memory], and fails when an
// answer, or what is stored afterwards, differs but for times set by the store's clock and
// for cursors. It shows the shortest sequence that it finds. It calls open for each
// sequence: for a hundred or as many as it gets done in five seconds; -rapid.checks=N
// asks for N sequences and allows as much more time.
func Compare(t *testing.T, open func(t *testing.T) errand.Store) {
	compare(t, compareBudget*time.Duration(checks())/100, func() errand.Store { return open(t) })
}

func compare(t rapid.TB, budget time.Duration, open func() errand.Store) {
	t.Helper()
	over := time.Now().Add(budget)
	failed := false // while the failing sequence is made shorter, time does not count
	rapid.Check(t, func(t *rapid.T) {
		if !failed && time.Now().After(over) {
			return
		}
		done := false
		defer func() { failed = failed || !done }()
		m := newMachine(t, open())
		defer m.close(t)
		m.insert(t)
		t.Repeat(map[string]func(*rapid.T){
			"insert": m.insert, "claim": m.claim, "swap": m.swap, "swap again": m.swap,
			"beat": m.beat, "control": m.control, "schedule": m.schedule, "prune": m.prune, "read": m.read, "": m.check,
		})
		done = true
	})
}

// checks returns how many sequences rapid will run.
func checks() int {
	if f := flag.Lookup("rapid.checks"); f != nil {
		if n, err := strconv.Atoi(f.Value.String()); err == nil && n > 0 {
			return n
		}
	}
	return 100
}

// machine is the store under test beside the reference.
type machine struct{ want, got *fixture }

func newMachine(t *rapid.T, store errand.Store) *machine {
	return &machine{
		want: &fixture{tb: t, store: errand.Memory(&errand.MemoryOptions{Keep: -1})},
		got:  &fixture{tb: t, store: store},
	}
}

func (m *machine) close(t *rapid.T) {
	if err := m.got.store.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// number returns the ID of a job.
func number(n int) errand.ID { return errand.ID{6: 0x40, 8: 0x80, 15: byte(n)} }

// sessionNumber returns the ID of a worker session.
func sessionNumber(n int) uuid.UUID { return uuid.UUID{0: 0x5e, 6: 0x40, 8: 0x80, 15: byte(n)} }

// both makes one call of the reference and of the store, and compares the answers.
func (m *machine) both(t *rapid.T, what string, call func(f *fixture) any) {
	t.Helper()
	m.want.tb, m.got.tb = t, t
	want, got := alike(call(m.want)), alike(call(m.got))
	if reflect.DeepEqual(want, got) { // many times faster than cmp
		return
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Fatalf("%s differs (-memory +store):\n%s", what, diff)
	}
}

// alike returns an answer of a store such that it equals the answer of another store: times
// that are set by the store's clock only say that they are set, and what is empty is nil.
func alike(answer any) any {
	switch v := answer.(type) {
	case errand.Job:
		v.Started, v.Duplicate = clocked(v.Started), false
		v.Args, v.Checkpoint, v.Result = orNil(v.Args), orNil(v.Checkpoint), orNil(v.Result)
		v.After, v.Tags = orNil(v.After), orNil(v.Tags)
		if len(v.Metadata) == 0 {
			v.Metadata = nil
		}
		return v
	case errand.Session:
		v.Expires = clocked(v.Expires)
		v.Kinds = orNil(v.Kinds)
		return v
	case errand.Claimed:
		return []any{alike(v.Jobs), v.Next}
	case *errand.Job:
		if v == nil {
			return nil
		}
		return alike(*v)
	case []*errand.Job:
		return each(v)
	case []errand.Job:
		return each(v)
	case [][]errand.Job:
		return each(v)
	case []errand.Session:
		return each(v)
	}
	return answer
}

func each[T any](all []T) []any {
	out := make([]any, len(all))
	for i, v := range all {
		out[i] = alike(v)
	}
	return out
}

func clocked(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return base
}

func orNil[S ~[]E, E any](s S) S {
	if len(s) == 0 {
		return nil
	}
	return s
}

// byID sorts jobs whose order says nothing.
func byID(jobs []errand.Job) []errand.Job {
	return slices.SortedFunc(slices.Values(jobs), func(a, b errand.Job) int { return bytes.Compare(a.ID[:], b.ID[:]) })
}

// check compares all that is stored. It runs after each operation.
func (m *machine) check(t *rapid.T) {
	m.both(t, "the stored jobs", func(f *fixture) any { return f.listAll(errand.Query{Limit: errand.MaxPage}) })
	m.both(t, "Stats", func(f *fixture) any { return countsOf(f) })
	m.both(t, "Unblocked", func(f *fixture) any { return f.links(10_000) })
	m.both(t, "Orphans", func(f *fixture) any { return byID(f.orphans(10_000)) })
	m.both(t, "Sessions", func(f *fixture) any { return f.sessions() })
	for n := range pool {
		m.both(t, "a log", func(f *fixture) any { return f.entries(number(n+1), 0, errand.MaxEntries) })
	}
}

// countsOf returns the counts that are not zero.
func countsOf(f *fixture) map[countKey]errand.Count {
	f.Helper()
	out := map[countKey]errand.Count{}
	for _, c := range f.stats() {
		if c.Jobs != 0 {
			out[countKey{c.Queue, c.Kind, c.State}] = c
		}
	}
	return out
}
