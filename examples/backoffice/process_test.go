package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

// build makes the binary, once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "backoffice")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "backoffice")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// client talks to a service and looks into its database.
type client struct {
	t    *testing.T
	base string
	data string
}

// process is a service in a process of its own.
type process struct {
	client
	cmd *exec.Cmd
}

func start(t *testing.T, data string, env ...string) *process {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-data", data)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{client{t: t, data: data}, cmd}
	t.Cleanup(func() { _ = p.kill(syscall.SIGKILL) })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			p.base = m[1]
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return p
		}
		t.Log(lines.Text())
	}
	t.Fatal("the service did not start")
	return nil
}

// kill sends a signal that ends the process, and waits for it.
func (p *process) kill(s syscall.Signal) error {
	_ = p.cmd.Process.Signal(s)
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // in case it was stopped
	return p.cmd.Wait()
}

// freeze stops the process at a moment when it holds no lock of these databases, for which all
// others would have to wait.
func (p *process) freeze(databases ...string) {
	p.t.Helper()
	isFree := func(name string) bool {
		db, err := sql.Open("sqlite", filepath.Join(p.data, name)+"?_txlock=immediate&_pragma=busy_timeout(300)")
		if err != nil {
			p.t.Fatal(err)
		}
		defer db.Close()
		tx, err := db.Begin()
		return err == nil && tx.Rollback() == nil
	}
	for {
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(20 * time.Millisecond)
		if !slices.ContainsFunc(databases, func(name string) bool { return !isFree(name) }) {
			return
		}
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		time.Sleep(7 * time.Millisecond)
	}
}

