package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand/server"
)

const testSettings = `
listen = "127.0.0.1:0"
lease = "2s"
shutdown_grace = "0s"
[command.greet]
argv = ["sh", "-c", 'echo "hello $ERRAND_ARG_NAME"; echo careful >&2; echo "::progress 1/2 half"; echo "::result {\"name\": \"$ERRAND_ARG_NAME\"}"']
[command.fail]
argv = ["sh", "-c", "echo no luck >&2; exit 3"]
max_attempts = 1
[command.hold]
argv = ["sh", "-c", 'echo $$ >> hold.pid; echo "from ${ERRAND_CHECKPOINT:-start}"; echo "::checkpoint {\"row\": 7}"; while [ ! -e go ]; do sleep 0.02; done']
grace = "500ms"
[command.tree]
argv = ["sh", "-c", 'sleep 1000 & echo $! > tree.pid; setsid sleep 1000 & echo $! >> tree.pid; echo $$ >> tree.pid; sleep 1000']
`

// site is a server in a directory of its own, and a client for it.
type site struct {
	*testing.T
	dir  string
	url  string
	args []string
	cmd  *exec.Cmd
	env  []string
}

func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	s := &site{T: t, dir: t.TempDir(), args: args}
	if err := os.WriteFile(filepath.Join(s.dir, "errand.toml"), []byte(testSettings), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil { // in order, so that no command writes into the directory any more
			s.cmd.Process.Signal(syscall.SIGTERM)
			timer := time.AfterFunc(10*time.Second, func() { s.cmd.Process.Kill() })
			s.cmd.Wait()
			timer.Stop()
		}
		if t.Failed() {
			t.Logf("server log:\n%s", s.log())
		}
	})
	return s
}

var listening = regexp.MustCompile(`listens on (http://\S+),`)

