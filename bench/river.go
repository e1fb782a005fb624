package main

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// riverSetting is what differs between River's columns.
type riverSetting struct {
	dsn      string        // on SQLite
	conns    int           // on PostgreSQL, 0 is pgxpool's default
	cooldown time.Duration // least time between two fetches, 0 is River's default
	poll     time.Duration // longest time between two fetches, 0 is River's default
	slots    int           // least number of workers
	fast     bool          // InsertManyFast instead of InsertMany, on SQLite with a Tx
}

// config is River's own, for a client whose workers give each job to handle.
func (s riverSetting) config(workers int, handle func(Args)) *river.Config {
	registry := river.NewWorkers()
	river.AddWorker(registry, river.WorkFunc(func(_ context.Context, job *river.Job[riverArgs]) error {
		handle(job.Args.Args)
		return nil
	}))
	return &river.Config{
		Logger: peerLog, Workers: registry,
		FetchCooldown: s.cooldown, FetchPollInterval: s.poll,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: max(workers, s.slots)}},
	}
}

// riverSystems are River on SQLite. Its driver asks for a pool of one
// connection, and each column follows that.
func riverSystems() []System {
	column := func(name, note string, setting riverSetting) System {
		return System{
			Group: "SQLite", Name: name, Note: note,
			Open: func(dir string, workers int) (Instance, error) { return openRiver(dir, workers, setting) },
		}
	}
	best := riverSetting{dsn: durable, cooldown: time.Millisecond, poll: 5 * time.Millisecond, slots: 1000, fast: true}
	loose := best
	loose.dsn = unsynced
	return []System{
		column("river", "defaults (FetchCooldown 100 ms, FetchPollInterval 1 s), MaxWorkers as the row says, WAL, synchronous=FULL by SQLite's default, one connection",
			riverSetting{dsn: documented}),
		column("river best", "FetchCooldown 1 ms, FetchPollInterval 5 ms, 1,000 workers, InsertManyFastTx, synchronous=FULL", best),
		column("river unsynced", "as river best with synchronous=OFF: NOT safe against a power cut", loose),
	}
}

// riverArgs gives Args the method that River asks for.
type riverArgs struct{ Args }

func (riverArgs) Kind() string { return "mail" }

type riverQueue struct {
	db     *sql.DB
	client *river.Client[*sql.Tx]
	fast   bool
	handle func(Args)
}

func openRiver(dir string, workers int, setting riverSetting) (*riverQueue, error) {
	db, err := openSQLite(dir, setting.dsn, 1)
	if err != nil {
		return nil, err
	}
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: peerLog})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(context.Background(), rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	q := &riverQueue{db: db, fast: setting.fast}
	q.client, err = river.NewClient(driver, setting.config(workers, func(args Args) { q.handle(args) }))
	return q, err
}

// peerLog is where the peers log to; -v sends it to standard error.
var peerLog = slog.New(slog.DiscardHandler)

func (q *riverQueue) Enqueue(ctx context.Context, job Job) error {
	_, err := q.client.Insert(ctx, riverArgs{job.Args}, nil)
	return err
}

func (q *riverQueue) EnqueueMany(ctx context.Context, jobs []Job) error {
	params := riverParams(jobs)
	if !q.fast {
		_, err := q.client.InsertMany(ctx, params)
		return err
	}
	// InsertManyFast panics with this driver (v0.31.0: the notice to the
	// client's own queues reads results that the fast form does not have).
	tx, err := q.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if _, err := q.client.InsertManyFastTx(ctx, tx, params); err != nil {
		return err
	}
	return tx.Commit()
}

func riverParams(jobs []Job) []river.InsertManyParams {
	params := make([]river.InsertManyParams, len(jobs))
	for i, job := range jobs {
		params[i].Args = riverArgs{job.Args}
	}
	return params
}

func (q *riverQueue) Start(ctx context.Context, handle func(Args)) error {
	q.handle = handle
	return q.client.Start(ctx)
}

// Settle waits for the completer, which records in batches what has run.
func (q *riverQueue) Settle(ctx context.Context) error {
	for {
		var running bool
		err := q.db.QueryRowContext(ctx, `select exists (select 1 from river_job where state = 'running')`).Scan(&running)
		if err != nil || !running {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

const riverPreload = `insert into river_job (args, attempt, kind, max_attempts, state, scheduled_at, finalized_at)
	with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)
	select ?, 0, 'mail', 25, ?, datetime('now', 'subsec', ?), iif(? = 'completed', datetime('now', 'subsec'), null) from n`

func (q *riverQueue) Preload(ctx context.Context, state string, n int) error {
	due := "+10 years"
	if state == finished {
		state, due = "completed", "-1 minute"
	}
	_, err := q.db.ExecContext(ctx, riverPreload, n, encode(sampleArgs), state, due, state)
	return err
}

func (q *riverQueue) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if q.handle != nil {
		if err := q.client.Stop(ctx); err != nil {
			return err
		}
	}
	return q.db.Close()
}
