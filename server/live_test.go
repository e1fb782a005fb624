package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/storetest"
)

// liveClient is one connection that watches.
type liveClient struct {
	t *testing.T
	c *websocket.Conn
}

func (r *rig) live(header ...string) *liveClient {
	r.t.Helper()
	h := http.Header{}
	for _, line := range header {
		k, v, _ := strings.Cut(line, ": ")
		h.Set(k, v)
	}
	c, _, err := websocket.Dial(r.t.Context(), r.url+"/api/v1/watch", &websocket.DialOptions{HTTPHeader: h, Subprotocols: []string{"errand"}})
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetReadLimit(1 << 24)
	r.t.Cleanup(func() { _ = c.CloseNow() })
	return &liveClient{r.t, c}
}

func (l *liveClient) send(format string, args ...any) {
	l.t.Helper()
	if err := l.c.Write(l.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		l.t.Fatal(err)
	}
}

// next returns the next message.
func (l *liveClient) next() (n WatchNotice) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Second)
	defer cancel()
	_, text, err := l.c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// until reads messages up to the end of a job, and returns it.
func (l *liveClient) until(id errand.ID) Job {
	l.t.Helper()
	for {
		if n := l.next(); n.Type == "job" && n.Job.ID == id && n.Job.State.Ended() {
			return *n.Job
		}
	}
}

func (l *liveClient) wants(typ, what string) WatchNotice {
	l.t.Helper()
	n := l.next()
	got, _ := json.Marshal(n)
	if n.Type != typ || !strings.Contains(string(got), what) {
		l.t.Fatalf("told %s, want %s with %s", got, typ, what)
	}
	return n
}

func TestLive(t *testing.T) {
	r := newRig(t, nil)
	l := r.live()
	slow, path := r.create(`{"kind":"slow"}`)
	l.send(`{"type":"watch","jobs":[{"id":"%s"},{"id":"%s"}]}`, slow.ID, uuid.New())
	first, second := l.next(), l.next()
	if first.Type == "gone" {
		first, second = second, first
	}
	if first.Type != "job" || first.Job.ID != slow.ID || second.Type != "gone" {
		t.Fatalf("told %+v and %+v", first, second)
	}
	r.do("POST", path+"/terminate", "").want(200)
	if j := l.until(slow.ID); j.State != errand.Cancelled {
		t.Errorf("the end is %s", j.State)
	}

	// Another connection, which has seen less, or the same.
	seen := r.live()
	seen.send(`{"type":"watch","jobs":[{"id":"%s","version":1}]}`, slow.ID)
	v := seen.until(slow.ID).Version
	seen.send(`{"type":"watch","jobs":[{"id":"%s","version":%d}]}`, slow.ID, v)
	seen.send(`{"type":"ping"}`)
	seen.wants("pong", "time")

	// Filters.
	l.send(`{"type":"watch","sub":"echoes","filter":"kind:ec*"}`)
	l.wants("synced", "echoes")
	echo, _ := r.create(`{"kind":"echo","args":{"n":12345678901234567890}}`)
	if j := l.until(echo.ID); string(j.Args) != `{"n":12345678901234567890}` {
		t.Errorf("args: %s", j.Args)
	}
	l.send(`{"type":"unwatch","sub":"echoes"}`)
	l.send(`{"type":"ping"}`)
	l.wants("pong", "")
	r.create(`{"kind":"echo"}`)
	l.send(`{"type":"ping"}`)
	l.wants("pong", "")
}

