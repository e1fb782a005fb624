package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// A job that ends while another begins to wait for it: neither transaction sees what the other has not yet
// committed, and neither shall wait for the other, because the one that makes the link may be the application's and long.
// So both look again once they are committed, and whoever commits last sees the other. If
// one of them dies in between, the link is fresh, and is looked after a minute later.

// markLinks marks the links to jobs that have ended or are gone. In most stores nothing ever waits: then it costs next to nothing.
const markLinks = `update errand.links set ended = true where on_id = any ($1::uuid[]) and not ended and (select exists (select 1 from errand.links))`

// remarkLinks marks the links to jobs that have ended by changes which are committed by now.
func (s *Store) remarkLinks(ctx context.Context, changes []errand.Change, out []errand.Swapped) error {
	var ended [][16]byte
	for i := range changes {
		if c := &changes[i]; out[i] == errand.Written && (c.Delete || c.Job.State.Ended() && !c.From.Ended()) {
			ended = append(ended, c.Job.ID)
		}
	}
	if len(ended) == 0 {
		return nil
	}
	return s.do(ctx, s.work, func(ctx context.Context, c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, s.sql(markLinks), ended)
		return err
	})
}

// settleLinks looks after links that are fresh, and again a minute later.
const settleLinks = `
	update errand.links l set seen = clock_timestamp(), fresh = l.seen = '-infinity', ended = l.ended or not exists (
		select 1 from errand.jobs o where o.id = l.on_id and o.state not ` + isEnd + `)
	where l.ctid = any (array(
		select ctid from errand.links where fresh and seen < clock_timestamp() - interval '1 minute' order by seen limit 10000 for update skip locked))`

func (s *Store) settleLinks(ctx context.Context) error {
	return s.do(ctx, s.work, func(ctx context.Context, c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, s.sql(settleLinks))
		return err
	})
}

// selectUnblocked yields the marked links of up to $1 jobs, with the state of the job behind each: null if that
// is gone. A link whose job was retried, and so has not ended, is left out.
const selectUnblocked = `
	select l.on_id, o.state, ` + columns + ` from (
		select l.job, l.on_id, o.state, dense_rank() over (order by l.job) as n
		from errand.links l left join errand.jobs o on o.id = l.on_id
		where l.ended and (o.state is null or o.state ` + isEnd + `)) l
	join errand.jobs j on j.seq = l.job
	left join errand.jobs o on o.id = l.on_id
	where l.n <= $1
	order by l.job, l.on_id`

// Unblocked implements [errand.Store].
func (s *Store) Unblocked(ctx context.Context, limit int) ([]errand.Unblocked, error) {
	var out []errand.Unblocked
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		out = nil
		var any, fresh bool
		err := c.QueryRow(ctx, s.sql(`select exists (select 1 from errand.links where ended), exists (select 1 from errand.links where fresh
			and seen < clock_timestamp() - interval '1 minute')`)).Scan(&any, &fresh)
		if err == nil && fresh {
			_, err = c.Exec(ctx, s.sql(settleLinks))
			any = true
		}
		if err != nil || !any {
			return err
		}
		rows, err := c.Query(ctx, s.sql(selectUnblocked), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r := reader{row: rows.RawValues()}
			link := errand.Link{ID: r.uuid(), State: errand.State(r.text())}
			job, err := scanJob(r.row)
			if err != nil {
				return err
			}
			if n := len(out); n == 0 || out[n-1].Job.ID != job.ID {
				out = append(out, errand.Unblocked{Job: job.Job})
			}
			u := &out[len(out)-1]
			u.Links = append(u.Links, link)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
