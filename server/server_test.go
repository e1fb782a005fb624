package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

// rig is a server on a working engine.
type rig struct {
	t      *testing.T
	store  errand.Store
	engine *errand.Engine
	server *Server
	url    string
	log    *syncBuffer
	auth   string // the header Authorization of requests
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRig(t *testing.T, config *Config) *rig {
	t.Helper()
	return newRigOn(t, errand.Memory(nil), config)
}

func newRigOn(t *testing.T, store errand.Store, config *Config) *rig {
	t.Helper()
	t.Parallel()
	r := &rig{t: t, store: store, engine: workingEngine(t, store), log: &syncBuffer{}}
	if config == nil {
		config = &Config{}
	}
	config.Log = slog.New(slog.NewTextHandler(r.log, nil))
	s, err := New(r.engine, config)
	if err != nil {
		t.Fatal(err)
	}
	r.server = s
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		s.stopWaits()
		web.Close()
	})
	r.url = web.URL
	return r
}

// workingEngine handles echo (its args are its result), fail, steps (three of them, with a
// log) and slow (until it is stopped).
func workingEngine(t *testing.T, store errand.Store) *errand.Engine {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	e := errand.New(store, &errand.Config{Log: quiet, Poll: 20 * time.Millisecond, Lease: time.Second, ShutdownGrace: -1})
	raw := func(fn func(ctx context.Context, run *errand.Run) (json.RawMessage, error)) errand.Handling {
		return errand.Handling{Handler: fn}
	}
	e.Handle("echo", raw(func(_ context.Context, run *errand.Run) (json.RawMessage, error) { return run.Job().Args, nil }))
	e.Handle("fail", raw(func(context.Context, *errand.Run) (json.RawMessage, error) {
		return nil, errand.Permanent(errors.New("as asked"))
	}))
	e.Handle("steps", raw(func(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
		for i := range int64(3) {
			run.Progress(i+1, 3, "")
			errand.Logger(ctx).Info("step", "n", i)
			time.Sleep(30 * time.Millisecond)
		}
		return nil, nil
	}))
	e.Handle("slow", raw(func(ctx context.Context, _ *errand.Run) (json.RawMessage, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	for sessions := 0; sessions == 0; time.Sleep(time.Millisecond) { // until it works
		all, err := e.Sessions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sessions = len(all)
	}
	return e
}

// answer is a response that was read.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// do makes a request. Headers are "Name: value".
func (r *rig) do(method, path, body string, headers ...string) answer {
	r.t.Helper()
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, r.url+path, b)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.auth != "" {
		req.Header.Set("Authorization", r.auth)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{r.t, res.StatusCode, res.Header, string(read)}
}

// want checks the status, and of an error that it is a proper problem.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if status >= 400 {
		p := a.problem()
		if p.Status != status || p.Title == "" || p.RequestID == "" || p.RequestID != a.header.Get(requestIDHeader) ||
			a.header.Get("Content-Type") != "application/problem+json" {
			a.t.Fatalf("not a proper problem: %v %s", a.header, a.body)
		}
	}
	return a
}

func (a answer) problem() (p Problem) { a.decode(&p); return p }

func (a answer) job() (j Job) { a.decode(&j); return j }

func (a answer) decode(v any) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
}

// create makes a job and returns its path.
func (r *rig) create(body string) (Job, string) {
	r.t.Helper()
	j := r.do("POST", "/api/v1/jobs", body).want(201).job()
	return j, "/api/v1/jobs/" + j.ID.String()
}

// await waits until a job is in a state.
func (r *rig) await(path string, state errand.State) Job {
	r.t.Helper()
	for range 500 {
		if j := r.do("GET", path, "").want(200).job(); j.State == state {
			return j
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.t.Fatalf("%s is not %s: %s", path, state, r.do("GET", path, "").body)
	return Job{}
}
