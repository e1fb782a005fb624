package errand_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/storetest"
)

// watched reads notices until nothing comes for a second, and returns them as texts.
func watched(t *testing.T, w *errand.Watcher) (out []string) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		notices, err := w.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range notices {
			switch {
			case n.Err != nil:
				out = append(out, n.Sub+" failed: "+n.Err.Error())
			case n.Sub != "":
				out = append(out, n.Sub+" synced")
			case n.Job != nil:
				out = append(out, fmt.Sprintf("%s %s v%d", n.Job.Kind, n.Job.State, n.Job.Version))
			default:
				out = append(out, "gone")
			}
		}
	}
}

func expect(t *testing.T, w *errand.Watcher, want ...string) {
	t.Helper()
	if got := watched(t, w); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func enqueue(t *testing.T, q *errand.Engine, kind string, options ...errand.Option) errand.ID {
	t.Helper()
	jobs, err := q.Enqueue(t.Context(), errand.NewJob{Kind: kind, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	return jobs[0].ID
}

func TestWatchFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		w := q.Watch(3)
		defer w.Close()
		id := enqueue(t, q, "a")
		if err := w.Follow(errand.Seen{ID: id}, errand.Seen{ID: uuid.New()}); err != nil {
			t.Fatal(err)
		}
		expect(t, w, "a ready v1", "gone")
		for range 3 { // what happens while nobody reads is one state
			_, _ = q.Pause(t.Context(), id, "")
			_, _ = q.Resume(t.Context(), id, "")
		}
		expect(t, w, "a ready v7")
		_ = w.Follow(errand.Seen{ID: id, Version: 7}) // seen already
		expect(t, w)
		_, _ = q.Cancel(t.Context(), id, "")
		expect(t, w, "a cancelled v8")
		if n := w.Len(); n != 0 {
			t.Errorf("%d jobs are followed after their end", n)
		}
		_ = w.Follow(errand.Seen{ID: id, Version: 8})
		expect(t, w)
		_ = w.Follow(errand.Seen{ID: id, Version: 3}) // a client that was away
		expect(t, w, "a cancelled v8")

		var many []errand.Seen
		for range 4 {
			many = append(many, errand.Seen{ID: enqueue(t, q, "b")})
		}
		if err := w.Follow(many...); !errors.Is(err, errand.ErrTooMany) {
			t.Errorf("following 4 of 3: %v", err)
		}
		if err := w.Follow(many[:3]...); err != nil {
			t.Fatal(err)
		}
		w.Forget(many[0].ID, many[1].ID)
		expect(t, w, "b ready v1")
		if err := q.Delete(t.Context(), many[2].ID); err != nil {
			t.Fatal(err)
		}
		expect(t, w, "gone")
		w.Close()
		if _, err := w.Next(t.Context()); !errors.Is(err, errand.ErrClosed) {
			t.Errorf("Next of a closed watcher: %v", err)
		}
	})
}

func TestWatchMatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		w := q.Watch(0)
		defer w.Close()
		enqueue(t, q, "b")
		first := enqueue(t, q, "a")
		over := enqueue(t, q, "a")
		_, _ = q.Cancel(t.Context(), over, "")
		if err := w.Match("x", errand.Query{Kinds: []string{"a"}}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		expect(t, w, "a ready v1", "x synced")
		second := enqueue(t, q, "a")
		enqueue(t, q, "b")
		_, _ = q.Cancel(t.Context(), first, "")
		expect(t, w, "a ready v1", "a cancelled v2")

		away := time.Now()
		w.Unmatch("x")
		_, _ = q.Cancel(t.Context(), second, "")
		time.Sleep(time.Hour)
		expect(t, w)
		// It is back, and says since when it was away, and what it has seen then.
		if err := w.Match("x", errand.Query{Kinds: []string{"a"}}, away, errand.Seen{ID: second, Version: 1}); err != nil {
			t.Fatal(err)
		}
		expect(t, w, "a cancelled v2", "a cancelled v2", "x synced") // the second, and the one whose end was not told

		// A job that stops to match is followed to its end.
		if err := w.Match("paused", errand.Query{States: []errand.State{errand.Paused}}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		w.Unmatch("x")
		id := enqueue(t, q, "c")
		_, _ = q.Pause(t.Context(), id, "")
		expect(t, w, "c paused v2", "paused synced")
		_, _ = q.Resume(t.Context(), id, "")
		expect(t, w, "c ready v3")
		_, _ = q.Cancel(t.Context(), id, "")
		expect(t, w, "c cancelled v4")
	})
}