func TestLiveRefuses(t *testing.T) {
	r := newRig(t, nil)
	l := r.live()
	for text, want := range map[string]string{
		`{`:                                    "not JSON",
		`{"type":"x"}`:                         "expected type",
		`{"type":"watch"}`:                     "expected type",
		`{"typ":"watch"}`:                      "unknown field",
		`{"type":"watch","jobs":[{"id":"x"}]}`: "UUID",
		`{"type":"watch","sub":"f","filter":"state:none"}`:                "use scheduled",
		`{"type":"watch","sub":"f","filter":"\"}`:                         "not JSON",
		`{"type":"watch","jobs":[` + manySeen(errand.MaxWatched+1) + `]}`: "too_many",
	} {
		l.send("%s", text)
		l.wants("error", want)
	}
	l.send(`{"type":"watch","jobs":[%s]}`, strings.Repeat(" ", maxFrame))
	if _, _, err := l.c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("a message that is too long: %v", err)
	}
	l = r.live()
	if err := l.c.Write(t.Context(), websocket.MessageBinary, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("binary data: %v", err)
	}
	for _, origin := range []string{"http://evil.example", "null", "http://127.0.0.1:1", r.url + ".evil.example"} {
		_, res, err := websocket.Dial(t.Context(), r.url+"/api/v1/watch", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if err == nil || res.StatusCode != 403 {
			t.Errorf("origin %s: %v", origin, err)
		}
	}
	r.live("Origin: " + r.url)
}

func manySeen(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%s"}`, uuid.New())
	}
	return b.String()
}

func TestLiveNeedsRights(t *testing.T) {
	token, hash := NewToken()
	r := newRig(t, &Config{Tokens: []Token{{"viewer", hash, Viewer}, {"other", HashToken("of my own (1%)"), Viewer}}})
	_, res, err := websocket.Dial(t.Context(), r.url+"/api/v1/watch", nil)
	if err == nil || res.StatusCode != 401 {
		t.Fatalf("without a token: %v", err)
	}
	for _, token := range []string{token, "of%20my%20own%20%281%25%29"} {
		c, _, err := websocket.Dial(t.Context(), r.url+"/api/v1/watch", &websocket.DialOptions{Subprotocols: []string{"errand", "bearer." + token}})
		if err != nil {
			t.Fatalf("with the token as a subprotocol: %v", err)
		}
		if c.Subprotocol() != "errand" {
			t.Errorf("subprotocol %q: the token must not come back", c.Subprotocol())
		}
		_ = c.CloseNow()
	}
}

// A client that does not read is told so, and cut.
func TestLiveSlow(t *testing.T) {
	r := newRig(t, nil)
	r.server.patience = 300 * time.Millisecond
	l := r.live()
	l.send(`{"type":"watch","sub":"all","filter":""}`)
	args := strings.Repeat("x", 3000)
	for range 300 { // nobody reads
		r.create(`{"kind":"echo","args":"` + args + `"}`)
	}
	time.Sleep(time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		_, _, err := l.c.Read(ctx)
		if err == nil {
			continue
		}
		if code := websocket.CloseStatus(err); code != CloseSlow {
			t.Errorf("cut with %d: %v", code, err)
		}
		return
	}
}

func TestLiveStops(t *testing.T) {
	r := newRig(t, nil)
	l := r.live()
	r.server.stopWaits()
	if _, _, err := l.c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("when the server stops: %v", err)
	}
}

func TestLiveEvents(t *testing.T) {
	r := newRig(t, nil)
	j, path := r.create(`{"kind":"slow"}`)
	res, err := http.Get(r.url + "/api/v1/watch?job=" + j.ID.String() + "&job=" + uuid.NewString() + ":3")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	go func() {
		time.Sleep(100 * time.Millisecond)
		r.do("POST", path+"/terminate", "").want(200)
	}()
	body := new(strings.Builder)
	buf := make([]byte, 4096)
	for err == nil { // until nothing is left to follow
		var n int
		n, err = res.Body.Read(buf)
		body.Write(buf[:n])
	}
	for _, want := range []string{"retry: 1000", "event: job\ndata: ", "event: gone\n", `"state":"cancelled"`} {
		if !strings.Contains(body.String(), want) {
			t.Errorf("%q is not in the stream:\n%s", want, body)
		}
	}
	for _, query := range []string{"", "?job=x", "?job=" + j.ID.String() + ":x", "?filter=x", "?jobs=1"} {
		r.do("GET", "/api/v1/watch"+query, "").want(422)
	}
	if err := errors.Unwrap(err); err != nil {
		t.Error(err)
	}
}

