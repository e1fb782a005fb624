package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

func fuzzOne(t *testing.T, s *Server, path string, body []byte) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "http://localhost"+path, bytes.NewReader(body)))
	if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// sse is a stream of Server-Sent Events.
type sse struct {
	t   *testing.T
	res *http.Response
	r   *bufio.Reader
}

type sseEvent struct {
	name, id string
	job      Job
}

func (r *rig) watch(path string, headers ...string) *sse {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.url+path+"/watch", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { res.Body.Close() })
	return &sse{r.t, res, bufio.NewReader(res.Body)}
}

// next returns the next event, or false at the end of the stream.
func (s *sse) next() (ev sseEvent, ok bool) {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return ev, false
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "event":
			ev.name = value
		case "id":
			ev.id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &ev.job); err != nil {
				s.t.Fatal(err, value)
			}
		case "":
			if ev.name != "" {
				return ev, true
			}
		}
	}
}

func TestWatch(t *testing.T) {
	r := newRig(t, nil)
	_, path := r.create(`{"kind":"steps","in":"50ms"}`)
	s := r.watch(path)
	if s.res.StatusCode != 200 || s.res.Header.Get("Content-Type") != "text/event-stream" || s.res.Header.Get("Cache-Control") != "no-store" {
		t.Fatal(s.res.Status, s.res.Header)
	}
	var story []string
	var last sseEvent
	version := int64(0)
	for {
		ev, ok := s.next()
		if !ok {
			break
		}
		if ev.name != "job" || ev.id != fmt.Sprint(ev.job.Version) || ev.job.Version <= version {
			t.Fatalf("%+v after version %d", ev, version)
		}
		version, last = ev.job.Version, ev
		if n := len(story); n == 0 || story[n-1] != string(ev.job.State) {
			story = append(story, string(ev.job.State))
		}
	}
	if last.job.State != errand.Succeeded || story[0] != "scheduled" || last.job.Progress == nil || last.job.Progress.Done != 3 {
		t.Error(story, last)
	}
	// Who has seen the end gets 204, which ends an EventSource; who has not gets it.
	if s := r.watch(path, "Last-Event-ID: "+last.id); s.res.StatusCode != 204 {
		t.Error(s.res.Status)
	}
	s = r.watch(path, "Last-Event-ID: 1")
	if ev, ok := s.next(); !ok || ev.job.State != errand.Succeeded {
		t.Error(ev, ok)
	}
	if _, ok := s.next(); ok {
		t.Error("more after the end")
	}
	r.do("GET", "/api/v1/jobs/"+uuid.NewString()+"/watch", "").want(404)
	r.do("GET", path+"/watch", "", "Last-Event-ID: x").want(422)
	r.do("HEAD", path+"/watch", "").want(200)
}

// TestWatchAnotherProcess: the job runs in one engine and is watched through another, which
// share nothing but the store.
func TestWatchAnotherProcess(t *testing.T) {
	worker := newRig(t, nil)
	other, err := New(errand.New(worker.store, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(other)
	defer web.Close()
	far := &rig{t: t, url: web.URL}
	_, path := far.create(`{"kind":"slow"}`)
	s := far.watch(path)
	states := map[errand.State]bool{}
	for {
		ev, ok := s.next()
		if !ok {
			break
		}
		if ev.job.State == errand.Running && !states[errand.Running] {
			worker.do("POST", path+"/cancel", "").want(200)
		}
		states[ev.job.State] = true
	}
	if !states[errand.Cancelled] || !states[errand.Running] {
		t.Error(states)
	}
	_, path = far.create(`{"kind":"echo","in":"100ms"}`)
	if j := far.do("GET", path+"?wait=10s", "").want(200).job(); j.State != errand.Succeeded {
		t.Error(j.State)
	}
}

func TestWatchDeleted(t *testing.T) {
	r := newRig(t, nil)
	_, path := r.create(`{"kind":"none"}`)
	s := r.watch(path)
	s.next()
	r.do("DELETE", path, "").want(204)
	if ev, ok := s.next(); !ok || ev.name != "gone" {
		t.Error(ev, ok)
	}
	if _, ok := s.next(); ok {
		t.Error("more after the end")
	}
}

func TestMaxWaits(t *testing.T) {
	r := newRig(t, &Config{MaxWaits: 2})
	_, path := r.create(`{"kind":"none"}`)
	for range 2 {
		s := r.watch(path)
		s.next()
		defer s.res.Body.Close()
	}
	for _, x := range []string{"/watch", "?wait=1s", "/log?wait=1s"} {
		if a := r.do("GET", path+x, "").want(503); a.header.Get("Retry-After") != "1" {
			t.Error(a.header)
		}
	}
	r.do("GET", path, "").want(200)
	r.do("DELETE", path, "").want(204)
	for range 200 {
		if len(r.server.waits) == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	_, path = r.create(`{"kind":"none"}`)
	r.do("GET", path+"?wait=10ms", "").want(200)
}

// TestPings: a watch outlives the timeouts of other requests, and its connection is kept alive.
func TestLongWatch(t *testing.T) {
	r := newRig(t, nil)
	srv := r.server.HTTP("127.0.0.1:0")
	srv.ReadTimeout, srv.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	defer srv.Close()
	r.url = "http://" + l.Addr().String()
	_, path := r.create(`{"kind":"none"}`)
	s := r.watch(path)
	s.next()
	wait := make(chan answer, 1)
	go func() { wait <- r.do("GET", path+"?wait=10s", "") }()
	time.Sleep(300 * time.Millisecond)
	r.do("POST", path+"/cancel", "").want(200)
	if ev, ok := s.next(); !ok || ev.job.State != errand.Cancelled {
		t.Error(ev, ok)
	}
	if a := <-wait; a.job().State != errand.Cancelled {
		t.Error(a.body)
	}
}

func TestServeStops(t *testing.T) {
	r := newRig(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, l) }()
	r.url = "http://" + l.Addr().String()
	_, path := r.create(`{"kind":"none"}`)
	s := r.watch(path)
	s.next()
	wait := make(chan answer, 1)
	go func() { wait <- r.do("GET", path+"?wait=1m", "") }()
	for len(r.server.waits) < 2 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	stop()
	if a := <-wait; a.status != 200 || a.job().State != errand.Ready {
		t.Error(a)
	}
	if _, ok := s.next(); ok {
		t.Error("an event")
	}
	if err := <-served; err != nil || time.Since(start) > 3*time.Second {
		t.Error(err, time.Since(start))
	}
	if _, err := http.Get(r.url + "/healthz"); err == nil {
		t.Error("still listens")
	}
}