// A reader that does not read costs no more than one state a job, and of a large job not even that.
func TestWatchSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		w := q.Watch(0)
		defer w.Close()
		large, _ := json.Marshal(make([]byte, 100_000))
		jobs, err := q.Enqueue(t.Context(), errand.NewJob{Kind: "large", Args: large}, errand.NewJob{Kind: "small"})
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Follow(errand.Seen{ID: jobs[0].ID}, errand.Seen{ID: jobs[1].ID})
		time.Sleep(time.Second)
		for range 1000 {
			for _, j := range jobs {
				_, _ = q.Pause(t.Context(), j.ID, "")
				_, _ = q.Resume(t.Context(), j.ID, "")
			}
		}
		got := watched(t, w)
		if len(got) != 2 {
			t.Errorf("told %q, want one state a job", got)
		}
	})
}

// A watcher that is closed takes nothing more, and what goes on does not touch it.
func TestWatchClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		other := q.Watch(0)
		defer other.Close()
		w := q.Watch(0)
		w.Close()
		id := enqueue(t, q, "a")
		if err := w.Follow(errand.Seen{ID: id}); !errors.Is(err, errand.ErrClosed) {
			t.Errorf("Follow: %v", err)
		}
		if err := w.Match("x", errand.Query{}, time.Time{}); !errors.Is(err, errand.ErrClosed) {
			t.Errorf("Match: %v", err)
		}
		w.Forget(id)
		w.Unmatch("x")
		_, _ = q.Cancel(t.Context(), id, "")
		time.Sleep(time.Minute)
	})
}

// What was asked for in several ways is told until the last of them ends.
func TestWatchSeveralWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		w := q.Watch(0)
		defer w.Close()
		id := enqueue(t, q, "a")
		step := func(want ...string) {
			t.Helper()
			_, _ = q.Pause(t.Context(), id, "")
			_, _ = q.Resume(t.Context(), id, "")
			expect(t, w, want...)
		}
		match := func(name string) {
			t.Helper()
			if err := w.Match(name, errand.Query{Kinds: []string{"a", name}}, time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		match("x")
		expect(t, w, "a ready v1", "x synced")
		_ = w.Follow(errand.Seen{ID: id, Version: 1})
		w.Unmatch("x")
		step("a ready v3")
		match("x")
		expect(t, w, "x synced")
		match("y")
		expect(t, w, "y synced")
		w.Unmatch("x")
		step("a ready v5")
		w.Forget(id)
		step("a ready v7")
		w.Unmatch("y")
		step()
		if n := w.Len(); n != 0 {
			t.Errorf("%d jobs are followed", n)
		}
	})
}

// largeJobs enqueues jobs of which watchers keep no copy.
func largeJobs(t *testing.T, q *errand.Engine, n int) (out []errand.Seen) {
	t.Helper()
	args, _ := json.Marshal(make([]byte, 20_000))
	for range n {
		jobs, err := q.Enqueue(t.Context(), errand.NewJob{Kind: "large", Args: args})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, errand.Seen{ID: jobs[0].ID})
	}
	return out
}

// A store that fails for a while costs nothing that was to be told.
func TestWatchStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.Faulty(errand.Memory(nil), 1)
		q := errand.New(store, &errand.Config{Log: slog.New(slog.DiscardHandler)})
		w := q.Watch(0)
		defer w.Close()
		large := largeJobs(t, q, 20)
		_ = w.Match("all", errand.Query{}, time.Time{})
		time.Sleep(time.Second) // they are found
		for _, s := range large {
			_, _ = q.Cancel(t.Context(), s.ID, "")
		}
		enqueue(t, q, "small")
		store.Set(storetest.Faults{Before: 1, Methods: []string{"Get"}})
		for range 3 {
			if _, err := w.Next(t.Context()); err == nil {
				t.Error("the store fails, and Next does not")
			}
		}
		store.Set(storetest.Faults{})
		var want []string
		for range large {
			want = append(want, "large cancelled v2")
		}
		got := watched(t, w)
		slices.Sort(got[:min(21, len(got))])
		if want = append(want, "small ready v1", "all synced"); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		store.Set(storetest.Faults{Before: 1, Methods: []string{"Get"}})
		_ = w.Follow(errand.Seen{ID: uuid.New()}) // which nobody can read
		expect(t, w)
		store.Set(storetest.Faults{})
		time.Sleep(time.Minute)
		expect(t, w, "gone")
	})
}

