package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// client talks to a server. Its answers are the types of package server.
type client struct {
	base     string
	token    string
	user     string
	password string
	http     *http.Client
	patience time.Duration // for a server that has gone away while it is watched
	say      func(format string, args ...any)
}

const (
	requestTime = 40 * time.Second // for one request, besides what it waits by itself
	maxAnswer   = 256 << 20
	longPoll    = 30 * time.Second
)

// clientFlags adds the flags by which a command finds the server.
func clientFlags(cmd *cobra.Command) { addSettings(cmd.Flags(), clientSide) }

// newClient makes a client of a command's settings.
func newClient(cmd *cobra.Command) (*client, error) {
	s, err := loadSettings(cmd.Flags())
	if err != nil {
		return nil, err
	}
	stderr := cmd.ErrOrStderr()
	c := &client{
		base: s.Server, token: s.Token, user: s.User, password: s.Password,
		http:     &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		patience: 5 * time.Minute,
		say:      func(format string, args ...any) { fmt.Fprintf(stderr, "errand: "+format+"\n", args...) },
	}
	for _, w := range s.warnings {
		c.say("warning: %s", w)
	}
	if f := cmd.Flags().Lookup("patience"); f != nil {
		c.patience, err = errand.ParseDuration(f.Value.String())
	}
	return c, err
}

// do sends one request and reads the answer into out. A GET is repeated once if its connection breaks.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body, out any) error {
	return c.doWith(ctx, method, path, query, nil, body, out)
}

// doWith is do with headers.
func (c *client) doWith(ctx context.Context, method, path string, query url.Values, header http.Header, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	resp, err := c.send(ctx, method, path, query, body, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		if ctx.Err() != nil {
			return c.unreachable(err)
		}
		return fmt.Errorf("the answer of %s is not what this client understands: %w", c.base, err)
	}
	return nil
}

// send sends one request. An answer that is no success comes as an error.
func (c *client) send(ctx context.Context, method, path string, query url.Values, body any, header http.Header) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(body); err != nil {
			return nil, &usageError{fmt.Errorf("encode the request: %w", err)}
		}
		r = &buf
	}
	address := c.base + server.Prefix + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "errand/"+version())
	switch {
	case c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	case c.user != "":
		req.SetBasicAuth(c.user, c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, c.refused(resp)
	}
	return resp, nil
}

// unreachable says that no answer came.
func (c *client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	hint := "is \"errand serve\" running there? --server or ERRAND_SERVER names another address"
	if errors.Is(err, context.DeadlineExceeded) {
		err, hint = errors.New("no answer in time"), "is it very busy?"
	}
	return &codeError{fmt.Errorf("cannot reach the server at %s: %w (%s)", c.base, err, hint), exitUnreachable}
}

// refused makes an error of an answer that is no success.
func (c *client) refused(resp *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	p := new(server.Problem)
	isProblem := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(raw, p) == nil
	if !isProblem {
		return &codeError{fmt.Errorf("%s answered %s: this is no errand server, or something before it", c.base, resp.Status), exitUnreachable}
	}
	switch p.Status {
	case http.StatusUnauthorized:
		return &codeError{fmt.Errorf("%w (set ERRAND_TOKEN, or ERRAND_USER and ERRAND_PASSWORD)", p), exitRefused}
	case http.StatusForbidden:
		return &codeError{p, exitRefused}
	case http.StatusNotFound:
		return &codeError{p, exitNotFound}
	case http.StatusConflict, http.StatusPreconditionFailed:
		return &codeError{p, exitConflict}
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return &usageError{p}
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return &codeError{p, exitUnreachable}
	}
	if p.RequestID != "" {
		return fmt.Errorf("%w (request %s)", p, p.RequestID)
	}
	return p
}

func isCode(err error, code int) bool { return err != nil && exitCode(err) == code }

func jobPath(id errand.ID, more string) string { return "/jobs/" + id.String() + more }

