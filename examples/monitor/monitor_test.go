package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestMain is the program itself where a test has started it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("MONITOR_PROCESS") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// monitorProcess is the program in a process of its own.
type monitorProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
}

var listens = regexp.MustCompile(`listens on http://(\S+),`)

// start starts the program on a directory, at an address if it is not "".
func start(t *testing.T, data, addr string) *monitorProcess {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	cmd := exec.Command(os.Args[0], "-addr", addr, "-data", data)
	cmd.Env = append(os.Environ(), "MONITOR_PROCESS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	m := listens.FindStringSubmatch(line)
	if err != nil || m == nil {
		t.Fatalf("it says %q: %v", line, err)
	}
	p := &monitorProcess{t, cmd, m[1]}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

func (p *monitorProcess) end(s syscall.Signal) error {
	_ = p.cmd.Process.Signal(s)
	return p.cmd.Wait()
}

func (p *monitorProcess) request(method, path string, status int) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.addr+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		p.t.Fatalf("%s %s: status %d, want %d: %s %v", method, path, res.StatusCode, status, body, err)
	}
	return string(body)
}

// create creates jobs and returns their IDs.
func (p *monitorProcess) create(query string) []string {
	p.t.Helper()
	ids := strings.Split(p.request("GET", "/createJob"+query, 200), "\n")
	for _, id := range ids {
		if len(id) != 36 {
			p.t.Fatalf("it answers %q", ids)
		}
	}
	return ids
}

// socket is one client of /jobMonitor.
type socket struct {
	t *testing.T
	c *websocket.Conn
}

func (p *monitorProcess) connect() *socket {
	p.t.Helper()
	c, _, err := websocket.Dial(p.t.Context(), "ws://"+p.addr+"/jobMonitor", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.CloseNow() })
	return &socket{p.t, c}
}

func (s *socket) send(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if err := s.c.Write(s.t.Context(), websocket.MessageText, []byte(text)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// all waits until each of these has come, and nothing else; one that was sent twice may come twice.
func (s *socket) all(want ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	missing, known := map[string]bool{}, map[string]bool{}
	for _, text := range want {
		missing[text], known[text] = true, true
	}
	for len(missing) > 0 {
		_, text, err := s.c.Read(ctx)
		if err != nil {
			s.t.Fatalf("%d of %d did not come: %v", len(missing), len(want), err)
		}
		if !known[string(text)] {
			s.t.Fatalf("%q came, which was not asked for", text)
		}
		delete(missing, string(text))
	}
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), "")
	s := p.connect()
	ids := append(p.create(""), p.request("POST", "/createJob", 200))
	serial := p.create("?serial=3")
	ids = append(ids, serial...)
	began := time.Now()
	s.send(ids...)
	s.send(ids...) // repeats are allowed
	s.send("nonsense", "01890a5d-ac96-774b-bcce-b302099a8057")
	s.all(append([]string{"unknown nonsense", "unknown 01890a5d-ac96-774b-bcce-b302099a8057"}, ids...)...)
	if d := time.Since(began); d > 19*time.Second {
		t.Errorf("jobs of 6 s at most, three of them in a row, took %s", d)
	}
	s.send(ids...) // those that are complete come back at once
	s.all(ids...)
	p.request("GET", "/createJob?serial=0", 400)
	p.request("GET", "/createJob?after=x", 400)
	p.request("GET", "/createJob?after=01890a5d-ac96-774b-bcce-b302099a8057", 404)
	if page := p.request("GET", "/", 200); !strings.Contains(page, "Create a job") {
		t.Errorf("the page: %s", page)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// A client that loses its connection, and a server that is killed and started again, cost no completion.
func TestMonitorSurvives(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data, "")
	var ids []string
	for range 30 {
		ids = append(ids, p.create("")...)
	}
	ids = append(ids, p.create("?serial=2")...)
	s := p.connect()
	s.send(ids...)
	time.Sleep(time.Second)
	_ = s.c.CloseNow() // the client is gone, its jobs go on
	time.Sleep(time.Second)
	if err := p.end(syscall.SIGKILL); err == nil {
		t.Fatal("it was not killed")
	}
	time.Sleep(500 * time.Millisecond)
	p = start(t, data, p.addr)
	s = p.connect()
	s.send(ids...)
	s.all(ids...)
}

// A client that never reads does not make the server remember more than one answer a job.
func TestMonitorManyIDs(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), "")
	s := p.connect()
	id := p.create("")[0]
	for range 2000 {
		s.send(id)
	}
	fresh := make([]string, 2000)
	for i := range fresh {
		fresh[i] = fmt.Sprintf("no job %d", i)
	}
	s.send(fresh...)
	want := []string{id}
	for _, text := range fresh {
		want = append(want, "unknown "+text)
	}
	s.all(want...)
}