// What is told before a store fails is not lost with it.
func TestWatchStoreFailsHalfway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.Faulty(errand.Memory(nil), 1)
		q := errand.New(store, nil)
		w := q.Watch(0)
		defer w.Close()
		small := errand.Seen{ID: enqueue(t, q, "small")}
		_ = w.Follow(small)
		time.Sleep(time.Second)
		_ = w.Follow(largeJobs(t, q, 1)...)
		time.Sleep(time.Second)
		store.Set(storetest.Faults{Before: 1, Methods: []string{"Get"}})
		notices, err := w.Next(t.Context())
		if err != nil || len(notices) != 1 || notices[0].Job == nil || notices[0].Job.ID != small.ID {
			t.Errorf("told %v, error %v; want the small job", notices, err)
		}
		store.Set(storetest.Faults{})
		expect(t, w, "large ready v1")
	})
}

// paged hands out pages of which it knows what they hold in memory, and how large they were.
type paged struct {
	errand.Store
	held  []weak.Pointer[byte]
	pages []int
}

func (p *paged) Get(ctx context.Context, ids []errand.ID) ([]errand.Job, error) {
	jobs, err := p.Store.Get(ctx, ids)
	p.pages = append(p.pages, len(ids))
	for i := range jobs {
		jobs[i].Args = append(json.RawMessage(nil), jobs[i].Args...)
		if len(jobs[i].Args) > 20_000 {
			p.held = append(p.held, weak.Make(&jobs[i].Args[0]))
		}
	}
	return jobs, err
}

// A small job that nobody reads does not keep the large ones in memory that were read with it; and these are read a few at a time.
func TestWatchKeepsNoPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &paged{Store: errand.Memory(nil)}
		q := errand.New(store, nil)
		w := q.Watch(0)
		defer w.Close()
		jobs := append(largeJobs(t, q, 100), errand.Seen{ID: enqueue(t, q, "small")})
		_ = w.Follow(jobs...)
		time.Sleep(time.Second)
		synctest.Wait()
		runtime.GC()
		kept := 0
		for _, p := range store.held {
			if p.Value() != nil {
				kept++
			}
		}
		if kept > 0 || len(store.held) != 100 {
			t.Errorf("%d of %d large jobs are kept", kept, len(store.held))
		}
		store.pages = nil
		if got := watched(t, w); len(got) != 101 {
			t.Errorf("%d jobs were told", len(got))
		}
		if most := slices.Max(store.pages); most > 16 {
			t.Errorf("%d large jobs were read at once", most)
		}
	})
}

func TestWhy(t *testing.T) {
	q := errand.New(errand.Memory(nil), nil)
	why := func(id errand.ID) string {
		t.Helper()
		_, obstacles, err := q.Why(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var gates []errand.Gate
		for _, o := range obstacles {
			gates = append(gates, o.Gate)
		}
		return fmt.Sprint(gates)
	}
	is := func(id errand.ID, want string) {
		t.Helper()
		if got := why(id); got != want {
			t.Errorf("why: %s, want %s", got, want)
		}
	}
	ready := enqueue(t, q, "a")
	is(ready, "[worker]")
	_ = q.PauseQueue(t.Context(), "default", "")
	is(ready, "[queue worker]")
	is(enqueue(t, q, "a", errand.In(time.Hour)), "[due queue worker]")
	is(enqueue(t, q, "a", errand.After(ready)), "[waiting queue worker]")
	_, _ = q.Pause(t.Context(), ready, "")
	is(ready, "[paused queue worker]")
	_, _ = q.Cancel(t.Context(), ready, "")
	is(ready, "[ended]")
	_, _ = q.Enqueue(t.Context(), errand.NewJob{Kind: "a", Options: []errand.Option{errand.Unique("k")}})
}

// A worker whose context ends before it has begun has shut down in good order.
func TestRunEndsAtOnce(t *testing.T) {
	q := errand.New(errand.Memory(nil), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Run(ctx); err != nil {
		t.Error(err)
	}
	if s, err := q.Sessions(t.Context()); err != nil || len(s) > 0 {
		t.Errorf("it leaves %d sessions, %v", len(s), err)
	}
}