// start starts the server, again on the same address.
func (s *site) start() {
	s.Helper()
	args := append([]string{"serve"}, s.args...)
	if s.url != "" {
		args = append(args, "--listen", strings.TrimPrefix(s.url, "http://"))
	}
	s.cmd = exec.Command(binary, args...)
	s.cmd.Dir = s.dir
	log, err := os.Create(filepath.Join(s.dir, "serve.log"))
	if err != nil {
		s.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	m := listening.FindStringSubmatch(line)
	if m == nil {
		s.cmd.Wait()
		s.Fatalf("the server did not start: %q\n%s", line, s.log())
	}
	s.url = m[1]
}

// log is what the server has logged since it was last started.
func (s *site) log() string {
	raw, _ := os.ReadFile(filepath.Join(s.dir, "serve.log"))
	return string(raw)
}

// stop ends the server by a signal and returns its exit code.
func (s *site) stop(sig os.Signal) int {
	s.cmd.Process.Signal(sig)
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

// result is what a client command left behind.
type result struct {
	out, err string
	code     int
}

func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = s.dir
	cmd.Env = append(append(os.Environ(), "ERRAND_SERVER="+s.url), s.env...)
	return cmd
}

// errand runs a client command.
func (s *site) errand(args ...string) result { return s.pipe("", args...) }

func (s *site) pipe(stdin string, args ...string) result {
	s.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := s.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); ctx.Err() != nil {
		s.Fatalf("errand %v hangs: %v\n%s%s", args, err, &out, &errs)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must runs a client command that succeeds, and returns its output without the last line end.
func (s *site) must(args ...string) string {
	s.Helper()
	r := s.errand(args...)
	if r.code != 0 {
		s.Fatalf("errand %v: code %d\n%s%s", args, r.code, r.out, r.err)
	}
	return strings.TrimSuffix(r.out, "\n")
}

func (s *site) job(id string) (j server.Job) {
	s.Helper()
	if err := json.Unmarshal([]byte(s.must("show", id, "-o", "json")), &j); err != nil {
		s.Fatal(err)
	}
	return j
}

func (s *site) await(id string, state string) {
	s.Helper()
	eventually(s.T, "job is "+state, func() bool { return string(s.job(id).State) == state })
}

// checkpoint waits until a job has saved one.
func (s *site) checkpoint(id string) {
	s.Helper()
	eventually(s.T, "job has a checkpoint", func() bool { return s.job(id).Checkpoint != nil })
}

// check compares what a command left with what it should, as regular expressions.
func (r result) check(t *testing.T, code int, out, errs string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for what, pair := range map[string][2]string{"stdout": {r.out, out}, "stderr": {r.err, errs}} {
		if !regexp.MustCompile(`(?s)^` + pair[1] + `$`).MatchString(pair[0]) {
			t.Errorf("%s is\n%s\nwant\n%s", what, pair[0], pair[1])
		}
	}
}

const anyID = `[0-9a-f]{8}-[0-9a-f-]{27}`

func TestRun(t *testing.T) {
	s := newSite(t)
	s.errand("run", "greet", "-a", "name=Ada").check(t, 0, `\{"name":"Ada"\}\n`,
		`errand: job `+anyID+`\n.*INFO  hello Ada\n.*errand: succeeded in .*\n`)
	s.errand("run", "greet", `{"name": "Bob"}`, "-q", "-o", "json").check(t, 0, `\{\n  "id": .*"result": \{\n    "name": "Bob"\n  \}.*\}\n`, `errand: job .*\n`)
	s.errand("run", "fail").check(t, 3, ``, `.*WARN  no luck\n.*errand: job `+anyID+` failed after 1 attempt: exit code 3: no luck\n`)
	s.pipe(`{"name": "stdin"}`, "run", "greet", "-", "-q").check(t, 0, `\{"name":"stdin"\}\n`, `.*`)
	os.WriteFile(filepath.Join(s.dir, "args.json"), []byte(`{"name": "file"}`), 0o600)
	s.errand("run", "greet", "@args.json", "-q").check(t, 0, `\{"name":"file"\}\n`, `.*`)
}

func TestRunInterrupted(t *testing.T) {
	s := newSite(t)
	cmd := s.command(t.Context(), "run", "hold")
	errs, _ := cmd.StderrPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(errs)
	var all []string
	for lines.Scan() {
		all = append(all, lines.Text())
		if strings.HasSuffix(lines.Text(), "running") {
			cmd.Process.Signal(os.Interrupt)
		}
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if last := all[len(all)-1]; !strings.Contains(last, "goes on; see it with: errand watch") {
		t.Errorf("last line %q", last)
	}
	if got := s.must("list", "-o", "id", "--state", "running"); got == "" {
		t.Error("the job does not go on")
	}
}

func TestEnqueueListShow(t *testing.T) {
	s := newSite(t)
	id := s.must("enqueue", "greet", "-a", "name=Ada", "-a", "big:=12345678901234567890", "--queue", "q", "--priority", "7", "--in", "1h", "--max-attempts", "4",
		"--timeout", "90s", "--tag", "a", "--tag", "b", "--meta", "k=v", "--unique", "u", "--retention", "forever", "-o", "id")
	j := s.job(id)
	if j.Queue != "q" || j.Priority != 7 || j.MaxAttempts != 4 || j.Timeout.String() != "1m30s" || len(j.Tags) != 2 || j.Metadata["k"] != "v" ||
		j.Unique.Key != "u" || j.Retention.String() != "forever" || string(j.State) != "scheduled" || !strings.Contains(string(j.Args), "12345678901234567890") {
		t.Errorf("job is %+v", j)
	}
	s.errand("enqueue", "greet", "--unique", "u", "-o", "id").check(t, 0, id+"\n", `errand: job `+id+` holds the unique key \(scheduled\): nothing was created\n`)
	s.errand("enqueue", "greet", "--id", id, "-o", "id").check(t, 0, id+"\n", `errand: job `+id+` was there already \(scheduled\): nothing was created\n`)
	after := s.must("enqueue", "greet", "--after", id, "-o", "id")
	s.errand("enqueue", "no-kind").check(t, 0, `ID .*no-kind .*ready.*`, `errand: warning: no worker .*\n`)
	s.pipe("{\"n\":1}\n\n{\"n\":2}\n", "enqueue", "greet", "-", "--lines", "--queue", "bulk", "-a", "name=x").check(t, 0, ``, `errand: 2 jobs created\n`)

	s.errand("list", "--state", "scheduled,waiting", "-o", "id").check(t, 0, after+"\n"+id+"\n", ``)
	s.errand("list", "--queue", "q", "--tag", "a", "--kind", "greet").check(t, 0, `ID +KIND +QUEUE +STATE .*\n`+id+` .*due in 59m.*\n`, ``)
	s.errand("list", "--kind", "none").check(t, 0, ``, `errand: no jobs match\n`)
	s.errand("list", "--kind", "none", "-o", "json").check(t, 0, `\{\n  "jobs": \[\]\n\}\n`, ``)
	s.errand("list", "--limit", "1").check(t, 0, `.*`, `errand: there are more: .*\n`)
	if got := strings.Count(s.must("list", "--all", "-o", "jsonl", "--limit", "1"), `"id"`); got != 5 {
		t.Errorf("--all lists %d jobs, want 5", got)
	}
	s.errand("show", after).check(t, 0, `id +`+after+`\nkind +greet\nstate +waiting: waits for 1 other job\n.*after +1 job, waits for 1 of them; if one fails: cancel\n`, ``)
	s.errand("stats").check(t, 0, `QUEUE +KIND .*\nbulk +greet .*`, ``)
	eventually(t, "the history tells what was added", func() bool { return strings.Contains(s.must("history", "--queue", "bulk"), "WAIT") })
	s.errand("history", "--queue", "bulk").check(t, 0, `TIME +ADDED .*WAIT\n\d{4}-\d\d-\d\d \d\d:\d\d:\d0 +[1-9].*`, ``)
	s.errand("history", "--kind", "none", "--range", "24h").check(t, 0, ``, `errand: nothing has happened in this time\n`)
	s.errand("history", "--range", "2h").check(t, 2, ``, `errand: .*15m.*\n`)
	s.errand("kinds").check(t, 0, `KIND +WORKERS\nfail +1\ngreet +1\nhold +1\ntree +1\n`, ``)
	s.errand("workers").check(t, 0, `SESSION .*alive.*fail greet hold tree\n`, ``)
}

func TestVerbs(t *testing.T) {
	s := newSite(t)
	id := s.must("enqueue", "hold", "-o", "id")
	pid := awaitPIDs(t, filepath.Join(s.dir, "hold.pid"), 1)[0]
	s.checkpoint(id)
	s.errand("pause", id, "--reason", "lunch").check(t, 0, `ID .*running \(pausing\)\n`, ``)
	s.await(id, "paused")
	if st := state(pid); st != "T" && st != "D" { // D: see supervisor.stop
		t.Errorf("the paused command is in state %q", st)
	}
	s.errand("show", id).check(t, 0, `.*state +paused by anonymous: lunch\n.*checkpoint +\{"row":7\}\n.*log .*→ pause by anonymous: lunch\n`, ``)
	s.errand("delete", id, "--yes", "--dry-run").check(t, 0, `ID .*would be deleted\n`, ``)
	s.errand("resume", id, "-o", "id").check(t, 0, id+"\n", ``)
	s.await(id, "running")
	s.errand("delete", id, "--yes").check(t, 8, ``, `errand: .*`+id+`.*cancel or terminate it first.*\n`)
	s.errand("cancel", id, "-r", "enough").check(t, 0, `.*`, ``)
	s.await(id, "cancelled")
	gone(t, []int{pid})
	s.errand("cancel", id).check(t, 0, `.*cancelled\n`, ``)
	s.errand("pause", id).check(t, 8, ``, `errand: .*it is cancelled.*\n`)
	s.errand("watch", id).check(t, 4, `ID .*cancelled.*`, `errand: job `+id+` was cancelled by anonymous: enough\n`)
	s.errand("retry", id, "-o", "jsonl").check(t, 0, `\{.*"state":"(ready|running)".*\}\n`, ``)
	pid = awaitPIDs(t, filepath.Join(s.dir, "hold.pid"), 2)[1]
	eventually(t, "it says where it goes on", func() bool { return strings.Contains(s.must("logs", id), `from {"row":7}`) })
	s.errand("terminate", id).check(t, 0, `.*cancelled\n`, ``)
	gone(t, []int{pid})
	s.errand("logs", id).check(t, 0, `.*INFO  from start\n.*→ cancel by anonymous: enough\n.*INFO  from \{"row":7\}\n.*→ terminate by anonymous\n`, ``)
	s.errand("logs", id, "-n", "1", "-o", "jsonl").check(t, 0, `\{"seq":\d+,"time":"[^"]*Z","type":"action".*\}\n`, ``)
	s.errand("logs", "-f", id).check(t, 0, `.*→ terminate by anonymous\n`, ``)
	s.pipe(id, "delete", "-").check(t, 2, ``, `errand: nothing was deleted: add --yes.*`)
	s.pipe(id, "delete", "-", "--yes").check(t, 0, `.*deleted\n`, ``)
	s.errand("show", id).check(t, 5, ``, `errand: job `+id+`: no job has this id.*\n`)
	s.errand("watch", id).check(t, 5, ``, `errand: job `+id+`: no job has this id.*\n`)
}

func TestSeveral(t *testing.T) {
	s := newSite(t)
	one, two := s.must("enqueue", "greet", "--in", "1h", "-o", "id"), s.must("enqueue", "greet", "--in", "1h", "-o", "id")
	no := "0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77"
	s.pipe(one+"\n"+two+"\n", "pause", no, "-", "-o", "id").check(t, 5, one+"\n"+two+"\n", `errand: job `+no+`: no job.*\n`)
	s.errand("cancel", one, "nonsense").check(t, 2, ``, `errand: "nonsense" is no job id: .*`)
	s.must("cancel", one)
	s.must("resume", two)
	s.must("retry", two)
	s.errand("watch", one, two, "-o", "id").check(t, 4, one+"\n"+two+"\n", `.*was cancelled.*`)
	s.pipe("", "pause", "-").check(t, 0, ``, ``)
}

func TestErrors(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"lst", 2, `errand: unknown command "lst" for "errand"; did you mean list\?\nSee "errand --help".\n`},
		{"list --stat x", 2, `errand: unknown flag: --stat\nSee "errand list --help".\n`},
		{"list --state faild", 2, `errand: --state "faild": use scheduled, .*`},
		{"enqueue", 2, `errand: KIND is missing\n.*`},
		{"enqueue greet {} {}", 2, `errand: "{}" is too much: this command takes KIND and ARGS\n.*`},
		{"enqueue greet nope", 2, `errand: ARGS is not JSON: .*`},
		{"enqueue greet @none", 2, `errand: open none: no such file.*`},
		{"enqueue greet [1] -a x=1", 2, `errand: -a adds to a JSON object, and ARGS is none\n.*`},
		{"enqueue greet --in x", 2, `errand: --in "x": use a duration such as .*`},
		{"enqueue greet --in 1s --at 2030-01-01", 2, `errand: --in and --at: use one of them\n.*`},
		{"enqueue greet --max-attempts 99999", 2, `errand: max attempts 99999: use 1 to 32767\n.*`},
		{"show x", 2, `errand: "x" is no job id: .*`},
		{"list --server 127.0.0.1:1", 6, `errand: cannot reach the server at http://127.0.0.1:1: .*connection refused \(is "errand serve" running.*`},
		{"watch 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77 --server 127.0.0.1:1", 6, `errand: cannot reach .*`},
		{"serve --listen 0.0.0.0:0", 2, `errand: .*no authentication.*--insecure-listen.*`},
		{"serve --config none.toml", 2, `errand: settings file: open none.toml: no such file.*`},
		{"serve --data errand.toml", 1, `.*errand: sqlite: open .*not an SQLite database.*`},
	} {
		t.Run(c.args, func(t *testing.T) {
			s.T = t
			s.errand(strings.Fields(c.args)...).check(t, c.code, ``, c.want)
		})
	}
}

func TestAuthentication(t *testing.T) {
	s := newSite(t)
	s.stop(syscall.SIGTERM)
	var tok struct{ Token, Hash string }
	if err := json.Unmarshal([]byte(s.must("token", "-o", "json")), &tok); err != nil {
		t.Fatal(err)
	}
	r := s.pipe("pass word\n", "token", "--password", "-o", "json")
	var pw struct {
		Hash string `json:"password_hash"`
	}
	json.Unmarshal([]byte(r.out), &pw)
	extra := fmt.Sprintf("[token.ci]\nhash = %q\nrole = \"viewer\"\n[user.ann]\npassword_hash = %q\nrole = \"admin\"\n", tok.Hash, pw.Hash)
	os.WriteFile(filepath.Join(s.dir, "errand.toml"), []byte(testSettings+extra), 0o600)
	s.start()
	s.errand("list").check(t, 7, ``, `errand: .*\(set ERRAND_TOKEN, or ERRAND_USER and ERRAND_PASSWORD\)\n`)
	s.env = []string{"ERRAND_TOKEN=" + tok.Token}
	s.errand("list").check(t, 0, ``, `errand: no jobs match\n`)
	s.errand("enqueue", "greet").check(t, 7, ``, `errand: .*\n`)
	s.env = []string{"ERRAND_USER=ann", "ERRAND_PASSWORD=pass word"}
	id := s.must("enqueue", "greet", "--in", "1h", "-o", "id")
	s.must("pause", id)
	if a := s.job(id).Actor; a != "ann" {
		t.Errorf("the actor is %q", a)
	}
	s.errand("config").check(t, 0, `.*client.password +\(secret\) +environment ERRAND_PASSWORD\n.*user.ann +admin, password \(secret\) +errand.toml:\d+\n.*`, ``)
	if strings.Contains(s.log(), "no authentication") {
		t.Error("the server warns that there is no authentication")
	}
}

// TestWatchRestart: a watch outlives a restart of the server.
func TestWatchRestart(t *testing.T) {
	s := newSite(t)
	id := s.must("enqueue", "hold", "-o", "id")
	s.checkpoint(id)
	var out, errs bytes.Buffer
	cmd := s.command(t.Context(), "watch", id)
	pr, pw, _ := os.Pipe()
	cmd.Stdout, cmd.Stderr = &out, pw
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pw.Close()
	seen := make(chan string, 100)
	go func() {
		for lines := bufio.NewScanner(pr); lines.Scan(); {
			fmt.Fprintln(&errs, lines.Text())
			seen <- lines.Text()
		}
		close(seen)
	}()
	if first := <-seen; first != "errand: running" {
		t.Errorf("watch begins with %q", first)
	}
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the server exits with %d after SIGTERM\n%s", code, s.log())
	}
	for line := range seen {
		if strings.Contains(line, "the server is away") {
			break
		}
	}
	s.start()
	os.WriteFile(filepath.Join(s.dir, "go"), nil, 0o600)
	for range seen { //nolint:revive // until it has ended
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("watch exits with %d", code)
	}
	if !strings.Contains(out.String(), "succeeded") || !strings.Contains(errs.String(), "errand: the server is back") {
		t.Errorf("watch says\n%s%s", &out, &errs)
	}
	if log := s.must("logs", id); !strings.Contains(log, `from {"row":7}`) {
		t.Errorf("the job did not go on from its checkpoint:\n%s", log)
	}
}

