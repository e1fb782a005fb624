package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/errandhq/errand"
	"github.com/google/uuid"
)

const (
	maxUpload  = 512 << 20 // bytes of a file
	maxRequest = 64 << 10  // bytes of a request without one
	maxDays    = 36_525    // of an export: a hundred years
)

// problem is an error that clients are told.
type problem struct {
	status int
	kind   string
}

func (p problem) Error() string { return p.kind }

// routes returns the HTTP interface.
func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /uploadCSV", answer(func(r *http.Request) (any, error) { return a.enqueueFile(r, baselineCSV) }))
	mux.Handle("POST /createBulkTeam", answer(func(r *http.Request) (any, error) { return a.enqueueFile(r, bulkTeam) }))
	mux.Handle("POST /exportData", answer(a.enqueueExport))
	mux.Handle("GET /updateTask", answer(a.updateTask))
	mux.HandleFunc("GET /jobs", a.list)
	mux.HandleFunc("GET /{$}", a.list)
	mux.HandleFunc("GET /exports/{file}", a.download)
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.Handle("/console/", http.StripPrefix("/console", a.console))
	return a.guard(mux)
}

// guard keeps other sites away that a visitor of this one has open, since there is no login.
func (a *app) guard(h http.Handler) http.Handler {
	h = http.NewCrossOriginProtection().Handler(h)
	local := isLoopback(a.addr)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		// GET /updateTask changes something; and a name that is made to point here is none of ours.
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.URL.Path == "/updateTask" ||
			local && host != "localhost" && net.ParseIP(strings.Trim(host, "[]")) == nil {
			http.Error(w, "request from another site", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		h.ServeHTTP(w, r)
	})
}

// answer makes a handler of a function that returns what to answer as JSON.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r)
		if err != nil {
			fail(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

// fail answers an error. Those that are no problem of the client's stay here.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	var p problem
	if !errors.As(err, &p) {
		if r.Context().Err() == nil {
			slog.Error("request failed", "path", r.URL.Path, "error", err)
		}
		p = problem{http.StatusInternalServerError, "internal_error"}
	}
	writeJSON(w, p.status, map[string]string{"errorType": p.kind})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// newID makes the public id of a job, such as Jon-Doe-baselineCSV-1575836394-8469.
func (a *app) newID(kind string) string {
	n, err := rand.Int(rand.Reader, big.NewInt(9000))
	if err != nil {
		panic(err) // it never fails
	}
	return fmt.Sprintf("%s-%s-%d-%d", a.user, kind, time.Now().Unix(), 1000+n.Int64())
}

// errandID is the id by which errand knows the job.
func errandID(id string) errand.ID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte("backoffice/"+id)) }

// named are the options of a job with a public id.
func named(id string) []errand.Option {
	return []errand.Option{errand.WithID(errandID(id)), errand.Meta("id", id)}
}

// jobID returns the public id of the job that is running.
func jobID(run *errand.Run) string { return run.Job().Metadata["id"] }

func accepted(id string) any { return map[string]string{"Job ID": id} }

// enqueueFile stores the uploaded file and enqueues its import.
func (a *app) enqueueFile(r *http.Request, kind *errand.Kind[upload, done]) (any, error) {
	part, err := filePart(r)
	if err != nil {
		return nil, err
	}
	id, err := a.importFile(r.Context(), kind, part)
	if err != nil {
		return nil, err
	}
	return accepted(id), nil
}

// filePart finds the file in a multipart request.
func filePart(r *http.Request) (*multipart.Part, error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, problem{http.StatusBadRequest, "invalid_file"}
	}
	for {
		part, err := parts.NextPart()
		if err != nil {
			return nil, problem{http.StatusBadRequest, "invalid_file"}
		}
		if part.FormName() == "file" {
			return part, nil
		}
	}
}

// importFile copies a file to the uploads as a stream, and enqueues its import.
func (a *app) importFile(ctx context.Context, kind *errand.Kind[upload, done], from io.Reader) (id string, err error) {
	var f *os.File
	for f == nil { // an id that is taken has a file
		id = a.newID(kind.Name())
		f, err = a.uploads.OpenFile(id+".csv", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	rows, err := store(f, from)
	if err == nil {
		err = syncDir(a.uploads)
	}
	if err != nil {
		_ = a.uploads.Remove(id + ".csv")
		return "", err
	}
	// If this fails it is unknown whether the job is there: the file stays, see sweep.
	_, err = kind.Enqueue(ctx, a.jobs, upload{id + ".csv", rows}, named(id)...)
	return id, err
}

// store writes a file, so that it survives a loss of power, and counts its rows.
func store(f *os.File, from io.Reader) (rows int64, err error) {
	var counter rowCounter
	n, err := io.Copy(io.MultiWriter(f, &counter), &clientReader{io.LimitReader(from, maxUpload+1)})
	if err == nil && n > maxUpload {
		err = problem{http.StatusRequestEntityTooLarge, "file_too_large"}
	}
	if err == nil {
		err = f.Sync()
	}
	return counter.rows(), errors.Join(err, f.Close())
}

// clientReader tells failures to read what a client sends from those to write it.
type clientReader struct{ io.Reader }

func (c *clientReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = problem{http.StatusBadRequest, "invalid_file"}
	}
	return n, err
}

// enqueueExport enqueues an export of the dates in the request.
func (a *app) enqueueExport(r *http.Request) (any, error) {
	var in struct{ From, To string }
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	if decoder.Decode(&in) != nil || decoder.More() {
		return nil, problem{http.StatusBadRequest, "invalid_json"}
	}
	from, err := time.Parse(time.DateOnly, in.From)
	if err != nil {
		return nil, problem{http.StatusBadRequest, "invalid_from_date"}
	}
	to, err := time.Parse(time.DateOnly, in.To)
	if err != nil {
		return nil, problem{http.StatusBadRequest, "invalid_to_date"}
	}
	if to.Before(from) || to.Sub(from) > maxDays*day {
		return nil, problem{http.StatusBadRequest, "invalid_date_range"}
	}
	for {
		id := a.newID(createExport.Name())
		job, err := createExport.Enqueue(r.Context(), a.jobs, dates{from, to}, named(id)...)
		if err != nil {
			return nil, err
		}
		if !job.Duplicate {
			return accepted(id), nil
		}
	}
}

// download serves the file of an export.
func (a *app) download(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if strings.HasPrefix(name, ".") {
		http.NotFound(w, r)
		return
	}
	f, err := a.exports.Open(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	http.ServeContent(w, r, name, info.ModTime(), f)
}
