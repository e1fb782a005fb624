package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/errandhq/errand"
)

// The limits of requests. Waits and watches extend the time to write.
const (
	maxBody       = 2 << 20
	maxBatchBody  = 32 << 20
	maxActionBody = 64 << 10
	headerTime    = 10 * time.Second
	requestTime   = time.Minute
	idleTime      = 2 * time.Minute
	stopTime      = 10 * time.Second
)

// Server serves the API of an engine. It is an http.Handler, to be used as it is, with
// [Server.HTTP], or with [Server.Serve].
type Server struct {
	engine      *errand.Engine
	config      Config
	log         *slog.Logger
	auth        *auth
	hosts       hosts
	crossOrigin *http.CrossOriginProtection
	routes      *routes
	api         huma.API
	openAPI     func() ([]byte, error)
	kinds       knownKinds
	repeats     repeats
	ready       readiness
	waits       chan struct{}   // a place for each request that waits
	patience    time.Duration   // with a client that does not read
	beat        time.Duration   // after which a watch is kept alive, and it is asked whether it is still allowed
	life        context.Context // ends when waits should
	stopWaits   context.CancelFunc
}

// New returns a server for an engine, which the caller runs, or does not if other processes
// work. Config may be nil. An error means that the configuration is wrong.
func New(engine *errand.Engine, config *Config) (*Server, error) {
	s := &Server{engine: engine, crossOrigin: http.NewCrossOriginProtection(), patience: pongTime, beat: beatEvery}
	if config != nil {
		s.config = *config
	}
	s.log = cmp.Or(s.config.Log, slog.Default())
	s.waits = make(chan struct{}, cmp.Or(max(s.config.MaxWaits, 0), 20_000))
	s.life, s.stopWaits = context.WithCancel(context.Background())
	for _, name := range s.config.Hosts {
		s.hosts.add(name)
	}
	for _, origin := range s.config.Origins {
		if err := s.crossOrigin.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("origin %q: use scheme://host[:port]: %w", origin, err)
		}
	}
	var err error
	if s.auth, err = newAuth(&s.config); err != nil {
		return nil, err
	}
	s.register()
	return s, nil
}

// HasAuth reports whether authentication is configured, for [CheckListen].
func (s *Server) HasAuth() bool { return s.auth.configured() }

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw}
	id := strconv.FormatUint(rand.Uint64(), 36)
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, &request{id, w, http.NewResponseController(w), r.Body}))
	setHeaders(w.Header(), id)
	defer s.recovered(w, r, id)
	handler, pattern := s.routes.mux.Handler(r)
	if p := s.protect(r, pattern); p != nil {
		p.write(w)
		return
	}
	if pattern == "" {
		unrouted(handler, r).write(w)
		return
	}
	s.routes.mux.ServeHTTP(w, r)
}

// setHeaders sets what every answer has: nothing of it is cached, sniffed, framed or run.
func setHeaders(h http.Header, requestID string) {
	h.Set(requestIDHeader, requestID)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// recovered makes a problem of a panic.
func (s *Server) recovered(w *response, r *http.Request, id string) {
	v := recover()
	switch {
	case v == nil:
		return
	case v == http.ErrAbortHandler:
		panic(v)
	case r.Context().Err() != nil && w.wrote: // could not write: the client is gone
		return
	}
	s.log.ErrorContext(r.Context(), "request panicked", "panic", fmt.Sprint(v), "request_id", id, "pattern", r.Pattern, "stack", string(debug.Stack()))
	if w.wrote {
		panic(http.ErrAbortHandler) // the client must not take this for a whole answer
	}
	problem(http.StatusInternalServerError, "something went wrong here; the log has it under the request id").write(w)
}

// unrouted is the problem of a request that the mux would answer itself.
func unrouted(handler http.Handler, r *http.Request) *Problem {
	probe := &discard{header: http.Header{}}
	handler.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		return problem(probe.status, "this path takes other methods, see Allow").with("Allow", probe.header.Get("Allow"))
	}
	return problem(http.StatusNotFound, "there is nothing at this path; "+Prefix+"/openapi.json lists what there is")
}

// response remembers whether an answer has begun.
type response struct {
	http.ResponseWriter
	wrote bool
}

func (w *response) WriteHeader(status int) {
	if w.wrote {
		return // huma does so when the client is gone
	}
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// discard keeps the head of an answer.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

const requestIDHeader = "X-Request-Id"

// request is what a handler may need to know of its request.
type request struct {
	id   string
	w    http.ResponseWriter
	rc   *http.ResponseController
	body io.ReadCloser
}

type requestKey struct{}

func requestOf(ctx context.Context) *request { return ctx.Value(requestKey{}).(*request) }

func requestID(ctx context.Context) string { return requestOf(ctx).id }

// Stop ends the waits and watches of s for good, for a program that mounts it in an http.Server of its own:
// give it to RegisterOnShutdown. [Server.HTTP] and [Server.Serve] do so themselves.
func (s *Server) Stop() { s.stopWaits() }

// HTTP returns an http.Server for the address, with timeouts that keep slow and idle
// clients from holding connections. Its Shutdown ends the waits of s for good: requests no
// longer wait afterwards, and /readyz says no. Call it once [CheckListen] has agreed.
func (s *Server) HTTP(addr string) *http.Server {
	if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
		s.hosts.add(host)
	}
	srv := &http.Server{
		Addr:              addr,
		Handler:           s,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	srv.RegisterOnShutdown(s.stopWaits)
	return srv
}

// Serve serves on a listener until ctx ends. Then it accepts no more, ends the waits, and lets
// open requests finish; those that take longer than ten seconds are cut, which is an error.
// It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := s.HTTP(l.Addr().String())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		s.stopWaits()
		return err
	case <-ctx.Done():
	}
	s.stopWaits()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := srv.Shutdown(stop)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were still open %s after the stop: %w", stopTime, err), srv.Close())
	}
	<-served
	return err
}
