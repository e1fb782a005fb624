package errand_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/errandhq/errand"
)

func TestBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := errand.New(errand.Memory(nil), &errand.Config{Queues: map[string]int{"default": 1}})
		q.Handle("fails", errand.Handling{Handler: func(context.Context, *errand.Run) (json.RawMessage, error) {
			return nil, errand.Permanent(fmt.Errorf("no"))
		}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- q.Run(ctx) }()
		defer func() { stop(); <-done }()
		for range 1234 {
			enqueue(t, q, "fails", errand.Queue("other"))
		}
		held := enqueue(t, q, "fails", errand.Queue("other"), errand.Unique("x"))
		_, _ = q.Cancel(t.Context(), held, "")
		enqueue(t, q, "fails", errand.Queue("other"), errand.Unique("x"))
		bulk := func(verb, filter string) errand.BulkResult {
			t.Helper()
			query, err := errand.ParseQuery(filter, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			n, err := q.Count(t.Context(), query, 10_000)
			if err != nil {
				t.Fatal(err)
			}
			job, err := q.Bulk(errand.WithActor(t.Context(), "ann"), verb, query, "why not", n)
			if err != nil {
				t.Fatal(err)
			}
			over, err := q.Wait(t.Context(), job.ID)
			if err != nil {
				t.Fatal(err)
			}
			var r errand.BulkResult
			if err := json.Unmarshal(over.Result, &r); err != nil {
				t.Fatal(err)
			}
			if r.Matched != n || over.Progress.Done != int64(n) || over.Progress.Total != int64(n) {
				t.Errorf("%s %s: %d matched, %d were counted, progress %+v", verb, filter, r.Matched, n, over.Progress)
			}
			return r
		}
		if r := bulk("pause", "kind:fai* state:ready"); r.Changed != 1235 || r.Refused != 0 {
			t.Errorf("pause: %+v", r)
		}
		if r := bulk("resume", "kind:fails"); r.Changed != 1235 || r.Refused != 1 {
			t.Errorf("resume: %+v", r)
		}
		if r := bulk("retry", "state:cancelled"); r.Changed != 0 || r.Refused != 1 || len(r.Why) != 1 {
			t.Errorf("retry of a job whose key is taken: %+v", r)
		}
		if r := bulk("cancel", "queue:other state:ready"); r.Changed != 1235 {
			t.Errorf("cancel: %+v", r)
		}
		p, _ := q.List(t.Context(), errand.Query{States: []errand.State{errand.Cancelled}, Limit: 1})
		if j := p.Jobs[0]; j.Actor != "ann" || j.Reason != "why not" {
			t.Errorf("a job of a bulk was cancelled by %q: %q", j.Actor, j.Reason)
		}
		if r := bulk("delete", "state:cancelled"); r.Changed != 1236 {
			t.Errorf("delete: %+v", r)
		}
		if n, _ := q.Count(t.Context(), errand.Query{Kinds: []string{"fails"}}, 10_000); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
	})
}

// TestBulkLater: a job that was created after the bulk was asked for is left alone, however late the bulk starts.
func TestBulkLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		q := errand.New(store, nil)
		before := enqueue(t, q, "none")
		bulk, err := q.Bulk(t.Context(), "cancel", errand.Query{Kinds: []string{"none"}}, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		after := enqueue(t, q, "none")
		start(t, store, errand.Config{}, nil)
		if over, err := q.Wait(t.Context(), bulk.ID); err != nil || over.State != errand.Succeeded {
			t.Fatalf("%+v, %v", over, err)
		}
		for id, want := range map[errand.ID]errand.State{before: errand.Cancelled, after: errand.Ready} {
			if j, err := q.Get(t.Context(), id); err != nil || j.State != want {
				t.Errorf("%+v, %v; want %s", j, err, want)
			}
		}
	})
}
