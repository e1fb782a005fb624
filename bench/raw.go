package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"time"
)

// rawSystems are the floors on SQLite: a plain loop over one jobs table, one
// connection, prepared statements, every commit on the disk.
func rawSystems() []System {
	raw := func(name string, batch int, skip string) System {
		return System{
			Group: "SQLite", Name: name, Role: Floor, Skip: skip,
			Note: fmt.Sprintf("a loop of insert, claim and finish, %d a commit, WAL, synchronous=FULL, one connection", batch),
			Open: func(dir string, _ int) (Instance, error) { return openRaw(dir, batch) },
		}
	}
	// Enqueuing one by one is a commit a job whatever the batch.
	const single = `^(enqueue/\d|life/16|cpu|alloc|latency|\w+/enqueue)`
	return []System{raw("raw ×1", 1, ""), raw("raw ×100", 100, single), raw("raw ×1000", 1000, single)}
}

// rawSchema has the columns and indexes that a job system cannot do without.
const rawSchema = `
create table if not exists jobs (
	seq integer primary key, id blob not null unique, kind text not null, queue text not null, state text not null,
	priority integer not null, due integer not null, attempt integer not null, args blob not null, worker text,
	token integer not null, version integer not null, result blob,
	created integer not null, started integer, ended integer
) strict;
create index if not exists jobs_ready on jobs (queue, priority desc, due) where state = 'ready';
create index if not exists jobs_scheduled on jobs (due) where state = 'scheduled';`

const (
	rawInsert = `insert into jobs (id, kind, queue, state, priority, due, attempt, args, token, version, created)
		values (?, 'mail', 'default', 'ready', 0, ?, 0, ?, 0, 1, ?)`
	rawClaim = `update jobs set state = 'running', worker = 'w1', attempt = attempt + 1, token = token + 1,
		version = version + 1, started = ? where seq in (
		select seq from jobs where state = 'ready' and queue = 'default' order by priority desc, due limit ?)
		returning id, args, version`
	rawFinish = `update jobs set state = 'succeeded', result = ?, version = version + 1, ended = ?
		where id = ? and version = ?`
	rawPreload = `insert into jobs (id, kind, queue, state, priority, due, attempt, args, token, version, created, started, ended)
		with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)
		select unhex(printf('%032x', i)), 'mail', 'default', ?, 0, ?, 1, ?, 1, 3, ?, ?, ? from n`
)

type raw struct {
	db                    *sql.DB
	insert, claim, finish *sql.Stmt
	batch                 int
	wake                  chan struct{}
	busy                  sync.Mutex // held while claimed jobs are unfinished
	stop                  context.CancelFunc
	stopped               sync.WaitGroup
}

func openRaw(dir string, batch int) (*raw, error) {
	db, err := openSQLite(dir, durable, 1)
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(rawSchema); err != nil {
		return nil, err
	}
	r := &raw{db: db, batch: batch, wake: make(chan struct{}, 1), stop: func() {}}
	for text, stmt := range map[string]**sql.Stmt{rawInsert: &r.insert, rawClaim: &r.claim, rawFinish: &r.finish} {
		if *stmt, err = db.Prepare(text); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *raw) Enqueue(ctx context.Context, job Job) error {
	return r.EnqueueMany(ctx, []Job{job})
}

func (r *raw) EnqueueMany(ctx context.Context, jobs []Job) error {
	for part := range slices.Chunk(jobs, r.batch) {
		if err := r.insertBatch(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (r *raw) insertBatch(ctx context.Context, jobs []Job) error {
	err := r.commit(ctx, r.insert, len(jobs), func(insert *sql.Stmt, i int) error {
		now := time.Now().UnixMicro()
		id := make([]byte, 16) // as a UUIDv7: the time first, so that the index grows at its end
		rand.Read(id)
		for b := range 6 {
			id[b] = byte(now / 1000 >> (40 - 8*b))
		}
		_, err := insert.ExecContext(ctx, id, now, jobs[i].JSON, now)
		return err
	})
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return err
}

// commit runs a prepared statement n times in one transaction.
func (r *raw) commit(ctx context.Context, stmt *sql.Stmt, n int, exec func(*sql.Stmt, int) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	stmt = tx.StmtContext(ctx, stmt)
	for i := range n {
		if err := exec(stmt, i); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (r *raw) Start(ctx context.Context, handle func(Args)) error {
	ctx, r.stop = context.WithCancel(ctx)
	r.stopped.Go(func() {
		for ctx.Err() == nil {
			n, err := r.runBatch(ctx, handle)
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
	})
	return nil
}

// claimed is what a run needs to know of its job.
type claimed struct {
	id, args []byte
	version  int
}

func (r *raw) runBatch(ctx context.Context, handle func(Args)) (int, error) {
	r.busy.Lock()
	defer r.busy.Unlock()
	jobs, err := r.claimBatch(ctx)
	if err != nil || len(jobs) == 0 {
		return 0, err
	}
	for _, job := range jobs {
		handle(decode(job.args))
	}
	return len(jobs), r.commit(ctx, r.finish, len(jobs), func(finish *sql.Stmt, i int) error {
		_, err := finish.ExecContext(ctx, nil, time.Now().UnixMicro(), jobs[i].id, jobs[i].version)
		return err
	})
}

func (r *raw) claimBatch(ctx context.Context) ([]claimed, error) {
	rows, err := r.claim.QueryContext(ctx, time.Now().UnixMicro(), r.batch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	jobs := make([]claimed, 0, r.batch)
	for rows.Next() {
		var job claimed
		if err := rows.Scan(&job.id, &job.args, &job.version); err != nil {
			return nil, err
		}
		jobs = append(jobs, job)
	}
	return jobs, rows.Err()
}

func (r *raw) Settle(context.Context) error {
	r.busy.Lock()
	defer r.busy.Unlock()
	return nil
}

func (r *raw) Preload(ctx context.Context, state string, n int) error {
	due := time.Now()
	if state == scheduled {
		due = due.AddDate(10, 0, 0)
	} else {
		state = "succeeded"
	}
	now := time.Now().UnixMicro()
	_, err := r.db.ExecContext(ctx, rawPreload, n, state, due.UnixMicro(), encode(sampleArgs), now, now, now)
	return err
}

func (r *raw) Close() error {
	r.stop()
	r.stopped.Wait()
	return r.db.Close()
}
