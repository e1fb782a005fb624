// Package client follows the jobs of an errand server from another program.
//
//	w := client.Watch("http://127.0.0.1:8080", nil)
//	defer w.Close()
//	w.Follow(id)
//	for {
//		notice, err := w.Next(ctx)
//		…
//	}
//
// A Watcher connects by itself, again and again, and says what it has seen: an outage of any length, of this
// program's network or of the server, costs no end of a job. The protocol is described in docs/watch.md.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// Options are the options of [Watch].
type Options struct {
	Token          string // a bearer token
	User, Password string // or a name and password
	HTTP           *http.Client
	// OnState is told when the connection is made (nil), and when it is lost or cannot be made (why). It must return at once.
	OnState func(error)
}

// Watcher follows jobs. Its methods may be called from many goroutines.
type Watcher struct {
	url     string
	options Options
	stop    context.CancelFunc
	life    context.Context
	notices chan server.WatchNotice
	fatal   error // why life has ended

	mu      sync.Mutex
	jobs    map[errand.ID]int64 // followed by ID, with the version seen
	filters map[string]*filter
	queue   []server.WatchRequest // to be sent on this connection
	signal  chan struct{}         // holds one
}

// filter is one filter with what it has found.
type filter struct {
	text   string
	since  time.Time
	synced bool                // on this connection
	jobs   map[errand.ID]int64 // that it has told and that have not ended
}

const (
	minPause  = 250 * time.Millisecond
	maxPause  = 15 * time.Second
	silence   = time.Minute // a connection on which nothing comes for so long is dead
	maxNotice = 16 << 20    // bytes
	batch     = 1000        // jobs in one message
)

// Watch returns a watcher of the server at a URL such as http://127.0.0.1:8080. Opts may be nil. Close it in the end.
func Watch(url string, opts *Options) *Watcher {
	w := &Watcher{
		url: strings.TrimSuffix(url, "/") + server.Prefix + "/watch", notices: make(chan server.WatchNotice),
		jobs: map[errand.ID]int64{}, filters: map[string]*filter{}, signal: make(chan struct{}, 1),
	}
	if opts != nil {
		w.options = *opts
	}
	w.life, w.stop = context.WithCancel(context.Background())
	go w.run()
	return w
}

// Close ends the watcher.
func (w *Watcher) Close() { w.stop() }

// Follow follows jobs until each has ended or is gone. Seen says what was seen of a job: 0 is nothing.
func (w *Watcher) Follow(jobs ...server.SeenJob) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range jobs {
		w.jobs[j.ID] = j.Version
	}
	w.send(server.WatchRequest{Type: "watch", Jobs: jobs})
}

// Forget no longer follows jobs.
func (w *Watcher) Forget(ids ...errand.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	req := server.WatchRequest{Type: "unwatch"}
	for _, id := range ids {
		delete(w.jobs, id)
		req.Jobs = append(req.Jobs, server.SeenJob{ID: id})
	}
	w.send(req)
}

// Match follows what matches a filter, see [errand.ParseQuery], under a name. Since asks, too, for what has ended since; zero for nothing of it.
func (w *Watcher) Match(name, text string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &filter{text: text, since: since, jobs: map[errand.ID]int64{}}
	w.filters[name] = f
	w.send(f.request(name))
}

// Unmatch ends a filter.
func (w *Watcher) Unmatch(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.filters, name)
	w.send(server.WatchRequest{Type: "unwatch", Sub: name})
}

// Next returns the next notice: a job as it is now, a job that is gone, a filter of which all was told, or a request that was refused. It fails
// when ctx ends, the watcher is closed, or the server refuses the connection for good, such as for want of rights.
func (w *Watcher) Next(ctx context.Context) (server.WatchNotice, error) {
	select {
	case n := <-w.notices:
		return n, nil
	case <-ctx.Done():
		return server.WatchNotice{}, ctx.Err()
	case <-w.life.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.fatal != nil {
			return server.WatchNotice{}, w.fatal
		}
		return server.WatchNotice{}, errand.ErrClosed
	}
}

func (f *filter) request(name string) server.WatchRequest {
	return server.WatchRequest{Type: "watch", Sub: name, Filter: f.text, Since: f.since, Jobs: seen(f.jobs)}
}

func seen(jobs map[errand.ID]int64) []server.SeenJob {
	out := make([]server.SeenJob, 0, len(jobs))
	for id, version := range jobs {
		out = append(out, server.SeenJob{ID: id, Version: version})
	}
	return out
}

