package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

const (
	maxSerial = 100              // jobs created by one request
	sendTime  = 10 * time.Second // a client that takes longer to read is cut: it comes again, and misses nothing
)

type monitor struct {
	engine  *errand.Engine
	life    context.Context
	page    http.Handler
	sockets sync.WaitGroup
}

func (m *monitor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /createJob", m.createJob)
	mux.HandleFunc("POST /createJob", m.createJob)
	mux.HandleFunc("GET /jobMonitor", m.jobMonitor)
	mux.Handle("GET /", m.page)
	return mux
}

// createJob creates one job, or several in a row.
func (m *monitor) createJob(w http.ResponseWriter, r *http.Request) {
	n := 1
	if text := r.FormValue("serial"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxSerial {
			http.Error(w, fmt.Sprintf("serial: use 1 to %d", maxSerial), http.StatusBadRequest)
			return
		}
	}
	var before []errand.ID
	if text := r.FormValue("after"); text != "" {
		id, err := errand.ParseID(text)
		if err != nil {
			http.Error(w, "after: use the UUID of a job", http.StatusBadRequest)
			return
		}
		before = []errand.ID{id}
	}
	batch, ids := make([]errand.NewJob, n), make([]string, n)
	for i := range batch {
		id := uuid.Must(uuid.NewV7())
		batch[i] = remote.New(Remote{rand.IntN(6001)}, errand.WithID(id), errand.After(before...), errand.AfterOutcome(errand.RunAfter))
		before, ids[i] = []errand.ID{id}, id.String()
	}
	switch _, err := m.engine.Enqueue(r.Context(), batch...); {
	case errors.Is(err, errand.ErrNotFound):
		http.Error(w, "after: there is no such job", http.StatusNotFound)
	case err != nil:
		log.Print("create: ", err)
		http.Error(w, "the job could not be created", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, strings.Join(ids, "\n"))
	}
}

// jobMonitor takes UUIDs and sends each back when its job is complete. Pages of this machine may ask, by whichever of its names; Accept
// refuses those of other origins.
func (m *monitor) jobMonitor(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{"localhost:*", "127.0.0.1:*"}})
	if err != nil {
		return
	}
	defer c.CloseNow()
	m.sockets.Add(1)
	defer m.sockets.Done()
	c.SetReadLimit(1024)
	ctx, cancel := context.WithCancel(m.life)
	defer cancel()
	watcher := m.engine.Watch(0)
	defer watcher.Close()
	answers := make(chan string)
	go func() {
		defer cancel()
		for {
			kind, text, err := c.Read(ctx)
			if err != nil || kind != websocket.MessageText {
				return
			}
			answer := "unknown " + string(text)
			id, err := errand.ParseID(string(text))
			if err == nil {
				err = watcher.Follow(errand.Seen{ID: id})
				answer = "busy " + string(text) // too many at once: ask again when some have come back
			}
			if err == nil {
				continue
			}
			select {
			case answers <- answer:
			case <-ctx.Done():
			}
		}
	}()
	ends := make(chan string)
	go func() {
		defer cancel()
		for {
			notices, err := watcher.Next(ctx)
			if err != nil {
				return
			}
			for _, n := range notices {
				text := "unknown " + n.Gone.String()
				if n.Job != nil {
					if text = n.Job.ID.String(); !n.Job.State.Ended() {
						continue
					}
				}
				select {
				case ends <- text:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	for {
		var text string
		select {
		case text = <-answers:
		case text = <-ends:
		case <-ctx.Done():
			_ = c.Close(websocket.StatusGoingAway, "")
			return
		}
		sending, cancel := context.WithTimeout(ctx, sendTime)
		err := c.Write(sending, websocket.MessageText, []byte(text))
		cancel()
		if err != nil {
			return
		}
	}
}