// TestServerKilled: no process of a command, running or paused, outlives the server, however it dies; and
// the jobs go on when it is back.
func TestServerKilled(t *testing.T) {
	s := newSite(t)
	running, paused := s.must("enqueue", "tree", "-o", "id"), s.must("enqueue", "hold", "-o", "id")
	pids := append(awaitPIDs(t, filepath.Join(s.dir, "tree.pid"), 3), awaitPIDs(t, filepath.Join(s.dir, "hold.pid"), 1)...)
	s.must("pause", paused)
	s.await(paused, "paused")
	s.stop(syscall.SIGKILL)
	gone(t, pids)
	os.WriteFile(filepath.Join(s.dir, "go"), nil, 0o600)
	os.Remove(filepath.Join(s.dir, "tree.pid"))
	s.start()
	if j := s.job(paused); j.State != "paused" {
		t.Errorf("the paused job is %s", j.State)
	}
	s.must("resume", paused)
	s.await(paused, "succeeded")
	awaitPIDs(t, filepath.Join(s.dir, "tree.pid"), 3) // rescued when the lease has lapsed
	s.must("terminate", running)
}

// TestSecondSignal: a second signal ends the server at once, and what it runs.
func TestSecondSignal(t *testing.T) {
	s := newSite(t, "--shutdown-grace", "1h")
	s.must("enqueue", "tree")
	pids := awaitPIDs(t, filepath.Join(s.dir, "tree.pid"), 3)
	s.cmd.Process.Signal(syscall.SIGINT)
	time.Sleep(300 * time.Millisecond)
	if code := s.stop(syscall.SIGINT); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	gone(t, pids)
}

func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		isOurs := c.Parent() == nil || c.Parent().Name() != "completion"
		if c.Runnable() && isOurs && c.Name() != "help" {
			if c.Example == "" || c.Short == "" {
				t.Errorf("%s has no example", c.CommandPath())
			}
			for line := range strings.Lines(c.Example) {
				if len(line) > 110 {
					t.Errorf("%s: line of %d characters", c.CommandPath(), len(line))
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand())
	s := &site{T: t, dir: t.TempDir()}
	s.errand("help", "exit-codes").check(t, 0, `Exit codes of errand:.*130.*`, ``)
	s.errand("version").check(t, 0, `errand \S+ \(go1.*\)\n`, ``)
	s.errand("completion", "bash").check(t, 0, `# bash completion.*`, ``)
	s.errand("config", "-o", "jsonl").check(t, 0, `\{"key":"listen","value":"127.0.0.1:8642","source":"default"\}\n.*`, ``)
}
