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
	maxFrame     = 1 << 20          // bytes of one message of the client
	maxFilter    = 4096             // bytes of a filter, as in the list of jobs
	unackedBytes = 256 << 10        // sent to a client before it must show that it reads
	pongTime     = 30 * time.Second // in which it must, see Server.patience
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
	// Since has a filter tell, too, the jobs that have ended since.
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
	Code   string    `json:"code,omitempty"`   // of an error: "invalid" or "too_many"
	Detail string    `json:"detail,omitempty"` // of an error
	Time   time.Time `json:"time,omitzero"`    // with synced and pong: up to when all was told, for the Since of a later connection
}

//go:embed watch.js
var script []byte

// watchRoute is the route of watches of any number of jobs.
const watchRoute = "GET " + Prefix + "/watch"

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
	x := &liveConn{s: s, c: c, r: r, watcher: s.engine.Watch(0), answers: make(chan WatchNotice), acked: make(chan error, 1)}
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

// allows reports whether a request would be let in again. Tokens and users stay what they are while the server runs; what
// Identify knows can change.
func (s *Server) allows(r *http.Request, pattern string) bool {
	if s.config.Identify == nil {
		return true
	}
	_, p := s.authorize(r.Clone(r.Context()), pattern) // it may read a form into it
	return p == nil
}

// lifetime is a context for a stream: it ends with the request, when the server stops, and soon after the client may no longer have it.
func (s *Server) lifetime(r *http.Request, pattern string) (context.Context, context.CancelFunc) {
	life, cancel := context.WithCancel(r.Context())
	unhook := context.AfterFunc(s.life, cancel)
	if s.config.Identify != nil {
		go func() {
			beat := time.NewTicker(s.beat)
			defer beat.Stop()
			for s.allows(r, pattern) {
				select {
				case <-beat.C:
				case <-life.Done():
					return
				}
			}
			cancel()
		}()
	}
	return life, func() {
		unhook()
		cancel()
	}
}

