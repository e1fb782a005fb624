package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/sqlite"
)

// TestMain is the program itself where a test has started it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("WEBAPP_PROCESS") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is the program in a process of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
}

const names = "cron.visits = * * * * * ?\ncron.workhours_15m = @hourly\ncron.slow = @every 1m\n"

func command(t *testing.T, addr, data, config string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "app.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-addr", addr, "-data", data, "-config", file)
	cmd.Env = append(os.Environ(), "WEBAPP_PROCESS=1")
	return cmd
}

var listening = regexp.MustCompile(`url=http://(\S+)`)

func start(t *testing.T, addr, data, config string) *process {
	t.Helper()
	cmd := command(t, addr, data, config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd}
	t.Cleanup(func() { _ = p.end(syscall.SIGKILL) })
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			p.addr = m[1]
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return p
		}
		t.Log(lines.Text())
	}
	t.Fatal("it did not start")
	return nil
}

func (p *process) end(s syscall.Signal) error {
	_ = p.cmd.Process.Signal(s)
	return p.cmd.Wait()
}

// do sends a request, with headers KEY, VALUE.
func (p *process) do(method, host, path string, headers ...string) *http.Response {
	p.t.Helper()
	body := ""
	if method == "POST" {
		path, body, _ = strings.Cut(path, "?")
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+host+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		switch key, value := headers[i], headers[i+1]; key {
		case "Host":
			r.Host = value
		case "Basic":
			user, password, _ := strings.Cut(value, ":")
			r.SetBasicAuth(user, password)
		default:
			r.Header.Add(key, value)
		}
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// job returns what the page says of a job.
func (p *process) job(name string) jobStatus {
	p.t.Helper()
	var s status
	if err := json.NewDecoder(p.do("GET", p.addr, "/@jobs", "Accept", "application/json").Body).Decode(&s); err != nil {
		p.t.Fatal(err)
	}
	for _, j := range s.Jobs {
		if j.Name == name {
			return j
		}
	}
	p.t.Fatalf("%s is not among the jobs %+v", name, s)
	return jobStatus{}
}

// await waits until the page says so of a job.
func (p *process) await(name string, so func(jobStatus) bool) jobStatus {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		j := p.job(name)
		if so(j) {
			return j
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is %+v", name, j)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Whatever the program is doing when it is killed, the next one goes on.
func TestKill(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, "127.0.0.1:0", data, names)
	for range 5 {
		p.do("GET", p.addr, "/")
	}
	visits := p.await("webapp.(*app).writeVisits", func(j jobStatus) bool { return !j.Prev.IsZero() })
	broken := p.job("webapp.broken")
	if answer := p.do("POST", p.addr, "/@jobs/run?name=main.slow"); answer.StatusCode != 303 || answer.Header.Get("Location") != "/@jobs" {
		t.Errorf("run now answers %s", answer.Status)
	}
	p.await("main.slow", func(j jobStatus) bool { return j.Status == "RUNNING" && time.Since(j.Prev) < 5*time.Second })
	for range 3 { // one more may wait
		if answer := p.do("POST", p.addr, "/@jobs/run?name=main.slow"); answer.StatusCode == 409 {
			break
		} else if answer.StatusCode != 303 {
			t.Errorf("run again answers %s", answer.Status)
		}
	}
	time.Sleep(1500 * time.Millisecond) // the visits are written
	if err := p.end(syscall.SIGKILL); err == nil {
		t.Fatal("it was not killed")
	}
	p = start(t, "127.0.0.1:0", data, names)
	if j := p.job("webapp.broken"); !j.Next.Equal(broken.Next) {
		t.Errorf("its next run was planned for %s, and now for %s", broken.Next, j.Next)
	}
	p.await("webapp.(*app).writeVisits", func(j jobStatus) bool { return j.Prev.After(visits.Prev.Add(3 * time.Second)) })
	p.await("main.slow", func(j jobStatus) bool { return j.Status == "RUNNING" }) // its run goes on, or the one that waited
	p.await("main.slow", func(j jobStatus) bool { return j.Status == "IDLE" })
	if body, _ := io.ReadAll(p.do("GET", p.addr, "/").Body); string(body) != "You are visitor 6.\n" {
		t.Errorf("after five visits, and a kill: %s", body)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// A second copy that cannot listen has done nothing.
func TestSecondCopy(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, "127.0.0.1:0", data, names)
	out, err := command(t, p.addr, data, names).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "address already in use") {
		t.Errorf("the second copy: %v, %s", err, out)
	}
	store, err := sqlite.Open(filepath.Join(data, "jobs.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	page, err := store.List(t.Context(), errand.Query{Kinds: []string{oneOffKind + "*"}})
	if err != nil || len(page.Jobs) != 1 {
		t.Errorf("there are %d start-up jobs, %v", len(page.Jobs), err)
	}
}

func TestUnknownName(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"cron.visits = @hourly":   `webapp: schedule "webapp.report": invalid spec "cron.workhours_15m": no spec has this name (there are cron.visits)`,
		names + "cron.slow = 5 4": `2 fields`,
		"jobs.poll = 5":           "webapp: settings, line 1: jobs.poll is no setting",
		"jobs.auth.user = ann":    "webapp: settings: jobs.auth.user and jobs.auth.password belong together",
	} {
		out, err := command(t, "127.0.0.1:0", t.TempDir(), config).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("with %q: %v, %s, want %s", config, err, out, want)
		}
	}
}

// ownAddress returns an address of this machine that is not loopback. Every machine that can serve others has one; where there is none, what this is about
// cannot be tested, and that should be known.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Fatal("this machine has no IPv4 address but loopback: give it one (ip addr add 192.0.2.1/32 dev lo)")
	return ""
}

// Who may see the page.
func TestAccess(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("s3cret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	type requests []struct {
		want    int
		host    string // "here" by loopback, "there" by another address
		headers []string
	}
	auth := requests{
		{401, "here", nil},
		{401, "there", nil},
		{200, "here", []string{"Basic", "ann:s3cret"}},
		{200, "there", []string{"Basic", "ann:s3cret"}},
		{200, "there", []string{"Basic", "ann:s3cret", "Host", "app.example.com"}},
		{401, "there", []string{"Basic", "ann:wrong"}},
		{401, "there", []string{"Basic", "bob:s3cret"}},
		{401, "there", []string{"Basic", ":"}},
		{401, "there", []string{"Authorization", "Bearer s3cret"}},
		{401, "here", []string{"X-Forwarded-For", "127.0.0.1"}},
	}
	for config, cases := range map[string]requests{
		"": {
			{200, "here", nil},
			{200, "here", []string{"Host", "localhost:9000"}},
			{200, "here", []string{"Host", "[::1]:9000"}},
			{403, "here", []string{"Host", "rebound.example.com"}},
			{200, "here", []string{"X-Forwarded-For", "198.51.100.7"}}, // nobody said that there is a proxy
			{403, "there", nil},
			{403, "there", []string{"Host", "localhost"}},
			{403, "there", []string{"X-Forwarded-For", "127.0.0.1"}},
			{403, "there", []string{"Basic", "ann:s3cret"}},
		},
		"jobs.acceptproxyaddress = true": {
			{200, "here", nil},
			{200, "here", []string{"X-Forwarded-For", "127.0.0.1"}},
			{200, "here", []string{"X-Forwarded-For", "198.51.100.7, ::1"}},
			{403, "here", []string{"X-Forwarded-For", "198.51.100.7"}},
			{403, "here", []string{"X-Forwarded-For", "127.0.0.1, 198.51.100.7"}}, // the client wrote the first
			{403, "here", []string{"X-Forwarded-For", "127.0.0.1", "X-Forwarded-For", "198.51.100.7"}},
			{403, "here", []string{"X-Forwarded-For", ""}},
			{403, "here", []string{"X-Forwarded-For", "unknown"}},
			{200, "there", []string{"X-Forwarded-For", "127.0.0.1"}}, // a proxy
			{403, "there", nil},
			{200, "there", []string{"X-Forwarded-For", "127.0.0.1", "Host", "localhost"}},
			{403, "there", []string{"X-Forwarded-For", "127.0.0.1", "Host", "app.example.com"}},
			{403, "here", []string{"X-Forwarded-For", "127.0.0.1", "Host", "rebound.example.com"}}, // written by a script of that site
		},
		"jobs.auth.user = ann\njobs.auth.password = s3cret":               auth,
		"jobs.auth.user = ann\njobs.auth.password = " + string(hash):      auth,
		"jobs.auth.user = ann\njobs.auth.password = \"s3cret\"\n# a note": auth,
	} {
		p := start(t, "0.0.0.0:0", t.TempDir(), names+config)
		_, port, err := net.SplitHostPort(p.addr)
		if err != nil {
			t.Fatal(err)
		}
		hosts := map[string]string{"here": "127.0.0.1:" + port, "there": net.JoinHostPort(ownAddress(t), port)}
		for _, c := range cases {
			for _, path := range []string{"/@jobs", "/@jobs.json", "/@jobs/jobs.js"} {
				answer := p.do("GET", hosts[c.host], path, c.headers...)
				if answer.StatusCode != c.want || (c.want == 401) != (answer.Header.Get("WWW-Authenticate") != "") {
					t.Errorf("with %q %s from %s, %q: %s, want %d", config, path, c.host, c.headers, answer.Status, c.want)
				}
				if policy := answer.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") {
					t.Errorf("%s: the policy is %s", path, policy)
				}
			}
			if answer := p.do("POST", hosts[c.host], "/@jobs/run?"+url.Values{"name": {"none"}}.Encode(), c.headers...); answer.StatusCode != c.want && (c.want != 200 || answer.StatusCode != 404) {
				t.Errorf("with %q run from %s, %q: %s", config, c.host, c.headers, answer.Status)
			}
		}
		if answer := p.do("GET", hosts["there"], "/"); answer.StatusCode != 200 {
			t.Errorf("the application itself: %s", answer.Status)
		}
		_ = p.end(syscall.SIGKILL)
	}
}

// Other sites cannot run a job, and the page is sent as asked for.
func TestPage(t *testing.T) {
	t.Parallel()
	p := start(t, "127.0.0.1:0", t.TempDir(), names)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "http://evil.example.com"}} {
		if answer := p.do("POST", p.addr, "/@jobs/run?name=main.slow", headers...); answer.StatusCode != 403 {
			t.Errorf("with %q: %s", headers, answer.Status)
		}
	}
	if answer := p.do("GET", p.addr, "/@jobs/run"); answer.StatusCode == 200 {
		t.Errorf("GET of what runs a job: %s", answer.Status)
	}
	for accept, want := range map[string]string{
		"application/json": "application/json",
		"text/html,application/xhtml+xml,application/xml;q=0.9": "text/html; charset=utf-8",
		"": "text/html; charset=utf-8",
	} {
		answer := p.do("GET", p.addr, "/@jobs", "Accept", accept)
		if got := answer.Header.Get("Content-Type"); got != want {
			t.Errorf("with Accept: %s it is %s", accept, got)
		}
	}
	body, _ := io.ReadAll(p.do("GET", p.addr, "/@jobs").Body)
	for _, text := range []string{"webapp.broken", "IDLE", "Every 30s", "Run now", "cron.workhours_15m"} {
		if !strings.Contains(string(body), text) {
			t.Errorf("%q is not in the page", text)
		}
	}
	if strings.Contains(string(body), "<script>") || strings.Contains(string(body), "style=") {
		t.Error("the page has code or style in it")
	}
}
