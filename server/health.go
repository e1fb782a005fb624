package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

type healthOutput struct{ Body Health }

func (s *Server) registerHealth() {
	handle(s, huma.Operation{
		OperationID: "healthz", Method: http.MethodGet, Path: "/healthz", Summary: "Tell whether the process serves requests",
	}, func(context.Context, *struct{}) (*healthOutput, error) { return &healthOutput{Health{"ok"}}, nil })
	handle(s, huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Summary: "Tell whether the store answers and the server is not stopping",
	}, func(ctx context.Context, _ *struct{}) (*healthOutput, error) {
		if s.life.Err() != nil {
			return nil, problem(http.StatusServiceUnavailable, "the server is stopping").retryAfter(1)
		}
		if err := s.ready.check(ctx, s); err != nil {
			s.log.WarnContext(ctx, "not ready", "error", err, "request_id", requestID(ctx))
			return nil, problem(http.StatusServiceUnavailable, "the store does not answer").retryAfter(1)
		}
		return &healthOutput{Health{"ok"}}, nil
	})
}

// readiness asks the store once a second at most: anybody may ask for it.
type readiness struct {
	mu    sync.Mutex
	until time.Time
	err   error
}

func (r *readiness) check(ctx context.Context, s *Server) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.err
	}
	// The answer is for others too: this client's leaving must not spoil it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, r.err = s.engine.Get(ctx, uuid.Max)
	if isNotFound(r.err) {
		r.err = nil
	}
	r.until = time.Now().Add(time.Second)
	return r.err
}
