// Package postgres keeps errand's jobs in PostgreSQL 14 or newer, for any number of processes on any number
// of machines.
//
//	store, err := postgres.Open(ctx, "postgres://user:password@host/database", nil)
//	q := errand.New(store, nil)
//
// # Safety
//
// A call that returned without an error is as safe as a commit of the database: it survives a crash of any
// process and of the server, unless synchronous_commit is off. Errors mean "unknown", and the engine repeats what
// is safe to repeat. Deadlocks and serialization failures are repeated here.
//
// A failover is survived without a restart: when the server says that it is read-only or shutting down, all
// connections are made anew. Give all hosts, and target_session_attrs=read-write, in the URL:
//
//	postgres://user@db1,db2/app?target_session_attrs=read-write
//
// # Sooner
//
// Processes tell each other of new work and of changes with NOTIFY, at most once in some milliseconds and never in
// the transaction that enqueues. Where that is not to be had (behind a transaction pooler, for one)
// they find out by polling: that is slower, and nothing else.
//
// # The tables
//
// They are in a schema of their own, "errand" unless [Options] say otherwise, with PostgreSQL's own types. Query errand.jobs as
// you like; change nothing by hand.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// Options are the options of [Open].
type Options struct {
	// Schema holds the tables. Default "errand". Letters, digits and underscores.
	Schema string
	// MaxConns is how many connections the calls of the application may use at once: enqueues,
	// reads, verbs. Default 10. Besides these there are up to 5: for claims and finishes, for heartbeats, and to listen.
	MaxConns int
	// NoMigrate leaves the schema as it is: Open fails if it is not up to date. For those who
	// apply what [Migrations] returns by other means.
	NoMigrate bool
	// NoListen turns NOTIFY off: other processes' news are found by polling.
	NoListen bool
	// Dispatcher, if there is one, hands out ready jobs and carries hints. All processes on one schema must have the same.
	Dispatcher Dispatcher
	// Pooler says that there is a pooler in transaction mode between here and the server, so
	// that a connection keeps neither settings nor prepared statements. Open notices a
	// PgBouncer that refuses these settings by itself.
	Pooler bool
	// Log gets what operators should know. Default slog.Default().
	Log *slog.Logger
}

// Store is an [errand.Store] in PostgreSQL.
type Store struct {
	options Options
	log     *slog.Logger
	pooler  bool

	general *pgxpool.Pool // for what the application calls
	work    *pgxpool.Pool // for claims, finishes and heartbeats only, so that nothing is in their way
	reset   atomic.Int64  // when the pools were last reset, in Unix nanoseconds

	texts    sync.Map // statements in this schema, by their text
	held     held
	hints    *hints
	dispatch dispatch
	relinks  relinks
	looks    looks
	upkeep   upkeep
	watched  atomic.Int64 // when this process last said that it watches, in Unix nanoseconds
	closed   context.Context
	close    context.CancelFunc
}

var _ errand.Store = (*Store)(nil)

const (
	callTimeout = 10 * time.Second // of a call whose context has no deadline
	workConns   = 4
)

