package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/errandhq/errand"
)

// flowKey is what moves of jobs are counted by.
type flowKey struct {
	queue, kind string
	what        int
}

// flow counts a move of a job from a state to that which it has.
func (t *tx) flow(from errand.State, j *errand.Job) {
	what, ok := errand.FlowOf(from, j.State)
	if !ok {
		return
	}
	t.flows[flowKey{j.Queue, j.Kind, what}]++
	if what == errand.FlowStarted {
		t.flows[flowKey{j.Queue, j.Kind, errand.FlowWaited}] += errand.WaitOf(j.Due, t.now)
	}
}

const addHistory = "insert into errand_history (at, what, queue, kind, n) values (?1, ?2, ?3, ?4, ?5) on conflict do update set n = n + ?5"

func (t *tx) flushFlows() error {
	for k, n := range t.flows {
		if _, err := t.exec(addHistory, t.now.Truncate(errand.HistoryStep).Unix(), int64(k.what), k.queue, k.kind, n); err != nil {
			return err
		}
	}
	return nil
}

// foldHistory merges old spans, and drops the oldest.
func (t *tx) foldHistory() error {
	_, err := t.exec("delete from errand_history where at < ?", t.now.Add(-errand.HistoryKept).Unix())
	if err != nil {
		return err
	}
	fine, coarse := t.now.Add(-errand.HistoryFine).Unix(), int64(errand.HistoryCoarse/time.Second)
	_, err = t.exec(`insert into errand_history (at, what, queue, kind, n)
		select at - at % ?2, what, queue, kind, sum(n) from errand_history where at < ?1 and at % ?2 <> 0 group by 1, 2, 3, 4
		on conflict do update set n = n + excluded.n`, fine, coarse)
	if err == nil {
		_, err = t.exec("delete from errand_history where at < ?1 and at % ?2 <> 0", fine, coarse)
	}
	return err
}

// History implements [errand.Store].
func (s *Store) History(ctx context.Context, q errand.HistoryQuery) ([]errand.Flow, error) {
	sums := errand.FlowSums{}
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		return c.query(ctx, `select at - at % ?2 as span, what, sum(n) from errand_history
			where at >= ?1 - ?1 % ?2 and (?3 = '' or queue = ?3) and (?4 = '' or kind = ?4) group by 1, 2`,
			func(row []driver.Value) error {
				r := reader{row: row}
				sums.Add(r.int(), int(r.int()), r.int())
				return r.err
			}, q.Since.Unix(), int64(q.Step/time.Second), q.Queue, q.Kind)
	})
	if err != nil {
		return nil, err
	}
	return sums.Flows(), nil
}
