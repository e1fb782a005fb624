package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const (
	deleteLapsed  = `delete from errand.sessions where expires < statement_timestamp() - interval '1 hour'`
	deleteSession = `delete from errand.sessions where id = $1`
	upsertSession = `insert into errand.sessions (id, started, expires, info) values ($1, $2, now() + $3::bigint * interval '1 microsecond', $4)
		on conflict (id) do update set started = excluded.started, expires = excluded.expires, info = excluded.info`

	// selectChanged yields the jobs behind the leases that need attention; of one that is gone only the ID.
	selectChanged = `select x.id, j.id is null, ` + columns + ` from unnest($1::uuid[], $2::bigint[]) x (id, token) left join errand.jobs j on j.id = x.id
		where j.id is null or j.state <> 'running' or j.token <> x.token or j.want is not null`
)

// Beat implements [errand.Store].
func (s *Store) Beat(ctx context.Context, session errand.Session, runs []errand.Lease) (errand.Pulse, error) {
	info, err := json.Marshal(session)
	if err != nil {
		return errand.Pulse{}, err
	}
	ids, tokens := make([][16]byte, len(runs)), make([]int64, len(runs))
	for i := range runs {
		ids[i], tokens[i] = runs[i].ID, runs[i].Token
	}
	var p errand.Pulse
	err = s.do(ctx, s.work, func(ctx context.Context, c *pgxpool.Conn) error {
		p = errand.Pulse{}
		b := &pgx.Batch{}
		b.Queue(s.sql(deleteLapsed))
		if session.Lease <= 0 {
			b.Queue(s.sql(deleteSession), [16]byte(session.ID))
		} else {
			b.Queue(s.sql(upsertSession), [16]byte(session.ID), session.Started, session.Lease.Microseconds(), string(info))
		}
		b.Queue(s.sql(`select now(), coalesce((select draining from errand.sessions where id = $1), false)`), [16]byte(session.ID)).QueryRow(func(row pgx.Row) error {
			return row.Scan(&p.Now, &p.Draining)
		})
		b.Queue(s.sql(selectChanged), ids, tokens).Query(func(rows pgx.Rows) (err error) {
			p.Changed, err = scanChanged(rows)
			return err
		})
		return c.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return errand.Pulse{}, err
	}
	p.Now = p.Now.UTC()
	s.upkeep.start(s.closed, func(ctx context.Context) { s.forgetOldRuns(ctx, session.ID) })
	return p, nil
}

func scanChanged(rows pgx.Rows) (out []errand.Job, err error) {
	for rows.Next() {
		r := reader{row: rows.RawValues()}
		id, gone := r.uuid(), r.bool()
		job := stored{Job: errand.Job{ID: id}}
		if !gone {
			if job, err = scanJob(r.row); err != nil {
				return nil, err
			}
		}
		out = append(out, job.Job)
	}
	return out, rows.Err()
}

var _ errand.Clock = (*Store)(nil)

// Now implements [errand.Clock].
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		return c.QueryRow(ctx, "select clock_timestamp()").Scan(&now)
	})
	return now, err
}

// Sessions implements [errand.Store].
func (s *Store) Sessions(ctx context.Context) ([]errand.Session, error) {
	var out []errand.Session
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql("select id, started, expires, draining, info from errand.sessions order by started desc, id desc"))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (errand.Session, error) {
			r := reader{row: row.RawValues()}
			x := errand.Session{ID: r.uuid(), Started: r.time(), Expires: r.time(), Draining: r.bool()}
			r.decode(&x)
			return x, r.err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// forgetOldRuns forgets where a live session claimed jobs that no longer run.
func (s *Store) forgetOldRuns(ctx context.Context, session uuid.UUID) {
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, s.sql(forgetRuns), [16]byte(session))
		return err
	})
	if err != nil && s.closed.Err() == nil {
		s.log.Warn("cannot forget old claims", "error", err)
	}
}

// Drain implements [errand.Store].
func (s *Store) Drain(ctx context.Context, session uuid.UUID, drain bool) (found bool, err error) {
	err = s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		done, err := c.Exec(ctx, s.sql(`update errand.sessions set draining = $2 where id = $1`), [16]byte(session), drain)
		found = done.RowsAffected() > 0
		return err
	})
	if err != nil {
		return false, err
	}
	s.hints.controlled()
	return found, nil
}
