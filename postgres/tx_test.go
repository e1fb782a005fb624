package postgres_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
)

type note struct {
	Text string `json:"text"`
}

var noted = errand.Define[note, string]("note")

// transaction is one of the application, of either kind.
type transaction struct {
	name             string
	tx               any
	commit, rollback func()
}

// eachKind calls f with a function that begins transactions, once for pgx and once for database/sql.
func eachKind(t *testing.T, f func(t *testing.T, q *errand.Engine, begin func() transaction)) {
	kinds := map[string]func(t *testing.T, url string) func() transaction{
		"pgx": func(t *testing.T, url string) func() transaction {
			return func() transaction {
				c, err := pgx.Connect(t.Context(), url)
				check(t, err)
				t.Cleanup(func() { c.Close(context.Background()) })
				tx, err := c.Begin(t.Context())
				check(t, err)
				return transaction{"pgx", tx, func() { check(t, tx.Commit(t.Context())) }, func() { check(t, tx.Rollback(t.Context())) }}
			}
		},
		"sql": func(t *testing.T, url string) func() transaction {
			db, err := sql.Open("pgx", url)
			check(t, err)
			t.Cleanup(func() { db.Close() })
			return func() transaction {
				tx, err := db.BeginTx(t.Context(), nil)
				check(t, err)
				return transaction{"sql", tx, func() { check(t, tx.Commit()) }, func() { check(t, tx.Rollback()) }}
			}
		},
	}
	for name, begin := range kinds {
		t.Run(name, func(t *testing.T) {
			url := testserver.PostgresURL(t)
			store, err := postgres.Open(t.Context(), url, nil)
			check(t, err)
			t.Cleanup(func() { store.Close() })
			f(t, errand.New(store, nil), begin(t, url))
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, q *errand.Engine) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTxCommit(t *testing.T) {
	eachKind(t, func(t *testing.T, q *errand.Engine, begin func() transaction) {
		noted.Handle(q, func(_ context.Context, n note) (string, error) { return n.Text, nil })
		run(t, q)
		tx := begin()
		odd := `  {"text": "é\"\\ \u0041", "big": 12345678901234567890}  `
		jobs, err := q.Tx(tx.tx).Enqueue(t.Context(), errand.NewJob{Kind: "note", Args: json.RawMessage(odd), Options: []errand.Option{
			errand.Tags(`a"b`, `c\d`, "e,f"), errand.Priority(3), func(j *errand.Job) { j.Metadata = map[string]string{"k": "v"} },
		}})
		check(t, err)
		id := jobs[0].ID
		if _, err := q.Get(t.Context(), id); !errors.Is(err, errand.ErrNotFound) {
			t.Fatalf("before the commit: %v, want ErrNotFound", err)
		}
		inside, err := q.Tx(tx.tx).Get(t.Context(), id)
		check(t, err)
		if string(inside.Args) != odd || inside.Priority != 3 || len(inside.Tags) != 3 || inside.Tags[1] != `c\d` {
			t.Errorf("in the transaction the job is %+v", inside)
		}
		tx.commit()
		job, err := q.Wait(t.Context(), id)
		check(t, err)
		if string(job.Result) != `"é\"\\ A"` || string(job.Args) != odd || job.Tags[0] != `a"b` || job.Metadata["k"] != "v" {
			t.Errorf("the job is %+v", job)
		}
	})
}

func TestTxRollback(t *testing.T) {
	eachKind(t, func(t *testing.T, q *errand.Engine, begin func() transaction) {
		tx := begin()
		job, err := noted.Enqueue(t.Context(), q.Tx(tx.tx), note{}, errand.Unique("k"))
		check(t, err)
		tx.rollback()
		if _, err := q.Get(t.Context(), job.ID); !errors.Is(err, errand.ErrNotFound) {
			t.Fatalf("after the rollback: %v, want ErrNotFound", err)
		}
		counts, err := q.Stats(t.Context())
		check(t, err)
		if len(counts) != 0 {
			t.Errorf("after the rollback there are %+v", counts)
		}
		again, err := noted.Enqueue(t.Context(), q, note{}, errand.Unique("k"))
		check(t, err)
		if again.Duplicate {
			t.Error("the unique key is held by a job that was rolled back")
		}
	})
}

func TestTxUnique(t *testing.T) {
	eachKind(t, func(t *testing.T, q *errand.Engine, begin func() transaction) {
		outside, err := noted.Enqueue(t.Context(), q, note{"outside"}, errand.UniqueFor("old", time.Hour), errand.Tags("x"))
		check(t, err)
		tx := begin()
		first, err := noted.Enqueue(t.Context(), q.Tx(tx.tx), note{"first"}, errand.UniqueFor("new", time.Hour))
		check(t, err)
		for key, want := range map[string]*errand.Handle[string]{"old": outside, "new": first} {
			got, err := noted.Enqueue(t.Context(), q.Tx(tx.tx), note{"again"}, errand.UniqueFor(key, time.Hour))
			check(t, err)
			if !got.Duplicate || got.ID != want.ID || string(got.Args) != string(want.Args) || !got.Created.Equal(want.Created) || !got.UniqueUntil.Equal(want.UniqueUntil) {
				t.Errorf("key %q: got %+v, want a duplicate of %+v", key, got, want)
			}
		}
		// Another transaction waits for this one, and then gets its job.
		second := begin()
		answer := make(chan *errand.Handle[string], 1)
		go func() {
			got, err := noted.Enqueue(t.Context(), q.Tx(second.tx), note{"second"}, errand.UniqueFor("new", time.Hour))
			if err != nil {
				t.Error(err)
			}
			answer <- got
		}()
		select {
		case got := <-answer:
			t.Fatalf("it did not wait: %+v", got)
		case <-time.After(100 * time.Millisecond):
		}
		tx.commit()
		if got := <-answer; got == nil || !got.Duplicate || got.ID != first.ID {
			t.Errorf("the second transaction got %+v, want a duplicate of %s", got, first.ID)
		}
		second.commit()
	})
}

// A transaction that holds a unique key and stays open makes wait who wants the key, and nobody else.
func TestTxHoldsUp(t *testing.T) {
	eachKind(t, func(t *testing.T, q *errand.Engine, begin func() transaction) {
		tx := begin()
		_, err := noted.Enqueue(t.Context(), q.Tx(tx.tx), note{}, errand.Unique("k"))
		check(t, err)
		waiting := make(chan error)
		for range 3 {
			go func() {
				_, err := noted.Enqueue(t.Context(), q, note{}, errand.Unique("k"))
				waiting <- err
			}()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var others sync.WaitGroup
		for range 20 {
			others.Go(func() {
				for range 5 {
					if _, err := noted.Enqueue(ctx, q, note{}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		others.Wait()
		tx.commit()
		for range 3 {
			check(t, <-waiting)
		}
	})
}

func TestTxAfter(t *testing.T) {
	eachKind(t, func(t *testing.T, q *errand.Engine, begin func() transaction) {
		release := make(chan struct{})
		noted.Handle(q, func(_ context.Context, n note) (string, error) {
			if n.Text == "first" {
				<-release
			}
			return n.Text, nil
		})
		run(t, q)
		first, err := noted.Enqueue(t.Context(), q, note{"first"})
		check(t, err)
		_, err = q.WaitFor(t.Context(), first.ID, func(j *errand.Job) bool { return j.State == errand.Running })
		check(t, err)
		tx := begin()
		second, err := noted.Enqueue(t.Context(), q.Tx(tx.tx), note{"second"}, errand.After(first.ID))
		check(t, err)
		close(release) // the first ends while the transaction is open, which does not hold it up
		_, err = q.Wait(t.Context(), first.ID)
		check(t, err)
		tx.commit()
		got, err := q.Wait(t.Context(), second.ID)
		check(t, err)
		if got.State != errand.Succeeded {
			t.Errorf("the job that waited is %s", got.State)
		}
	})
}

func TestTxRefuses(t *testing.T) {
	store := stores(t)(t)
	q := errand.New(store, nil)
	for what, view := range map[string]*errand.Engine{
		"a string":        q.Tx("tx"),
		"nil":             q.Tx(nil),
		"another store's": errand.New(errand.Memory(nil), nil).Tx("tx"),
	} {
		if _, err := noted.Enqueue(t.Context(), view, note{}); !errors.Is(err, errand.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	c, err := pgx.Connect(t.Context(), testserver.PostgresURL(t))
	check(t, err)
	defer c.Close(context.Background())
	tx, err := c.Begin(t.Context())
	check(t, err)
	if _, err := q.Tx(tx).Cancel(t.Context(), uuid.New(), ""); err == nil {
		t.Error("Cancel within a transaction of another database: no error")
	}
	if _, err := q.Tx(tx).Go(t.Context(), "x", func(context.Context) error { return nil }); err == nil {
		t.Error("Go within a transaction: no error")
	}
}
