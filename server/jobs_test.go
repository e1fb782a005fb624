package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

func TestCreateAndResult(t *testing.T) {
	r := newRig(t, nil)
	args := `{"big":12345678901234567890123,"exact":1.10,"html":"<a&b>","nested":[1e400,null]}`
	a := r.do("POST", "/api/v1/jobs", `{"kind":"echo","args":`+args+`}`).want(201)
	j := a.job()
	if a.header.Get("Location") != "/api/v1/jobs/"+j.ID.String() || !strings.Contains(a.body, `"args":`+args) || j.Warning != "" {
		t.Fatal(a.header, a.body)
	}
	a = r.do("GET", a.header.Get("Location")+"?wait=5s", "").want(200)
	if j = a.job(); j.State != errand.Succeeded || !strings.Contains(a.body, `"result":`+args) || j.Ended.IsZero() {
		t.Fatal(a.body)
	}
}

func TestCreateWithAllFields(t *testing.T) {
	r := newRig(t, nil)
	first, _ := r.create(`{"kind":"echo","in":"1h"}`)
	id := uuid.New()
	body := fmt.Sprintf(`{"kind":"none","id":%q,"queue":"q","priority":-7,"max_attempts":3,"max_crashes":2,"timeout":"90s","retention":"forever",
		"at":"2099-01-02T03:04:05+01:00","unique":{"key":"k","window":"1h"},"after":[%q],"after_outcome":"pause",
		"tags":["a","b"],"metadata":{"x":"y"}}`, id, first.ID)
	j := r.do("POST", "/api/v1/jobs", body).want(201).job()
	if j.ID != id || j.Queue != "q" || j.Priority != -7 || j.MaxAttempts != 3 || j.MaxCrashes != 2 || j.Timeout != Duration(90*time.Second) ||
		j.Retention >= 0 || !j.Due.Equal(time.Date(2099, 1, 2, 2, 4, 5, 0, time.UTC)) || j.Unique.Key != "k" || j.Unique.Scope != errand.UntilTime ||
		j.After[0] != first.ID || j.AfterOutcome != errand.PauseAfter || len(j.Tags) != 2 || j.Metadata["x"] != "y" || j.State != errand.Waiting {
		t.Fatalf("%+v", j)
	}
	if j.Warning == "" {
		t.Error("no warning of a kind that nobody handles")
	}
	again := r.do("POST", "/api/v1/jobs", `{"kind":"none","unique":{"key":"k","window":"1h"}}`).want(200).job()
	if !again.Duplicate || again.ID != id {
		t.Fatalf("%+v", again)
	}
	if again = r.do("POST", "/api/v1/jobs", body).want(200).job(); !again.Duplicate || again.ID != id {
		t.Fatalf("%+v", again)
	}
}