// liveConn is one connection that watches. One goroutine reads and one writes. The reader waits until the writer takes its
// answers, so the writer goes on taking them while it waits for a pong, which the reader must bring.
type liveConn struct {
	s       *Server
	c       *websocket.Conn
	r       *http.Request
	watcher *errand.Watcher
	answers chan WatchNotice

	unacked int        // bytes, sent since the client was last known to have read
	pinging bool       // it is asked whether it has
	acked   chan error // holds one: the outcome
	told    time.Time  // up to then all was told
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
		if !x.allowed() {
			return
		}
		answer, ok := x.take(raw)
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
func (x *liveConn) take(raw []byte) (WatchNotice, bool) {
	var req WatchRequest
	err := decode(raw, &req)
	if len(req.Sub) > errand.MaxName {
		req.Sub, err = "", fmt.Errorf("sub: expected at most %d bytes", errand.MaxName)
	}
	if err == nil {
		if req.Type == "ping" {
			return WatchNotice{Type: "pong"}, true
		}
		err = x.heed(&req)
	}
	switch {
	case err == nil:
		return WatchNotice{}, false
	case errors.Is(err, errand.ErrTooMany):
		return refusal(req.Sub, "too_many", err), true
	}
	return refusal(req.Sub, "invalid", err), true
}

// heed does what a message asks for.
func (x *liveConn) heed(req *WatchRequest) error {
	seen := make([]errand.Seen, len(req.Jobs))
	for i, j := range req.Jobs {
		seen[i] = errand.Seen(j)
	}
	switch {
	case req.Type == "watch" && req.Sub != "":
		q, err := x.s.parseFilter(req.Filter)
		if err != nil {
			x.watcher.Unmatch(req.Sub) // it was to be replaced
			return err
		}
		return x.watcher.Match(req.Sub, q, req.Since, seen...)
	case req.Type == "watch" && len(seen) > 0 && req.Filter == "":
		return x.watcher.Follow(seen...)
	case req.Type == "unwatch" && req.Sub != "":
		x.watcher.Unmatch(req.Sub)
	case req.Type == "unwatch" && len(seen) > 0:
		for _, j := range seen {
			x.watcher.Forget(j.ID)
		}
	default:
		return errors.New(`expected type "watch" with jobs or with sub and filter, "unwatch" with jobs or sub, or "ping"`)
	}
	return nil
}

// parseFilter reads the filter of a watch.
func (s *Server) parseFilter(text string) (errand.Query, error) {
	if len(text) > maxFilter {
		return errand.Query{}, fmt.Errorf("%w filter: expected at most %d bytes", errand.ErrInvalid, maxFilter)
	}
	return errand.ParseQuery(text, s.engine.Now())
}

func refusal(sub, code string, err error) WatchNotice {
	return WatchNotice{Type: "error", Sub: sub, Code: code, Detail: err.Error()}
}

// news is what a watcher has told, and up to when that is all.
type news struct {
	notices []errand.Notice
	upTo    time.Time
}

// listen hands on what the watcher tells, until the connection ends.
func (x *liveConn) listen(ctx context.Context, told chan<- news) {
	for {
		waiting, cancel := context.WithTimeout(ctx, x.s.beat)
		notices, err := x.watcher.Next(waiting)
		cancel()
		if errors.Is(err, errand.ErrClosed) {
			return
		}
		if err != nil && waiting.Err() == nil { // the store: nothing is lost
			x.s.log.Warn("a watch waits for the store", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
		select {
		case told <- news{notices, x.watcher.CaughtUp()}:
		case <-ctx.Done():
			return
		}
	}
}

// write sends what there is to tell, until the connection ends or the server stops.
func (x *liveConn) write(ctx context.Context) {
	told := make(chan news)
	go x.listen(ctx, told)
	beat := time.NewTicker(x.s.beat)
	defer beat.Stop()
	var next news
	var err error
	for err == nil {
		for len(next.notices) > 0 && !x.pinging && err == nil {
			err = x.send(ctx, x.s.notice(&next.notices[0]))
			next.notices = next.notices[1:]
		}
		more := told
		if len(next.notices) > 0 {
			more = nil
		} else {
			x.told = next.upTo
		}
		select {
		case next = <-more:
		case answer := <-x.answers:
			err = x.send(ctx, answer)
		case err = <-x.acked:
			x.pinging = false
		case <-beat.C:
			if !x.allowed() {
				return
			}
			x.ping(ctx)
		case <-x.s.life.Done():
			x.c.Close(websocket.StatusGoingAway, "the server stops: connect again")
			return
		case <-ctx.Done():
			return
		}
	}
}

// allowed reports whether the client may still watch, and cuts it otherwise.
func (x *liveConn) allowed() bool {
	if x.s.allows(x.r, watchRoute) {
		return true
	}
	x.c.Close(websocket.StatusPolicyViolation, "you may no longer watch: sign in, and connect again")
	return false
}

// notice is what goes over the wire.
func (s *Server) notice(n *errand.Notice) WatchNotice {
	switch {
	case n.Job != nil:
		job := brief(n.Job)
		return WatchNotice{Type: "job", Job: &job}
	case errors.Is(n.Err, errand.ErrTooMany):
		return refusal(n.Sub, "too_many", n.Err)
	case n.Err != nil:
		return refusal(n.Sub, "invalid", n.Err)
	case n.Sub != "":
		return WatchNotice{Type: "synced", Sub: n.Sub, Time: n.Time.UTC()}
	}
	return WatchNotice{Type: "gone", ID: n.Gone}
}

// send sends one message. After so many bytes the client must have read them before it is told more, so that it is the client's
// doing if nothing comes through, and it can be told so.
func (x *liveConn) send(ctx context.Context, n WatchNotice) error {
	if n.Type == "pong" {
		n.Time = x.told.UTC()
	}
	var text bytes.Buffer
	if err := marshal(&text, n); err != nil {
		return err
	}
	writing, cancel := context.WithTimeout(ctx, x.s.patience)
	defer cancel()
	err := x.c.Write(writing, websocket.MessageText, bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	if x.unacked += text.Len(); x.unacked > unackedBytes {
		x.ping(ctx)
	}
	return err
}

// ping begins to ask whether the client has read all that was sent, and cuts it if it does not answer.
func (x *liveConn) ping(ctx context.Context) {
	if x.pinging {
		return
	}
	x.pinging, x.unacked = true, 0
	go func() {
		waiting, cancel := context.WithTimeout(ctx, x.s.patience)
		defer cancel()
		err := x.c.Ping(waiting)
		if err != nil && ctx.Err() == nil {
			x.c.Close(CloseSlow, "nothing was read for 30 s: connect again, and say what you have seen")
		}
		x.acked <- err
	}()
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
	life, cancel := s.lifetime(r, watchRoute)
	defer cancel()
	s.tellEvents(life, &stream{rw, requestOf(r.Context()).rc}, watcher, r.URL.Query().Has("filter"))
}

// tellEvents sends what a watcher tells, until life ends or nothing is left to follow.
func (s *Server) tellEvents(life context.Context, out *stream, watcher *errand.Watcher, filter bool) {
	_ = out.rc.SetReadDeadline(time.Time{})
	text, over := "retry: 1000\n\n", false
	for out.send(text) == nil && !over && (filter || watcher.Len() > 0) {
		waiting, cancel := context.WithTimeout(life, s.beat)
		notices, err := watcher.Next(waiting)
		cancel()
		if life.Err() != nil || err != nil && waiting.Err() == nil {
			return // the client connects again
		}
		var b bytes.Buffer
		for i := range notices {
			n := s.notice(&notices[i])
			name := n.Type
			if name == "error" { // which is EventSource's own. The client will come again, but not soon
				name, over = "refused", true
				b.WriteString("retry: 60000\n")
			}
			fmt.Fprintf(&b, "event: %s\ndata: ", name)
			if marshal(&b, n) != nil { // one line, with its end
				return
			}
			b.WriteByte('\n')
		}
		if len(notices) == 0 {
			b.WriteString(": ping\n\n")
		}
		if at := watcher.CaughtUp(); filter && !over && !at.IsZero() {
			fmt.Fprintf(&b, "id: %s\n\n", at.UTC().Format(time.RFC3339Nano)) // without data it is no event, but remembered
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
		if query, err = s.parseFilter(q.Get("filter")); err == nil {
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
