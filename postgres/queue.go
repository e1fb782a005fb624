package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// notPaused begins a condition that a queue is not paused: what it is equal to follows.
const notPaused = `not exists (select 1 from errand.pauses where queue = `

// PauseQueue implements [errand.Store].
func (s *Store) PauseQueue(ctx context.Context, p errand.QueuePause) error {
	return s.setPause(ctx, `insert into errand.pauses (queue, since, actor, reason) values ($1, $2, $3, $4) on conflict do nothing`,
		p.Queue, p.Since, p.Actor, p.Reason)
}

// ResumeQueue implements [errand.Store].
func (s *Store) ResumeQueue(ctx context.Context, queue string) error {
	err := s.setPause(ctx, `delete from errand.pauses where queue = $1`, queue)
	s.dispatch.doubt() // tickets of its jobs were used up in vain
	return err
}

func (s *Store) setPause(ctx context.Context, text string, args ...any) error {
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, s.sql(text), args...)
		return err
	})
	if err == nil {
		s.hints.controlled()
	}
	return err
}

// selectAhead counts jobs that a claim would take before another one.
const selectAhead = `
	select count(*) from (
		select 1 from unnest($2::text[]) k (kind) cross join lateral (
			(select 1 from errand.ready r where r.queue = $1::text and r.kind = k.kind and r.priority > $3::smallint limit $6)
			union all
			(select 1 from errand.ready r where r.queue = $1::text and r.kind = k.kind and r.priority = $3::smallint and (r.due, r.seq) < ($4::timestamptz, $5::bigint)
				limit $6)) r
		limit $6) r`

// Ahead implements [errand.Store].
func (s *Store) Ahead(ctx context.Context, j *errand.Job, kinds []string, limit int) (n int, err error) {
	err = s.do(ctx, s.work, func(ctx context.Context, c *pgxpool.Conn) error {
		var seq int64
		err := c.QueryRow(ctx, s.sql(`select coalesce((select seq from errand.jobs where id = $1), $2)`), [16]byte(j.ID), int64(math.MaxInt64)).Scan(&seq)
		if err != nil {
			return err
		}
		return c.QueryRow(ctx, s.sql(selectAhead), j.Queue, kinds, int16(j.Priority), j.Due, seq, limit).Scan(&n)
	})
	return n, err
}

// PausedQueues implements [errand.Store].
func (s *Store) PausedQueues(ctx context.Context) ([]errand.QueuePause, error) {
	var out []errand.QueuePause
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql(`select queue, since, actor, reason from errand.pauses order by queue collate "C"`))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (errand.QueuePause, error) {
			r := reader{row: row.RawValues()}
			return errand.QueuePause{Queue: r.text(), Since: r.time(), Actor: r.text(), Reason: r.text()}, r.err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
