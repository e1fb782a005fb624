package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const (
	dropHistory = `delete from errand.history where at < statement_timestamp() - $1::bigint * interval '1 microsecond'`

	// mergeHistory merges old spans.
	mergeHistory = `
		with h as (
			delete from errand.history where at < statement_timestamp() - $1::bigint * interval '1 microsecond' and extract(epoch from at)::bigint % $2 <> 0 returning *)
		insert into errand.history (at, what, queue, kind, n)
		select to_timestamp(extract(epoch from at)::bigint / $2 * $2), what, queue, kind, sum(n) from h group by 1, 2, 3, 4 order by 1, 2, 3, 4
		on conflict (at, what, queue, kind) do update set n = history.n + excluded.n`

	selectHistory = `
		select extract(epoch from at)::bigint / $2 * $2, what, sum(n)::bigint from errand.history
		where at >= to_timestamp($1::bigint / $2 * $2) and ($3 = '' or queue = $3) and ($4 = '' or kind = $4)
		group by 1, 2`
)

// foldHistory merges old spans now and then, and drops the oldest.
func (s *Store) foldHistory(ctx context.Context, tx pgx.Tx) error {
	now, last := time.Now().UnixNano(), s.upkeep.folded.Load()
	if now-last < int64(errand.HistoryCoarse) || !s.upkeep.folded.CompareAndSwap(last, now) {
		return nil
	}
	_, err := tx.Exec(ctx, s.sql(dropHistory), errand.HistoryKept.Microseconds())
	if err == nil {
		_, err = tx.Exec(ctx, s.sql(mergeHistory), errand.HistoryFine.Microseconds(), int64(errand.HistoryCoarse/time.Second))
	}
	return err
}

// History implements [errand.Store].
func (s *Store) History(ctx context.Context, q errand.HistoryQuery) ([]errand.Flow, error) {
	var sums errand.FlowSums
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		sums = errand.FlowSums{}
		rows, err := c.Query(ctx, s.sql(selectHistory), q.Since.Unix(), int64(q.Step/time.Second), q.Queue, q.Kind)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r := reader{row: rows.RawValues()}
			span, what, n := r.int64(), r.int16(), r.int64()
			if r.err != nil {
				return r.err
			}
			sums.Add(span, int(what), n)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return sums.Flows(), nil
}
