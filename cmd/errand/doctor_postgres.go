package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/postgres"
)

// What is worth a warning, or more.
const (
	oldestServer   = 140000 // as server_version_num
	slowRoundTrip  = 20 * time.Millisecond
	largeOffset    = time.Second
	longSnapshot   = 10 * time.Minute
	manySnapshot   = 1_000_000 // transactions since
	manyDead       = 1_000_000 // rows, and more than live ones
	manyConns      = 0.8       // of max_connections
	tooManyConns   = 0.95
	listenPatience = 4 * time.Second // until a listener hears itself
)

// examineDatabase looks at PostgreSQL. The store that it returns is nil if it cannot be opened.
func (d *doctor) examineDatabase(ctx context.Context) (errand.Store, error) {
	steps, err := postgres.Migrations(d.Schema)
	if err != nil {
		return nil, &usageError{err}
	}
	version, err := postgres.Version(ctx, d.Database, d.postgresOptions(discard))
	switch {
	case errors.Is(err, errand.ErrInvalid):
		return nil, d.databaseError(err)
	case err != nil:
		d.add("connection", problem, d.place()+": "+reason(err), "check the address, the network, the password and pg_hba.conf")
		return nil, nil
	case version < len(steps):
		d.add("schema", problem, fmt.Sprintf("version %d of %d", version, len(steps)), "run errand migrate, or start a server without no_migrate")
		return nil, nil
	case version > len(steps):
		d.add("schema", problem, fmt.Sprintf("version %d, this program knows versions up to %d", version, len(steps)), "use a newer errand")
		return nil, nil
	}
	options := d.postgresOptions(discard)
	options.NoMigrate = true
	store, err := d.openDatabase(ctx, options)
	if err != nil {
		d.add("connection", problem, d.place()+": "+reason(err), "check the address, the network, and how many connections are free")
		return nil, nil
	}
	switch {
	case d.Redis != "":
		hear(ctx, store, "redis")
	case !d.Pooler:
		hear(ctx, store, "notify")
	}
	x, err := store.Examine(ctx)
	if err != nil {
		return store, err
	}
	d.checkDatabase(x)
	return store, nil
}

// checkDatabase says what is to be said about a database.
func (d *doctor) checkDatabase(x *postgres.Examination) {
	d.offset, d.standby = x.ClockOffset, x.Standby || x.ReadOnly
	d.checkServer(x)
	d.checkHints(x)
	d.checkSnapshot(x.Snapshot, x.Hidden)
	d.checkBloat(x.Tables)
	d.checkConnections(x)
}

// hear waits until the store hears other processes in some way, or does not for a while.
func hear(ctx context.Context, store *postgres.Store, mode string) {
	store.OnHint(func(errand.Hint) {})
	for deadline := time.Now().Add(listenPatience); store.HintMode() != mode && time.Now().Before(deadline); {
		if !pause(ctx, 10*time.Millisecond) {
			return
		}
	}
}

func (d *doctor) checkServer(x *postgres.Examination) {
	release, _, _ := strings.Cut(x.Server, " ")
	text, l := fmt.Sprintf("%s: PostgreSQL %s, a round trip takes %s", d.place(), release, short(x.RoundTrip)), fine
	if x.RoundTrip > slowRoundTrip {
		l = warning
	}
	d.add("connection", l, text, "every claim and every enqueue waits for one: run errand nearer to the database")
	if x.ServerNumber < oldestServer {
		d.add("server", problem, "PostgreSQL "+release, "upgrade it: errand needs 14 or newer")
	}
	d.add("schema", fine, fmt.Sprintf("version %d, the newest", x.SchemaVersion), "")
	switch {
	case x.Standby:
		d.add("primary", problem, "this server is a standby: it takes no writes", "name the primary, or all hosts and ?target_session_attrs=read-write, in the URL")
	case x.ReadOnly:
		d.add("primary", problem, "transactions are read-only here", "look at default_transaction_read_only, of the server, the database and the role")
	default:
		d.add("primary", fine, "this server takes writes", "")
	}
	l = fine
	if x.ClockOffset.Abs() > largeOffset {
		l = warning
	}
	d.add("clock", l, clockText(x.ClockOffset, x.RoundTrip), "set both clocks (NTP): times shown here are off by that much")
	d.checkDurability(x)
}

func clockText(offset, roundTrip time.Duration) string {
	way := "ahead of"
	if offset < 0 {
		way = "behind"
	}
	if offset.Abs() <= max(roundTrip, time.Millisecond) {
		return "the server's clock agrees with ours"
	}
	return fmt.Sprintf("the server's clock is %s %s ours", short(offset.Abs()), way)
}