// Pings of the client and of the server that cross hold up nothing.
func TestLivePings(t *testing.T) {
	r := newRig(t, nil)
	r.server.beat = time.Millisecond
	r.server.patience = time.Second
	l := r.live()
	const pings = 2000
	go func() {
		for range pings {
			if l.c.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`)) != nil {
				return
			}
		}
	}()
	for range pings {
		l.wants("pong", "")
	}
}

// untilOut is a configuration in which everybody may watch until out is set.
func untilOut() (config *Config, out *atomic.Bool) {
	out = new(atomic.Bool)
	return &Config{Identify: func(*http.Request) (string, Role, bool) { return "a", Viewer, !out.Load() }}, out
}

func (l *liveClient) wantsCut(code websocket.StatusCode) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Second)
	defer cancel()
	if _, text, err := l.c.Read(ctx); websocket.CloseStatus(err) != code {
		l.t.Errorf("told %s, error %v; want code %d", text, err, code)
	}
}

// Who may no longer watch is cut at the next message.
func TestLiveLosesRights(t *testing.T) {
	config, out := untilOut()
	r := newRig(t, config)
	l := r.live()
	l.send(`{"type":"ping"}`)
	l.wants("pong", "")
	out.Store(true)
	l.send(`{"type":"watch","jobs":[{"id":"%s"}]}`, uuid.New())
	l.wantsCut(websocket.StatusPolicyViolation)
}

// And who says nothing, soon.
func TestLiveLosesRightsSoon(t *testing.T) {
	config, out := untilOut()
	r := newRig(t, config)
	r.server.beat = 50 * time.Millisecond
	jobs, err := r.engine.Enqueue(t.Context(), errand.NewJob{Kind: "none"})
	if err != nil {
		t.Fatal(err)
	}
	l := r.live()
	l.send(`{"type":"ping"}`)
	l.wants("pong", "")
	streams := []<-chan string{r.events("/watch?filter="), r.events("/jobs/" + jobs[0].ID.String() + "/watch")}
	for _, lines := range streams {
		<-lines
	}
	time.AfterFunc(200*time.Millisecond, func() { out.Store(true) })
	l.wantsCut(websocket.StatusPolicyViolation)
	for i, lines := range streams {
		for end := time.After(5 * time.Second); lines != nil; {
			select {
			case _, ok := <-lines:
				if !ok {
					lines = nil
				}
			case <-end:
				t.Fatalf("stream %d goes on", i)
			}
		}
	}
}

// What was not told is not before the time up to which all was, and a store that fails does not end a connection.
func TestLivePongTime(t *testing.T) {
	store := storetest.Faulty(errand.Memory(nil), 1)
	r := newRigOn(t, store, nil)
	r.server.beat = 50 * time.Millisecond
	l := r.live()
	l.send(`{"type":"watch","sub":"x","filter":"kind:none"}`)
	first := l.wants("synced", "x").Time
	upTo := func(after time.Time) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			l.send(`{"type":"ping"}`)
			if n := l.wants("pong", "time"); n.Time.After(after) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("no pong tells of a time after %s", after)
			}
		}
	}
	upTo(first)
	store.Set(storetest.Faults{Before: 1, Methods: []string{"Get"}})
	j, _ := r.create(`{"kind":"none","args":"` + strings.Repeat("x", 30_000) + `"}`)
	for range 10 {
		time.Sleep(20 * time.Millisecond)
		l.send(`{"type":"ping"}`)
		if n := l.wants("pong", "time"); n.Time.After(j.Created) {
			t.Errorf("a job of %s is not told yet, but all up to %s", j.Created, n.Time)
		}
	}
	store.Set(storetest.Faults{})
	l.wants("job", j.ID.String())
	upTo(j.Created)
}

func TestLiveLimits(t *testing.T) {
	r := newRig(t, nil)
	l := r.live()
	l.send(`{"type":"watch","sub":"%s","filter":""}`, strings.Repeat("x", 256))
	l.wants("error", "at most 255 bytes")
	l.send(`{"type":"watch","sub":"x","filter":"kind:%s"}`, strings.Repeat("x", 4092))
	l.wants("error", "at most 4096 bytes")
	for i := range errand.MaxFilters {
		l.send(`{"type":"watch","sub":"%d","filter":"kind:%d"}`, i, i)
		l.wants("synced", "")
	}
	l.send(`{"type":"watch","sub":"y","filter":""}`)
	l.wants("error", "at most 32 filters")
	l.send(`{"type":"watch","sub":"0","filter":"state:x"}`) // it ends the one before, too
	l.wants("error", "invalid")
	l.send(`{"type":"watch","sub":"y","filter":""}`)
	l.wants("synced", "y")
	r.do("GET", "/api/v1/watch?filter=kind:"+strings.Repeat("x", 4092), "").want(422)
}

// events reads a stream of events into lines, until it ends.
func (r *rig) events(path string, headers ...string) <-chan string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.url+"/api/v1"+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != 200 {
		r.t.Fatal(res, err)
	}
	r.t.Cleanup(func() { _ = res.Body.Close() })
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-r.t.Context().Done():
				return
			}
		}
	}()
	return lines
}

// The id of a stream is the time up to which all was told: none while the filter begins, and it goes on when nothing happens.
func TestLiveEventIDs(t *testing.T) {
	store := storetest.Faulty(errand.Memory(nil), 1)
	r := newRigOn(t, store, nil)
	r.server.beat = 30 * time.Millisecond
	store.Set(storetest.Faults{Before: 1, Methods: []string{"List"}})
	lines := r.events("/watch?filter=kind:none")
	for pings := 0; pings < 5; {
		switch line := <-lines; {
		case strings.HasPrefix(line, "id"):
			t.Fatalf("%s before all was told", line)
		case line == ": ping":
			pings++
		}
	}
	store.Set(storetest.Faults{})
	synced, ids := false, map[string]bool{}
	for len(ids) < 3 {
		line, ok := <-lines
		if !ok {
			t.Fatal("the stream has ended")
		}
		synced = synced || line == "event: synced"
		if id, is := strings.CutPrefix(line, "id: "); is {
			if !synced {
				t.Fatalf("%s before all was told", line)
			}
			ids[id] = true
		}
	}
}

// A filter that ends ends the stream.
func TestLiveEventsRefused(t *testing.T) {
	r := newRigOn(t, errand.Memory(&errand.MemoryOptions{Keep: -1}), nil)
	away := time.Now().UTC().Format(time.RFC3339Nano)
	for range errand.MaxWatched + 1 {
		jobs, err := r.engine.Enqueue(t.Context(), errand.NewJob{Kind: "none"})
		if err == nil {
			_, err = r.engine.Cancel(t.Context(), jobs[0].ID, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	events := map[string]int{}
	for line := range r.events("/watch?filter=kind:none", "Last-Event-ID: "+away) {
		events[line]++
	}
	if events["event: refused"] != 1 || events["retry: 60000"] != 1 || events["event: synced"] != 0 {
		t.Errorf("told %v", events)
	}
}

func TestBulk(t *testing.T) {
	operator, operatorHash := NewToken()
	admin, adminHash := NewToken()
	r := newRig(t, &Config{Tokens: []Token{{"ops", operatorHash, Operator}, {"boss", adminHash, Admin}}})
	r.auth = "Bearer " + operator
	for range 30 {
		r.create(`{"kind":"nobody","tags":["x"]}`)
	}
	var b Bulk
	r.do("POST", "/api/v1/bulk", `{"verb":"cancel","filter":"tag:x state:ready","dry_run":true}`).want(200).decode(&b)
	if b.Count != 30 || b.More || b.Job != nil || b.Filter != "state:ready tag:x" {
		t.Errorf("dry run: %+v", b)
	}
	r.do("POST", "/api/v1/bulk", `{"verb":"cancel","filter":"tag:x","reason":"so","expect":30}`).want(202).decode(&b)
	var done Job
	r.do("GET", "/api/v1/jobs/"+b.Job.ID.String()+"?wait=10s", "").want(200).decode(&done)
	var result errand.BulkResult
	if err := json.Unmarshal(done.Result, &result); err != nil || result.Changed != 30 || done.Progress.Total != 30 {
		t.Errorf("the bulk: %+v, error %v", done, err)
	}
	r.do("POST", "/api/v1/bulk", `{"verb":"delete","filter":"tag:x"}`).want(403)
	for body, location := range map[string]string{
		`{"verb":"cancel","filter":"state:x"}`: "body.filter", `{"verb":"x","filter":""}`: "", `{"verb":"cancel","filter":"","expect":-1}`: "body.expect",
		`{"verb":"cancel","filters":""}`: "body.filters",
	} {
		if p := r.do("POST", "/api/v1/bulk", body).want(422).problem(); location != "" && (len(p.Errors) != 1 || p.Errors[0].Location != location) {
			t.Errorf("%s: %+v", body, p)
		}
	}
	r.auth = "Bearer " + admin
	r.do("POST", "/api/v1/bulk", `{"verb":"delete","filter":"tag:x"}`).want(202).decode(&b)
	r.do("GET", "/api/v1/jobs/"+b.Job.ID.String()+"?wait=10s", "").want(200)
	var p Page
	r.do("GET", "/api/v1/jobs?tag=x", "").want(200).decode(&p)
	if len(p.Jobs) != 0 {
		t.Errorf("%d jobs are left", len(p.Jobs))
	}
}

func TestQueues(t *testing.T) {
	r := newRig(t, nil)
	r.do("POST", "/api/v1/queues/a%2Fb/pause", `{"reason":"so"}`).want(204)
	j, path := r.create(`{"kind":"echo","queue":"a/b"}`)
	var why Why
	r.do("GET", path+"/why", "").want(200).decode(&why)
	if len(why.Obstacles) != 1 || why.Obstacles[0].Gate != errand.GateQueue || why.Obstacles[0].Reason != "so" || why.ID != j.ID {
		t.Errorf("why: %+v", why)
	}
	var queues Queues
	r.do("GET", "/api/v1/queues", "").want(200).decode(&queues)
	i := 0
	for i < len(queues.Queues) && queues.Queues[i].Name != "a/b" {
		i++
	}
	if i == len(queues.Queues) || queues.Queues[i].Paused == nil || queues.Queues[i].Jobs[errand.Ready] != 1 || queues.Queues[i].Slots != 100 {
		t.Errorf("queues: %+v", queues)
	}
	r.do("POST", "/api/v1/queues/a%2Fb/resume", "").want(204)
	var done Job
	r.do("GET", path+"?wait=5s", "").want(200).decode(&done)
	if done.State != errand.Succeeded {
		t.Errorf("after the pause it is %s", done.State)
	}
	r.do("POST", "/api/v1/workers/"+uuid.NewString()+"/drain", "").want(404)
	var workers Workers
	r.do("GET", "/api/v1/workers", "").want(200).decode(&workers)
	r.do("POST", "/api/v1/workers/"+workers.Workers[0].ID.String()+"/drain", "").want(204)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r.do("GET", "/api/v1/workers", "").want(200).decode(&workers)
		if workers.Workers[0].Draining || time.Now().After(deadline) {
			break
		}
	}
	time.Sleep(200 * time.Millisecond) // the worker hears of it
	_, path = r.create(`{"kind":"echo"}`)
	time.Sleep(400 * time.Millisecond)
	r.do("GET", path+"/why", "").want(200).decode(&why)
	if len(why.Obstacles) != 1 || why.Obstacles[0].Gate != errand.GateWorker || !strings.Contains(why.Obstacles[0].Text, "draining") {
		t.Errorf("why: %+v", why)
	}
	r.do("POST", "/api/v1/workers/"+workers.Workers[0].ID.String()+"/undrain", "").want(204)
	r.do("GET", path+"?wait=5s", "").want(200).decode(&done)
	if done.State != errand.Succeeded {
		t.Errorf("after draining it is %s", done.State)
	}
}
