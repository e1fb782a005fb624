package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

const maxBody = 64 << 10 // bytes of a request

// problem is an error that clients are told.
type problem struct {
	status  int
	message string
}

func (p problem) Error() string { return p.message }

// routes returns the HTTP interface.
func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	for path, methods := range map[string]map[string]http.Handler{
		"/v1/jobs":             {"POST": answer(a.post)},
		"/v1/jobs/{id}":        {"GET": answer(a.get)},
		"/v1/jobs/{id}/result": {"GET": answer(a.result)},
		"/health":              {"GET": answer(a.health)},
	} {
		for method, handler := range methods {
			mux.Handle(method+" "+path, handler)
			mux.Handle(path, answer(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Allow", method)
				return problem{http.StatusMethodNotAllowed, "use " + method}
			}))
		}
	}
	mux.Handle("/", answer(func(http.ResponseWriter, *http.Request) error {
		return problem{http.StatusNotFound, "there is nothing here"}
	}))
	// There is no login: at least other sites that a visitor has open are kept away.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(answer(func(http.ResponseWriter, *http.Request) error {
		return problem{http.StatusForbidden, "the request comes from another site"}
	}))
	return http.MaxBytesHandler(guard.Handler(mux), maxBody)
}

// answer makes a handler of a function that answers, or returns an error. Errors that are no problem of
// the client's stay here.
func answer(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		err := f(w, r.WithContext(ctx))
		if err == nil {
			return
		}
		var p problem
		if !errors.As(err, &p) {
			if r.Context().Err() == nil {
				slog.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			}
			p = problem{http.StatusInternalServerError, "internal error"}
		}
		writeJSON(w, p.status, map[string]string{"message": p.message})
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// post creates a job, or finds the one that the object has. It answers the same in both cases.
func (a *app) post(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", maxBody)}
	}
	if err != nil {
		return problem{http.StatusBadRequest, "the body could not be read"}
	}
	var in struct {
		ObjectID *int64 `json:"object_id"`
	}
	err = json.Unmarshal(body, &in)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !ok {
		return problem{http.StatusBadRequest, `the body must be JSON, such as {"object_id": 1}`}
	}
	if err != nil || in.ObjectID == nil {
		return problem{http.StatusBadRequest, `the body must be an object with an integer "object_id", such as {"object_id": 1}`}
	}
	id, err := a.create(r.Context(), *in.ObjectID)
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/jobs/%d", id))
	writeJSON(w, http.StatusCreated, map[string]int64{"job_id": id})
	return nil
}

// idOf returns the id in a request's path. One that is out of range becomes one that no job has.
func idOf(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, problem{http.StatusBadRequest, "the id of a job is an integer"}
	}
	return id, nil
}

// get answers a job.
func (a *app) get(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	j, err := a.job(r.Context(), id)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem{http.StatusNotFound, "there is no job with this id"}
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, j)
	return nil
}

// result answers the picture of a job.
func (a *app) result(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	var picture []byte
	err = a.db.QueryRow(r.Context(), "select picture from results where job_id = $1", id).Scan(&picture)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem{http.StatusNotFound, "there is no result of a job with this id"}
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "image/png")
	_, _ = w.Write(picture)
	return nil
}

// health tells whether jobs can be created.
func (a *app) health(w http.ResponseWriter, r *http.Request) error {
	if err := a.db.Ping(r.Context()); err != nil {
		return problem{http.StatusServiceUnavailable, "the database does not answer"}
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}