func (d *doctor) checkDurability(x *postgres.Examination) {
	text, l, advice := "synchronous_commit is "+x.SynchronousCommit, fine, ""
	if x.SynchronousCommit == "off" {
		l, advice = warning, "turn synchronous_commit on: a crash of the server loses jobs that were acknowledged a moment before"
	}
	if !x.Fsync {
		text += ", fsync is off"
		l, advice = warning, "turn fsync on: a crash of its machine can destroy the whole database"
	}
	d.add("durability", l, text, advice)
}

func (d *doctor) checkHints(x *postgres.Examination) {
	switch {
	case x.Standby: // which sends none
	case d.Redis != "" && x.HintMode != "redis":
		d.add("hints", warning, "Redis at "+d.Redis+" does not answer", "look after it, and at the password: jobs are handed out by PostgreSQL meanwhile")
	case x.HintMode != "poll":
		d.add("hints", fine, "processes tell each other the news at once ("+x.HintMode+")", "")
	case d.Pooler:
		d.add("hints", fine, "processes poll for news, since there is a pooler", "")
	case x.Pooler:
		d.add("hints", warning, "there is a pooler in transaction mode: processes poll for news", "connect without it, or set database_pooler if polling (--poll) is quick enough")
	default:
		d.add("hints", warning, "notifications do not arrive: processes poll for news", "is there a pooler in transaction mode? connect without it, or set database_pooler")
	}
}

func (d *doctor) checkSnapshot(s *postgres.Snapshot, hidden int) {
	unseen := ""
	if hidden > 0 {
		unseen = fmt.Sprintf(" (%s of other roles cannot be seen: grant pg_read_all_stats)", plural(hidden, "session"))
	}
	if s == nil {
		d.add("snapshot", fine, "nothing keeps vacuum from its work"+unseen, "")
		return
	}
	text := fmt.Sprintf("the oldest is of %s %s", s.Holder, s.Name)
	if s.State != "" {
		text += ", " + s.State
	}
	if !s.Began.IsZero() {
		text += ", since " + rough(max(s.Age, 0))
	}
	text += ", " + plural(int(s.XIDs), "transaction") + " ago" + unseen
	if s.Age < longSnapshot && s.XIDs < manySnapshot {
		d.add("snapshot", fine, text, "")
		return
	}
	advice := "end that transaction (pg_terminate_backend): dead rows pile up as long as it is open"
	switch s.Holder {
	case "prepared transaction":
		advice = "commit prepared or rollback prepared it: dead rows pile up as long as it is there"
	case "replication slot":
		advice = "drop the slot (pg_drop_replication_slot) if its standby is gone: dead rows pile up"
	case "standby":
		advice = "look for long queries on that standby (hot_standby_feedback): dead rows pile up"
	}
	d.add("snapshot", warning, text, advice)
}

// checkBloat looks at the tables that change most.
func (d *doctor) checkBloat(tables []postgres.Table) {
	l, advice := fine, ""
	var parts []string
	var ready postgres.Table
	for _, t := range tables {
		switch {
		case t.Name == "jobs":
			parts = append(parts, tableText(&t))
			if t.Dead > manyDead && t.Dead > t.Live && time.Since(t.Vacuumed) > longSnapshot {
				l, advice = warning, "let autovacuum do more (autovacuum_vacuum_cost_limit), and see what holds an old snapshot"
			}
			if !t.Autovacuum {
				l, advice = warning, "turn autovacuum on"
			}
		case strings.HasPrefix(t.Name, "ready_"):
			ready.Live, ready.Dead, ready.Bytes = ready.Live+t.Live, ready.Dead+t.Dead, ready.Bytes+t.Bytes
			if t.Vacuumed.After(ready.Vacuumed) {
				ready.Vacuumed = t.Vacuumed
			}
		}
	}
	ready.Name = "ready"
	parts = append(parts, tableText(&ready))
	if ready.Dead > manyDead && ready.Dead > ready.Live && l == fine {
		l, advice = warning, "a live worker turns these tables over and truncates them; look for long transactions that keep locks on them"
	}
	d.add("bloat", l, strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; "), advice)
}

func tableText(t *postgres.Table) string {
	vacuumed := "never vacuumed"
	if !t.Vacuumed.IsZero() {
		vacuumed = "vacuumed " + ago(t.Vacuumed)
	}
	return fmt.Sprintf("%s: %s, %d live and %d dead rows, %s", t.Name, size(t.Bytes), t.Live, t.Dead, vacuumed)
}

func (d *doctor) checkConnections(x *postgres.Examination) {
	used := float64(x.Connections) / float64(max(x.MaxConnections, 1))
	l := fine
	switch {
	case used > tooManyConns:
		l = problem
	case used > manyConns:
		l = warning
	}
	d.add("connections", l, fmt.Sprintf("%d of %d are in use", x.Connections, x.MaxConnections),
		"lower database_connections, raise max_connections, or put a pooler before the database")
}

// short is a duration of which small ones matter.
func short(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return rough(d)
}

// size is a number of bytes in the unit that suits it.
func size(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return plural(int(n), "byte")
	}
	f, i := float64(n)/1024, 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