// cpu is the CPU time that the process has used so far.
func (p *process) cpu() time.Duration {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// mustBeIdle checks that the process uses next to no CPU time.
func (p *process) mustBeIdle() {
	p.t.Helper()
	used := p.cpu()
	time.Sleep(time.Second)
	used = p.cpu() - used
	p.t.Logf("%s of CPU time in a second", used)
	if used > 50*time.Millisecond {
		p.t.Errorf("a paused job costs %s of CPU time a second", used)
	}
}

// do returns the status and the body of an answer.
func (c *client) do(req *http.Request) (int, string) {
	c.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (c *client) get(path string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest("GET", c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(req)
}

func (c *client) post(path, contentType string, body io.Reader) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest("POST", c.base+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	return c.do(req)
}

// upload uploads a file and returns the job's id.
func (c *client) upload(path string, content []byte) string {
	c.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, _ := w.CreateFormFile("file", "some.csv")
	_, _ = part.Write(content)
	_ = w.Close()
	status, answer := c.post(path, w.FormDataContentType(), &body)
	return c.accepted(status, answer)
}

// accepted checks an answer that is to tell the id of a job, and returns the id.
func (c *client) accepted(status int, answer string) string {
	c.t.Helper()
	m := regexp.MustCompile(`^\{"Job ID":"(Jon-Doe-(?:baselineCSV|bulkTeam|createExport)-\d{10}-\d{4})"\}$`).FindStringSubmatch(answer)
	if status != http.StatusOK || m == nil {
		c.t.Fatalf("answer %d %s", status, answer)
	}
	return m[1]
}

// update calls updateTask.
func (c *client) update(id, action string) string {
	c.t.Helper()
	status, answer := c.get("/updateTask?" + url.Values{"id": {id}, "action": {action}}.Encode())
	return fmt.Sprint(status, " ", answer)
}

// mustUpdate calls updateTask and checks the status in the answer.
func (c *client) mustUpdate(id, action, want string) {
	c.t.Helper()
	if got := c.update(id, action); got != `200 {"status":"`+want+`"}` {
		c.t.Fatalf("%s: %s, want %s", action, got, want)
	}
}

// job returns a job from the listing.
func (c *client) job(id string) view {
	c.t.Helper()
	_, answer := c.get("/jobs")
	var l listing
	if err := json.Unmarshal([]byte(answer), &l); err != nil {
		c.t.Fatal(err, answer)
	}
	for _, j := range l.Jobs {
		if j.ID == id {
			return j
		}
	}
	c.t.Fatalf("job %s is not listed", id)
	return view{}
}

// await waits until a job is as wanted.
func (c *client) await(id, what string, wanted func(view) bool) view {
	c.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		j := c.job(id)
		if wanted(j) {
			return j
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("job %s is not %s: %+v", id, what, j)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *client) awaitRow(id string, row int64) {
	c.t.Helper()
	c.await(id, fmt.Sprint("at row ", row), func(j view) bool { return j.Progress.Done >= row })
}

func (c *client) awaitState(id string, s errand.State) view {
	c.t.Helper()
	return c.await(id, string(s), func(j view) bool { return j.State == s })
}

// query asks the database for numbers.
func (c *client) query(query string, args ...any) string {
	c.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(c.data, "backoffice.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	var text string
	if err := db.QueryRow(query, args...).Scan(&text); err != nil {
		c.t.Fatal(err)
	}
	return text
}

// rows says how many rows of a job are there, and checks that each is there once.
func (c *client) rows(table, id string) int {
	c.t.Helper()
	text := c.query("select count(*) || ' ' || count(distinct row) || ' ' || coalesce(max(row), 0) from "+table+" where job_id = ?", id)
	var n, distinct, last int
	if _, err := fmt.Sscan(text, &n, &distinct, &last); err != nil || n != distinct || n != last {
		c.t.Errorf("%s of %s: count, distinct, last are %s", table, id, text)
	}
	return n
}

// life is an import that is paused at one row and killed at another.
type life struct {
	path, table, file, delay string
	rows                     int
	pauseAt, killAt          int64
}

func TestKill(t *testing.T) {
	t.Parallel()
	for _, l := range []life{
		{"/uploadCSV", "baseline", "data/unicode.csv", "50us", 34924, 1000, 3000},
		{"/createBulkTeam", "teams", "data/teams.csv", "10ms", 418, 20, 60},
	} {
		t.Run(l.table, l.test)
	}
}

// test pauses, kills, resumes and kills again.
func (c life) test(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	data, delay := t.TempDir(), "ROW_DELAY="+c.delay
	p := start(t, data, delay)
	id := p.upload(c.path, content)
	p.awaitRow(id, c.pauseAt)
	p.mustUpdate(id, "stop", "paused")
	p.mustUpdate(id, "stop", "paused")
	before := p.rows(c.table, id)
	p.mustBeIdle()
	_ = p.kill(syscall.SIGKILL)

	p = start(t, data, delay)
	p.awaitState(id, errand.Paused)
	if n := p.rows(c.table, id); n != before {
		t.Errorf("%d rows after the restart, %d when it was paused", n, before)
	}
	p.mustUpdate(id, "start", "running")
	p.mustUpdate(id, "start", "running")
	p.awaitRow(id, c.killAt)
	_ = p.kill(syscall.SIGKILL)
	if n := p.rows(c.table, id); n == c.rows {
		t.Fatal("it was over before it was killed: this test shows nothing")
	}

	p = start(t, data, "ROW_DELAY=0")
	begin := time.Now()
	p.awaitRow(id, p.job(id).Progress.Done+1)
	t.Logf("goes on by itself after %s", time.Since(begin).Round(10*time.Millisecond))
	j := p.awaitState(id, errand.Succeeded)
	if n := p.rows(c.table, id); n != c.rows || string(j.Result) != fmt.Sprintf(`{"rows":%d}`, n) {
		t.Errorf("%d rows, result %s, want %d", n, j.Result, c.rows)
	}
}

// TestZombie freezes a process while it works. Another one takes over; and the first can do no
// harm when it wakes.
func TestZombie(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("data/teams.csv")
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	first := start(t, data, "ROW_DELAY=15ms")
	id := first.upload("/createBulkTeam", content)
	first.awaitRow(id, 20)
	second := start(t, data, "ROW_DELAY=15ms")
	first.freeze("backoffice.db", "errand.db")
	frozen := second.rows("teams", id)
	second.awaitRow(id, int64(frozen)+20)
	_ = first.cmd.Process.Signal(syscall.SIGCONT)
	second.awaitState(id, errand.Succeeded)
	if n := second.rows("teams", id); n != 418 {
		t.Errorf("%d rows", n)
	}
	if n := second.query("select token from fences where job_id = ?", id); n == "1" {
		t.Error("there was only one run: this test shows nothing")
	}
}

// TestSignals: both signals end the process in good order, and the work goes on at once in
// the next.
func TestSignals(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	content := []byte("a\n" + strings.Repeat("1\n", 150))
	p := start(t, data, "ROW_DELAY=20ms", "USER_NAME=Jon-Doe")
	id := p.upload("/uploadCSV", content)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p.awaitState(id, errand.Running)
		p.awaitRow(id, p.job(id).Progress.Done+5)
		if err := p.kill(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		p = start(t, data, "ROW_DELAY=20ms")
		begin := time.Now()
		p.awaitState(id, errand.Running)
		t.Logf("%s: runs again after %s", s, time.Since(begin).Round(time.Millisecond))
	}
	p.awaitState(id, errand.Succeeded)
	if n := p.rows("baseline", id); n != 150 {
		t.Errorf("%d rows", n)
	}
}