// Open connects to the database that url names (a URL or key=value pairs, as libpq takes them, or "" for
// the PG… environment variables) and brings the schema up to date. It refuses a schema that a newer version
// of errand has changed. Opts may be nil.
func Open(ctx context.Context, url string, opts *Options) (*Store, error) {
	s, err := open(ctx, url, opts)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return s, nil
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

func open(ctx context.Context, url string, opts *Options) (*Store, error) {
	s := &Store{}
	if opts != nil {
		s.options = *opts
	}
	o := &s.options
	if o.Schema == "" {
		o.Schema = "errand"
	}
	if !schemaName.MatchString(o.Schema) {
		return nil, fmt.Errorf("%w schema %q: use lower-case letters, digits and underscores", errand.ErrInvalid, o.Schema)
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 10
	}
	s.log, s.pooler = o.Log, o.Pooler
	if s.log == nil {
		s.log = slog.Default()
	}
	s.closed, s.close = context.WithCancel(context.Background())
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("%w address: %w", errand.ErrInvalid, scrub(err))
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	err = s.dial(ctx, config)
	if err != nil && !s.pooler && isPoolerRefusal(err) {
		s.log.Info("PostgreSQL is behind a transaction pooler: doing without prepared statements and notifications")
		s.pooler = true
		err = s.dial(ctx, config)
	}
	if err != nil {
		return nil, scrub(err)
	}
	if err := s.migrate(ctx); err != nil {
		_ = s.Close()
		return nil, scrub(err)
	}
	s.dispatch.s, s.dispatch.d = s, o.Dispatcher
	s.hints = newHints(s)
	return s, nil
}

// dial makes the pools and tries a connection of each.
func (s *Store) dial(ctx context.Context, config *pgxpool.Config) (err error) {
	// To plan a statement anew, or to compile it just in time, costs more than it saves on all that errand asks.
	s.general, err = s.pool(ctx, config, s.options.MaxConns, map[string]string{"jit": "off", "plan_cache_mode": "force_generic_plan"})
	if err != nil {
		return err
	}
	s.work, err = s.pool(ctx, config, workConns, map[string]string{
		// The statements of the hot path have one good plan each, by index. Left to itself
		// the planner changes over to hash joins and scans of whole tables when its statistics are a moment old.
		"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off",
		"enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off",
	})
	if err != nil {
		s.general.Close()
	}
	return err
}

func (s *Store) pool(ctx context.Context, base *pgxpool.Config, conns int, settings map[string]string) (*pgxpool.Pool, error) {
	config := base.Copy()
	config.MaxConns = int32(conns)
	config.MinConns = 0
	config.MaxConnIdleTime = 5 * time.Minute
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	params := config.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "errand"
	}
	if s.pooler {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	} else {
		for name, value := range settings {
			params[name] = value
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// Close ends all connections. Calls under way may fail.
func (s *Store) Close() error {
	s.close()
	s.upkeep.running.Wait()
	if s.hints != nil {
		s.hints.wait()
	}
	s.general.Close()
	s.work.Close()
	if s.dispatch.d != nil {
		return s.dispatch.d.Close()
	}
	return nil
}

// sql returns a statement, written for the schema "errand", for the schema of this store.
func (s *Store) sql(text string) string {
	if s.options.Schema == "errand" {
		return text
	}
	if known, ok := s.texts.Load(text); ok {
		return known.(string)
	}
	written := inSchema(text, s.options.Schema)
	s.texts.Store(text, written)
	return written
}

func inSchema(text, schema string) string { return strings.ReplaceAll(text, "errand.", schema+".") }

// withDeadline gives a call without a deadline one.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// do calls f with a connection, again after a conflict with another transaction, which has undone all.
func (s *Store) do(ctx context.Context, pool *pgxpool.Pool, f func(context.Context, *pgxpool.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	for try := 1; ; try++ {
		err := pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return f(ctx, c) })
		if err == nil {
			return nil
		}
		s.heed(err)
		if !isConflict(err) || try == 10 || !sleep(ctx, time.Duration(try)*2*time.Millisecond) {
			return fmt.Errorf("postgres: %w", scrub(err))
		}
	}
}

// transact is do with a transaction.
func (s *Store) transact(ctx context.Context, pool *pgxpool.Pool, f func(context.Context, pgx.Tx) error) error {
	return s.do(ctx, pool, func(ctx context.Context, c *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return f(ctx, tx) })
	})
}

// heed looks at an error that says that this server is no longer the one to speak to.
func (s *Store) heed(err error) {
	switch code(err) {
	case "25006", // read_only_sql_transaction: it has become a standby, or was always one
		"57P01", "57P02", "57P03": // it is shutting down, has crashed, cannot take connections
	default:
		return
	}
	now := time.Now().UnixNano()
	last := s.reset.Load()
	if now-last < int64(time.Second) || !s.reset.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("PostgreSQL goes away: connecting anew", "error", err)
	s.general.Reset()
	s.work.Reset()
}

// code returns the SQLSTATE of an error, "" if it has none.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

const uniqueViolation = "23505"

// isConflict reports whether the transaction has failed because of another one, and is undone.
func isConflict(err error) bool { return code(err) == "40001" || code(err) == "40P01" }

// isPoolerRefusal reports whether a pooler has refused the settings of a connection.
func isPoolerRefusal(err error) bool {
	return code(err) == "08P01" && strings.Contains(err.Error(), "startup parameter")
}

// scrub takes passwords out of an error.
func scrub(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("it is neither a URL (postgres://user@host/database) nor a list of key=value pairs")
	}
	return err
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
