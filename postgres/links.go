package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// A job that ends while another begins to wait for it: neither transaction sees what the other has not yet
// committed, and neither shall wait for the other, because the one that makes the link may be the application's and long.
// So both look again once they are committed, and whoever commits last sees the other. If
// one of them dies in between, the link is fresh, and is looked after a minute later.

// markLinks marks the links to jobs that have ended or are gone. In most stores nothing ever waits: then it costs next to nothing.
const markLinks = `update errand.links set ended = true where on_id = any ($1::uuid[]) and not ended and (select exists (select 1 from errand.links))`

// relinks marks links again after the commit of what ended their jobs: in the background, many at a time.
type relinks struct {
	mu      sync.Mutex
	ended   [][16]byte
	done    chan struct{} // closed when these are marked; if there are none, when those before are
	running bool
}

// relinkPause is how long ended jobs are gathered.
const relinkPause = 10 * time.Millisecond

// add has the links to jobs marked that have ended by changes which are committed by now.
func (r *relinks) add(s *Store, changes []errand.Change, out []errand.Swapped) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		if out[i] != errand.Written || !c.Delete && (!c.Job.State.Ended() || c.From.Ended()) {
			continue
		}
		if len(r.ended) == 0 {
			r.done = make(chan struct{})
		}
		r.ended = append(r.ended, c.Job.ID)
	}
	if len(r.ended) > 0 && !r.running && s.closed.Err() == nil {
		r.running = true
		s.upkeep.running.Go(func() { r.mark(s) })
	}
}

func (r *relinks) mark(s *Store) {
	for {
		r.mu.Lock()
		ended, done := r.ended, r.done
		r.ended = nil
		r.running = len(ended) > 0
		r.mu.Unlock()
		if len(ended) == 0 {
			return
		}
		err := s.do(s.closed, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
			_, err := c.Exec(ctx, s.sql(markLinks), ended)
			return err
		})
		if err != nil && s.closed.Err() == nil {
			s.log.Warn("cannot look for jobs that began to wait just now; they will be found in a minute", "error", err)
		}
		close(done)
		sleep(s.closed, relinkPause)
	}
}

// wait waits until the links are marked to all that this process has ended so far.
func (r *relinks) wait(ctx context.Context) {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// settleLinks looks after links that are fresh, and again a minute later.
const settleLinks = `
	update errand.links l set seen = clock_timestamp(), fresh = l.seen = '-infinity', ended = l.ended or not exists (
		select 1 from errand.jobs o where o.id = l.on_id and o.state not ` + isEnd + `)
	where l.ctid = any (array(
		select ctid from errand.links where fresh and seen < statement_timestamp() - interval '1 minute' order by seen limit 10000 for update skip locked))`

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
	s.relinks.wait(ctx)
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		out = nil
		var any, fresh bool
		err := c.QueryRow(ctx, s.sql(`select exists (select 1 from errand.links where ended), exists (select 1 from errand.links where fresh
			and seen < statement_timestamp() - interval '1 minute')`)).Scan(&any, &fresh)
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
