package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

// bench is an engine with commands, on the memory store.
type bench struct {
	*testing.T
	e    *errand.Engine
	x    *executor
	dir  string
	quit func()
}

// newBench starts an engine whose commands are shell scripts, by name.
func newBench(t *testing.T, scripts map[string]string, edits ...func(*commandSettings)) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir()}
	commands := map[string]*commandSettings{}
	for name, script := range scripts {
		c := &commandSettings{
			Argv: []string{"sh", "-c", script}, Dir: b.dir,
			MaxAttempts: 1, Grace: duration{300 * time.Millisecond},
		}
		for _, edit := range edits {
			edit(c)
		}
		if err := c.check(name); err != nil {
			t.Fatal(err)
		}
		commands[name] = c
	}
	log := slog.New(slog.DiscardHandler)
	b.x = newExecutor(10, log)
	b.e = errand.New(errand.Memory(nil), &errand.Config{Observer: b.x, Log: log, ShutdownGrace: -1, Poll: 20 * time.Millisecond})
	b.x.register(b.e, commands)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.e.Run(ctx) }()
	stopped := false
	b.quit = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.x.close()
	}
	t.Cleanup(b.quit)
	return b
}

func (b *bench) enqueue(kind, args string, options ...errand.Option) errand.ID {
	b.Helper()
	jobs, err := b.e.Enqueue(b.Context(), errand.NewJob{Kind: kind, Args: json.RawMessage(args), Options: options})
	if err != nil {
		b.Fatal(err)
	}
	return jobs[0].ID
}

func (b *bench) get(id errand.ID) *errand.Job {
	b.Helper()
	j, err := b.e.Get(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return j
}

// wait waits for the end of a job.
func (b *bench) wait(id errand.ID) *errand.Job {
	b.Helper()
	b.await(id, errand.Succeeded, errand.Failed, errand.Cancelled)
	return b.get(id)
}

func (b *bench) await(id errand.ID, states ...errand.State) {
	b.Helper()
	eventually(b.T, fmt.Sprintf("job is one of %v", states), func() bool { return slices.Contains(states, b.get(id).State) })
}

// log returns the texts of a job's log lines.
func (b *bench) log(id errand.ID) []errand.Entry {
	b.Helper()
	entries, err := b.e.Log(b.Context(), id, 0, 2000)
	if err != nil {
		b.Fatal(err)
	}
	return slices.DeleteFunc(entries, func(e errand.Entry) bool { return e.Type != errand.EntryLog })
}

func texts(entries []errand.Entry) string {
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.Text)
	}
	return strings.Join(lines, "\n")
}

// pids waits for a file of process ids, one a line.
func (b *bench) pids(name string, n int) []int {
	b.Helper()
	return awaitPIDs(b.T, filepath.Join(b.dir, name), n)
}

func awaitPIDs(t *testing.T, path string, n int) (pids []int) {
	t.Helper()
	eventually(t, "pids in "+path, func() bool {
		raw, _ := os.ReadFile(path)
		pids = nil
		for _, f := range strings.Fields(string(raw)) {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
		return len(pids) == n && bytes.HasSuffix(raw, []byte("\n"))
	})
	return pids
}

func state(pid int) string {
	p, ok := readProc(pid)
	if !ok {
		return ""
	}
	return p.state
}

// cpu is the CPU time of a process so far, in clock ticks.
func cpu(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return user + system
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, fmt.Sprintf("processes %v are gone", pids), func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return state(pid) != "" && state(pid) != "Z" })
	})
}

// tree is a script with a child in its group, one in a session of its own, and busy work.
const tree = `sleep 1000 & echo $! >> pids
setsid sh -c 'echo $$ >> pids; exec sleep 1000' &
echo $$ >> pids
while :; do :; done`

func TestCommandSucceeds(t *testing.T) {
	b := newBench(t, map[string]string{"greet": `
		echo "hello $ERRAND_ARG_NAME, attempt $ERRAND_ATTEMPT of $ERRAND_MAX_ATTEMPTS"
		echo oops >&2
		echo "::progress 3/10 counting"
		echo '::result {"n": 12345678901234567890}'`})
	id := b.enqueue("greet", `{"name": "Ada; $(reboot)"}`)
	j := b.wait(id)
	if j.State != errand.Succeeded || string(j.Result) != `{"n": 12345678901234567890}` {
		t.Errorf("job is %s with result %s, %s", j.State, j.Result, j.Error)
	}
	if want := (errand.Progress{Done: 3, Total: 10, Text: "counting"}); j.Progress != want {
		t.Errorf("progress %v, want %v", j.Progress, want)
	}
	log := b.log(id)
	slices.SortFunc(log, func(x, y errand.Entry) int { return x.Level - y.Level })
	if want := "hello Ada; $(reboot), attempt 1 of 1\noops"; texts(log) != want {
		t.Fatalf("log %q, want %q", texts(log), want)
	}
	if log[0].Level != int(slog.LevelInfo) || log[1].Level != int(slog.LevelWarn) {
		t.Errorf("levels %d and %d", log[0].Level, log[1].Level)
	}
}

