package storetest

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

//go:embed testdata/*.txt
var scripts embed.FS

// Scenarios runs the scripts of testdata on the store: each is the story of a few jobs and
// workers, told in commands, one a line. With bubble the scripts run in the virtual time of a
// testing/synctest bubble, for which the store's clock must be Go's and open must work
// inside one; without, two or more are played at the same time.
//
//	worker NAME [SLOTS]           start an engine with one queue of 2 slots and a lease of 1.5s
//	stop NAME                     shut it down
//	cut NAME / mend NAME          its calls of the store fail / work again
//	enqueue JOB KIND [OPTION…]    KIND is script, hooked (with a clean-up hook), or unhandled;
//	                              options: do=STEP,STEP… (what the runs do, see below), prio=N, in=D,
//	                              attempts=N, crashes=N, timeout=D, after=JOB,…, outcome=…, queue=Q,
//	                              unique=KEY, scope=ended|started|D, id=JOB, keep=D
//	duplicate JOB KIND [OPTION…]  the same, and it must answer that JOB is already there
//	VERB JOB [REASON…]            pause, resume, cancel, terminate, retry, delete
//	refused VERB JOB              the same, and it must not apply
//	sleep D
//	expect JOB FIELD=VALUE…       wait until so; fields: state, attempt, crashes, want, error, result,
//	                              reason, actor, done (progress), checkpoint, entries (at least),
//	                              log (some entry's text); values are regexps that must match whole, _ is a space
//	never JOB FIELD=VALUE…        it is not so now
//	gone JOB                      wait until it is not there
//	order JOB…                    the handlers started in this order
//	runs JOB N                    its handler was called so often
//	refusals NAME N               that worker has seen N refused writes or more
//
// The n-th run of a job does the n-th step, and further runs the last: ok[:RESULT], fail[:TEXT], permanent,
// panic, goexit, snooze:D, after:D (RetryAfter), sleep:D (obeys its context), stubborn:D (does not), count:N
// (counts to N from its checkpoint, 20 ms each, saving it), nap:D (sleep, and then ok in spite of its context).
func Scenarios(t *testing.T, bubble func(*testing.T, func(*testing.T)), open func(t *testing.T) errand.Store) {
	files, err := scripts.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(f.Name(), ".txt"), func(t *testing.T) {
			text, err := scripts.ReadFile(path.Join("testdata", f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if bubble == nil {
				t.Parallel()
				play(t, string(text), open)
				return
			}
			bubble(t, func(t *testing.T) { play(t, string(text), open) })
		})
	}
}

// stage is a script under way.
type stage struct {
	*testing.T
	store   errand.Store
	client  *errand.Engine
	workers map[string]*stageWorker
	jobs    map[string]errand.ID
	mu      sync.Mutex
	order   []string
	runs    map[errand.ID]int
	over    chan struct{} // the script has ended
}

type stageWorker struct {
	engine *errand.Engine
	faults *FaultyStore
	stop   func() error
}