func TestCreateInvalid(t *testing.T) {
	r := newRig(t, nil)
	secret := "s3cr3tvalue"
	for _, tt := range []struct {
		body     string
		status   int
		location string // "" where the detail tells
	}{
		{``, 400, ""},
		{`{`, 400, ""},
		{`{} {}`, 400, ""},
		{"{\"kind\":\"\xff" + secret + `"}`, 400, ""},
		{`[]`, 422, "body"},
		{`null`, 422, "body.kind"},
		{`{}`, 422, "body.kind"},
		{`{"kind":""}`, 422, "body.kind"},
		{`{"kind":7}`, 422, "body.kind"},
		{`{"kind":"echo","kindle":"` + secret + `"}`, 422, "body.kindle"},
		{`{"kind":"echo","priority":"` + secret + `"}`, 422, "body.priority"},
		{`{"kind":"echo","priority":1.5}`, 422, "body.priority"},
		{`{"kind":"echo","priority":40000}`, 422, ""},
		{`{"kind":"echo","max_attempts":-1}`, 422, ""},
		{`{"kind":"echo","timeout":"` + secret + `"}`, 422, "body.timeout"},
		{`{"kind":"echo","timeout":5}`, 422, "body.timeout"},
		{`{"kind":"echo","timeout":"-5s"}`, 422, "body.timeout"},
		{`{"kind":"echo","in":"-5s"}`, 422, "body.in"},
		{`{"kind":"echo","at":"` + secret + `"}`, 422, "body.at"},
		{`{"kind":"echo","at":"2030-01-01T00:00:00Z","in":"5s"}`, 422, "body.in"},
		{`{"kind":"echo","id":"` + secret + `"}`, 422, "body.id"},
		{`{"kind":"echo","after":["` + secret + `"]}`, 422, "body.after[0]"},
		{`{"kind":"echo","after":["` + uuid.NewString() + `"]}`, 422, ""},
		{`{"kind":"echo","after_outcome":"` + secret + `"}`, 422, ""},
		{`{"kind":"echo","unique":{"key":"k","scope":"` + secret + `"}}`, 422, "body.unique.scope"},
		{`{"kind":"echo","unique":{"scope":"time"}}`, 422, "body.unique.window"},
		{`{"kind":"echo","unique":{"scope":"ended","window":"5s"}}`, 422, "body.unique.window"},
		{`{"kind":"echo","unique":{"window":"-5s"}}`, 422, "body.unique.window"},
		{`{"kind":"echo","unique":{"who":1}}`, 422, "body.unique.who"},
		{`{"kind":"echo","tags":["` + strings.Repeat(secret, 100) + `"]}`, 422, ""},
		{`{"kind":"echo","tags":"` + secret + `"}`, 422, "body.tags"},
		{`{"kind":"echo","tags":["a",7]}`, 422, "body.tags[1]"},
		{`{"kind":"echo","metadata":{"` + secret + `":7}}`, 422, "body.metadata"},
		{`{"kind":"echo","metadata":{"errand.request":"x"}}`, 422, "body.metadata"},
		{`{"kind":"echo\u0000` + secret + `"}`, 422, ""},
		{`{"kind":"echo","queue":"\u0007` + secret + `"}`, 422, ""},
		{`{"kind":"echo","args":"` + strings.Repeat("x", errand.MaxArgs) + `"}`, 422, ""},
		{`{"kind":"echo","args":"` + strings.Repeat("x", maxBody) + `"}`, 413, ""},
		{strings.Repeat("[", 20_000), 400, ""},
	} {
		name := tt.body[:min(len(tt.body), 60)]
		a := r.do("POST", "/api/v1/jobs", tt.body, "Content-Type: application/json").want(tt.status)
		p := a.problem()
		if tt.location != "" && (len(p.Errors) == 0 || p.Errors[0].Location != tt.location || p.Errors[0].Message == "") {
			t.Errorf("%s: want an error at %s: %s", name, tt.location, a.body)
		}
		if tt.location == "" && p.Detail == "" || strings.Contains(a.body, secret) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if p := r.do("GET", "/api/v1/jobs", "").want(200); p.body != `{"jobs":[]}`+"\n" {
		t.Errorf("some job was created: %s", p.body)
	}
	if log := r.log.String(); log != "" {
		t.Errorf("logged: %s", log)
	}
}

func TestBatch(t *testing.T) {
	r := newRig(t, nil)
	a, b := uuid.New(), uuid.New()
	body := fmt.Sprintf(`{"jobs":[{"kind":"echo","id":%q},{"kind":"none","id":%q,"after":[%q],"args":%q}]}`, a, b, a, strings.Repeat("x", BriefLimit))
	var c Created
	r.do("POST", "/api/v1/jobs/batch", body).want(201).decode(&c)
	if len(c.Jobs) != 2 || c.Jobs[0].ID != a || c.Jobs[1].ID != b || len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], "body.jobs[1].kind: ") ||
		c.Jobs[1].Args != nil || fmt.Sprint(c.Jobs[1].Omitted) != "[args]" {
		t.Fatalf("%+v", c)
	}
	r.do("POST", "/api/v1/jobs/batch", body).want(200).decode(&c)
	if !c.Jobs[0].Duplicate || !c.Jobs[1].Duplicate {
		t.Fatalf("%+v", c)
	}
	bad := r.do("POST", "/api/v1/jobs/batch", `{"jobs":[{"kind":"echo"},{"kind":"echo","prio":1},{"kind":"echo","in":[]}]}`).want(422).problem()
	if len(bad.Errors) != 2 || bad.Errors[0].Location != "body.jobs[1].prio" || bad.Errors[1].Location != "body.jobs[2].in" {
		t.Fatalf("%+v", bad)
	}
	r.do("POST", "/api/v1/jobs/batch", `{"jobs":[{"kind":"echo"},{"kind":"echo","queue":"`+strings.Repeat("q", 300)+`"}]}`).want(422)
	r.do("POST", "/api/v1/jobs/batch", `{"jobs":[]}`).want(422)
	many := `{"jobs":[` + strings.Repeat(`{"kind":"echo"},`, errand.MaxBatch) + `{"kind":"echo"}]}`
	r.do("POST", "/api/v1/jobs/batch", many).want(422)
	r.do("POST", "/api/v1/jobs/batch", strings.Repeat(" ", maxBatchBody+1)).want(413)
	var p Page
	if r.do("GET", "/api/v1/jobs", "").want(200).decode(&p); len(p.Jobs) != 2 {
		t.Errorf("%d jobs, want 2: a batch that is refused creates nothing", len(p.Jobs))
	}
}

