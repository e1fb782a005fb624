package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pgRawSystems are the floors on PostgreSQL: as many plain loops over one jobs
// table as there are connections to work with.
func pgRawSystems(home *pgHome) []System {
	raw := func(batch, loops int, skip string) System {
		return System{
			Group: postgresGroup, Name: fmt.Sprintf("raw PG ×%d %dc", batch, loops), Role: Floor, Skip: skip, Home: home,
			Note: fmt.Sprintf("loops of insert, claim and finish, %d a commit, synchronous_commit=on; up to 16 connections enqueue, %d work", batch, loops),
			Open: func(dir string, _ int) (Instance, error) { return openPGRaw(home, dir, batch, loops) },
		}
	}
	// Nobody wakes a worker process.
	const across = `^(process|memory)`
	// Enqueuing one by one is a commit a job whatever the batch.
	const single = `^(enqueue/\d|life/16|cpu|alloc|latency|\w+/enqueue|process|memory)`
	return []System{raw(1, 8, across), raw(100, 1, single), raw(100, 4, single), raw(1000, 4, single)}
}

// pgRawSchema is rawSchema in PostgreSQL's types. No index looks at a column
// that finishing changes, and pages have room: thus that update is a HOT one.
const pgRawSchema = `
create table if not exists jobs (
	id uuid primary key, kind text not null, queue text not null, state text not null,
	ready boolean not null, scheduled boolean not null, priority integer not null, due timestamptz not null,
	attempt integer not null, args json not null, worker text, token bigint not null, version bigint not null, result json,
	created timestamptz not null, started timestamptz, ended timestamptz
) with (fillfactor = 60);
create index if not exists jobs_ready on jobs (queue, priority desc, due) where ready;
create index if not exists jobs_scheduled on jobs (due) where scheduled;`

const (
	pgRawInsert = `insert into jobs
		(id, kind, queue, state, ready, scheduled, priority, due, attempt, args, token, version, created)
		select id, 'mail', 'default', 'ready', true, false, 0, now(), 0, args, 0, 1, now()
		from unnest($1::uuid[], $2::json[]) as new (id, args)`
	pgRawClaim = `update jobs set state = 'running', ready = false, worker = 'w1', attempt = attempt + 1, token = token + 1,
		version = version + 1, started = now() where id = any (array (
		select id from jobs where ready and queue = 'default' order by priority desc, due limit $1 for update skip locked))
		returning id, args, version`
	pgRawFinish = `update jobs set state = 'succeeded', result = null, version = jobs.version + 1, ended = now()
		from unnest($1::uuid[], $2::bigint[]) as done (id, version)
		where jobs.id = done.id and jobs.version = done.version`
	pgRawPreload = `insert into jobs
		select lpad(to_hex(i), 32, '0')::uuid, 'mail', $2, $3, $3 = 'ready', $3 = 'scheduled', 0,
			now() + case $3 when 'scheduled' then interval '10 years' else interval '0' end,
			1, $4, 'w1', 1, 3, null, now(), now(), now()
		from generate_series(1, $1) as i`
)

// pgRawPlans make a plan once, and one that suits a large table also if it is
// made while the table is empty: by the indexes.
var pgRawPlans = map[string]string{
	"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off",
	"enable_sort": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
}

type pgRaw struct {
	db           *pgxpool.Pool
	batch, loops int
	wake         chan struct{}
	busy         sync.RWMutex // held for reading while claimed jobs are unfinished
	stop         context.CancelFunc
	stopped      sync.WaitGroup
}

func openPGRaw(home *pgHome, dir string, batch, loops int) (*pgRaw, error) {
	url, err := home.url(dir)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(loops + 16)
	maps.Copy(config.ConnConfig.RuntimeParams, pgRawPlans)
	db, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, err
	}
	r := &pgRaw{db: db, batch: batch, loops: loops, wake: make(chan struct{}, loops), stop: func() {}}
	_, err = db.Exec(context.Background(), pgRawSchema)
	return r, err
}

func (r *pgRaw) Enqueue(ctx context.Context, job Job) error {
	return r.insert(ctx, []Job{job})
}

func (r *pgRaw) EnqueueMany(ctx context.Context, jobs []Job) error {
	for part := range slices.Chunk(jobs, r.batch) {
		if err := r.insert(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (r *pgRaw) insert(ctx context.Context, jobs []Job) error {
	ids, args := make([]pgtype.UUID, len(jobs)), make([][]byte, len(jobs))
	for i, job := range jobs {
		ids[i], args[i] = pgtype.UUID{Bytes: uuid.Must(uuid.NewV7()), Valid: true}, job.JSON
	}
	_, err := r.db.Exec(ctx, pgRawInsert, ids, args)
	select {
	case r.wake <- struct{}{}:
	default: // as many wakes wait as there are loops, and each will find these jobs
	}
	return err
}

func (r *pgRaw) Start(ctx context.Context, handle func(Args)) error {
	ctx, r.stop = context.WithCancel(ctx)
	for range r.loops {
		conn, err := r.db.Acquire(ctx)
		if err != nil {
			return err
		}
		r.stopped.Go(func() {
			defer conn.Release()
			r.loop(ctx, conn.Conn(), handle)
		})
	}
	return nil
}

func (r *pgRaw) loop(ctx context.Context, conn *pgx.Conn, handle func(Args)) {
	for ctx.Err() == nil {
		n, err := r.runBatch(ctx, conn, handle)
		if err != nil && ctx.Err() == nil {
			panic(err) // a floor that fails is no floor
		}
		if n > 0 {
			continue
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		}
	}
}

func (r *pgRaw) runBatch(ctx context.Context, conn *pgx.Conn, handle func(Args)) (int, error) {
	r.busy.RLock()
	defer r.busy.RUnlock()
	rows, err := conn.Query(ctx, pgRawClaim, r.batch)
	if err != nil {
		return 0, err
	}
	ids, versions := make([]pgtype.UUID, 0, r.batch), make([]int64, 0, r.batch)
	var (
		id      pgtype.UUID
		args    []byte
		version int64
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &args, &version}, func() error {
		handle(decode(args))
		ids, versions = append(ids, id), append(versions, version)
		return nil
	})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	_, err = conn.Exec(ctx, pgRawFinish, ids, versions)
	return len(ids), err
}

func (r *pgRaw) Settle(context.Context) error {
	r.busy.Lock()
	defer r.busy.Unlock()
	return nil
}

func (r *pgRaw) Preload(ctx context.Context, state string, n int) error {
	queue := "default"
	switch state {
	case finished:
		state = "succeeded"
	case unworked:
		state, queue = "ready", "unworked"
	}
	_, err := r.db.Exec(ctx, pgRawPreload, n, queue, state, encode(sampleArgs))
	return err
}

func (r *pgRaw) Close() error {
	r.stop()
	r.stopped.Wait()
	r.db.Close()
	return nil
}