// send has a request sent, if there is a connection. The caller holds w.mu.
func (w *Watcher) send(req server.WatchRequest) {
	for len(req.Jobs) > batch && req.Sub == "" {
		part := req
		part.Jobs, req.Jobs = req.Jobs[:batch], req.Jobs[batch:]
		w.queue = append(w.queue, part)
	}
	w.queue = append(w.queue, req)
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// run keeps a connection, with growing pauses between the tries.
func (w *Watcher) run() {
	pause := minPause
	for w.life.Err() == nil {
		heard, err := w.connection()
		if w.life.Err() != nil {
			return
		}
		if w.options.OnState != nil {
			w.options.OnState(err)
		}
		if heard {
			pause = minPause
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-w.life.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// connection makes one connection, and returns when it is lost: whether anything was heard on it, and why.
func (w *Watcher) connection() (heard bool, err error) {
	ctx, cancel := context.WithCancel(w.life)
	defer cancel()
	c, err := w.dial(ctx)
	if err != nil {
		return false, err
	}
	defer c.CloseNow()
	c.SetReadLimit(maxNotice)
	w.mu.Lock()
	w.queue = nil
	if len(w.jobs) > 0 {
		w.send(server.WatchRequest{Type: "watch", Jobs: seen(w.jobs)})
	}
	for name, f := range w.filters {
		f.synced = false
		w.send(f.request(name))
	}
	w.mu.Unlock()
	if w.options.OnState != nil {
		w.options.OnState(nil)
	}
	go func() {
		defer cancel()
		w.write(ctx, c)
	}()
	for {
		reading, stop := context.WithTimeout(ctx, silence)
		_, raw, err := c.Read(reading)
		stop()
		if err != nil {
			return heard, err
		}
		heard = true
		var n server.WatchNotice
		if err := json.Unmarshal(raw, &n); err != nil {
			return heard, fmt.Errorf("the server sent what this client does not understand: %w", err)
		}
		w.note(&n)
		if n.Type == "pong" {
			continue
		}
		select {
		case w.notices <- n:
		case <-w.life.Done():
			return heard, nil
		}
	}
}

// dial makes a connection. What no repetition can change ends the watcher.
func (w *Watcher) dial(ctx context.Context) (*websocket.Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	header := http.Header{}
	switch o := &w.options; {
	case o.Token != "":
		header.Set("Authorization", "Bearer "+o.Token)
	case o.User != "":
		req := &http.Request{Header: header}
		req.SetBasicAuth(o.User, o.Password)
	}
	c, res, err := websocket.Dial(dialing, w.url, &websocket.DialOptions{HTTPClient: w.options.HTTP, HTTPHeader: header, Subprotocols: []string{"errand"}})
	if err == nil || res == nil || res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests {
		return c, err
	}
	p := new(server.Problem)
	if res.Body != nil {
		raw, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
		_ = json.Unmarshal(raw, p)
	}
	if p.Status == 0 {
		err = errors.New(res.Status)
	} else {
		err = p
	}
	w.mu.Lock()
	w.fatal = fmt.Errorf("watch: %w", err)
	w.mu.Unlock()
	w.stop()
	return nil, err
}

// write sends what is to be sent, and asks for a sign of life now and then.
func (w *Watcher) write(ctx context.Context, c *websocket.Conn) {
	beat := time.NewTicker(silence / 3)
	defer beat.Stop()
	for {
		w.mu.Lock()
		requests := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, req := range requests {
			raw, err := json.Marshal(req)
			if err == nil {
				err = c.Write(ctx, websocket.MessageText, raw)
			}
			if err != nil {
				return
			}
		}
		select {
		case <-w.signal:
		case <-beat.C:
			if c.Write(ctx, websocket.MessageText, []byte(`{"type":"ping"}`)) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// note keeps what was seen.
func (w *Watcher) note(n *server.WatchNotice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := func(jobs map[errand.ID]int64, found bool) {
		if n.Job.State.Ended() {
			delete(jobs, n.Job.ID)
		} else if found {
			jobs[n.Job.ID] = n.Job.Version
		}
	}
	switch n.Type {
	case "job":
		_, mine := w.jobs[n.Job.ID]
		keep(w.jobs, mine)
		for _, f := range w.filters {
			_, before := f.jobs[n.Job.ID]
			keep(f.jobs, before || !mine)
		}
	case "gone":
		delete(w.jobs, n.ID)
		for _, f := range w.filters {
			delete(f.jobs, n.ID)
		}
	case "synced":
		if f := w.filters[n.Sub]; f != nil {
			f.since, f.synced = n.Time, true
		}
	case "pong": // of a filter that was told from the begin, all up to this time has been
		for _, f := range w.filters {
			if f.synced && !n.Time.IsZero() {
				f.since = n.Time
			}
		}
	case "error":
		delete(w.filters, n.Sub)
	}
}
