package errand_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/storetest"
)

// All that has ended since is told, however many, or that it is too much.
func TestFilterSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		away := time.Now()
		time.Sleep(time.Hour)
		for range 1500 {
			_, _ = q.Cancel(t.Context(), enqueue(t, q, "a"), "")
		}
		for limit, want := range map[int]string{
			1500: "x synced",
			1499: "x failed: too much to watch at once: more than 1499 jobs that match have ended since",
		} {
			w := q.Watch(limit)
			if err := w.Match("x", errand.Query{}, away); err != nil {
				t.Fatal(err)
			}
			got := watched(t, w)
			if last := got[len(got)-1]; last != want {
				t.Errorf("at most %d: the last that is told is %q, want %q", limit, last, want)
			}
			if limit == 1500 && len(got) != 1501 {
				t.Errorf("%d are told, want 1500 ends", len(got)-1)
			}
			w.Close()
		}
	})
}

// A condition on the end of jobs holds at the begin of a filter, too.
func TestFilterEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		away := time.Now()
		_, _ = q.Cancel(t.Context(), enqueue(t, q, "early"), "")
		time.Sleep(time.Hour)
		_, _ = q.Cancel(t.Context(), enqueue(t, q, "late"), "")
		enqueue(t, q, "alive")
		w := q.Watch(0)
		defer w.Close()
		query, err := errand.ParseQuery("ended<10m", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Match("x", query, away)
		expect(t, w, "late cancelled v2", "x synced")
	})
}

// A filter that begins while the store fails begins when it does not.
func TestFilterStoreFails(t *testing.T) {
	for _, method := range []string{"List", "Get"} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.Faulty(errand.Memory(nil), 1)
			q := errand.New(store, &errand.Config{Log: slog.New(slog.DiscardHandler)})
			w := q.Watch(0)
			defer w.Close()
			id := enqueue(t, q, "a")
			store.Set(storetest.Faults{Before: 1, Methods: []string{method}})
			var seen []errand.Seen
			if method == "Get" {
				seen = append(seen, errand.Seen{ID: id})
			}
			_ = w.Match("x", errand.Query{}, time.Time{}, seen...)
			expect(t, w)
			if at := w.CaughtUp(); !at.IsZero() {
				t.Errorf("all was told up to %s", at)
			}
			time.Sleep(10 * time.Minute)
			store.Set(storetest.Faults{})
			time.Sleep(time.Minute)
			expect(t, w, "a ready v1", "x synced")
		})
	}
}

func TestFilterLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		w := q.Watch(10)
		defer w.Close()
		kind := func(i int) errand.Query { return errand.Query{Kinds: []string{strconv.Itoa(i)}} }
		for i := range errand.MaxFilters {
			if err := w.Match(strconv.Itoa(i), kind(i), time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Match("one more", kind(-1), time.Time{}); !errors.Is(err, errand.ErrTooMany) {
			t.Errorf("one filter more: %v", err)
		}
		for i := range 3 { // in its place
			if err := w.Match("0", kind(i%2-1), time.Time{}); err != nil {
				t.Errorf("instead of another one: %v", err)
			}
		}
		var seen []errand.Seen
		for range 6 {
			seen = append(seen, errand.Seen{ID: uuid.New(), Version: 1})
		}
		for _, name := range []string{"1", "2"} { // the same jobs
			if err := w.Match(name, kind(-2-len(name)*int(name[0])), time.Time{}, seen...); err != nil {
				t.Error(err)
			}
		}
		small := q.Watch(1)
		defer small.Close()
		for i := range 1000 {
			if err := small.Match("x", kind(100+i), time.Time{}, seen...); !errors.Is(err, errand.ErrTooMany) {
				t.Fatalf("too many jobs: %v", err)
			}
		}
		if err := small.Match("x", kind(5000), time.Time{}); err != nil {
			t.Errorf("after others were refused: %v", err)
		}
	})
}

// stuck is a store whose lists wait.
type stuck struct {
	errand.Store
	gate  chan struct{}
	lists atomic.Int32
}

func (s *stuck) List(ctx context.Context, q errand.Query) (errand.Page, error) {
	s.lists.Add(1)
	<-s.gate
	return s.Store.List(ctx, q)
}

