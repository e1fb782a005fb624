package errand_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
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
