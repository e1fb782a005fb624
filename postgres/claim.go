package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const (
	// wake makes due jobs ready.
	wake = `
		with j as (
			update errand.jobs j set state = 'ready', shelf = null, version = version + 1 where seq = any (array(
				select seq from errand.jobs where shelf = 'scheduled' and due <= clock_timestamp() order by due limit $1 for update skip locked))
			returning j.queue, j.kind, j.priority, j.due, j.seq),
		m as (
			insert into errand.moves (n, src, dst, queue, kind) select count(*), 'scheduled', 'ready', queue, kind from j group by queue, kind)
		insert into errand.ready (gen, queue, kind, priority, due, seq)
		select (select gen from errand.turn), queue, kind, priority, due, seq from j`

	// claim takes the first ready jobs of a queue and some kinds. It finds each kind's line by the index, and
	// removes what it takes by its place, which costs nothing.
	claim = `
		with p as materialized (
			select r.* from unnest($2::text[]) k (kind) cross join lateral (
				select r.gen, r.ctid as tid, r.priority, r.due, r.seq from errand.ready r where r.queue = $1::text and r.kind = k.kind
				order by r.priority desc, r.due, r.seq limit $3 for update skip locked) r
			order by r.priority desc, r.due, r.seq limit $3),
` + taken + `
		j as (
			update errand.jobs j set state = 'running', worker = $4::uuid, started = n.now, attempt = attempt + 1, token = token + 1,
				version = version + 1, unique_held = case when unique_scope = 'started' then null else unique_held end
			from (select clock_timestamp() as now) n
			where j.seq = any (array(select seq from d))
			returning ` + columns + `),
		m as (
			insert into errand.moves (n, src, dst, queue, kind) select count(*), 'ready', 'running', queue, kind from j group by queue, kind),
		r as (
			insert into errand.runs (session, minute, chunk)
			select distinct $4::uuid, date_trunc('minute', clock_timestamp()), seq >> 10 from j on conflict do nothing)
		select * from j`

	// taken deletes the rows of errand.ready that p names.
	taken = `
		d0 as (delete from errand.ready_0 where ctid = any (array(select tid from p where gen = 0)) returning seq),
		d1 as (delete from errand.ready_1 where ctid = any (array(select tid from p where gen = 1)) returning seq),
		d2 as (delete from errand.ready_2 where ctid = any (array(select tid from p where gen = 2)) returning seq),
		d as (select seq from d0 union all select seq from d1 union all select seq from d2),`

	selectNext = `select due from errand.jobs where shelf = 'scheduled' order by due limit 1`
)

// Claim implements [errand.Store]. It is one round trip, and writes nothing when there is nothing to claim.
func (s *Store) Claim(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
	var got errand.Claimed
	err := s.do(ctx, s.work, func(ctx context.Context, db *pgxpool.Conn) error {
		got = errand.Claimed{}
		b := &pgx.Batch{}
		b.Queue(s.sql(wake), errand.MaxWake)
		for _, l := range c.Lanes {
			if l.Limit <= 0 || len(l.Kinds) == 0 {
				continue
			}
			b.Queue(s.sql(claim), l.Queue, l.Kinds, l.Limit, [16]byte(c.Session)).Query(func(rows pgx.Rows) error {
				jobs, err := jobs(rows, nil)
				got.Jobs = s.claimed(got.Jobs, jobs)
				return err
			})
		}
		b.Queue(s.sql(selectNext)).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				r := reader{row: rows.RawValues()}
				got.Next = r.time()
			}
			return rows.Err()
		})
		return db.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return errand.Claimed{}, err
	}
	return got, nil
}

// claimed appends the jobs of a lane in their order, and remembers them.
func (s *Store) claimed(to []errand.Job, lane []stored) []errand.Job {
	slices.SortFunc(lane, func(a, b stored) int { // the order of "returning" is not defined
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Due.Compare(b.Due), cmp.Compare(a.seq, b.seq))
	})
	to = slices.Grow(to, len(lane))
	for i := range lane {
		to = append(to, lane[i].Job)
	}
	s.held.put(lane)
	return to
}

// held remembers the jobs that this process has claimed, as they are stored, so that a finish need write only what
// it changes. It is only a hint: the version tells whether it still holds.
type held struct {
	mu   sync.Mutex
	jobs map[errand.ID]*stored
}

// maxHeld bounds it; a worker rarely holds as many jobs.
const maxHeld = 1 << 16

func (h *held) put(jobs []stored) {
	if len(jobs) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.jobs) > maxHeld || h.jobs == nil {
		h.jobs = map[errand.ID]*stored{}
	}
	for i := range jobs {
		h.jobs[jobs[i].ID] = &jobs[i]
	}
}

// take returns what is known of the changed jobs, nil where nothing is, and forgets those that stop running.
func (h *held) take(changes []errand.Change) []*stored {
	out := make([]*stored, len(changes))
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		s := h.jobs[c.Job.ID]
		if s == nil || s.Version != c.Was {
			continue
		}
		out[i] = s
		if c.Delete || c.Job.State != errand.Running {
			delete(h.jobs, c.Job.ID)
		}
	}
	return out
}

// keep notes how a job is stored that goes on running.
func (h *held) keep(s *stored, j *errand.Job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs[j.ID] = &stored{Job: *j, seq: s.seq, held: s.held}
}

// Orphans implements [errand.Store].
func (s *Store) Orphans(ctx context.Context, limit int) ([]errand.Job, error) {
	const lapsed = `
		select distinct r.session, r.chunk from errand.runs r
		where not exists (select 1 from errand.sessions s where s.id = r.session and s.expires > clock_timestamp())
		order by r.chunk limit 1000`
	const orphans = `select ` + columns + ` from errand.jobs j
		where j.seq >= $1::bigint << 10 and j.seq < ($1::bigint + 1) << 10 and j.state = 'running' and coalesce(j.worker, '00000000-0000-0000-0000-000000000000') = $2::uuid limit $3`
	type place struct {
		session uuid.UUID
		chunk   int64
	}
	var out []stored
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		out = nil
		rows, err := c.Query(ctx, s.sql(lapsed))
		if err != nil {
			return err
		}
		places, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p place, err error) {
			err = row.Scan((*[16]byte)(&p.session), &p.chunk)
			return p, err
		})
		var empty []place
		for i := 0; i < len(places) && len(out) < limit && err == nil; i++ {
			var found []stored
			found, err = jobs(c.Query(ctx, s.sql(orphans), places[i].chunk, [16]byte(places[i].session), limit-len(out)))
			if out = append(out, found...); len(found) == 0 {
				empty = append(empty, places[i])
			}
		}
		if err != nil {
			return err
		}
		for _, p := range empty {
			if err := s.forgetRuns(ctx, c, p.session, p.chunk); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return plain(out), nil
}

// forgetRuns forgets where a session has claimed jobs, if it was a while ago and none of them runs any more. What is younger
// may belong to a claim that is not yet committed.
func (s *Store) forgetRuns(ctx context.Context, c *pgxpool.Conn, session uuid.UUID, chunk int64) error {
	const forget = `
		delete from errand.runs r where r.session = $1::uuid and r.chunk = $2::bigint and r.minute < clock_timestamp() - interval '2 minutes'
			and not exists (select 1 from errand.jobs j where j.seq >= $2::bigint << 10 and j.seq < ($2::bigint + 1) << 10
				and j.state = 'running' and j.worker = $1::uuid)`
	if _, err := c.Exec(ctx, s.sql(forget), [16]byte(session), chunk); err != nil {
		return fmt.Errorf("forget claims: %w", err)
	}
	return nil
}
