package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/client"
	"github.com/errandhq/errand/server"
)

// serve serves an engine at an address, until stop is called.
func serve(t *testing.T, engine *errand.Engine, addr string, config *server.Config) (url string, stop func()) {
	t.Helper()
	s, err := server.New(engine, config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(cancel)
	return "http://" + l.Addr().String(), stop
}

func enqueue(t *testing.T, q *errand.Engine, kind string) errand.ID {
	t.Helper()
	jobs, err := q.Enqueue(t.Context(), errand.NewJob{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	return jobs[0].ID
}

// next returns the next notice that is wanted, and skips others.
func next(t *testing.T, w *client.Watcher, wanted func(server.WatchNotice) bool) server.WatchNotice {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		n, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if wanted(n) {
			return n
		}
	}
}

func ended(id errand.ID) func(server.WatchNotice) bool {
	return func(n server.WatchNotice) bool { return n.Type == "job" && n.Job.ID == id && n.Job.State.Ended() }
}

// The server goes away and comes back; what ended meanwhile is told.
func TestWatchSurvives(t *testing.T) {
	q := errand.New(errand.Memory(nil), nil)
	url, stop := serve(t, q, "127.0.0.1:0", nil)
	states := make(chan error, 100)
	w := client.Watch(url, &client.Options{OnState: func(err error) { states <- err }})
	defer w.Close()
	followed, found := enqueue(t, q, "a"), enqueue(t, q, "b")
	w.Follow(server.SeenJob{ID: followed}, server.SeenJob{ID: uuid.New()})
	next(t, w, func(n server.WatchNotice) bool { return n.Type == "gone" })
	w.Match("b", "kind:b", time.Time{})
	next(t, w, func(n server.WatchNotice) bool { return n.Type == "synced" })
	stop()
	for _, id := range []errand.ID{followed, found} {
		if _, err := q.Cancel(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	late := enqueue(t, q, "b")
	_, _ = q.Cancel(t.Context(), late, "")
	lost := false
	for !lost {
		lost = <-states != nil
	}
	_, stop = serve(t, q, url[len("http://"):], nil)
	defer stop()
	missing := map[errand.ID]bool{followed: true, found: true, late: true}
	for len(missing) > 0 {
		n := next(t, w, func(n server.WatchNotice) bool { return n.Type == "job" })
		if n.Job.State.Ended() {
			delete(missing, n.Job.ID)
		}
	}
	again := enqueue(t, q, "b")
	_, _ = q.Cancel(t.Context(), again, "")
	next(t, w, ended(again))
	w.Unmatch("b")
}

// What a filter was told up to is known once it has been told from the begin, on each connection anew.
func TestWatchSince(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC) }
	scripts := [][]server.WatchNotice{ // one a connection
		{{Type: "pong", Time: at(9)}},
		{{Type: "pong", Time: at(9)}, {Type: "synced", Sub: "x", Time: at(1)}},
		{{Type: "synced", Sub: "x", Time: at(1)}, {Type: "pong", Time: at(2)}, {Type: "pong"}},
		{{Type: "pong", Time: at(9)}},
		{},
	}
	since := make(chan time.Time, len(scripts))
	conns := 0
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, nil)
		if err != nil || conns == len(scripts) {
			return
		}
		_, raw, err := c.Read(r.Context())
		var req server.WatchRequest
		if err == nil {
			err = json.Unmarshal(raw, &req)
		}
		if err != nil || req.Sub != "x" {
			t.Errorf("the client sends %s, error %v", raw, err)
		}
		since <- req.Since
		for _, n := range scripts[conns] {
			raw, _ := json.Marshal(n)
			_ = c.Write(r.Context(), websocket.MessageText, raw)
		}
		conns++
		_ = c.Close(websocket.StatusGoingAway, "")
	}))
	defer web.Close()
	w := client.Watch(web.URL, nil)
	defer w.Close()
	w.Match("x", "", time.Time{})
	go func() {
		for {
			if _, err := w.Next(t.Context()); err != nil {
				return
			}
		}
	}()
	for i, want := range []time.Time{{}, {}, at(1), at(2), at(2)} {
		if got := <-since; !got.Equal(want) {
			t.Errorf("connection %d asks for what has ended since %s, want %s", i, got, want)
		}
	}
}

func TestWatchRefused(t *testing.T) {
	token, hash := server.NewToken()
	config := &server.Config{Tokens: []server.Token{{Name: "viewer", Hash: hash, Role: server.Viewer}}}
	q := errand.New(errand.Memory(nil), nil)
	url, stop := serve(t, q, "127.0.0.1:0", config)
	defer stop()
	w := client.Watch(url, &client.Options{Token: "wrong"})
	defer w.Close()
	_, err := w.Next(t.Context())
	var p *server.Problem
	if !errors.As(err, &p) || p.Status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %v", err)
	}
	w = client.Watch(url, &client.Options{Token: token})
	id := enqueue(t, q, "a")
	w.Follow(server.SeenJob{ID: id})
	next(t, w, func(n server.WatchNotice) bool { return n.Type == "job" })
	w.Forget(id)
	w.Match("x", "state:nonsense", time.Time{})
	next(t, w, func(n server.WatchNotice) bool { return n.Type == "error" && n.Sub == "x" && n.Code == "invalid" })
	w.Close()
	if _, err := w.Next(t.Context()); !errors.Is(err, errand.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
