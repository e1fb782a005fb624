package main

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/errandhq/errand"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schema is made by whichever process comes first; the others wait for it.
const schema = `
select pg_advisory_xact_lock(hashtext('jobservice'));
create table if not exists jobs (
	id         bigint generated always as identity primary key,
	object_id  bigint not null,
	status     text not null default 'created' check (status in ('created', 'running', 'success', 'failed')),
	start_time timestamptz, -- when a worker claimed it
	end_time   timestamptz,
	message    text not null default '', -- why it failed
	created_at timestamptz not null default now(),

	errand_id      uuid not null unique, -- its row in errand.jobs,
	errand_version bigint not null -- and the version of that which this one tells of
);
create index if not exists jobs_unfinished on jobs (id) where status in ('created', 'running');
create table if not exists results (
	job_id  bigint primary key references jobs (id),
	picture bytea not null,
	run     bigint not null -- which run of the job has drawn it
);`

func openDatabase(ctx context.Context, url string) (*pgxpool.Pool, error) {
	db, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(ctx, schema); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// job is what clients are told of a job.
type job struct {
	ID        int64      `json:"id"`
	ObjectID  int64      `json:"object_id"`
	Status    string     `json:"status"`
	StartTime *time.Time `json:"start_time"`
	EndTime   *time.Time `json:"end_time"`
	Message   string     `json:"message"`
	CreatedAt time.Time  `json:"created_at"`
}

// create creates the job of an object, or finds the one that was created less than a window ago. It is errand
// that tells which: its unique key is held by one job at a time, and a transaction that wants it waits for another one
// that may have just taken it. The row here is written in the same transaction.
func (a *app) create(ctx context.Context, objectID int64) (id int64, err error) {
	err = pgx.BeginFunc(ctx, a.db, func(tx pgx.Tx) error {
		unique := errand.UniqueFor(strconv.FormatInt(objectID, 10), a.window)
		job, err := picture.Enqueue(ctx, a.jobs.Tx(tx), object{objectID}, unique)
		switch {
		case err != nil:
			return err
		case job.Duplicate:
			return tx.QueryRow(ctx, "select id from jobs where errand_id = $1", job.ID).Scan(&id)
		}
		return tx.QueryRow(ctx, "insert into jobs (object_id, errand_id, errand_version) values ($1, $2, $3) returning id",
			objectID, job.ID, job.Version).Scan(&id)
	})
	return id, err
}

// job returns a job as it is now, or pgx.ErrNoRows.
func (a *app) job(ctx context.Context, id int64) (*job, error) {
	if err := a.update(ctx, "j.id = $1", id); err != nil {
		return nil, err
	}
	rows, err := a.db.Query(ctx, `
		select id, object_id, status, start_time at time zone 'utc' as start_time, end_time at time zone 'utc' as end_time,
			message, created_at at time zone 'utc' as created_at
		from jobs where id = $1`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[job])
}

const unfinished = "j.status in ('created', 'running')"

// update writes into some rows what errand knows of their jobs, if that is newer. It is the only one to
// change a row, so that it does not matter who looks first, a client, a worker or the upkeep, nor who dies. A job whose worker
// was lost is created again, and a finished one stays as it was when errand forgets it.
func (a *app) update(ctx context.Context, which string, args ...any) error {
	_, err := a.db.Exec(ctx, `
		with n as (
			select j.id, coalesce(e.version, j.errand_version + 1) as version, coalesce(e.state, 'deleted') as state,
				e.started, case when e.id is null then now() else e.ended end as ended, e.error, nullif(e.reason, '') as reason
			from jobs j left join errand.jobs e on e.id = j.errand_id
			where `+which+` and (e.version > j.errand_version or e.id is null and `+unfinished+`)
			order by j.id for no key update of j)
		update jobs j set
			errand_version = n.version,
			status = case n.state when 'running' then 'running' when 'succeeded' then 'success'
				when 'failed' then 'failed' when 'cancelled' then 'failed' when 'deleted' then 'failed' else 'created' end,
			start_time = case when n.state not in ('scheduled', 'ready', 'paused') then n.started end,
			end_time = n.ended,
			message = coalesce(case n.state when 'failed' then n.error when 'cancelled' then concat_ws(': ', 'cancelled', n.reason)
				when 'deleted' then 'the job was deleted' end, '')
		from n where j.id = n.id`, args...)
	return err
}

// refresh is update where nobody waits for it.
func (a *app) refresh(ctx context.Context, which string, args ...any) {
	if err := a.update(ctx, which, args...); err != nil && ctx.Err() == nil {
		slog.Warn("cannot update the table of jobs; it is tried again within seconds", "error", err)
	}
}

// save stores the picture of a job, once, if the run that has drawn it still holds the job. While
// this is being written nobody can take the job away.
func (a *app) save(ctx context.Context, id errand.ID, token int64, picture []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, err := a.db.Exec(ctx, `
		insert into results (job_id, picture, run)
		select j.id, $3, $2 from jobs j join errand.jobs e on e.id = j.errand_id
		where e.id = $1 and e.token = $2 and e.state = 'running' for share of e
		on conflict do nothing`, id, token, picture)
	return err
}
