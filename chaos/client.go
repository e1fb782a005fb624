package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// client speaks to whichever API server runs at the moment.
type client struct {
	http http.Client
	addr func() string // "" if none runs
}

// refusalError is an answer that repeating the request does not change.
type refusalError struct {
	status int
	text   string
}

func (e *refusalError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.text) }

var errNoServer = errors.New("no API server runs")

// call makes one request. An error that is no *refusalError means that its outcome is unknown.
func (c *client) call(ctx context.Context, method, path, key string, body, answer any) error {
	addr := c.addr()
	if addr == "" {
		return errNoServer
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+server.Prefix+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	case resp.StatusCode >= 400:
		return &refusalError{resp.StatusCode, string(text)}
	}
	return json.Unmarshal(text, answer)
}

// enqueue sends one order with an Idempotency-Key, several with IDs.
func (c *client) enqueue(ctx context.Context, key string, orders []order) ([]errand.Job, error) {
	if len(orders) == 1 {
		var j server.Job
		if err := c.call(ctx, http.MethodPost, "/jobs", key, orders[0].body(), &j); err != nil {
			return nil, err
		}
		return []errand.Job{fromAPI(&j)}, nil
	}
	var b server.Batch
	for i := range orders {
		b.Jobs = append(b.Jobs, orders[i].body())
	}
	var created server.Created
	if err := c.call(ctx, http.MethodPost, "/jobs/batch", "", b, &created); err != nil {
		return nil, err
	}
	var jobs []errand.Job
	for i := range created.Jobs {
		jobs = append(jobs, fromAPI(&created.Jobs[i]))
	}
	return jobs, nil
}

func fromAPI(j *server.Job) errand.Job {
	return errand.Job{ID: j.ID, State: j.State, Version: j.Version, Token: j.Token, Worker: j.Worker, Duplicate: j.Duplicate}
}

// produce enqueues over HTTP until ctx ends.
func (s *stage) produce(ctx context.Context, m *mix, rate time.Duration) {
	for ctx.Err() == nil {
		n := 1
		if m.IntN(5) == 0 {
			n = 2 + m.IntN(20)
		}
		orders := m.orders(n)
		key := ""
		if n == 1 && orders[0].key == "" { // else it would not be seen which of both keys the answer is due to
			orders[0].id, key = uuid.Nil, rand.Text()
		}
		jobs, since := insist(ctx, s.ledger, func(ctx context.Context) ([]errand.Job, error) {
			return s.client.enqueue(ctx, key, orders)
		})
		for i := range jobs {
			s.ledger.acknowledge(&jobs[i], &orders[i], since)
			m.remember(jobs[i].ID, &orders[i])
			s.know(&jobs[i], &orders[i])
		}
		sleep(ctx, m.span(rate/2, rate*3/2))
	}
}

// sleep waits for d and reports true, or for the end of ctx and reports false.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
