package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const selectByID = `select ` + columns + ` from unnest($1::uuid[]) with ordinality x (id, n) join errand.jobs j on j.id = x.id order by x.n`

// Get implements [errand.Store].
func (s *Store) Get(ctx context.Context, ids []errand.ID) ([]errand.Job, error) {
	if len(ids) == 0 {
		return nil, ctx.Err()
	}
	var found []stored
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) (err error) {
		found, err = jobs(c.Query(ctx, s.sql(selectByID), raw(ids)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return plain(found), nil
}

// raw returns IDs in the form that pgx encodes fastest.
func raw(ids []errand.ID) [][16]byte {
	out := make([][16]byte, len(ids))
	for i := range ids {
		out[i] = ids[i]
	}
	return out
}

// List implements [errand.Store]. Jobs in any state but ready and succeeded, those of a tag, and few ready ones are found by
// an index; all else by going through the jobs from the newest on.
func (s *Store) List(ctx context.Context, q errand.Query) (errand.Page, error) {
	var p errand.Page
	limit, before, err := q.Bounds()
	if err != nil {
		return p, err
	}
	q.Limit = limit
	err = s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		few := true
		if slices.Contains(q.States, errand.Ready) && q.Tag == "" {
			if err := c.QueryRow(ctx, s.sql(selectFewReady), fewReady).Scan(&few); err != nil {
				return err
			}
		}
		text, args := listing(&q, before, few)
		found, err := jobs(c.Query(ctx, s.sql(text), args...))
		p = errand.Page{}
		if len(found) > q.Limit {
			found = found[:q.Limit]
			p.Next = errand.CursorAt(found[q.Limit-1].seq)
		}
		p.Jobs = plain(found)
		return err
	})
	if err != nil {
		return errand.Page{}, err
	}
	return p, nil
}

// fewReady is how many ready jobs are sorted to list them, rather than looked for among all jobs.
const fewReady = 10_000

const selectFewReady = `select count(*) < $1 from (select 1 from errand.ready limit $1) r`

// listing writes the query of a page, of one job more than it holds.
func listing(q *errand.Query, before int64, fewReady bool) (string, []any) {
	args := []any{before, q.Limit + 1}
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	filter := "j.seq < $1"
	if len(q.Kinds) > 0 {
		filter += " and j.kind = any (" + arg(q.Kinds) + "::text[])"
	}
	if len(q.Queues) > 0 {
		filter += " and j.queue = any (" + arg(q.Queues) + "::text[])"
	}
	if q.Worker != uuid.Nil {
		filter += " and j.worker = " + arg([16]byte(q.Worker)) + "::uuid"
	}
	if len(q.States) > 0 {
		states := make([]string, len(q.States))
		for i, s := range q.States {
			states[i] = string(s)
		}
		filter += " and j.state = any (" + arg(states) + "::text[])"
	}
	const end = " order by j.seq desc limit $2"
	switch {
	case q.Tag != "":
		return "select " + columns + " from errand.tags t join errand.jobs j on j.seq = t.job where t.tag = " + arg(q.Tag) + " and t.job < $1 and " + filter +
			" order by t.job desc limit $2", args
	case len(q.States) == 0 || slices.Contains(q.States, errand.Succeeded) || slices.Contains(q.States, errand.Ready) && !fewReady:
		return "select " + columns + " from errand.jobs j where " + filter + end, args
	}
	var parts []string
	for _, state := range slices.Compact(slices.Sorted(slices.Values(q.States))) {
		from := ""
		switch state {
		case errand.Ready:
			from = "errand.ready r join errand.jobs j on j.seq = r.seq where "
		case errand.Running:
			from = `(select distinct chunk from errand.runs) r join errand.jobs j on j.seq >= r.chunk << 10 and j.seq < (r.chunk + 1) << 10 and j.state = 'running' where `
		default:
			from = "errand.jobs j where j.shelf = " + arg(string(state)) + " and j.shelf is not null and "
		}
		parts = append(parts, "(select j.seq from "+from+filter+end+")")
	}
	return "select " + columns + " from errand.jobs j where j.seq in (" + strings.Join(parts, " union all ") + ")" + end, args
}
