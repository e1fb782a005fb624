package sqlite

import (
	"context"
	"database/sql/driver"

	"github.com/errandhq/errand"
)

// selectUnblocked yields the marked links of up to ? jobs, with the state of the job
// behind each: 0 if that is gone. A link whose job was retried, and so has not ended, is left out.
const selectUnblocked = `
	with marked as (
		select l.job, l.on_id, coalesce(o.state, 0) as state
		from errand_links l indexed by errand_links_ended left join errand_jobs o on o.id = l.on_id
		where l.ended = 1 and coalesce(o.state, 2) in (2, 7, 8))
	select job, on_id, state from marked
	where job in (select distinct job from marked order by job limit ? + 0)
	order by job`

// markLinks marks the links to a job that has ended or is gone.
func (t *tx) markLinks(on *errand.ID) error {
	if t.links == nil { // in most stores nothing ever waits: then the question costs once a transaction
		_, any, err := t.number("select 1 from errand_links limit 1")
		if err != nil {
			return err
		}
		t.links = &any
	}
	if !*t.links {
		return nil
	}
	_, err := t.exec("update errand_links set ended = 1 where on_id = ? and ended = 0", on[:])
	return err
}

func (t *tx) dropLinks(job int64, on []errand.ID) error {
	for i := range on {
		if _, err := t.exec("delete from errand_links where on_id = ? and job = ?", on[i][:], job); err != nil {
			return err
		}
	}
	return nil
}

// Unblocked implements [errand.Store].
func (s *Store) Unblocked(ctx context.Context, limit int) ([]errand.Unblocked, error) {
	var out []errand.Unblocked
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		var seqs []int64
		err := c.query(ctx, selectUnblocked, func(row []driver.Value) error {
			r := reader{row: row}
			seq := r.int()
			link := errand.Link{ID: r.id(), State: stateOf(r.int())}
			if len(seqs) == 0 || seqs[len(seqs)-1] != seq {
				seqs = append(seqs, seq)
				out = append(out, errand.Unblocked{})
			}
			u := &out[len(out)-1]
			u.Links = append(u.Links, link)
			return nil
		}, int64(limit))
		if err != nil {
			return err
		}
		for i, seq := range seqs {
			job, err := c.one("select "+columns+" from errand_jobs where seq = ?", seq)
			if err != nil {
				return err
			}
			if job != nil {
				out[i].Job = job.Job
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// plain drops what only this store knows of the jobs.
func plain(jobs []stored) []errand.Job {
	if len(jobs) == 0 {
		return nil
	}
	out := make([]errand.Job, len(jobs))
	for i := range jobs {
		out[i] = jobs[i].Job
	}
	return out
}