func play(t *testing.T, script string, open func(t *testing.T) errand.Store) {
	s := &stage{T: t, store: open(t), workers: map[string]*stageWorker{}, jobs: map[string]errand.ID{}, runs: map[errand.ID]int{}, over: make(chan struct{})}
	s.client = errand.New(s.store, &errand.Config{Log: quiet(), Poll: 50 * time.Millisecond})
	defer func() {
		for _, w := range s.workers {
			w.faults.Set(Faults{})
			_ = w.stop()
		}
		close(s.over)
	}()
	lines := bufio.NewScanner(strings.NewReader(script))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := s.step(words); err != nil {
			t.Fatalf("line %d: %s: %v", n, strings.TrimSpace(line), err)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (s *stage) step(words []string) error {
	if len(words) < 2 {
		return errors.New("a command needs words after it")
	}
	verb, name, rest := words[0], words[1], words[2:]
	switch verb {
	case "worker":
		slots := 2
		if len(rest) > 0 {
			slots, _ = strconv.Atoi(rest[0])
		}
		return s.startWorker(name, slots)
	case "stop":
		return s.workers[name].stop()
	case "cut":
		s.workers[name].faults.Set(Faults{Before: 1})
	case "mend":
		s.workers[name].faults.Set(Faults{})
	case "enqueue", "duplicate":
		return s.enqueue(verb == "duplicate", name, rest)
	case "refused":
		err := s.act(name, s.jobs[rest[0]], "")
		if state := (*errand.StateError)(nil); !errors.As(err, &state) {
			return fmt.Errorf("not refused: %v", err)
		}
	case "sleep":
		d, err := time.ParseDuration(name)
		time.Sleep(d)
		return err
	case "expect":
		return s.expect(name, rest)
	case "never":
		if err := s.check(name, rest); err == nil {
			return errors.New("it is so")
		}
	case "gone":
		return s.until(func() error {
			if _, err := s.client.Get(s.Context(), s.jobs[name]); !errors.Is(err, errand.ErrNotFound) {
				return fmt.Errorf("it is there: %v", err)
			}
			return nil
		})
	case "order":
		return s.checkOrder(words[1:])
	case "runs":
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := s.runs[s.jobs[name]]; strconv.Itoa(n) != rest[0] {
			return fmt.Errorf("%d runs", n)
		}
	case "refusals":
		want, _ := strconv.ParseInt(rest[0], 10, 64)
		return s.until(func() error {
			if n := s.workers[name].engine.Refused(); n < want {
				return fmt.Errorf("%d refused writes", n)
			}
			return nil
		})
	default:
		return s.act(verb, s.jobs[name], strings.Join(rest, " "))
	}
	return nil
}

func (s *stage) startWorker(name string, slots int) error {
	faults := Faulty(s.store, 1)
	e := errand.New(faults, &errand.Config{
		Queues: map[string]int{"default": slots}, Prefetch: -1, Lease: 1500 * time.Millisecond, Poll: 100 * time.Millisecond,
		ShutdownGrace: 500 * time.Millisecond, StopGrace: 300 * time.Millisecond, Log: quiet(),
		Retry:     func(*errand.Job, error) time.Duration { return 300 * time.Millisecond },
		Retention: errand.Retention{Failed: 24 * time.Hour},
	})
	e.Handle("script", errand.Handling{Handler: s.handle})
	e.Handle("hooked", errand.Handling{Handler: s.handle, CleanUp: s.cleanUp})
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	s.workers[name] = &stageWorker{engine: e, faults: faults, stop: sync.OnceValue(func() error {
		cancel()
		return <-done
	})}
	return nil
}

// scriptArgs are the args of the jobs of a script.
type scriptArgs struct {
	Name string
	Do   []string
}

func (s *stage) enqueue(duplicate bool, name string, words []string) error {
	args := scriptArgs{Name: name, Do: []string{"ok"}}
	var options []errand.Option
	var key, scope string
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "do":
			args.Do = strings.Split(v, ",")
		case "unique":
			key = v
		case "scope":
			scope = v
		default:
			o, err := s.option(k, v)
			if err != nil {
				return err
			}
			options = append(options, o)
		}
	}
	if key != "" {
		options = append(options, uniqueOption(key, scope))
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	jobs, err := s.client.Enqueue(s.Context(), errand.NewJob{Kind: words[0], Args: raw, Options: options})
	if err != nil {
		return err
	}
	if duplicate && (!jobs[0].Duplicate || jobs[0].ID != s.jobs[name]) {
		return fmt.Errorf("got job %s, duplicate: %t; want %s", jobs[0].ID, jobs[0].Duplicate, s.jobs[name])
	}
	if !duplicate && jobs[0].Duplicate {
		return fmt.Errorf("it was there as %s", jobs[0].ID)
	}
	s.jobs[name] = jobs[0].ID
	return nil
}

func uniqueOption(key, scope string) errand.Option {
	switch scope {
	case "", "ended":
		return errand.Unique(key)
	case "started":
		return errand.UniqueUntilStarted(key)
	}
	d, _ := time.ParseDuration(scope)
	return errand.UniqueFor(key, d)
}

func (s *stage) option(k, v string) (errand.Option, error) {
	n, nErr := strconv.Atoi(v)
	d, dErr := time.ParseDuration(v)
	switch k {
	case "prio":
		return errand.Priority(n), nErr
	case "attempts":
		return errand.MaxAttempts(n), nErr
	case "crashes":
		return errand.MaxCrashes(n), nErr
	case "in":
		return errand.In(d), dErr
	case "timeout":
		return errand.Timeout(d), dErr
	case "keep":
		return errand.Retain(d), dErr
	case "queue":
		return errand.Queue(v), nil
	case "outcome":
		return errand.AfterOutcome(errand.OnFailure(v)), nil
	case "id":
		return errand.WithID(s.jobs[v]), nil
	case "after":
		var ids []errand.ID
		for _, name := range strings.Split(v, ",") {
			ids = append(ids, s.jobs[name])
		}
		return errand.After(ids...), nil
	}
	return nil, fmt.Errorf("unknown option %q", k)
}

func (s *stage) act(verb string, id errand.ID, reason string) (err error) {
	ctx, e := errand.WithActor(s.Context(), "somebody"), s.client
	switch verb {
	case "pause":
		_, err = e.Pause(ctx, id, reason)
	case "resume":
		_, err = e.Resume(ctx, id, reason)
	case "cancel":
		_, err = e.Cancel(ctx, id, reason)
	case "terminate":
		_, err = e.Terminate(ctx, id, reason)
	case "retry":
		_, err = e.Retry(ctx, id, reason)
	case "delete":
		err = e.Delete(ctx, id)
	default:
		return fmt.Errorf("unknown command %q", verb)
	}
	return err
}

func (s *stage) handle(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
	var args scriptArgs
	if err := json.Unmarshal(run.Job().Args, &args); err != nil {
		return nil, err
	}
	s.mu.Lock()
	n := s.runs[run.Job().ID]
	s.runs[run.Job().ID]++
	s.order = append(s.order, args.Name)
	s.mu.Unlock()
	return s.play(ctx, run, args.Do[min(n, len(args.Do)-1)])
}

func (s *stage) cleanUp(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
	errand.Logger(ctx).Info("cleaning up")
	return nil, nil
}

// play is what one run does.
func (s *stage) play(ctx context.Context, run *errand.Run, step string) (json.RawMessage, error) {
	what, arg, _ := strings.Cut(step, ":")
	d, _ := time.ParseDuration(arg)
	switch what {
	case "ok":
		errand.Logger(ctx).Info("well done", "attempt", run.Job().Attempt)
		return json.Marshal(arg)
	case "fail":
		return nil, errors.New("failed" + arg)
	case "permanent":
		return nil, errand.Permanent(errors.New("no use"))
	case "panic":
		panic("oh no")
	case "goexit":
		runtime.Goexit()
	case "snooze":
		return nil, errand.Snooze(d)
	case "after":
		return nil, errand.RetryAfter(d, errors.New("busy"))
	case "sleep":
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(d):
		}
	case "nap":
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	case "stubborn":
		select {
		case <-s.over:
		case <-time.After(d):
		}
	case "count":
		return nil, count(ctx, run, arg)
	default:
		return nil, errand.Permanent(fmt.Errorf("unknown step %q", step))
	}
	return nil, nil
}

