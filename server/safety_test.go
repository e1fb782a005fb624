package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

func TestHosts(t *testing.T) {
	r := newRig(t, &Config{Hosts: []string{"Jobs.Example.com"}})
	r.server.HTTP("listen.example.com:8080")
	for host, status := range map[string]int{
		"localhost": 200, "localhost:99": 200, "x.localhost": 200, "127.0.0.1": 200, "[::1]:8080": 200, "192.168.1.7:8080": 200,
		"jobs.example.com": 200, "JOBS.example.com.:443": 200, "listen.example.com:8080": 200,
		"evil.example.com": 421, "evil.example.com:8080": 421, "localhost.evil.example.com": 421, "127.0.0.1.evil.com": 421,
	} {
		r.do("GET", "/api/v1/stats", "", "Host: "+host).want(status)
	}
}

func TestCrossOrigin(t *testing.T) {
	r := newRig(t, &Config{Origins: []string{"https://console.example.com"}})
	for _, tt := range []struct {
		headers []string
		status  int
	}{
		{nil, 201},
		{[]string{"Sec-Fetch-Site: same-origin"}, 201},
		{[]string{"Sec-Fetch-Site: cross-site"}, 403},
		{[]string{"Sec-Fetch-Site: same-site"}, 403},
		{[]string{"Origin: https://evil.example.com"}, 403},
		{[]string{"Origin: https://console.example.com", "Sec-Fetch-Site: cross-site"}, 201},
	} {
		a := r.do("POST", "/api/v1/jobs", `{"kind":"none"}`, tt.headers...).want(tt.status)
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("CORS is none of ours")
		}
	}
	r.do("GET", "/api/v1/stats", "", "Sec-Fetch-Site: cross-site").want(200)
}

func TestHeaders(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/api/v1/stats", "/nothing", "/healthz", "/api/v1/openapi.json", "/api/v1/jobs/x"} {
		h := r.do("GET", path, "").header
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") ||
			h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get(requestIDHeader) == "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestRouterProblems(t *testing.T) {
	r := newRig(t, nil)
	id := uuid.NewString()
	for _, path := range []string{"/", "/api", "/api/v1", "/api/v1/", "/api/v1/jobs/", "/api/v1/job", "/API/v1/jobs", "/docs", "/schemas/Job.json", "/api/v1/openapi-3.0.json"} {
		r.do("GET", path, "").want(404)
	}
	for _, tt := range [][3]string{
		{"PUT", "/api/v1/jobs", "GET, HEAD, POST"},
		{"DELETE", "/api/v1/jobs", "GET, HEAD, POST"},
		{"PATCH", "/api/v1/jobs/" + id, "DELETE, GET, HEAD"},
		{"GET", "/api/v1/jobs/" + id + "/pause", "POST"},
		{"POST", "/api/v1/stats", "GET, HEAD"},
		{"OPTIONS", "/api/v1/stats", "GET, HEAD"},
		{"BREW", "/healthz", "GET, HEAD"},
	} {
		if a := r.do(tt[0], tt[1], "").want(405); a.header.Get("Allow") != tt[2] {
			t.Errorf("%s %s: Allow %q, want %q", tt[0], tt[1], a.header.Get("Allow"), tt[2])
		}
	}
}

// brokenStore fails and panics on order.
type brokenStore struct {
	errand.Store
	get func() error
}

func (b *brokenStore) Get(ctx context.Context, ids []errand.ID) ([]errand.Job, error) {
	if err := b.get(); err != nil {
		return nil, err
	}
	return b.Store.Get(ctx, ids)
}

func TestInternalsDoNotLeak(t *testing.T) {
	store := &brokenStore{Store: errand.Memory(nil), get: func() error { return nil }}
	r := newRigOn(t, store, nil)
	path := "/api/v1/jobs/" + uuid.NewString()
	for name, tt := range map[string]struct {
		get    func() error
		status int
	}{
		"error":   {func() error { return errors.New("dial postgres://u:hunter2@db") }, 500},
		"panic":   {func() error { panic("hunter2") }, 500},
		"timeout": {func() error { return context.DeadlineExceeded }, 503},
		"closed":  {func() error { return errand.ErrClosed }, 503},
	} {
		store.get = tt.get
		a := r.do("GET", path, "").want(tt.status)
		if strings.Contains(a.body, "hunter2") {
			t.Errorf("%s: %s", name, a.body)
		}
		if log := r.log.String(); !strings.Contains(log, a.problem().RequestID) {
			t.Errorf("%s is not in the log: %s", name, log)
		}
	}
	store.get = func() error { return errors.New("down") }
	r.do("GET", "/readyz", "").want(503)
	r.do("GET", "/healthz", "").want(200)
	r.do("GET", path+"/watch", "").want(500)
	r.do("GET", path+"?wait=5s", "").want(500)
	store.get = func() error { return nil }
	r.do("GET", path, "").want(404)
}

func TestCheckListen(t *testing.T) {
	for addr, alone := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "[::1]:8080": true, "127.9.9.9:1": true, "[::ffff:127.0.0.1]:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "192.168.0.1:80": false, "example.com:80": false, "localhost.evil.com:80": false,
	} {
		if err := CheckListen(addr, false, false); (err == nil) != alone {
			t.Error(addr, err)
		}
		if CheckListen(addr, true, false) != nil || CheckListen(addr, false, true) != nil {
			t.Error(addr)
		}
	}
	if CheckListen("8080", true, true) == nil {
		t.Error("no port")
	}
}

func TestOpenAPIServed(t *testing.T) {
	r := newRig(t, nil)
	doc, err := r.server.openAPI()
	if a := r.do("GET", "/api/v1/openapi.json", "").want(http.StatusOK); err != nil || a.body != string(doc) {
		t.Error("not the document")
	}
	if a := r.do("GET", "/api/v1/openapi.yaml", "").want(http.StatusOK); !strings.Contains(a.body, "openapi: 3.1.0") {
		t.Error(a.body[:100])
	}
}

func FuzzCreate(f *testing.F) {
	s, err := New(errand.New(errand.Memory(nil), nil), nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{`{"kind":"a"}`, `{"kind":"a","unique":{"window":"1h"},"after":[null],"tags":[""],"at":"0001-01-01T00:00:00Z"}`, `{"jobs":[{}]}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/api/v1/jobs", "/api/v1/jobs/batch"} {
			fuzzOne(t, s, path, body)
		}
	})
}