// A filter that was replaced, or whose watcher has left, is not read for.
func TestFilterReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stuck{Store: errand.Memory(nil), gate: make(chan struct{})}
		q := errand.New(store, nil)
		w, gone := q.Watch(0), q.Watch(0)
		defer w.Close()
		other := q.Watch(0) // has the filter, too, that is asked for again and again
		defer other.Close()
		_ = other.Match("x", errand.Query{}, time.Time{})
		for range 100 {
			_ = w.Match("x", errand.Query{}, time.Time{})
			_ = gone.Match("x", errand.Query{}, time.Time{})
			synctest.Wait()
		}
		gone.Close()
		close(store.gate)
		expect(t, w, "x synced")
		if n := store.lists.Load(); n > 6 {
			t.Errorf("%d lists were read", n)
		}
	})
}

// fed is a store with a feed that tells what a test wants.
type fed struct {
	errand.Store
	mu   sync.Mutex
	err  error
	lost bool
}

func (f *fed) Changed(context.Context, string) (errand.Changed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := errand.Changed{Mark: "x", Lost: f.lost}
	if f.err == nil {
		f.lost = false
	}
	return c, f.err
}

func (f *fed) set(err error, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.lost = err, lost
}

// However long nothing was heard of the changes of others, those are told then.
func TestFilterFeedLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fed{Store: errand.Memory(nil)}
		q := errand.New(store, &errand.Config{Log: slog.New(slog.DiscardHandler)})
		there := errand.New(store.Store, nil)
		w := q.Watch(0)
		defer w.Close()
		_ = w.Match("x", errand.Query{}, time.Time{})
		expect(t, w, "x synced")
		time.Sleep(time.Hour)
		if at := w.CaughtUp(); time.Since(at) > time.Second {
			t.Errorf("all was told up to %s, and now it is %s", at, time.Now())
		}
		store.set(errors.New("the feed is away"), true)
		time.Sleep(time.Second)
		_, _ = there.Cancel(t.Context(), enqueue(t, there, "a"), "")
		away := time.Now()
		time.Sleep(10 * time.Minute)
		expect(t, w)
		if at := w.CaughtUp(); at.After(away) {
			t.Errorf("all was told up to %s, but not what ended at %s", at, away)
		}
		store.set(nil, true)
		expect(t, w, "a cancelled v2", "x synced")
		if at := w.CaughtUp(); at.Before(away) {
			t.Errorf("all was told up to %s only", at)
		}
	})
}

// Filters that began before anything was heard of the changes of others begin anew when it is.
func TestFilterFeedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fed{Store: errand.Memory(nil)}
		q := errand.New(store, &errand.Config{Log: slog.New(slog.DiscardHandler)})
		there := errand.New(store.Store, nil)
		store.set(errors.New("the feed is away"), false)
		w := q.Watch(0)
		defer w.Close()
		_ = w.Match("x", errand.Query{}, time.Time{})
		time.Sleep(time.Minute)
		expect(t, w, "x synced")
		_, _ = there.Cancel(t.Context(), enqueue(t, there, "a"), "")
		time.Sleep(time.Minute)
		store.set(nil, false)
		expect(t, w, "a cancelled v2", "x synced")
	})
}

// While a filter begins, no time is told up to which all was.
func TestFilterCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), nil)
		w := q.Watch(0)
		defer w.Close()
		id := enqueue(t, q, "a")
		_ = w.Match("x", errand.Query{}, time.Time{})
		time.Sleep(time.Minute)
		if at := w.CaughtUp(); !at.IsZero() {
			t.Errorf("nothing is told yet, but all up to %s", at)
		}
		notices, err := w.Next(t.Context())
		if err != nil || len(notices) != 2 || time.Since(notices[1].Time) < time.Minute {
			t.Errorf("told %+v, error %v", notices, err)
		}
		first := w.CaughtUp()
		if time.Since(first) > 5*time.Second {
			t.Errorf("all is told up to %s", first)
		}
		_, _ = q.Cancel(t.Context(), id, "")
		time.Sleep(time.Minute)
		if at := w.CaughtUp(); !at.Equal(first) {
			t.Errorf("an end was not told, but all up to %s", at)
		}
		if got := watched(t, w); !slices.Equal(got, []string{"a cancelled v2"}) {
			t.Errorf("told %q", got)
		}
	})
}
