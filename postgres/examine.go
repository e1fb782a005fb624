package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// Examination is the state of a database as [Store.Examine] finds it: plain values, without judgement.
type Examination struct {
	Server        string // version of PostgreSQL, such as "15.4"
	ServerNumber  int    // the same as a number, such as 150004
	SchemaVersion int    // steps of the schema that were applied
	SchemaKnown   int    // steps that this program knows

	Standby  bool // a server that follows another one, and takes no writes
	ReadOnly bool // transactions are read-only unless they say otherwise

	RoundTrip   time.Duration // of the fastest of several questions
	ClockOffset time.Duration // the server's clock minus this machine's, half a RoundTrip more or less

	SynchronousCommit string // the setting: on, off, local, remote_write or remote_apply
	Fsync             bool   // whether the server waits for its disk at all

	HintMode string // as [Store.HintMode]
	Pooler   bool   // works as behind a pooler in transaction mode: told so, or found out

	// Snapshot is the oldest thing that keeps vacuum from removing dead rows. Nil if there is none.
	Snapshot *Snapshot
	// Hidden is how many sessions in this database are of other users, of which this one may not see whether they hold anything
	// (the role pg_read_all_stats may).
	Hidden int

	Tables []Table // those of the schema, by name

	Connections    int // of clients, to any database of the server
	MaxConnections int // that clients which are no superusers can have
}

// Snapshot is what keeps vacuum from removing dead rows: rows that died after it began must stay.
type Snapshot struct {
	Holder string    // "session", "prepared transaction", "replication slot" or "standby"
	Name   string    // the process id and application name of a session; the name of the others
	State  string    // of a session: "idle in transaction", say; "" if this user may not see it
	Began  time.Time // of the transaction, by the server's clock; zero if there is none, or this user may not see it
	Age    time.Duration
	XIDs   int64 // transactions that have begun since
}

// Table is a table of the schema, with its partitions and indexes apart from each other as PostgreSQL has them.
type Table struct {
	Name       string
	Live       int64     // rows, as PostgreSQL's statistics have it
	Dead       int64     // rows that vacuum has not removed yet, by the same
	Bytes      int64     // with indexes and long values
	Vacuumed   time.Time // when vacuum last ran, by itself or by hand; zero if never
	Autovacuum bool      // whether it is on for this table
}

const (
	selectServer = `
		select current_setting('server_version'), current_setting('server_version_num')::integer,
			pg_is_in_recovery(), current_setting('transaction_read_only')::boolean,
			current_setting('synchronous_commit'), current_setting('fsync')::boolean,
			(select count(*)::integer from pg_stat_activity where datid is not null and coalesce(backend_type, 'client backend') = 'client backend'),
			(select count(*)::integer from pg_stat_activity where datname = current_database() and query = '<insufficient privilege>'),
			current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
				- coalesce(current_setting('reserved_connections', true)::integer, 0)`

	// selectSnapshot looks at all that vacuum looks at for the tables of this database. A session without
	// an xmin and xid holds nothing back, however long its transaction is open.
	selectSnapshot = `
		select holder, name, state, began, clock_timestamp() - began, xids from (
			select 'session' as holder, pid || coalesce(' (' || nullif(application_name, '') || ')', '') as name, coalesce(state, '') as state,
				xact_start as began, greatest(age(backend_xmin), age(backend_xid))::bigint as xids
			from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid() and (backend_xmin is not null or backend_xid is not null)
				and backend_type not in ('autovacuum worker', 'walsender')
			union all
			select 'prepared transaction', gid, '', prepared, age(transaction)::bigint from pg_prepared_xacts where database = current_database()
			union all
			select 'replication slot', slot_name, case when active then 'active' else 'inactive' end, null, age(xmin)::bigint
			from pg_replication_slots where xmin is not null
			union all
			select 'standby', coalesce(nullif(application_name, ''), pid::text), coalesce(state, ''), null, age(backend_xmin)::bigint
			from pg_stat_replication where backend_xmin is not null
		) held
		order by xids desc, began limit 1`

	selectTables = `
		select c.relname, s.n_live_tup, s.n_dead_tup, pg_total_relation_size(c.oid), greatest(s.last_vacuum, s.last_autovacuum),
			current_setting('autovacuum')::boolean and not coalesce('autovacuum_enabled=false' = any (c.reloptions), false)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_stat_all_tables s on s.relid = c.oid
		where n.nspname = $1 and c.relkind = 'r' order by c.relname`
)

