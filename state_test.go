package errand

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var update = flag.Bool("update", false, "rewrite golden files")

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// verbs are all transitions of a job, by the names that the golden table shows.
var verbs = []struct {
	name    string
	running bool // applies to running jobs only; the engine calls it for no other
	do      func(*Change) error
}{
	{"pause", false, func(c *Change) error { return c.pause(By{}) }},
	{"resume", false, func(c *Change) error { return c.resume(By{}) }},
	{"cancel", false, func(c *Change) error { return c.cancel(By{}) }},
	{"terminate", false, func(c *Change) error { return c.terminate(By{}) }},
	{"retry", false, func(c *Change) error { return c.retry(By{}) }},
	{"delete", false, func(c *Change) error { return c.remove() }},
	{"unblock", false, func(c *Change) error { c.unblock([]Link{{uuid.Max, Succeeded}}); return nil }},
	{"unblock*", false, func(c *Change) error { c.unblock([]Link{{uuid.Max, Failed}}); return nil }},
	{"succeed", true, settle(outcome{})},
	{"fail", true, settle(outcome{err: errors.New("x"), delay: time.Hour})},
	{"fail last", true, func(c *Change) error {
		c.Job.Attempt = 99
		return settle(outcome{err: errors.New("x"), delay: time.Hour})(c)
	}},
	{"permanent", true, settle(outcome{err: Permanent(errors.New("x"))})},
	{"snooze", true, settle(outcome{err: Snooze(time.Hour)})},
	{"time out", true, settle(outcome{err: ErrTimeout, cause: ErrTimeout, delay: time.Hour})},
	{"interrupt", true, settle(outcome{err: ErrShutdown, cause: ErrShutdown})},
	{"rescue", true, func(c *Change) error { c.rescue(); return nil }},
	{"rescue 3rd", true, func(c *Change) error { c.Job.Crashes = 2; c.rescue(); return nil }},
}

func settle(o outcome) func(*Change) error {
	return func(c *Change) error { c.settle(o); return nil }
}

type situation struct {
	name string
	job  Job
}

// columns are the situations a verb can meet.
var columns = []situation{
	{"scheduled", Job{State: Scheduled, Due: t0.Add(time.Hour)}},
	{"waiting", Job{State: Waiting, Blocked: 1}},
	{"ready", Job{State: Ready}},
	{"running", Job{State: Running, Attempt: 1}},
	{"paused", Job{State: Paused}},
	{"succeeded", Job{State: Succeeded, Ended: t0}},
	{"failed", Job{State: Failed, Ended: t0}},
	{"cancelled", Job{State: Cancelled, Ended: t0}},
	{"run/pause", Job{State: Running, Attempt: 1, Want: Paused}},
	{"run/cancel", Job{State: Running, Attempt: 1, Want: Cancelled}},
	{"armed", Job{State: Running, Attempt: 1, CleanUp: CleanUpArmed}},
	{"failed/a", Job{State: Failed, Ended: t0, CleanUp: CleanUpArmed}},
	{"clean-up", Job{State: Running, Attempt: 1, Want: Cancelled, CleanUp: CleanUpDue}},
}

// TestStates compares every verb in every situation with the golden table, which doc.go shows too.
func TestStates(t *testing.T) {
	table := stateTable(t, columns[:8]) + "\n" + stateTable(t, columns[8:])
	golden(t, "testdata/states.txt", table)
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.Trim(table, "\n"), "\n") {
		if line != "" && !strings.Contains(string(doc), "//\t"+strings.TrimRight(line, " ")+"\n") {
			t.Errorf("doc.go does not show this line of testdata/states.txt:\n%s", line)
		}
	}
}

// stateTable has a row for each verb and a column for each situation.
func stateTable(t *testing.T, columns []situation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-11s", "")
	for _, col := range columns {
		fmt.Fprintf(&b, "%-11s", col.name)
	}
	b.WriteString("\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "%-11s", v.name)
		for _, col := range columns {
			fmt.Fprintf(&b, "%-11s", cell(t, v.name, v.running, v.do, col.job))
		}
		b.WriteString("\n")
	}
	return trimLines(b.String())
}

func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func cell(t *testing.T, verb string, onlyRunning bool, do func(*Change) error, j Job) string {
	if onlyRunning && j.State != Running {
		return "."
	}
	j.ID, j.Version, j.MaxAttempts, j.Token = uuid.New(), 7, 5, 1
	var c Change
	c.begin(&j, t0, Retention{})
	if err := do(&c); err != nil {
		var se *StateError
		if !errors.As(err, &se) || se.Verb != verb || se.Hint == "" {
			t.Errorf("%s: error %v", verb, err)
		}
		if c.changed() {
			t.Errorf("%s on %s: an error, and yet a change", verb, j.State)
		}
		return "refused"
	}
	checkChange(t, verb, &c)
	switch {
	case c.Delete:
		return "deleted"
	case !c.changed() || c.Job.State == c.From && c.Job.Want == j.Want:
		return "-"
	case c.Job.Want != "" && c.Job.State == Running && c.Job.CleanUp != CleanUpDue:
		return "run/" + strings.TrimSuffix(strings.TrimSuffix(string(c.Job.Want), "led"), "d")
	case c.Job.CleanUp == CleanUpDue && c.Job.State == Ready:
		return "clean-up"
	}
	return string(c.Job.State)
}

// checkChange checks what must hold after any verb.
func checkChange(t *testing.T, verb string, c *Change) {
	j := &c.Job
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s on %s: "+format, append([]any{verb, c.From}, args...)...)
	}
	if !c.changed() || c.Delete {
		return
	}
	if j.Version != c.Was+1 {
		bad("version %d after %d", j.Version, c.Was)
	}
	if j.State.Ended() != !j.Ended.IsZero() {
		bad("state %s, ended %v", j.State, j.Ended)
	}
	if j.State.Ended() && j.Want != "" {
		bad("ended, but wants %s", j.Want)
	}
	if j.State.Ended() != !j.Expires.IsZero() && c.From != j.State {
		bad("state %s, expires %v", j.State, j.Expires)
	}
	if j.Attempt < 0 || j.Blocked < 0 {
		bad("attempt %d, blocked %d", j.Attempt, j.Blocked)
	}
	if j.Token != 1 {
		bad("token %d: only a claim changes it", j.Token)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", path, got)
	}
}
