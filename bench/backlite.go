package main

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/mikestefanello/backlite"
)

// backliteSetting is what differs between backlite's columns.
type backliteSetting struct {
	dsn    string
	conns  int  // limit of the pool, 0 is none
	slots  int  // least number of workers
	forget bool // keep no finished jobs
}

// backliteSystems are backlite as its README sets it up and tuned.
func backliteSystems() []System {
	column := func(name, note string, setting backliteSetting) System {
		return System{
			Group: "SQLite", Name: name, Note: note,
			Open: func(dir string, workers int) (Instance, error) { return openBacklite(dir, workers, setting) },
		}
	}
	best := backliteSetting{dsn: durable, conns: 1, slots: 3000, forget: true}
	loose := best
	loose.dsn = unsynced
	return []System{
		column("backlite", "as in its README: WAL, synchronous=FULL by SQLite's default, finished jobs kept without args, NumWorkers as the row says",
			backliteSetting{dsn: documented}),
		column("backlite best", "3,000 workers, one connection, synchronous=FULL; finished jobs are deleted, not kept", best),
		column("backlite unsynced", "as backlite best with synchronous=OFF: NOT safe against a power cut", loose),
	}
}

// keptTask and bareTask give Args the method that backlite asks for; whether a
// finished task is kept belongs to its type.
type (
	keptTask struct{ Args }
	bareTask struct{ Args }
)

func (bareTask) Config() backlite.QueueConfig {
	return backlite.QueueConfig{Name: "mail", MaxAttempts: 5, Backoff: 5 * time.Second, Timeout: 10 * time.Second}
}

func (keptTask) Config() backlite.QueueConfig {
	config := bareTask{}.Config()
	config.Retention = &backlite.Retention{Duration: 6 * time.Hour, Data: &backlite.RetainData{OnlyFailed: true}}
	return config
}

type backliteQueue struct {
	db     *sql.DB
	client *backlite.Client
	forget bool
	stop   func() bool // once: a second Stop would wait for workers that are gone
}

func openBacklite(dir string, workers int, setting backliteSetting) (*backliteQueue, error) {
	db, err := openSQLite(dir, setting.dsn, setting.conns)
	if err != nil {
		return nil, err
	}
	client, err := backlite.NewClient(backlite.ClientConfig{
		DB: db, Logger: peerLog, NumWorkers: max(workers, setting.slots),
		ReleaseAfter: 10 * time.Minute, CleanupInterval: time.Hour,
	})
	if err != nil {
		return nil, err
	}
	stop := sync.OnceValue(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		return client.Stop(ctx)
	})
	return &backliteQueue{db, client, setting.forget, stop}, client.Install()
}

func (q *backliteQueue) task(job Job) backlite.Task {
	if q.forget {
		return bareTask{job.Args}
	}
	return keptTask{job.Args}
}

func (q *backliteQueue) Enqueue(ctx context.Context, job Job) error {
	_, err := q.client.Add(q.task(job)).Ctx(ctx).Save()
	return err
}

func (q *backliteQueue) EnqueueMany(ctx context.Context, jobs []Job) error {
	tasks := make([]backlite.Task, len(jobs))
	for i, job := range jobs {
		tasks[i] = q.task(job)
	}
	_, err := q.client.Add(tasks...).Ctx(ctx).Save()
	return err
}

func (q *backliteQueue) Start(ctx context.Context, handle func(Args)) error {
	if q.forget {
		q.client.Register(backlite.NewQueue(func(_ context.Context, task bareTask) error {
			handle(task.Args)
			return nil
		}))
	} else {
		q.client.Register(backlite.NewQueue(func(_ context.Context, task keptTask) error {
			handle(task.Args)
			return nil
		}))
	}
	q.client.Start(ctx)
	return nil
}

// Settle stops the dispatcher, which waits for the workers; each records its
// own job before it is free again.
func (q *backliteQueue) Settle(context.Context) error {
	if !q.stop() {
		return errors.New("backlite did not stop")
	}
	return nil
}

// Sequential ids behave as backlite's own, which are UUIDv7.
const (
	backliteSeries = ` with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)
		select printf('01900000-0000-7000-8000-%012x', i), ?, 'mail', ? `
	backliteFinished = `insert into backlite_tasks_completed
		(id, created_at, queue, last_executed_at, attempts, last_duration_micro, succeeded, expires_at)` +
		backliteSeries + `, 1, 10, 1, ? from n`
	backliteScheduled = `insert into backlite_tasks (id, created_at, queue, wait_until, task)` + backliteSeries + `, ? from n`
)

func (q *backliteQueue) Preload(ctx context.Context, state string, n int) (err error) {
	now, far := time.Now().UnixMilli(), time.Now().AddDate(10, 0, 0).UnixMilli()
	if state == finished {
		_, err = q.db.ExecContext(ctx, backliteFinished, n, now, now, far)
	} else {
		_, err = q.db.ExecContext(ctx, backliteScheduled, n, now, far, encode(sampleArgs))
	}
	return err
}

func (q *backliteQueue) Close() error {
	q.stop()
	return q.db.Close()
}
