package server

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/errandhq/errand"
)

// The limits of a connection that watches.
const (
	maxFrame      = 1 << 20          // bytes of one message of the client
	unackedBytes  = 256 << 10        // sent to a client before it must show that it reads
	pongTime      = 30 * time.Second // in which it must, see Server.patience
	livePingEvery = 20 * time.Second // of connections on which nothing happens
)

// The codes with which the server closes a connection that watches, besides those of RFC 6455.
const (
	CloseSlow = 4008 // the client did not read for 30 s: connect again, and say what you have seen
)

// WatchRequest is one message of a client that watches over WebSocket.
type WatchRequest struct {
	// Type is "watch" (jobs, or a filter under the name Sub), "unwatch" (jobs, or the filter named Sub), or "ping".
	Type   string    `json:"type"`
	Sub    string    `json:"sub,omitempty"`
	Jobs   []SeenJob `json:"jobs,omitempty"`
	Filter string    `json:"filter,omitempty"`
	// Since has a filter tell, too, the jobs that were created since and have ended.
	Since time.Time `json:"since,omitzero"`
}

// SeenJob says what a client has seen of a job: version 0 is nothing.
type SeenJob struct {
	ID      errand.ID `json:"id"`
	Version int64     `json:"version,omitempty"`
}

// WatchNotice is one message of the server to a client that watches.
type WatchNotice struct {
	// Type is "job" (Job is the job as it is now, brief), "gone" (there is no job ID, or no longer), "synced" (all that
	// matches the filter Sub has been told), "error" (the request, or the filter Sub, failed), or "pong".
	Type   string    `json:"type"`
	Job    *Job      `json:"job,omitempty"`
	ID     errand.ID `json:"id,omitzero"`
	Sub    string    `json:"sub,omitempty"`
	Code   string    `json:"code,omitempty"`   // of an error: "invalid", "too_many" or "failed"
	Detail string    `json:"detail,omitempty"` // of an error
	Time   time.Time `json:"time,omitzero"`    // with synced and pong: now, for the Since of a later connection
}

//go:embed watch.js
var script []byte

// watchScript serves the client for browsers.
func watchScript(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = rw.Write(script) // on an error the client is gone
}

// live follows jobs over a WebSocket, or by Server-Sent Events.
func (s *Server) live(rw http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		s.events(rw, r)
		return
	}
	if !s.sameOrigin(r) {
		problem(http.StatusForbidden, "pages of this origin may not watch here").write(rw)
		return
	}
	release, err := s.hold()
	if err != nil {
		s.fail(r.Context(), err).write(rw)
		return
	}
	defer release()
	c, err := websocket.Accept(rw, r, &websocket.AcceptOptions{
		Subprotocols: []string{"errand"}, InsecureSkipVerify: true, // the origin was looked at above
	})
	if err != nil {
		return // it has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(maxFrame)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	x := &liveConn{s: s, c: c, watcher: s.engine.Watch(0), answers: make(chan WatchNotice)}
	defer x.watcher.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer cancel()
		x.write(ctx)
	}()
	x.read(ctx)
	cancel()
	<-written
}

// sameOrigin reports whether the request comes from no web page, or from one that may call the API.
func (s *Server) sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	_, rest, ok := strings.Cut(origin, "://")
	return origin == "" || slices.Contains(s.config.Origins, origin) ||
		ok && rest == r.Host && (strings.HasPrefix(origin, scheme) || r.TLS == nil) // TLS may end before us
}

// liveConn is one connection that watches.
type liveConn struct {
	s       *Server
	c       *websocket.Conn
	watcher *errand.Watcher
	answers chan WatchNotice
	unacked int
}

// read takes messages until the connection ends.
func (x *liveConn) read(ctx context.Context) {
	for {
		kind, raw, err := x.c.Read(ctx)
		if err != nil {
			return // too long a message was answered with 1009
		}
		if kind != websocket.MessageText {
			x.c.Close(websocket.StatusUnsupportedData, "send JSON as text")
			return
		}
		answer, ok := x.take(ctx, raw)
		if !ok {
			continue
		}
		select {
		case x.answers <- answer:
		case <-ctx.Done():
			return
		}
	}
}

