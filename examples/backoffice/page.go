package main

import (
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

//go:embed static
var static embed.FS

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// view is a job as clients see it.
type view struct {
	ID       string          `json:"Job ID"`
	Kind     string          `json:"kind"`
	State    errand.State    `json:"state"`
	Wanted   errand.State    `json:"wanted,omitempty"` // of a running job that has been told to stop
	Progress errand.Progress `json:"progress"`
	Created  time.Time       `json:"created"`
	Started  time.Time       `json:"started,omitzero"`
	Ended    time.Time       `json:"ended,omitzero"`
	Attempt  int             `json:"attempt"`
	Error    string          `json:"error,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Download string          `json:"download,omitempty"`
}

func viewOf(j *errand.Job) view {
	v := view{
		ID: j.Metadata["id"], Kind: j.Kind, State: j.State, Wanted: j.Want, Progress: j.Progress,
		Created: j.Created, Started: j.Started, Ended: j.Ended, Attempt: j.Attempt, Error: j.Error, Result: j.Result,
	}
	var result done
	if json.Unmarshal(j.Result, &result) == nil {
		v.Download = result.File
	}
	return v
}

// CanStop, CanStart and CanTerminate tell which buttons a job has.
func (v view) CanStop() bool      { return !v.State.Ended() && v.State != errand.Paused && v.Wanted == "" }
func (v view) CanStart() bool     { return v.State == errand.Paused || v.Wanted == errand.Paused }
func (v view) CanTerminate() bool { return !v.State.Ended() && v.Wanted != errand.Cancelled }

// listing is one page of jobs, the newest first.
type listing struct {
	Jobs []view `json:"jobs"`
	Next string `json:"next,omitempty"` // the cursor of the next page
}

// list answers the jobs: as a page if a browser asks, else as JSON.
func (a *app) list(w http.ResponseWriter, r *http.Request) {
	found, err := a.jobs.List(r.Context(), errand.Query{Cursor: r.FormValue("cursor")})
	if errors.Is(err, errand.ErrInvalid) {
		err = problem{http.StatusBadRequest, "invalid_cursor"}
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	l := listing{Jobs: []view{}, Next: found.Next}
	for i := range found.Jobs {
		l.Jobs = append(l.Jobs, viewOf(&found.Jobs[i]))
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	if r.URL.Path == "/jobs" && !strings.Contains(r.Header.Get("Accept"), "text/html") {
		writeJSON(w, http.StatusOK, l)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, l); err != nil {
		slog.Warn("cannot write the page", "error", err)
	}
}
