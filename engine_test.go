package errand_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
)

// start runs an engine on the store until the test ends.
func start(t *testing.T, store errand.Store, config errand.Config, setup func(*errand.Engine)) *errand.Engine {
	t.Helper()
	config.Log = slog.New(slog.DiscardHandler)
	e := errand.New(store, &config)
	if setup != nil {
		setup(e)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestDependencies keeps the library small: it imports the standard library, its own expressions and google/uuid.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if p != "github.com/errandhq/errand" && p != "github.com/errandhq/errand/cron" && p != "github.com/google/uuid" {
			t.Errorf("the root package depends on %s", p)
		}
	}
}

func TestResultAndHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := errand.Define[int, string]("format", errand.Tags("a"), errand.Meta("k", "v"))
		e := start(t, errand.Memory(nil), errand.Config{}, func(e *errand.Engine) {
			kind.Handle(e, func(ctx context.Context, n int) (string, error) {
				time.Sleep(time.Duration(n) * time.Second)
				return fmt.Sprint(n), nil
			})
		})
		job, err := kind.Enqueue(t.Context(), e, 7, errand.Tags("b"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if now, err := job.Now(t.Context()); err != nil || now.State != errand.Running || now.Duration(time.Now()) != 2*time.Second {
			t.Errorf("after 2 s: %+v, %v", now, err)
		}
		if got, err := job.Wait(t.Context()); err != nil || got != "7" {
			t.Errorf("result %q, %v", got, err)
		}
		now, _ := job.Now(t.Context())
		if strings.Join(now.Tags, " ") != "a b" || now.Metadata["k"] != "v" || now.Duration(time.Now()) != 7*time.Second {
			t.Errorf("job %+v", now)
		}
	})
}

func TestConcurrencyLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all, limited, mostAll, mostLimited atomic.Int64
		busy := func(n, most *atomic.Int64) {
			now := n.Add(1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			time.Sleep(time.Second)
			n.Add(-1)
		}
		free := errand.Define[int, errand.None]("free")
		tight := errand.Define[int, errand.None]("tight")
		e := start(t, errand.Memory(nil), errand.Config{Queues: map[string]int{"default": 5}}, func(e *errand.Engine) {
			free.Do(e, func(context.Context, int) error { busy(&all, &mostAll); return nil })
			tight.Do(e, func(context.Context, int) error { busy(&limited, &mostLimited); return nil })
			tight.Limit(e, 2)
		})
		var last *errand.Handle[errand.None]
		for i := range 20 {
			_, err := tight.Enqueue(t.Context(), e, i)
			if err != nil {
				t.Fatal(err)
			}
			if last, err = free.Enqueue(t.Context(), e, i); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := last.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		job, err := tight.Enqueue(t.Context(), e, 0, errand.Priority(-1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := job.Wait(t.Context()); err != nil || time.Since(begin) > 10*time.Second {
			t.Errorf("the limited kind took %s more, %v", time.Since(begin), err)
		}
		if mostLimited.Load() != 2 || mostAll.Load() > 5 || mostAll.Load() < 3 {
			t.Errorf("ran %d of the limited kind and %d of the other at once; want 2, and 3 to 5", mostLimited.Load(), mostAll.Load())
		}
	})
}

// TestQueuesAppear puts jobs into queues that no worker was told of, from this and another process.
func TestQueuesAppear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		kind := errand.Define[int, int]("echo")
		e := start(t, store, errand.Config{}, func(e *errand.Engine) {
			kind.Handle(e, func(_ context.Context, n int) (int, error) { return n, nil })
		})
		client := errand.New(store, nil)
		for i, from := range []*errand.Engine{e, client} {
			job, err := kind.Enqueue(t.Context(), from, i, errand.Queue(fmt.Sprint("queue", i)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := job.Wait(t.Context()); err != nil || got != i {
				t.Errorf("got %d, %v", got, err)
			}
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := errand.Define[int, errand.None]("note")
		e := start(t, errand.Memory(nil), errand.Config{}, func(e *errand.Engine) {
			kind.Do(e, func(context.Context, int) error { return nil })
		})
		events := e.Events(t.Context(), errand.Query{Kinds: []string{"note"}})
		slow := e.Events(t.Context())
		for i := range 2000 {
			if _, err := kind.Enqueue(t.Context(), e, i); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				var got []string
				for ev := range events {
					got = append(got, fmt.Sprint(ev.From, ">", ev.Job.State))
					if ev.Job.State.Ended() {
						break
					}
				}
				if s := strings.Join(got, " "); s != ">ready ready>running running>succeeded" {
					t.Errorf("events: %s", s)
				}
			}
		}
		time.Sleep(time.Second)
		if _, err := kind.Enqueue(t.Context(), e, 0); err != nil {
			t.Fatal(err)
		}
		n, missed := 0, 0
		for ev := range slow {
			n, missed = n+1, missed+ev.Missed
			if missed > 0 {
				break
			}
		}
		if n != 1025 || missed < 3*2000-1024 {
			t.Errorf("a slow subscriber got %d events and missed %d", n, missed)
		}
	})
}

func TestGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		e := start(t, store, errand.Config{ShutdownGrace: -1}, nil)
		time.Sleep(time.Second)
		var calls atomic.Int64
		fn := func(ctx context.Context) error {
			calls.Add(1)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Minute):
				return nil
			}
		}
		job, err := e.Go(t.Context(), "rebuild", fn)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if now, _ := e.Get(t.Context(), job.ID); now.State != errand.Running || now.Kind != "rebuild" {
			t.Errorf("job %+v", now)
		}
		mustAct(t)(e.Pause(t.Context(), job.ID, "wait"))
		time.Sleep(time.Second)
		if now, _ := e.Get(t.Context(), job.ID); now.State != errand.Paused {
			t.Errorf("after pause: %s", now.State)
		}
		mustAct(t)(e.Resume(t.Context(), job.ID, ""))
		if _, err := e.Wait(t.Context(), job.ID); err != nil || calls.Load() != 2 {
			t.Errorf("wait: %v, %d calls", err, calls.Load())
		}
		job, err = e.Go(t.Context(), "cancelled", fn)
		if err != nil {
			t.Fatal(err)
		}
		mustAct(t)(e.Cancel(t.Context(), job.ID, "no"))
		var failed *errand.FailedError
		if _, err := e.Wait(t.Context(), job.ID); !errors.As(err, &failed) || failed.Job.State != errand.Cancelled {
			t.Errorf("wait for the cancelled one: %v", err)
		}
		if _, err := errand.New(store, nil).Go(t.Context(), "x", fn); !errors.Is(err, errand.ErrClosed) {
			t.Errorf("Go without Run: %v", err)
		}
	})
}

func mustAct(t *testing.T) func(*errand.Job, error) {
	return func(_ *errand.Job, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogOfAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := errand.Define[errand.None, errand.None]("log", errand.MaxAttempts(1))
		e := start(t, errand.Memory(nil), errand.Config{}, func(e *errand.Engine) {
			kind.Do(e, func(ctx context.Context, _ errand.None) error {
				l := errand.Logger(ctx).With("a", 1).WithGroup("g").With("b", time.Second)
				l.Info("hello", "c", errors.New("x"), slog.Group("d", "e", true))
				for i := range 3000 {
					l.Debug(fmt.Sprint(i))
				}
				time.Sleep(time.Second)
				panic("at the disco \xff\x00")
			})
		})
		job, err := kind.Enqueue(t.Context(), e, errand.None{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := job.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "panic: at the disco \uFFFD") {
			t.Errorf("wait: %v", err)
		}
		entries, err := e.Log(t.Context(), job.ID, 0, 5000)
		if err != nil || len(entries) != errand.MaxLogLines+1 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		last := entries[len(entries)-1]
		var attrs struct{ Stack string }
		if err := json.Unmarshal(last.Attrs, &attrs); err != nil || !strings.Contains(attrs.Stack, "TestLogOfAJob") {
			t.Errorf("stack %q, %v", attrs.Stack, err)
		}
		if last.Type != errand.EntryAttempt || entries[0].Attempt != 1 {
			t.Errorf("entries: first %+v, last %+v", entries[0], last)
		}
	})
}

func TestLogAttrs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := errand.Define[errand.None, errand.None]("log")
		e := start(t, errand.Memory(nil), errand.Config{}, func(e *errand.Engine) {
			kind.Do(e, func(ctx context.Context, _ errand.None) error {
				l := errand.Logger(ctx).With("a", 1).WithGroup("g").With("b", time.Second)
				l.Warn("hello", "c", errors.New("x"), slog.Group("d", "e", true))
				return nil
			})
		})
		job, _ := kind.Enqueue(t.Context(), e, errand.None{})
		if _, err := job.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		entries, _ := e.Log(t.Context(), job.ID, 0, 10)
		if len(entries) != 1 || entries[0].Text != "hello" || entries[0].Level != int(slog.LevelWarn) ||
			string(entries[0].Attrs) != `{"a":1,"g":{"b":"1s","c":"x","d":{"e":true}}}` {
			t.Errorf("entries %+v", entries)
		}
	})
}

