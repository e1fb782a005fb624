package sqlite

import (
	"context"
	"database/sql/driver"
	"math"

	"github.com/errandhq/errand"
)

// PauseQueue implements [errand.Store].
func (s *Store) PauseQueue(ctx context.Context, p errand.QueuePause) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec("insert into errand_pauses (queue, since, actor, reason) values (?, ?, ?, ?) on conflict do nothing",
			p.Queue, p.Since.UnixMicro(), p.Actor, p.Reason)
		return err
	})
}

// ResumeQueue implements [errand.Store].
func (s *Store) ResumeQueue(ctx context.Context, queue string) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec("delete from errand_pauses where queue = ?", queue)
		return err
	})
}

// selectAhead counts jobs of one kind that a claim would take before another one.
const selectAhead = `select count(*) from (
	select 1 from errand_jobs indexed by errand_jobs_ready where state = 1 and queue = ?1 and kind = ?2 and priority > ?3
	union all
	select 1 from errand_jobs indexed by errand_jobs_ready where state = 1 and queue = ?1 and kind = ?2 and priority = ?3 and due <= ?4 and (due < ?4 or seq < ?5)
	limit ?6 + 0)`

// Ahead implements [errand.Store].
func (s *Store) Ahead(ctx context.Context, j *errand.Job, kinds []string, limit int) (int, error) {
	n := int64(0)
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		seq, found, err := c.number(selectSeq, j.ID[:])
		if !found {
			seq = math.MaxInt64
		}
		for _, kind := range kinds {
			more := int64(0)
			if err == nil && n < int64(limit) {
				more, _, err = c.number(selectAhead, j.Queue, kind, int64(j.Priority), j.Due.UnixMicro(), seq, int64(limit)-n)
			}
			n += more
		}
		return err
	})
	return int(n), err
}

// PausedQueues implements [errand.Store].
func (s *Store) PausedQueues(ctx context.Context) ([]errand.QueuePause, error) {
	var out []errand.QueuePause
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		return c.query(ctx, "select queue, since, actor, reason from errand_pauses order by queue", func(row []driver.Value) error {
			r := reader{row: row}
			out = append(out, errand.QueuePause{Queue: r.text(), Since: r.time(), Actor: r.text(), Reason: r.text()})
			return r.err
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