// take heeds one message, and returns the answer to it if there is one.
func (x *liveConn) take(ctx context.Context, raw []byte) (WatchNotice, bool) {
	var req WatchRequest
	if err := decode(raw, &req); err != nil {
		return refusal(req.Sub, "invalid", err), true
	}
	seen := make([]errand.Seen, len(req.Jobs))
	for i, j := range req.Jobs {
		seen[i] = errand.Seen(j)
	}
	var err error
	switch {
	case req.Type == "ping":
		return WatchNotice{Type: "pong", Time: x.s.engine.Now().UTC()}, true
	case req.Type == "watch" && req.Sub != "":
		err = x.match(&req, seen)
	case req.Type == "watch" && len(req.Jobs) > 0 && req.Filter == "":
		err = x.watcher.Follow(seen...)
	case req.Type == "unwatch" && req.Sub != "":
		x.watcher.Unmatch(req.Sub)
	case req.Type == "unwatch" && len(req.Jobs) > 0:
		for _, j := range req.Jobs {
			x.watcher.Forget(j.ID)
		}
	default:
		err = errors.New(`expected type "watch" with jobs or with sub and filter, "unwatch" with jobs or sub, or "ping"`)
	}
	switch {
	case err == nil:
		return WatchNotice{}, false
	case errors.Is(err, errand.ErrTooMany):
		return refusal(req.Sub, "too_many", err), true
	}
	return refusal(req.Sub, "invalid", err), true
}

// match begins a filter.
func (x *liveConn) match(req *WatchRequest, seen []errand.Seen) error {
	q, err := errand.ParseQuery(req.Filter, x.s.engine.Now())
	if err != nil {
		return err
	}
	return x.watcher.Match(req.Sub, q, req.Since, seen...)
}

func refusal(sub, code string, err error) WatchNotice {
	return WatchNotice{Type: "error", Sub: sub, Code: code, Detail: err.Error()}
}