func TestIdempotencyKey(t *testing.T) {
	r := newRig(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses, ids := map[int]int{}, map[uuid.UUID]bool{}
	for range 16 {
		wg.Go(func() {
			a := r.do("POST", "/api/v1/jobs", `{"kind":"echo","args":1}`, "Idempotency-Key: one")
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			ids[a.job().ID] = true
		})
	}
	wg.Wait()
	if statuses[201] != 1 || statuses[200] != 15 || len(ids) != 1 {
		t.Fatal(statuses, ids)
	}
	a := r.do("POST", "/api/v1/jobs", `{"kind":"echo","args":1}`, "Idempotency-Key: one").want(200)
	if j := a.job(); !j.Duplicate || strings.Contains(a.body, "metadata") {
		t.Error(a.body)
	}
	r.do("POST", "/api/v1/jobs", `{"kind":"echo","args":2}`, "Idempotency-Key: one").want(422)
	r.do("POST", "/api/v1/jobs", `{"kind":"echo","args":2}`, "Idempotency-Key: two").want(201)
	r.do("POST", "/api/v1/jobs", `{"kind":"echo","id":"`+uuid.NewString()+`"}`, "Idempotency-Key: three").want(422)
	r.do("POST", "/api/v1/jobs", `{"kind":"echo"}`, "Idempotency-Key: "+strings.Repeat("k", 256)).want(422)
}

func TestIdempotentBatch(t *testing.T) {
	r := newRig(t, nil)
	post := func(body string) answer { return r.do("POST", "/api/v1/jobs/batch", body, "Idempotency-Key: one") }
	var first, again Created
	post(`{"jobs":[{"kind":"echo"},{"kind":"echo","in":"1h"}]}`).want(201).decode(&first)
	post(`{"jobs":[{"kind":"echo"},{"kind":"echo","in":"1h"}]}`).want(200).decode(&again)
	if first.Jobs[0].ID != again.Jobs[0].ID || first.Jobs[1].ID != again.Jobs[1].ID {
		t.Fatal(first, again)
	}
	post(`{"jobs":[{"kind":"echo"},{"kind":"echo"},{"kind":"echo"}]}`).want(422)
	// The same key of a single job is another key.
	r.do("POST", "/api/v1/jobs", `{"kind":"echo","in":"1h"}`, "Idempotency-Key: two").want(201)
	var p Page
	if r.do("GET", "/api/v1/jobs", "").decode(&p); len(p.Jobs) != 3 {
		t.Errorf("%d jobs, want 3", len(p.Jobs))
	}
}

func TestStrictKinds(t *testing.T) {
	r := newRig(t, &Config{StrictKinds: true})
	p := r.do("POST", "/api/v1/jobs", `{"kind":"ecko"}`).want(422).problem()
	if p.Errors[0].Location != "body.kind" || !strings.Contains(p.Errors[0].Message, "echo, fail, slow, steps") {
		t.Errorf("%+v", p)
	}
	p = r.do("POST", "/api/v1/jobs/batch", `{"jobs":[{"kind":"echo"},{"kind":"ecko"}]}`).want(422).problem()
	if p.Errors[0].Location != "body.jobs[1].kind" {
		t.Errorf("%+v", p)
	}
	r.do("POST", "/api/v1/jobs", `{"kind":"echo"}`).want(201)
}

// TestKindOfAnotherProcess: an API server without workers knows kinds by the live sessions.
func TestKindOfAnotherProcess(t *testing.T) {
	worker := newRig(t, nil)
	path := "/api/v1/kinds"
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(worker.do("GET", path, "").body, `"workers":1`); {
		if time.Now().After(deadline) {
			t.Fatal(worker.do("GET", path, "").body)
		}
		time.Sleep(5 * time.Millisecond)
	}
	s, err := New(errand.New(worker.store, nil), &Config{StrictKinds: true})
	if err != nil {
		t.Fatal(err)
	}
	if w, err := s.warn(t.Context(), "body.kind", "echo"); w != "" || err != nil {
		t.Error(w, err)
	}
	if _, err := s.warn(t.Context(), "body.kind", "ecko"); err == nil {
		t.Error("no error")
	}
}

func TestVerbs(t *testing.T) {
	r := newRig(t, nil)
	_, path := r.create(`{"kind":"slow"}`)
	r.await(path, errand.Running)
	a := r.do("POST", path+"/pause", `{"reason":"lunch"}`).want(200)
	if j := a.job(); j.Actor != anonymous || j.Reason != "lunch" || a.header.Get("ETag") == "" {
		t.Fatal(a.body)
	}
	r.await(path, errand.Paused)
	c := r.do("POST", path+"/retry", "").want(409).problem()
	if c.State != errand.Paused || c.Hint != "resume it" {
		t.Errorf("%+v", c)
	}
	r.do("POST", path+"/resume", "").want(200)
	r.await(path, errand.Running)
	c = r.do("DELETE", path, "").want(409).problem()
	if c.State != errand.Running || !strings.Contains(c.Hint, "terminate") {
		t.Errorf("%+v", c)
	}
	if j := r.do("POST", path+"/terminate", `{}`).want(200).job(); j.State != errand.Cancelled {
		t.Fatalf("%+v", j)
	}
	r.do("POST", path+"/terminate", "").want(200) // harmless
	c = r.do("POST", path+"/pause", "").want(409).problem()
	if c.State != errand.Cancelled {
		t.Errorf("%+v", c)
	}
	r.do("POST", path+"/retry", `{"reason":"again"}`).want(200)
	r.await(path, errand.Running)
	if j := r.do("POST", path+"/cancel", "").want(200).job(); j.Want != errand.Cancelled {
		t.Fatalf("%+v", j)
	}
	r.await(path, errand.Cancelled)
	if a := r.do("DELETE", path, "").want(204); a.body != "" {
		t.Errorf("%q", a.body)
	}
	r.do("GET", path, "").want(404)
	r.do("DELETE", path, "").want(404)
	for _, verb := range []string{"pause", "resume", "cancel", "terminate", "retry"} {
		r.do("POST", path+"/"+verb, "").want(404)
		r.do("POST", "/api/v1/jobs/x/"+verb, "").want(422)
		r.do("POST", path+"/"+verb, `{"reason":7}`).want(422)
		r.do("POST", path+"/"+verb, `{"why":"x"}`).want(422)
		r.do("POST", path+"/"+verb, `{"reason":"`+strings.Repeat("x", errand.MaxReason+1)+`"}`).want(422)
		r.do("POST", path+"/"+verb, strings.Repeat(" ", maxActionBody+1)).want(413)
	}
}

func TestUniqueConflictOfRetry(t *testing.T) {
	r := newRig(t, nil)
	_, path := r.create(`{"kind":"fail","unique":{"key":"k"}}`)
	r.await(path, errand.Failed)
	r.create(`{"kind":"fail","unique":{"key":"k"},"in":"1h"}`)
	p := r.do("POST", path+"/retry", "").want(409).problem()
	if p.Hint == "" {
		t.Errorf("%+v", p)
	}
}

// TestBrokenBody: what the client spoils is no error of the server.
func TestBrokenBody(t *testing.T) {
	r := newRig(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	status, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(status, " 400 ") {
		t.Error(status, err)
	}
	if log := r.log.String(); log != "" {
		t.Errorf("logged: %s", log)
	}
}

func TestContentType(t *testing.T) {
	r := newRig(t, nil)
	for ct, status := range map[string]int{
		"application/json": 201, "application/json; charset=utf-8": 201, "Application/JSON": 201,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "application/xml": 415, "multipart/form-data; boundary=x": 415,
		";": 415, "application/problem+json": 415, "json": 415,
	} {
		a := r.do("POST", "/api/v1/jobs", `{"kind":"echo"}`, "Content-Type: "+ct).want(status)
		if status == 415 && a.header.Get("Accept-Post") != "application/json" {
			t.Error(a.header)
		}
	}
	for _, accept := range []string{"text/html", "application/xml;q=1", "json", "garbage;;;"} {
		a := r.do("GET", "/api/v1/stats", "", "Accept: "+accept).want(http.StatusOK)
		if a.header.Get("Content-Type") != "application/json" {
			t.Error(accept, a.header)
		}
	}
}