func TestCommandEnds(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		state  errand.State
		error  string
	}{
		"exit code":       {"echo first >&2; echo second >&2; exit 7", errand.Failed, "exit code 7: first\nsecond"},
		"signal":          {"kill -SEGV $$", errand.Failed, "ended by SIGSEGV"},
		"permanent":       {"echo bad data >&2; exit 65", errand.Failed, "exit code 65: bad data"},
		"not now":         {"exit 75", errand.Scheduled, ""},
		"no such":         {"exec /no/such/program", errand.Failed, "exit code 127: sh: 1: exec: /no/such/program: not found"},
		"result no JSON":  {"echo '::result {'", errand.Failed, "the command succeeded, but its ::result is not JSON"},
		"last result":     {"echo '::result {'; echo '::result 1'", errand.Succeeded, ""},
		"leaves children": {"sleep 1000 & sleep 1000 & exit 0", errand.Succeeded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{"x": c.script})
			id := b.enqueue("x", "null")
			b.await(id, c.state)
			if j := b.get(id); j.Error != c.error {
				t.Errorf("error %q, want %q", j.Error, c.error)
			}
		})
	}
}

func TestCommandCannotStart(t *testing.T) {
	b := newBench(t, map[string]string{"x": ""}, func(c *commandSettings) { c.Argv = []string{"no-such-program-here"} })
	j := b.wait(b.enqueue("x", "null"))
	if want := `exec: "no-such-program-here": executable file not found in $PATH`; j.Error != want {
		t.Errorf("error %q, want %q", j.Error, want)
	}
}

func TestCommandAttempts(t *testing.T) {
	b := newBench(t, map[string]string{"once": "exit 65", "twice": "exit 1"}, func(c *commandSettings) {
		c.MaxAttempts, c.RetryDelay.d = 2, time.Millisecond
	})
	once, twice := b.enqueue("once", "null"), b.enqueue("twice", "null")
	if j := b.wait(once); j.Attempt != 1 {
		t.Errorf("permanent failure after %d attempts", j.Attempt)
	}
	if j := b.wait(twice); j.Attempt != 2 {
		t.Errorf("failure after %d attempts, want 2", j.Attempt)
	}
}

func TestCommandPauseResume(t *testing.T) {
	b := newBench(t, map[string]string{"work": tree, "after": `
		echo $$ > pid; echo before; i=0
		while [ ! -e go ]; do sleep 0.01; done; echo after`})
	busy := b.enqueue("work", "null")
	pids := b.pids("pids", 3)
	if _, err := b.e.Pause(t.Context(), busy, "test"); err != nil {
		t.Fatal(err)
	}
	b.await(busy, errand.Paused)
	for _, pid := range pids {
		if s := state(pid); s != "T" {
			t.Errorf("process %d is in state %q, want T", pid, s)
		}
	}
	burner := pids[slices.IndexFunc(pids, func(pid int) bool { return cpu(t, pid) >= 0 && comm(pid) == "sh" })]
	at := cpu(t, burner)
	time.Sleep(100 * time.Millisecond)
	if now := cpu(t, burner); now != at {
		t.Errorf("the paused command used %d ticks of CPU", now-at)
	}
	if _, err := b.e.Resume(t.Context(), busy, ""); err != nil {
		t.Fatal(err)
	}
	b.await(busy, errand.Running)
	eventually(t, "the command works again", func() bool { return cpu(t, burner) > at })
	if _, err := b.e.Cancel(t.Context(), busy, ""); err != nil {
		t.Fatal(err)
	}
	if j := b.wait(busy); j.State != errand.Cancelled {
		t.Errorf("job is %s", j.State)
	}
	gone(t, pids)

	id := b.enqueue("after", "null")
	pid := b.pids("pid", 1)
	for range 2 { // the same process goes on each time
		b.e.Pause(t.Context(), id, "")
		b.await(id, errand.Paused)
		b.e.Resume(t.Context(), id, "")
		b.await(id, errand.Running)
	}
	os.WriteFile(filepath.Join(b.dir, "go"), nil, 0o600)
	if j := b.wait(id); j.State != errand.Succeeded || j.Attempt != 1 {
		t.Errorf("job is %s after attempt %d: %s", j.State, j.Attempt, j.Error)
	}
	if got := texts(b.log(id)); got != "before\nafter" {
		t.Errorf("log %q", got)
	}
	gone(t, pid)
}

func comm(pid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(raw))
}

