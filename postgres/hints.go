package postgres

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

var _ errand.Hinter = (*Store)(nil)

// Hints go through one NOTIFY channel a schema. A notification is a list of words: the process that sends it, and then
//
//	r<queue>   the queue has work
//	a<job>     something is asked of a running job
//	e<job>     a job has ended; e alone: more have than are named
//	c          queues were paused or resumed, sessions told to drain, or schedules changed
//	t<nonce>   a listener tries whether it hears itself
const (
	hintGap  = 5 * time.Millisecond // between two notifications of one process
	hintSize = 7900                 // bytes; PostgreSQL takes 7999
	hintIDs  = 100                  // jobs named in one notification

	// soon is how far ahead a scheduled job is worth a hint; others are seen by the next poll.
	soon = 2 * time.Second

	selfTest  = 3 * time.Second  // a listener that does not hear itself for so long is deaf
	deafRetry = time.Minute      // and tries again after this
	quiet     = 30 * time.Second // a listener that hears nothing for so long looks whether it is still connected
)

// hints sends and hears hints.
type hints struct {
	s       *Store
	channel string
	origin  string
	running sync.WaitGroup

	mu        sync.Mutex
	pending   pending
	signal    chan struct{} // holds one
	listeners []func(errand.Hint)
	hears     bool // notifications
	joined    bool // what the dispatcher carries
}

// pending is what is to be said.
type pending struct {
	ready         map[string]bool
	asked, ended  []errand.ID
	many, control bool
}

func newHints(s *Store) *hints {
	h := &hints{s: s, channel: s.options.Schema + "_hints", signal: make(chan struct{}, 1)}
	b := make([]byte, 6)
	_, _ = rand.Read(b) // it never fails
	h.origin = hex.EncodeToString(b)
	if !s.options.NoListen {
		h.running.Go(h.send)
	}
	return h
}

// wait waits until nothing is sent or heard any more. The store is closed.
func (h *hints) wait() { h.running.Wait() }

// OnHint implements [errand.Hinter].
func (s *Store) OnHint(f func(errand.Hint)) {
	h := s.hints
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.options.NoListen || s.closed.Err() != nil {
		return
	}
	h.listeners = append(h.listeners, f)
	if len(h.listeners) == 1 {
		h.running.Go(h.listen)
		if s.dispatch.d != nil {
			h.running.Go(h.join)
		}
	}
}

// join hears what the dispatcher carries, until the store is closed.
func (h *hints) join() {
	ctx := h.s.closed
	joined := func(yes bool) {
		h.mu.Lock()
		h.joined = yes
		h.mu.Unlock()
	}
	for ctx.Err() == nil {
		err := h.s.dispatch.d.Subscribe(ctx, h.channel, func() {
			joined(true)
			h.tell(errand.Hint{Lost: true})
		}, func(text string) {
			if origin, _, hint := parse(text); origin != h.origin {
				if hint.Control {
					h.s.dispatch.doubt() // tickets of a queue's jobs were used up in vain
				}
				h.tell(hint)
			}
		})
		joined(false)
		if ctx.Err() == nil && err != nil {
			h.s.dispatch.failed(err)
		}
		sleep(ctx, downFor)
	}
}

// HintMode tells how this process learns what others write: by its dispatcher ("redis"), by "notify", or only by "poll".
func (s *Store) HintMode() string {
	s.hints.mu.Lock()
	defer s.hints.mu.Unlock()
	switch {
	case s.hints.joined && s.dispatch.up():
		return s.dispatch.d.Name()
	case s.hints.hears:
		return "notify"
	}
	return "poll"
}

// Hint implements [errand.Hinter].
func (s *Store) Hint(jobs []errand.Job) {
	s.dispatch.inserted(jobs, nil, nil)
	s.hints.inserted(jobs, nil)
}