// roundTrips is how many questions Examine asks to find the fastest.
const roundTrips = 5

// Examine looks at the database from where this process stands. It changes nothing, works on a standby too, and takes
// some milliseconds and round trips. What the user of the connection may not see is left empty.
func (s *Store) Examine(ctx context.Context) (*Examination, error) {
	var x *Examination
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		x = &Examination{HintMode: s.HintMode(), Pooler: s.pooler}
		steps, err := Migrations(s.options.Schema)
		if err != nil {
			return err
		}
		x.SchemaKnown = len(steps)
		if x.SchemaVersion, err = s.schemaVersion(ctx, c); err != nil {
			return err
		}
		if err := x.clock(ctx, c); err != nil {
			return err
		}
		err = c.QueryRow(ctx, selectServer).Scan(&x.Server, &x.ServerNumber, &x.Standby, &x.ReadOnly,
			&x.SynchronousCommit, &x.Fsync, &x.Connections, &x.Hidden, &x.MaxConnections)
		if err != nil {
			return err
		}
		if err := x.snapshot(ctx, c); err != nil {
			return err
		}
		return x.tables(ctx, c, s.options.Schema)
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// clock measures the round trip and the offset of the clocks.
func (x *Examination) clock(ctx context.Context, c *pgxpool.Conn) error {
	for i := range roundTrips {
		var there time.Time
		sent := time.Now()
		if err := c.QueryRow(ctx, "select clock_timestamp()").Scan(&there); err != nil {
			return err
		}
		if took := time.Since(sent); i == 0 || took < x.RoundTrip {
			x.RoundTrip, x.ClockOffset = took, there.Sub(sent.Add(took/2))
		}
	}
	return nil
}

func (x *Examination) snapshot(ctx context.Context, c *pgxpool.Conn) error {
	var held Snapshot
	var began *time.Time
	var age *time.Duration
	err := c.QueryRow(ctx, selectSnapshot).Scan(&held.Holder, &held.Name, &held.State, &began, &age, &held.XIDs)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		held.Began, held.Age = value(began).UTC(), value(age)
		x.Snapshot = &held
	}
	return err
}

func (x *Examination) tables(ctx context.Context, c *pgxpool.Conn, schema string) error {
	rows, err := c.Query(ctx, selectTables, schema)
	if err != nil {
		return err
	}
	x.Tables, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		var vacuumed *time.Time
		err = row.Scan(&t.Name, &t.Live, &t.Dead, &t.Bytes, &vacuumed, &t.Autovacuum)
		t.Vacuumed = value(vacuumed).UTC()
		return t, err
	})
	return err
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Version returns how many steps of the schema (see [Migrations]) have been applied to a database: 0 if there
// is nothing of errand yet. It changes nothing. Opts may be nil.
func Version(ctx context.Context, url string, opts *Options) (int, error) {
	version, err := versionOf(ctx, url, opts)
	if err != nil {
		return 0, fmt.Errorf("postgres: %w", err)
	}
	return version, nil
}

func versionOf(ctx context.Context, url string, opts *Options) (int, error) {
	s := &Store{options: Options{Schema: "errand"}}
	if opts != nil && opts.Schema != "" {
		s.options.Schema = opts.Schema
	}
	if !schemaName.MatchString(s.options.Schema) {
		return 0, fmt.Errorf("%w schema %q: use lower-case letters, digits and underscores", errand.ErrInvalid, s.options.Schema)
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return 0, fmt.Errorf("%w address: %w", errand.ErrInvalid, scrub(err))
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // leaves nothing behind in a pooler
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return 0, scrub(err)
	}
	defer c.Close(ctx)
	return s.schemaVersion(ctx, c)
}