// write sends what there is to tell, until the connection ends or the server stops.
func (x *liveConn) write(ctx context.Context) {
	news := make(chan []errand.Notice)
	go func() {
		defer close(news)
		for {
			notices, err := x.watcher.Next(ctx)
			for len(notices) > 0 && err == nil {
				select {
				case news <- notices:
					notices = nil
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	idle := time.NewTicker(livePingEvery)
	defer idle.Stop()
	for {
		var err error
		select {
		case notices, ok := <-news:
			if !ok {
				return
			}
			for i := 0; i < len(notices) && err == nil; i++ {
				err = x.send(ctx, x.s.notice(&notices[i]))
			}
		case answer := <-x.answers:
			err = x.send(ctx, answer)
		case <-idle.C:
			err = x.ping(ctx)
		case <-x.s.life.Done():
			x.c.Close(websocket.StatusGoingAway, "the server stops: connect again")
			return
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// notice is what goes over the wire.
func (s *Server) notice(n *errand.Notice) WatchNotice {
	switch {
	case n.Job != nil:
		job := brief(n.Job)
		return WatchNotice{Type: "job", Job: &job}
	case n.Err != nil:
		code := "failed"
		text := n.Err
		if errors.Is(n.Err, errand.ErrTooMany) {
			code = "too_many"
		} else {
			s.log.Error("a filter failed", "error", n.Err)
			text = errors.New("something went wrong here; the log has it")
		}
		return refusal(n.Sub, code, text)
	case n.Sub != "":
		return WatchNotice{Type: "synced", Sub: n.Sub, Time: s.engine.Now().UTC()}
	}
	return WatchNotice{Type: "gone", ID: n.Gone}
}

// send sends one message. After so many bytes it waits until the client has read them, so that it is the client's doing
// if nothing comes through, and it can be told so.
func (x *liveConn) send(ctx context.Context, n WatchNotice) error {
	var text bytes.Buffer
	if err := marshal(&text, n); err != nil {
		return err
	}
	if x.unacked += text.Len(); x.unacked > unackedBytes {
		if err := x.ping(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, x.s.patience)
	defer cancel()
	return x.c.Write(ctx, websocket.MessageText, bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

// ping waits until the client has read all that was sent, and cuts it if it does not.
func (x *liveConn) ping(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, x.s.patience)
	defer cancel()
	err := x.c.Ping(waiting)
	if err == nil {
		x.unacked = 0
		return nil
	}
	if ctx.Err() == nil {
		x.c.Close(CloseSlow, "nothing was read for 30 s: connect again, and say what you have seen")
	}
	return err
}

// events follows jobs by Server-Sent Events.
func (s *Server) events(rw http.ResponseWriter, r *http.Request) {
	release, err := s.hold()
	if err != nil {
		s.fail(r.Context(), err).write(rw)
		return
	}
	defer release()
	watcher := s.engine.Watch(0)
	defer watcher.Close()
	if p := s.subscribe(watcher, r); p != nil {
		p.write(rw)
		return
	}
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.Header().Set("X-Accel-Buffering", "no") // of proxies
	rw.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	out := &stream{rw, requestOf(r.Context()).rc}
	_ = out.rc.SetReadDeadline(time.Time{})
	life, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	endless := r.URL.Query().Has("filter")
	text := "retry: 1000\n\n"
	for out.send(text) == nil && (endless || watcher.Len() > 0) {
		waiting, cancel := context.WithTimeout(life, pingEvery)
		notices, err := watcher.Next(waiting)
		cancel()
		text = ": ping\n\n"
		switch {
		case life.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded):
			return // the client connects again
		case err != nil:
			continue
		}
		var b bytes.Buffer
		for i := range notices {
			n := s.notice(&notices[i])
			fmt.Fprintf(&b, "event: %s\nid: %s\ndata: ", n.Type, s.engine.Now().UTC().Format(time.RFC3339Nano))
			if marshal(&b, n) != nil { // one line, with its end
				return
			}
			b.WriteByte('\n')
		}
		text = b.String()
	}
}

// subscribe has the watcher follow what the query of a request says.
func (s *Server) subscribe(watcher *errand.Watcher, r *http.Request) *Problem {
	q := r.URL.Query()
	for name := range q {
		if name != "job" && name != "filter" {
			return invalid(ProblemField{"query." + shortName(name), "unknown parameter; expected job or filter"})
		}
	}
	var seen []errand.Seen
	for i, text := range q["job"] {
		at := "query.job[" + strconv.Itoa(i) + "]"
		id, version, found := strings.Cut(text, ":")
		var p idParam
		if err := p.UnmarshalText([]byte(id)); err != nil {
			return invalid(ProblemField{at, err.Error() + ", and :VERSION if it was seen"})
		}
		x := errand.Seen{ID: errand.ID(p)}
		if found {
			var err error
			if x.Version, err = strconv.ParseInt(version, 10, 64); err != nil || x.Version < 0 {
				return invalid(ProblemField{at, "expected a version, a number, after the colon"})
			}
		}
		seen = append(seen, x)
	}
	err := watcher.Follow(seen...)
	if err == nil && q.Has("filter") {
		var query errand.Query
		if query, err = errand.ParseQuery(q.Get("filter"), s.engine.Now()); err == nil {
			since, _ := time.Parse(time.RFC3339Nano, r.Header.Get("Last-Event-ID")) // else it is the first time
			err = watcher.Match("filter", query, since)
		}
	}
	switch {
	case err != nil:
		return s.fail(r.Context(), err)
	case len(seen) == 0 && !q.Has("filter"):
		return invalid(ProblemField{"query", "expected job=ID, which can be repeated, or filter=…, or both; or the upgrade to a WebSocket"})
	}
	return nil
}

func shortName(name string) string {
	if len(name) > 100 {
		name = name[:100]
	}
	return strings.ToValidUTF8(name, "")
}