func count(ctx context.Context, run *errand.Run, to string) error {
	n, err := strconv.Atoi(to)
	if err != nil {
		return err
	}
	i, err := errand.Checkpoint[int](run)
	for ; err == nil && i < n; i++ {
		if ctx.Err() != nil {
			return run.Stop(i)
		}
		time.Sleep(20 * time.Millisecond)
		run.Progress(int64(i+1), int64(n), "counting")
		err = run.Save(i + 1)
	}
	return err
}

// until tries again for up to 20 seconds.
func (s *stage) until(ok func() error) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ok()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *stage) expect(name string, fields []string) error {
	return s.until(func() error { return s.check(name, fields) })
}

func (s *stage) check(name string, fields []string) error {
	j, err := s.client.Get(s.Context(), s.jobs[name])
	if err != nil {
		return err
	}
	for _, f := range fields {
		k, want, _ := strings.Cut(f, "=")
		re, err := regexp.Compile("^(?s:" + strings.ReplaceAll(want, "_", " ") + ")$")
		if err != nil {
			return err
		}
		ok, got := false, []string{}
		for _, v := range s.values(j, k) {
			got = append(got, v)
			ok = ok || re.MatchString(v)
		}
		if !ok {
			return fmt.Errorf("%s is %q (state %s, attempt %d, error %q)", k, got, j.State, j.Attempt, j.Error)
		}
	}
	return nil
}

// values returns a field of a job, or all values of one that has several.
func (s *stage) values(j *errand.Job, field string) []string {
	switch field {
	case "state":
		return []string{string(j.State)}
	case "want":
		return []string{string(j.Want)}
	case "attempt":
		return []string{strconv.Itoa(j.Attempt)}
	case "crashes":
		return []string{strconv.Itoa(j.Crashes)}
	case "error":
		return []string{j.Error}
	case "reason":
		return []string{j.Reason}
	case "actor":
		return []string{j.Actor}
	case "result":
		return []string{strings.Trim(string(j.Result), `"`)}
	case "checkpoint":
		return []string{string(j.Checkpoint)}
	case "done":
		return []string{strconv.FormatInt(j.Progress.Done, 10)}
	case "log":
		entries, err := s.client.Log(s.Context(), j.ID, 0, errand.MaxEntries)
		if err != nil {
			return []string{err.Error()}
		}
		var texts []string
		for _, e := range entries {
			texts = append(texts, string(e.Type)+": "+e.Text)
		}
		return texts
	}
	return []string{"unknown field " + field}
}

// checkOrder compares the starts of the named jobs with the order given.
func (s *stage) checkOrder(want []string) error {
	return s.until(func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if got := strings.Join(s.order, " "); got != strings.Join(want, " ") {
			return fmt.Errorf("started in the order %s", got)
		}
		return nil
	})
}
