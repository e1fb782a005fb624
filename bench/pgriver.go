package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// pgRiverSystems are River on PostgreSQL, for which it is made.
func pgRiverSystems(home *pgHome) []System {
	column := func(name, note string, setting riverSetting) System {
		return System{
			Group: postgresGroup, Name: name, Note: note, Home: home,
			Open: func(dir string, workers int) (Instance, error) { return openPGRiver(home, dir, workers, setting) },
		}
	}
	best := column("river PG best", "FetchCooldown 1 ms, FetchPollInterval 5 ms, 1,000 workers, InsertManyFast (COPY), a pool of 20 connections",
		riverSetting{cooldown: time.Millisecond, poll: 5 * time.Millisecond, slots: 1000, fast: true, conns: 20})
	best.Pressed = true
	return []System{
		column("river PG", "defaults (FetchCooldown 100 ms, FetchPollInterval 1 s, pgxpool's 4 connections), MaxWorkers as the row says", riverSetting{}),
		best,
	}
}

type pgRiver struct {
	db     *pgxpool.Pool
	client *river.Client[pgx.Tx]
	fast   bool
	handle func(Args)
}

func openPGRiver(home *pgHome, dir string, workers int, setting riverSetting) (*pgRiver, error) {
	url, err := home.url(dir)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if setting.conns > 0 {
		config.MaxConns = int32(setting.conns)
	}
	db, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(db)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: peerLog})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(context.Background(), rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	q := &pgRiver{db: db, fast: setting.fast}
	q.client, err = river.NewClient(driver, setting.config(workers, func(args Args) { q.handle(args) }))
	return q, err
}

func (q *pgRiver) Enqueue(ctx context.Context, job Job) error {
	_, err := q.client.Insert(ctx, riverArgs{job.Args}, nil)
	return err
}

func (q *pgRiver) EnqueueMany(ctx context.Context, jobs []Job) (err error) {
	params := riverParams(jobs)
	if q.fast {
		_, err = q.client.InsertManyFast(ctx, params)
	} else {
		_, err = q.client.InsertMany(ctx, params)
	}
	return err
}

func (q *pgRiver) Start(ctx context.Context, handle func(Args)) error {
	q.handle = handle
	return q.client.Start(ctx)
}

// Settle waits for the completer, which records in batches what has run.
func (q *pgRiver) Settle(ctx context.Context) error {
	for {
		var running bool
		err := q.db.QueryRow(ctx, `select exists (select 1 from river_job where state = 'running')`).Scan(&running)
		if err != nil || !running {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

const pgRiverPreload = `insert into river_job (args, kind, max_attempts, queue, state, scheduled_at, finalized_at)
	select $2, 'mail', 25, $3, $4::text::river_job_state,
		now() + case $4 when 'scheduled' then interval '10 years' else interval '0' end,
		case $4 when 'completed' then now() end
	from generate_series(1, $1)`

func (q *pgRiver) Preload(ctx context.Context, state string, n int) error {
	queue := river.QueueDefault
	switch state {
	case finished:
		state = "completed"
	case unworked:
		state, queue = "available", "unworked"
	}
	_, err := q.db.Exec(ctx, pgRiverPreload, n, encode(sampleArgs), queue, state)
	return err
}

func (q *pgRiver) Close() error {
	defer q.db.Close()
	if q.handle == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return q.client.Stop(ctx)
}