// inserted tells of jobs that were inserted: those that are not there already.
func (h *hints) inserted(jobs []errand.Job, there []*errand.Job) {
	if h.s.options.NoListen {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range jobs {
		if len(there) == 0 || there[i] == nil {
			h.add(&jobs[i])
		}
	}
}

// swapped tells of changes that were written.
func (h *hints) swapped(changes []errand.Change, out []errand.Swapped) {
	if h.s.options.NoListen {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &h.pending
	for i := range changes {
		c := &changes[i]
		if out[i] != errand.Written {
			continue
		}
		asked := c.From == errand.Running && (c.Delete || c.Job.Want != "" || c.Job.State == errand.Cancelled)
		if asked && len(p.asked) < hintIDs {
			p.asked = append(p.asked, c.Job.ID)
		}
		if c.Delete || c.Job.State.Ended() {
			if len(p.ended) < hintIDs {
				p.ended = append(p.ended, c.Job.ID)
			} else {
				p.many = true
			}
			h.wake()
		}
		if !c.Delete {
			h.add(&c.Job)
		}
	}
	if len(p.asked) > 0 {
		h.wake()
	}
}

// controlled tells that queues were paused or resumed, sessions told to drain, or schedules changed so that they are due sooner.
func (h *hints) controlled() {
	if h.s.options.NoListen {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending.control = true
	h.wake()
}

// add tells of a job that can be claimed, or soon. The caller holds h.mu.
func (h *hints) add(j *errand.Job) {
	if j.State != errand.Ready && (j.State != errand.Scheduled || time.Until(j.Due) > soon) {
		return
	}
	if h.pending.ready[j.Queue] {
		return
	}
	if h.pending.ready == nil {
		h.pending.ready = map[string]bool{}
	}
	h.pending.ready[j.Queue] = true
	h.wake()
}

func (h *hints) wake() {
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

// send sends what is to be said: at once, but not more often than every hintGap.
func (h *hints) send() {
	ctx := h.s.closed
	// A notification that a crash of the server loses is no loss, so its commit need not wait for the disk.
	const notify = "select pg_notify($1, $2) from (select set_config('synchronous_commit', 'off', true)) c"
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.signal:
		}
		text := h.take()
		if text == "" {
			continue
		}
		var err error
		if !h.publish(ctx, text) {
			err = h.s.do(ctx, h.s.general, func(ctx context.Context, c *pgxpool.Conn) error {
				_, err := c.Exec(ctx, notify, h.channel, text)
				return err
			})
		}
		pause := hintGap
		if err != nil {
			pause = time.Second // others poll
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// publish sends a text through the dispatcher, if that is up.
func (h *hints) publish(ctx context.Context, text string) bool {
	x := &h.s.dispatch
	if !x.up() {
		return false
	}
	x.wait(ctx) // who is told of a job should find its ticket
	ctx, cancel := context.WithTimeout(ctx, dispatchTimeout)
	defer cancel()
	err := x.d.Publish(ctx, h.channel, text)
	if err != nil {
		x.failed(err)
	}
	return err == nil
}

// take writes what is to be said.
func (h *hints) take() string {
	h.mu.Lock()
	p := h.pending
	h.pending = pending{}
	h.mu.Unlock()
	words := make([]string, 0, 8)
	if p.control {
		words = append(words, "c")
	}
	for _, queue := range slices.Sorted(maps.Keys(p.ready)) {
		words = append(words, "r"+base64.RawURLEncoding.EncodeToString([]byte(queue)))
	}
	for _, id := range p.asked {
		words = append(words, "a"+base64.RawURLEncoding.EncodeToString(id[:]))
	}
	for _, id := range p.ended {
		words = append(words, "e"+base64.RawURLEncoding.EncodeToString(id[:]))
	}
	if p.many {
		words = append(words, "e")
	}
	if len(words) == 0 {
		return ""
	}
	text := h.origin
	for _, w := range words {
		if len(text)+1+len(w) > hintSize {
			break // the rest is found by polling
		}
		text += " " + w
	}
	return text
}

// parse reads a notification of another process.
func parse(text string) (origin, nonce string, hint errand.Hint) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return "", "", hint
	}
	for _, w := range words[1:] {
		if w[0] == 't' {
			nonce = w[1:]
			continue
		}
		b, err := base64.RawURLEncoding.DecodeString(w[1:])
		id, idErr := uuid.FromBytes(b)
		switch {
		case err != nil:
		case w[0] == 'r':
			hint.Ready = append(hint.Ready, string(b))
		case w == "e":
			hint.Many = true
		case w == "c":
			hint.Control = true
		case idErr != nil:
		case w[0] == 'a':
			hint.Asked = append(hint.Asked, id)
		case w[0] == 'e':
			hint.Ended = append(hint.Ended, id)
		}
	}
	return words[0], nonce, hint
}

func (h *hints) tell(hint errand.Hint) {
	h.mu.Lock()
	listeners := h.listeners
	h.mu.Unlock()
	for _, f := range listeners {
		f(hint)
	}
}

// listen hears until the store is closed, with a connection of its own.
func (h *hints) listen() {
	ctx := h.s.closed
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := h.hear(ctx)
		h.mu.Lock()
		heard := h.hears
		h.hears = false
		h.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = 100 * time.Millisecond
		}
		if pause = min(2*pause, 10*time.Second); err == errDeaf {
			pause = deafRetry
		}
		if heard || pause >= 10*time.Second {
			h.s.log.Info("not listening to other processes for now: polling", "error", err, "retry", pause)
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

var errDeaf = fmt.Errorf("notifications do not arrive: is there a transaction pooler before the database?")

// hear listens on one connection until that fails.
func (h *hints) hear(ctx context.Context) error {
	config := h.s.general.Config().ConnConfig
	dialing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := pgx.ConnectConfig(dialing, config)
	if err != nil {
		return scrub(err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(closing)
	}()
	if _, err := c.Exec(dialing, "listen "+pgx.Identifier{h.channel}.Sanitize(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	nonce := rand.Text()
	// Through another connection: a pooler may deliver to a connection what that has just said itself.
	err = h.s.do(dialing, h.s.general, func(ctx context.Context, pc *pgxpool.Conn) error {
		_, err := pc.Exec(ctx, "select pg_notify($1, $2)", h.channel, h.origin+" t"+nonce)
		return err
	})
	if err != nil {
		return err
	}
	patience := selfTest
	for {
		waiting, cancel := context.WithTimeout(ctx, patience)
		n, err := c.WaitForNotification(waiting)
		timedOut := waiting.Err() != nil
		cancel()
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil && timedOut && patience == selfTest:
			return errDeaf
		case err != nil && timedOut && !c.IsClosed():
			pinging, cancel := context.WithTimeout(ctx, callTimeout)
			err := c.Ping(pinging)
			cancel()
			if err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		origin, answer, hint := parse(n.Payload)
		if answer == nonce {
			patience = quiet
			h.mu.Lock()
			h.hears = true
			h.mu.Unlock()
			h.tell(errand.Hint{Lost: true}) // while it was not connected, or not yet
		}
		if origin != h.origin && answer == "" {
			h.tell(hint)
		}
	}
}