func TestInvalidJobs(t *testing.T) {
	e := errand.New(errand.Memory(nil), nil)
	enqueue := func(kind, args string, options ...errand.Option) error {
		_, err := e.Enqueue(t.Context(), errand.NewJob{Kind: kind, Args: json.RawMessage(args), Options: options})
		return err
	}
	for name, err := range map[string]error{
		"kind \"\"":        enqueue("", "1"),
		"not JSON":         enqueue("k", "{"),
		"args of":          enqueue("k", `"`+strings.Repeat("x", errand.MaxArgs)+`"`),
		"queue":            enqueue("k", "1", errand.Queue("a\nb")),
		"priority 40000":   enqueue("k", "1", errand.Priority(40000)),
		"max attempts 0":   enqueue("k", "1", errand.MaxAttempts(0)),
		"timeout -1s":      enqueue("k", "1", errand.Timeout(-time.Second)),
		"unique window":    enqueue("k", "1", errand.UniqueFor("x", 0)),
		"no job with this": enqueue("k", "1", errand.After(errand.ID{1})),
		"outcome":          enqueue("k", "1", errand.AfterOutcome("x")),
		"zero UUID":        enqueue("k", "1", errand.WithID(errand.ID{})),
		"tag":              enqueue("k", "1", errand.Tags("")),
		"metadata":         enqueue("k", "1", errand.Meta("a", "\x00")),
	} {
		if !errors.Is(err, errand.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e.Get(t.Context(), errand.ID{1}); !errors.Is(err, errand.ErrNotFound) {
		t.Error(err)
	}
	bad := errand.Define[chan int, errand.None]("bad")
	if _, err := bad.Enqueue(t.Context(), e, nil); !errors.Is(err, errand.ErrInvalid) {
		t.Error(err)
	}
	if counts, _ := e.Stats(t.Context()); len(counts) != 0 {
		t.Errorf("something was enqueued: %v", counts)
	}
}

// TestBatch enqueues many at once, in one chain, and from many goroutines.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []int
		var mu sync.Mutex
		kind := errand.Define[int, errand.None]("step")
		e := start(t, errand.Memory(nil), errand.Config{}, func(e *errand.Engine) {
			kind.Do(e, func(_ context.Context, n int) error {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, n)
				return nil
			})
		})
		var batch []errand.NewJob
		var last errand.ID
		for i := range 50 {
			id := errand.ID{1, byte(i)}
			options := []errand.Option{errand.WithID(id)}
			if i > 0 {
				options = append(options, errand.After(last))
			}
			batch = append(batch, kind.New(i, options...))
			last = id
		}
		if _, err := e.Enqueue(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Wait(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		for i, n := range order {
			if i != n {
				t.Fatalf("order %v", order)
			}
		}
	})
}

// TestMemoryStaysFlat runs many jobs and looks at the heap.
func TestMemoryStaysFlat(t *testing.T) {
	kind := errand.Define[int, errand.None]("noop")
	e := start(t, errand.Memory(&errand.MemoryOptions{Keep: 1000}), errand.Config{}, func(e *errand.Engine) {
		kind.Do(e, func(context.Context, int) error { return nil })
	})
	heap := func(n int) uint64 {
		for i := range n {
			job, err := kind.Enqueue(t.Context(), e, i)
			if err != nil {
				t.Fatal(err)
			}
			if i%1000 == 999 {
				if _, err := job.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap(20_000)
	after := heap(60_000)
	if after > before+4<<20 {
		t.Errorf("heap grew from %d to %d bytes", before, after)
	}
}

// TestObserver and wraps see what happens.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o recorder
		wrapped := 0
		kind := errand.Define[int, errand.None]("seen")
		e := start(t, errand.Memory(nil), errand.Config{Observer: &o, Wraps: []func(errand.Handler) errand.Handler{
			func(next errand.Handler) errand.Handler {
				return func(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
					wrapped++
					return next(ctx, run)
				}
			},
		}}, func(e *errand.Engine) {
			kind.Do(e, func(context.Context, int) error { return nil })
			kind.Limit(e, 10) // sets the handling again
		})
		job, err := kind.Enqueue(t.Context(), e, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := job.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if wrapped != 1 || o.transitions != 3 || o.calls["Insert"] != 1 || o.calls["Swap"] != 1 || o.calls["Claim"] < 1 || o.calls["Beat"] < 1 {
			t.Errorf("wrapped %d, transitions %d, calls %v", wrapped, o.transitions, o.calls)
		}
	})
}

type recorder struct {
	mu          sync.Mutex
	transitions int
	calls       map[string]int
}

func (o *recorder) Transition(errand.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.transitions++
}

func (o *recorder) Call(method string, _ int, _ time.Duration, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls == nil {
		o.calls = map[string]int{}
	}
	o.calls[method]++
}

func (o *recorder) Fired(errand.Firing) {}

func (o *recorder) Refused(errand.Lease) {}

// TestGoAtShutdown calls Go while the engine shuts down: each call is refused or its job has ended or failed, none panics.
func TestGoAtShutdown(t *testing.T) {
	for range 50 {
		store := errand.Memory(nil)
		e := errand.New(store, &errand.Config{ShutdownGrace: -1, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		var calls sync.WaitGroup
		started := make(chan bool, 1)
		for range 4 {
			calls.Go(func() {
				for {
					_, err := e.Go(t.Context(), "quick", func(context.Context) error { return nil })
					if err == nil {
						select {
						case started <- true:
						default:
						}
					}
					if errors.Is(err, errand.ErrClosed) && ctx.Err() != nil {
						return
					}
				}
			})
		}
		<-started
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		calls.Wait()
		counts, err := store.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if !c.State.Ended() {
				t.Errorf("%d jobs are %s after the end", c.Jobs, c.State)
			}
		}
	}
}
