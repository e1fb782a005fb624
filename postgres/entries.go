package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const (
	insertEntries = `
		insert into errand.entries (job, seq, time, type, level, attempt, text, attrs)
		select x.job, x.seq, x.time, x.type, x.level, x.attempt, x.text, nullif(x.attrs, '')::json
		from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::integer[], $6::integer[], $7::text[], $8::text[])
			x (job, seq, time, type, level, attempt, text, attrs)`

	// The oldest entry to drop is the first beyond the newest that are kept.
	trimLines = `delete from errand.entries where job = $1 and type = 'log' and seq <= (
		select seq from errand.entries where job = $1 and type = 'log' order by seq desc limit 1 offset $2)`
	trimAll = `delete from errand.entries where job = $1 and seq <= (
		select seq from errand.entries where job = $1 order by seq desc limit 1 offset $2)`

	selectEntries = `select e.seq, e.time, e.type, e.level, e.attempt, e.text, e.attrs from errand.entries e
		where e.job = (select seq from errand.jobs where id = $1) and e.seq > $2 order by e.seq limit $3`
)

// Entries implements [errand.Store].
func (s *Store) Entries(ctx context.Context, id errand.ID, after int64, limit int) ([]errand.Entry, error) {
	var out []errand.Entry
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql(selectEntries), [16]byte(id), after, limit)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (errand.Entry, error) {
			r := reader{row: row.RawValues()}
			e := errand.Entry{
				Seq: r.int64(), Time: r.time(), Type: errand.EntryType(r.text()), Level: int(r.int32()),
				Attempt: int(r.int32()), Text: r.text(), Attrs: r.json(),
			}
			return e, r.err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
