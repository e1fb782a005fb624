package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/errandhq/errand"
)

//go:embed page
var files embed.FS

var statusPage = template.Must(template.ParseFS(files, "page/jobs.html"))

// page is the status page at /@jobs.
type page struct {
	jobs     *Jobs
	settings *settings
}

// status is what it shows.
type status struct {
	Pool    int         `json:"pool"`
	Running int64       `json:"running"`
	Queued  int64       `json:"queued"` // ready to run, and waiting for room in the pool
	Jobs    []jobStatus `json:"jobs"`
}

type jobStatus struct {
	Name   string    `json:"name"`
	Spec   string    `json:"spec"`
	Times  string    `json:"times"`  // the spec in words
	Status string    `json:"status"` // IDLE or RUNNING
	Prev   time.Time `json:"prev,omitzero"`
	Next   time.Time `json:"next,omitzero"`
}

func (p *page) routes(mux *http.ServeMux) {
	static, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // it is embedded
	}
	mux.Handle("GET /@jobs", p.guard(p.show))
	mux.Handle("GET /@jobs.json", p.guard(p.show))
	mux.Handle("POST /@jobs/run", p.guard(p.run))
	mux.Handle("GET /@jobs/", p.guard(http.StripPrefix("/@jobs/", http.FileServerFS(static)).ServeHTTP))
}

// guard answers only those who may see the page.
func (p *page) guard(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case p.settings.user == "" && !p.isLocal(r):
			http.Error(w, "The jobs are shown to requests from this machine only.", http.StatusForbidden)
		case p.settings.user != "" && !p.isKnown(r):
			h.Set("WWW-Authenticate", `Basic realm="jobs", charset="UTF-8"`)
			http.Error(w, "The jobs are shown with a name and a password.", http.StatusUnauthorized)
		default:
			next(w, r)
		}
	})
}

// isLocal reports whether a request comes from this machine: by its connection, or, if jobs.acceptproxyaddress says so, by what the proxy
// says. That is the last address in X-Forwarded-For, which the proxy has written itself; what is before may be anybody's.
func (p *page) isLocal(r *http.Request) bool {
	// A host name that is not localhost may have been made to point here by some site that a browser on this machine has open. Its scripts
	// can write X-Forwarded-For too.
	host := hostOf(r.Host)
	if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
		return false
	}
	if via := r.Header.Values("X-Forwarded-For"); p.settings.acceptProxy && len(via) > 0 {
		last := via[len(via)-1]
		return isLoopback(hostOf(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])))
	}
	return isLoopback(hostOf(r.RemoteAddr))
}

// hostOf is an address without a port.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return strings.Trim(addr, "[]")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// isKnown checks the name and the password of a request, in the same time whatever is wrong.
func (p *page) isKnown(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	same := func(a, b string) bool {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return subtle.ConstantTimeCompare(x[:], y[:]) == 1
	}
	known, right := same(user, p.settings.user), false
	if want := p.settings.password; strings.HasPrefix(want, "$2") {
		right = bcrypt.CompareHashAndPassword([]byte(want), []byte(password)) == nil
	} else {
		right = same(password, want)
	}
	return known && right
}

func (p *page) show(w http.ResponseWriter, r *http.Request) {
	s, err := p.status(r)
	if err != nil {
		slog.Error("cannot look up the jobs", "error", err)
		http.Error(w, "The jobs cannot be looked up.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Vary", "Accept")
	accept := r.Header.Get("Accept")
	if r.URL.Path == "/@jobs.json" || strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
		w.Header().Set("Content-Type", "application/json")
		err = json.NewEncoder(w).Encode(s)
	} else {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		err = statusPage.Execute(w, s)
	}
	if err != nil {
		slog.Debug("cannot send the page", "error", err)
	}
}

func (p *page) status(r *http.Request) (*status, error) {
	ctx, engine := r.Context(), p.jobs.engine
	schedules, err := engine.Schedules(ctx, errand.ScheduleQuery{Names: p.jobs.names})
	if err != nil {
		return nil, err
	}
	counts, err := engine.Stats(ctx)
	if err != nil {
		return nil, err
	}
	firings, err := engine.FiringsOf(ctx, p.jobs.names, 1)
	if err != nil {
		return nil, err
	}
	made := map[string]time.Time{} // the latest run, which somebody may have asked for
	for _, f := range firings {
		if f.Outcome == errand.OutcomeMade || f.Outcome == errand.OutcomeManual {
			made[f.Schedule] = f.At
		}
	}
	s := &status{Pool: p.settings.pool, Jobs: []jobStatus{}}
	running := map[string]bool{}
	for _, c := range counts {
		switch {
		case c.Queue != "default":
		case c.State == errand.Running:
			s.Running += c.Jobs
			running[c.Kind] = true
		case c.State == errand.Ready:
			s.Queued += c.Jobs
		}
	}
	for i := range schedules {
		x := &schedules[i]
		j := jobStatus{Name: x.Name, Spec: x.Spec, Times: x.Describe(), Status: "IDLE", Prev: x.Prev, Next: x.Next}
		if at, ok := made[x.Name]; ok {
			j.Prev = at
		}
		if running[x.Name] {
			j.Status = "RUNNING"
		}
		s.Jobs = append(s.Jobs, j)
	}
	return s, nil
}

// run runs a scheduled job now.
func (p *page) run(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	ctx := errand.WithActor(r.Context(), p.settings.user)
	var state *errand.StateError
	switch _, err := p.jobs.engine.RunSchedule(ctx, r.PostFormValue("name"), errand.ID{}); {
	case errors.Is(err, errand.ErrNoSchedule):
		http.Error(w, "There is no such job.", http.StatusNotFound)
	case errors.As(err, &state):
		http.Error(w, "It runs, and its next run is waiting already.", http.StatusConflict)
	case err != nil:
		slog.Error("cannot run a job", "error", err)
		http.Error(w, "The job cannot be run.", http.StatusInternalServerError)
	default:
		http.Redirect(w, r, "/@jobs", http.StatusSeeOther)
	}
}
