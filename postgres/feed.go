package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const (
	watchFor   = time.Minute      // changes are noted so long after somebody asked for them
	watchRenew = 20 * time.Second // somebody who goes on asking says so this often
	feedKept   = 50 * time.Second // changes are kept at least so long
	feedRows   = 10_000           // read at once
)

// isWatched is true while somebody watches. It is looked at once a statement, before anything else is.
const isWatched = `(select watched > statement_timestamp() from errand.turn)`

// noteChanges has a statement note which jobs it has changed: those of the relation j, which come to a state.
func noteChanges(state string) string {
	return `w as (
		insert into errand.changes (queue, kind, state, ids) select queue, kind, ` + state + `, array_agg(id) from j where ` + isWatched + ` group by 1, 2, 3)`
}

const (
	watchOn = `update errand.turn set watched = statement_timestamp() + $1::bigint * interval '1 microsecond'
		where watched < statement_timestamp() + $1::bigint * interval '0.7 microseconds'`

	selectPosition = `select pg_current_snapshot()::text, (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text`

	// selectChanges yields what has become visible since a snapshot was taken.
	selectChanges = `select queue, kind, coalesce(state, ''), ids from errand.changes
		where xid >= pg_snapshot_xmin($1::text::pg_snapshot) and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot) limit $2`
)

var _ errand.Feed = (*Store)(nil)

// Changed implements [errand.Feed]. A mark is when it was made, the start of the server, and a snapshot.
func (s *Store) Changed(ctx context.Context, mark string) (errand.Changed, error) {
	var c errand.Changed
	var made int64
	var server, snapshot string
	_, _ = fmt.Sscanf(strings.ReplaceAll(mark, ";", " "), "%d %s %s", &made, &server, &snapshot)
	now := time.Now()
	err := s.do(ctx, s.general, func(ctx context.Context, conn *pgxpool.Conn) error {
		c = errand.Changed{}
		if made == 0 || now.UnixNano()-s.watched.Load() > int64(watchRenew) {
			if _, err := conn.Exec(ctx, s.sql(watchOn), watchFor.Microseconds()); err != nil {
				return err
			}
			s.watched.Store(now.UnixNano())
		}
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			var taken, running string
			if err := tx.QueryRow(ctx, selectPosition).Scan(&taken, &running); err != nil {
				return err
			}
			c.Mark = fmt.Sprintf("%d;%s;%s", now.UnixMicro(), running, taken)
			if made == 0 {
				return nil
			}
			if running != server || now.UnixMicro()-made > feedKept.Microseconds() {
				c.Lost = true
				return nil
			}
			rows, err := tx.Query(ctx, s.sql(selectChanges), snapshot, feedRows)
			if err != nil {
				return err
			}
			c.Jobs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (x errand.ChangedJobs, err error) {
				var ids [][16]byte
				err = row.Scan(&x.Queue, &x.Kind, (*string)(&x.State), &ids)
				for _, id := range ids {
					x.IDs = append(x.IDs, id)
				}
				return x, err
			})
			c.Lost = len(c.Jobs) == feedRows
			return err
		})
	})
	if err != nil {
		return errand.Changed{}, err
	}
	return c, nil
}

// truncateChanges empties the partition of errand.changes that is written to next.
func (s *Store) truncateChanges(ctx context.Context, tx pgx.Tx) error {
	var next int
	var used bool
	err := tx.QueryRow(ctx, s.sql(`
		select n.slot, pg_relation_size(p.name) > 0
		from (select (extract(epoch from statement_timestamp())::bigint / 60 + 1) % 3 as slot) n
		join (values (0, 'errand.changes_0'::regclass), (1, 'errand.changes_1'), (2, 'errand.changes_2')) p (slot, name) on p.slot = n.slot`)).Scan(&next, &used)
	if err != nil || !used {
		return err
	}
	return s.truncate(ctx, tx, fmt.Sprintf("errand.changes_%d", next), "")
}
