package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/errandhq/errand"
)

// Error is the problem in one line.
func (p *Problem) Error() string {
	text := p.Title
	if p.Detail != "" {
		text = p.Detail
	}
	for i, f := range p.Errors {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		text += sep + f.Location + ": " + f.Message
	}
	if p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	return text
}

// GetStatus is the HTTP status of the answer.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the media type of problems.
func (*Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders are the headers of the answer.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// problem makes a problem of a status.
func problem(status int, detail string, fields ...ProblemField) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: detail, Errors: fields}
}

// invalid is the problem of fields that are not acceptable.
func invalid(fields ...ProblemField) *Problem {
	return problem(http.StatusUnprocessableEntity, "the request is not valid", fields...)
}

// with adds a header to the answer.
func (p *Problem) with(header, value string) *Problem {
	if p.headers == nil {
		p.headers = http.Header{}
	}
	p.headers.Add(header, value)
	return p
}

// retryAfter tells the client when to try again.
func (p *Problem) retryAfter(seconds int) *Problem {
	return p.with("Retry-After", strconv.Itoa(max(seconds, 1)))
}

// write answers a request with the problem, outside of huma.
func (p *Problem) write(w http.ResponseWriter) {
	for k, vs := range p.headers {
		w.Header()[k] = vs
	}
	p.RequestID = w.Header().Get(requestIDHeader)
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // on an error the client is gone
}

// fail makes the problem of an error of a handler. What is not the client's doing is
// logged and not shown.
func (s *Server) fail(ctx context.Context, err error) *Problem {
	var (
		p      *Problem
		state  *errand.StateError
		unique *errand.UniqueError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errand.ErrInvalid): // before ErrNotFound: a job to wait for may be missing
		return problem(http.StatusUnprocessableEntity, withoutValues(err))
	case errors.Is(err, errand.ErrTooMany):
		return problem(http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, errand.ErrNoSchedule):
		return problem(http.StatusNotFound, "no schedule has this name")
	case errors.Is(err, errand.ErrNotFound):
		return problem(http.StatusNotFound, "no job has this id; it may have been deleted, or removed after its retention")
	case errors.As(err, &state):
		p = problem(http.StatusConflict, "cannot "+state.Verb+" this job: it is "+string(state.State))
		p.State, p.Hint = state.State, state.Hint
		return p
	case errors.As(err, &unique):
		p = problem(http.StatusConflict, "another job holds this job's unique key")
		p.Hint = "wait until that one has ended, or cancel it"
		return p
	case errors.Is(err, errand.ErrClosed), errors.Is(err, context.DeadlineExceeded):
		s.log.WarnContext(ctx, "request failed", "error", err, "request_id", requestID(ctx))
		return problem(http.StatusServiceUnavailable, "the store did not answer in time, or the engine is stopping").retryAfter(1)
	}
	if ctx.Err() == nil { // else the client is gone
		s.log.ErrorContext(ctx, "request failed", "error", err, "request_id", requestID(ctx))
	}
	return problem(http.StatusInternalServerError, "something went wrong here; the log has it under the request id")
}

var quoted = regexp.MustCompile(` ?"(?:[^"\\]|\\.)*"`)

// withoutValues is the text of an [errand.ErrInvalid] without the values that it quotes.
func withoutValues(err error) string {
	text := strings.TrimPrefix(quoted.ReplaceAllString(err.Error(), ""), "schedule: ")
	return strings.TrimPrefix(text, errand.ErrInvalid.Error()+" ")
}

// transform makes problems of huma's own errors, without the values these hold, and gives
// every problem its request's id.
func (s *Server) transform(ctx huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case *Problem:
		e.RequestID = requestID(ctx.Context())
	case *huma.ErrorModel:
		p := problem(e.Status, e.Detail)
		for _, d := range e.Errors {
			if d != nil && d.Location != "" {
				message := strings.TrimPrefix(quoted.ReplaceAllString(d.Message, ""), "invalid value: ")
				if choices, ok := strings.CutPrefix(d.Message, "expected value to be one of "); ok { // these are ours
					message = "expected one of " + strings.Trim(choices, `"`)
				}
				p.Errors = append(p.Errors, ProblemField{d.Location, message})
			}
		}
		p.RequestID = requestID(ctx.Context())
		return p, nil
	}
	return v, nil
}
