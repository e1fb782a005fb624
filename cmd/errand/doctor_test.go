package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/postgres"
)

// healthy is a database that nothing is wrong with.
func healthy() *postgres.Examination {
	return &postgres.Examination{
		Server: "15.4 (Debian 15.4-1)", ServerNumber: 150004, SchemaVersion: 1, SchemaKnown: 1, RoundTrip: 300 * time.Microsecond,
		SynchronousCommit: "on", Fsync: true, HintMode: "notify", Connections: 20, MaxConnections: 97,
		Tables: []postgres.Table{
			{Name: "jobs", Live: 5_000_000, Dead: 2_000_000, Bytes: 3 << 30, Vacuumed: time.Now(), Autovacuum: true},
			{Name: "ready_0", Live: 10, Dead: 30_000, Bytes: 1 << 20, Autovacuum: true},
			{Name: "ready_1", Autovacuum: true},
		},
	}
}

// TestDoctorAdvice: what is said about each state of a database.
func TestDoctorAdvice(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*postgres.Examination)
		want string // a line; "" means that all is well
	}{
		"healthy":      {func(*postgres.Examination) {}, ""},
		"far":          {func(x *postgres.Examination) { x.RoundTrip = 80 * time.Millisecond }, "warning connection host=db: PostgreSQL 15.4, a round trip takes 80ms → every claim"},
		"old":          {func(x *postgres.Examination) { x.Server, x.ServerNumber = "13.9", 130009 }, "problem server PostgreSQL 13.9 → upgrade it"},
		"standby":      {func(x *postgres.Examination) { x.Standby, x.HintMode = true, "poll" }, "problem primary this server is a standby"},
		"read-only":    {func(x *postgres.Examination) { x.ReadOnly = true }, "problem primary transactions are read-only"},
		"clock ahead":  {func(x *postgres.Examination) { x.ClockOffset = 90 * time.Second }, "warning clock the server's clock is 1m30s ahead of ours → set both"},
		"clock behind": {func(x *postgres.Examination) { x.ClockOffset = -3 * time.Second }, "warning clock the server's clock is 3.0s behind ours"},
		"async commit": {func(x *postgres.Examination) { x.SynchronousCommit = "off" }, "warning durability synchronous_commit is off → turn synchronous_commit on"},
		"no fsync":     {func(x *postgres.Examination) { x.Fsync = false }, "warning durability synchronous_commit is on, fsync is off → turn fsync on"},
		"deaf":         {func(x *postgres.Examination) { x.HintMode = "poll" }, "warning hints notifications do not arrive"},
		"pooler":       {func(x *postgres.Examination) { x.HintMode, x.Pooler = "poll", true }, "warning hints there is a pooler in transaction mode"},
		"snapshot":     {func(x *postgres.Examination) { x.Snapshot = snapshot("session", 3*time.Hour, 5) }, "warning snapshot the oldest is of session it, since 3h00m, 5 transactions ago → end that transaction"},
		"short":        {func(x *postgres.Examination) { x.Snapshot = snapshot("session", time.Minute, 5) }, ""},
		"slot":         {func(x *postgres.Examination) { x.Snapshot = snapshot("replication slot", 0, 9_000_000) }, "warning snapshot the oldest is of replication slot it, 9000000 transactions ago → drop the slot"},
		"prepared":     {func(x *postgres.Examination) { x.Snapshot = snapshot("prepared transaction", time.Hour, 2) }, "warning snapshot the oldest is of prepared transaction it, since 1h00m, 2 transactions ago → commit prepared"},
		"standby held": {func(x *postgres.Examination) { x.Snapshot = snapshot("standby", 0, 9_000_000) }, "warning snapshot the oldest is of standby it, 9000000 transactions ago → look for long queries"},
		"bloat":        {func(x *postgres.Examination) { x.Tables[0].Dead, x.Tables[0].Vacuumed = 9_000_000, time.Time{} }, "warning bloat jobs: 3.0 GiB, 5000000 live and 9000000 dead rows, never vacuumed; ready: 1.0 MiB, 10 live and 30000 dead rows, never vacuumed → let autovacuum do more"},
		"vacuum off":   {func(x *postgres.Examination) { x.Tables[0].Autovacuum = false }, "warning bloat jobs: 3.0 GiB, 5000000 live and 2000000 dead rows, vacuumed now; ready: 1.0 MiB, 10 live and 30000 dead rows, never vacuumed → turn autovacuum on"},
		"ready bloat":  {func(x *postgres.Examination) { x.Tables[1].Dead = 2_000_000 }, "warning bloat jobs: 3.0 GiB, 5000000 live and 2000000 dead rows, vacuumed now; ready: 1.0 MiB, 10 live and 2000000 dead rows, never vacuumed → a live worker"},
		"connections":  {func(x *postgres.Examination) { x.Connections = 85 }, "warning connections 85 of 97 are in use → lower"},
		"full":         {func(x *postgres.Examination) { x.Connections = 96 }, "problem connections 96 of 97 are in use → lower"},
	} {
		t.Run(name, func(t *testing.T) {
			x := healthy()
			c.edit(x)
			d := &doctor{settings: &settings{Database: "host=db", Schema: "errand"}}
			d.checkDatabase(x)
			var bad []string
			for _, row := range d.table().rows {
				if line := strings.Join(row, " "); !strings.HasPrefix(line, "ok ") {
					bad = append(bad, line)
				}
			}
			got := strings.Join(bad, "\n")
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || len(bad) > 1 {
				t.Errorf("it says\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func snapshot(holder string, age time.Duration, xids int64) *postgres.Snapshot {
	s := &postgres.Snapshot{Holder: holder, Name: "it", Age: age, XIDs: xids}
	if age > 0 {
		s.Began = time.Now().Add(-age)
	}
	return s
}

// TestDoctorOrphans: a running job without a session is a problem only while somebody should be rescuing it.
func TestDoctorOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := errand.Memory(nil)
		defer store.Close()
		jobs, err := errand.New(store, nil).Enqueue(t.Context(), errand.NewJob{Kind: "k", Args: json.RawMessage("1")})
		if err != nil {
			t.Fatal(err)
		}
		claim := errand.Claim{Session: uuid.New(), Lanes: []errand.Lane{{Queue: jobs[0].Queue, Kinds: []string{"k"}, Limit: 1}}}
		if c, err := store.Claim(context.Background(), claim); err != nil || len(c.Jobs) != 1 {
			t.Fatal(c, err)
		}
		for rescued, want := range map[bool]level{false: warning, true: problem} {
			d := &doctor{settings: &settings{}}
			if err := d.checkOrphans(t.Context(), store, rescued); err != nil || d.Checks[0].Level != want || !strings.HasPrefix(d.Checks[0].Text, "1 job of lost workers") {
				t.Errorf("rescued %t: %+v, %v", rescued, d.Checks, err)
			}
		}
	})
}

// TestDoctorKinds: a worker counts only for its kinds in its queues.
func TestDoctorKinds(t *testing.T) {
	live := []errand.Session{{Kinds: []string{"a", "b"}, Queues: map[string]int{"q": 2}}, {Kinds: []string{"c"}}}
	for _, c := range []struct {
		queue, kind string
		want        bool
	}{{"q", "a", true}, {"q", "c", true}, {"other", "c", true}, {"other", "a", false}, {"q", "d", false}} {
		got := false
		for i := range live {
			got = got || takes(&live[i], c.queue, c.kind)
		}
		if got != c.want {
			t.Errorf("%s in queue %s: %t", c.kind, c.queue, got)
		}
	}
}
