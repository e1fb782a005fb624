package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const (
	selectCounts = `
		select queue, kind, state, sum(n)::bigint from (
			select queue, kind, dst as state, n from errand.moves where dst is not null
			union all
			select queue, kind, src, -n from errand.moves where src is not null) m
		group by queue, kind, state having sum(n) > 0`

	// selectOldest yields the highest priority below $3 among the ready jobs of a queue and kind,
	// and the earliest due of that priority.
	selectOldest = `select priority, due from errand.ready where queue = $1 and kind = $2 and priority < $3::integer order by priority desc, due limit 1`
)

// Stats implements [errand.Store]. It adds up what each write has noted, and reads one ready job a priority.
func (s *Store) Stats(ctx context.Context) ([]errand.Count, error) {
	var out []errand.Count
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, s.sql(selectCounts))
			if err != nil {
				return err
			}
			out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (errand.Count, error) {
				r := reader{row: row.RawValues()}
				return errand.Count{Queue: r.text(), Kind: r.text(), State: errand.State(r.text()), Jobs: r.int64()}, r.err
			})
			for i := 0; i < len(out) && err == nil; i++ {
				if out[i].State == errand.Ready {
					out[i].OldestReady, err = s.oldestReady(ctx, tx, out[i].Queue, out[i].Kind)
				}
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b errand.Count) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Kind, b.Kind),
			slices.Index(errand.States, a.State)-slices.Index(errand.States, b.State))
	})
	return out, nil
}

func (s *Store) oldestReady(ctx context.Context, tx pgx.Tx, queue, kind string) (oldest time.Time, err error) {
	for priority := int32(1 << 16); ; {
		var due time.Time
		err := tx.QueryRow(ctx, s.sql(selectOldest), queue, kind, priority).Scan(&priority, &due)
		if errors.Is(err, pgx.ErrNoRows) {
			return oldest.UTC(), nil
		}
		if err != nil {
			return oldest, err
		}
		if oldest.IsZero() || due.Before(oldest) {
			oldest = due
		}
	}
}
