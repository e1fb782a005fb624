package postgres_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
)

func TestExamine(t *testing.T) {
	url := testserver.PostgresURL(t)
	if v, err := postgres.Version(t.Context(), url, nil); v != 0 || err != nil {
		t.Errorf("an empty database has version %d, %v", v, err)
	}
	s, err := postgres.Open(t.Context(), url, &postgres.Options{Schema: "other"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	steps, _ := postgres.Migrations("other")
	if v, err := postgres.Version(t.Context(), url, &postgres.Options{Schema: "other"}); v != len(steps) || err != nil {
		t.Errorf("a new schema has version %d, %v", v, err)
	}
	x := examine(t, s)
	switch {
	case x.ServerNumber < 140000 || x.Server == "" || x.SchemaVersion != len(steps) || x.SchemaKnown != len(steps):
		t.Errorf("versions: %+v", x)
	case x.Standby || x.ReadOnly || x.SynchronousCommit != "on" || x.Pooler:
		t.Errorf("the server is %+v", x)
	case x.RoundTrip <= 0 || x.RoundTrip > time.Second || x.ClockOffset.Abs() > time.Second:
		t.Errorf("clock: %+v", x)
	case x.Connections < 1 || x.MaxConnections < x.Connections:
		t.Errorf("connections: %+v", x)
	}
	i := slices.IndexFunc(x.Tables, func(t postgres.Table) bool { return t.Name == "jobs" })
	if i < 0 || x.Tables[i].Bytes == 0 || !x.Tables[i].Autovacuum {
		t.Errorf("tables: %+v", x.Tables)
	}
}

// TestExamineSnapshot: what keeps vacuum from its work is found, and a transaction that is merely open is not.
func TestExamineSnapshot(t *testing.T) {
	url := testserver.PostgresURL(t)
	s, err := postgres.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	other, err := pgx.Connect(t.Context(), url+"&application_name=report")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	exec := func(sql string) {
		t.Helper()
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("begin")
	free := func(what string) {
		t.Helper()
		var x *postgres.Examination
		for range 100 { // something of the store's own may be under way
			if x = examine(t, s); x.Snapshot == nil {
				return
			}
		}
		t.Errorf("%s: %+v", what, x.Snapshot)
	}
	free("a transaction without a snapshot")
	exec("rollback")
	exec("begin isolation level repeatable read")
	exec("select count(*) from errand.jobs")
	for range 3 { // transactions that begin later
		insert(t, s)
	}
	x := examine(t, s)
	if x.Snapshot == nil || x.Snapshot.Holder != "session" || x.Snapshot.State != "idle in transaction" || x.Snapshot.XIDs < 3 ||
		x.Snapshot.Age <= 0 || x.Snapshot.Began.IsZero() {
		t.Errorf("a transaction with a snapshot: %+v", x.Snapshot)
	}
	exec("rollback")
	free("nothing is held any more")
}

func examine(t *testing.T, s *postgres.Store) *postgres.Examination {
	t.Helper()
	x, err := s.Examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func insert(t *testing.T, s *postgres.Store) {
	t.Helper()
	_, err := errand.New(s, nil).Enqueue(t.Context(), errand.NewJob{Kind: uuid.NewString()})
	if err != nil {
		t.Fatal(err)
	}
}