// TestCommandEndsWhileParked: whatever ends a paused job ends its processes.
func TestCommandEndsWhileParked(t *testing.T) {
	for name, end := range map[string]func(b *bench, id errand.ID) error{
		"cancel":    func(b *bench, id errand.ID) error { _, err := b.e.Cancel(b.Context(), id, ""); return err },
		"terminate": func(b *bench, id errand.ID) error { _, err := b.e.Terminate(b.Context(), id, ""); return err },
		"delete":    func(b *bench, id errand.ID) error { return b.e.Delete(b.Context(), id) },
		"shutdown":  func(b *bench, _ errand.ID) error { b.quit(); return nil },
		"cancel and retry": func(b *bench, id errand.ID) error {
			_, err := b.e.Cancel(b.Context(), id, "")
			os.Rename(filepath.Join(b.dir, "pids"), filepath.Join(b.dir, "old"))
			_, err2 := b.e.Retry(b.Context(), id, "")
			b.pids("pids", 3) // another process
			return errors.Join(err, err2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{"work": tree})
			id := b.enqueue("work", "null")
			pids := b.pids("pids", 3)
			b.e.Pause(t.Context(), id, "")
			b.await(id, errand.Paused)
			if err := end(b, id); err != nil {
				t.Fatal(err)
			}
			gone(t, pids)
			if name == "shutdown" && b.get(id).State != errand.Paused {
				t.Errorf("after the shutdown the job is %s", b.get(id).State)
			}
		})
	}
}

// TestCommandEndsWhileRunning: so does whatever ends a running one.
func TestCommandEndsWhileRunning(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(b *bench, id errand.ID)
		state errand.State
	}{
		"cancel":    {func(b *bench, id errand.ID) { b.e.Cancel(b.Context(), id, "") }, errand.Cancelled},
		"terminate": {func(b *bench, id errand.ID) { b.e.Terminate(b.Context(), id, "") }, errand.Cancelled},
		"shutdown":  {func(b *bench, _ errand.ID) { b.quit() }, errand.Ready},
		"timeout":   {func(*bench, errand.ID) {}, errand.Failed},
	} {
		for _, script := range []string{tree, "trap '' TERM\n" + tree} { // one obeys SIGTERM, one needs SIGKILL
			t.Run(name, func(t *testing.T) {
				b := newBench(t, map[string]string{"work": script}, func(s *commandSettings) {
					if name == "timeout" {
						s.Timeout.d = 500 * time.Millisecond
					}
				})
				id := b.enqueue("work", "null")
				pids := b.pids("pids", 3)
				c.end(b, id)
				b.await(id, c.state)
				gone(t, pids)
			})
		}
	}
}

func TestCommandTimeoutSays(t *testing.T) {
	b := newBench(t, map[string]string{"x": "echo waiting for the moon >&2; sleep 1000"}, func(c *commandSettings) { c.Timeout.d = 300 * time.Millisecond })
	j := b.wait(b.enqueue("x", "null"))
	if want := "timeout: the run exceeded 300ms: ended by SIGTERM: waiting for the moon"; j.Error != want {
		t.Errorf("error %q, want %q", j.Error, want)
	}
}

// TestCommandCheckpoint: what a command prints when it is told to end is where its next run goes on.
func TestCommandCheckpoint(t *testing.T) {
	b := newBench(t, map[string]string{"x": `
		echo "from ${ERRAND_CHECKPOINT:-nothing}"
		trap 'echo "::checkpoint {\"row\": 42}"; exit 1' TERM
		echo $$ > pid
		while :; do sleep 0.01; done`})
	id := b.enqueue("x", "null")
	b.pids("pid", 1)
	b.quit()
	j := b.get(id)
	if j.State != errand.Ready || string(j.Checkpoint) != `{"row":42}` || j.Attempt != 0 {
		t.Errorf("job is %s, checkpoint %s, attempt %d", j.State, j.Checkpoint, j.Attempt)
	}
	env, err := environ(&commandSettings{}, j)
	if err != nil || !slices.Contains(env, `ERRAND_CHECKPOINT={"row":42}`) {
		t.Errorf("environment %v, %v", env, err)
	}
}

// TestCommandTooManyParked: beyond the limit a paused command is ended, and starts anew.
func TestCommandTooManyParked(t *testing.T) {
	b := newBench(t, map[string]string{"work": tree})
	b.x.max = 0
	id := b.enqueue("work", "null")
	pids := b.pids("pids", 3)
	b.e.Pause(t.Context(), id, "")
	b.await(id, errand.Paused)
	gone(t, pids)
}

// TestCommandSupervisorKilled: without its supervisor a command dies, and the attempt has failed.
func TestCommandSupervisorKilled(t *testing.T) {
	b := newBench(t, map[string]string{"x": "sleep 1000 & echo $! > pids; echo $$ >> pids; sleep 1000"})
	id := b.enqueue("x", "null")
	pids := b.pids("pids", 2)
	p, _ := readProc(pids[1])
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.parent))
	if !bytes.HasPrefix(cmdline, []byte("errand\x00"+superviseVerb)) {
		t.Fatalf("process %d is no supervisor", p.parent)
	}
	syscall.Kill(p.parent, syscall.SIGKILL)
	if j := b.wait(id); j.Error != "its supervisor died: signal: killed" {
		t.Errorf("job is %s: %q", j.State, j.Error)
	}
	gone(t, pids)
}