func (c *client) job(ctx context.Context, id errand.ID) (job server.Job, err error) {
	return job, c.do(ctx, http.MethodGet, jobPath(id, ""), nil, nil, &job)
}

// create creates a job. It is safe to repeat because the job has its ID already.
func (c *client) create(ctx context.Context, n server.NewJob) (job server.Job, err error) {
	for try := 0; ; try++ {
		err = c.do(ctx, http.MethodPost, "/jobs", nil, n, &job)
		var refused *net.OpError
		dialled := !errors.As(err, &refused) || refused.Op != "dial"
		if !isCode(err, exitUnreachable) || !dialled || try == 2 {
			return job, err
		}
		if !pause(ctx, time.Duration(try+1)*200*time.Millisecond) {
			return job, ctx.Err()
		}
	}
}

// entries is one part of a job's log. It waits for more if there is nothing yet.
func (c *client) entries(ctx context.Context, id errand.ID, after int64, limit int, wait time.Duration) (log server.Log, err error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	return log, c.do(ctx, http.MethodGet, jobPath(id, "/log"), q, nil, &log)
}

// errGone is the end of a watch of a job that was deleted.
var errGone = &codeError{errors.New("the job was deleted"), exitNotFound}

// watch calls see with each new state of a job until it has ended. It outlives restarts of the
// server: it goes on with the state that it has not seen.
func (c *client) watch(ctx context.Context, id errand.ID, see func(server.Job)) error {
	return c.patiently(ctx, func(alive func()) error {
		var seen int64
		for {
			job, err := c.watchOnce(ctx, id, seen, func(j server.Job) { alive(); see(j) })
			switch {
			case err != nil:
				return err
			case job != nil && job.State.Ended():
				return nil
			case job != nil:
				seen = job.Version
			}
			if !pause(ctx, 50*time.Millisecond) {
				return ctx.Err()
			}
		}
	})
}

// watchOnce follows one event stream, and returns the last state it told.
func (c *client) watchOnce(ctx context.Context, id errand.ID, seen int64, see func(server.Job)) (last *server.Job, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := http.Header{"Last-Event-Id": {strconv.FormatInt(seen, 10)}}
	resp, err := c.send(ctx, http.MethodGet, jobPath(id, "/watch"), nil, nil, header)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	silence := time.AfterFunc(requestTime, cancel) // pings come more often
	defer silence.Stop()
	lines := bufio.NewReaderSize(io.LimitReader(resp.Body, maxAnswer), 64<<10)
	event := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return last, nil // the connection ended: the caller connects again
		}
		silence.Reset(requestTime)
		field, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		switch {
		case field == "event" && value == "gone":
			return nil, errGone
		case field == "event":
			event = value
		case field == "data" && event == "job":
			var job server.Job
			if err := json.Unmarshal([]byte(value), &job); err != nil {
				return last, fmt.Errorf("watch: %w", err)
			}
			last = &job
			see(job)
			if job.State.Ended() {
				return last, nil
			}
		}
	}
}

// patiently repeats what fails because the server is away, with growing pauses, unless it was
// never there; until c.patience is used up.
func (c *client) patiently(ctx context.Context, do func(alive func()) error) error {
	var lost time.Time
	wasThere := false
	wait := 100 * time.Millisecond
	alive := func() {
		if !lost.IsZero() {
			c.say("the server is back")
		}
		wasThere, lost, wait = true, time.Time{}, 100*time.Millisecond
	}
	for {
		err := do(alive)
		if !isCode(err, exitUnreachable) || !wasThere || ctx.Err() != nil {
			return err
		}
		if lost.IsZero() {
			lost = time.Now()
			c.say("the server is away, trying again for %s", errand.FormatDuration(c.patience))
		}
		if time.Since(lost) > c.patience {
			return err
		}
		if !pause(ctx, wait/2+rand.N(wait)) {
			return ctx.Err()
		}
		wait = min(2*wait, 3*time.Second)
	}
}

// pause waits, and reports false if ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
