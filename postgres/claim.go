package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// wake makes due jobs ready.
var wake = `
		with j as (
			update errand.jobs j set state = 'ready', shelf = null, version = version + 1 where seq = any (array(
				select seq from errand.jobs where shelf = 'scheduled' and due <= statement_timestamp() order by due limit $1 for update skip locked))
			returning j.id, j.queue, j.kind, j.priority, j.due, j.seq),
		m as (
			insert into errand.moves (n, src, dst, queue, kind) select count(*), 'scheduled', 'ready', queue, kind from j group by queue, kind),
		` + noteChanges("'ready'") + `
		insert into errand.ready (gen, queue, kind, priority, due, seq)
		select (select gen from errand.turn), queue, kind, priority, due, seq from j
		returning queue, kind, priority, due, seq`

const (
	// claim takes the first ready jobs of a queue and some kinds; none if it is paused, or while others are to be woken first, unless $5. It finds each kind's line by the index, and
	// removes what it takes by its place, which costs nothing.
	claim = `
		with p as materialized (
			select r.* from unnest($3::text[]) k (kind) cross join lateral (
				select r.gen, r.ctid as tid, r.priority, r.due, r.seq from errand.ready r where r.queue = $2::text and r.kind = k.kind
				order by r.priority desc, r.due, r.seq limit $4 for update skip locked) r
			where ($5::boolean or not exists (select 1 from errand.jobs where shelf = 'scheduled' and due <= statement_timestamp()))
				and ` + notPaused + `$2::text)
			order by r.priority desc, r.due, r.seq limit $4),` + taken

	// claimTickets takes the ready jobs of some tickets.
	claimTickets = `
		with p as materialized (
			select r.* from unnest($2::text[], $3::text[], $4::smallint[], $5::timestamptz[], $6::bigint[]) x (queue, kind, priority, due, seq)
			cross join lateral (
				select r.gen, r.ctid as tid from errand.ready r where r.queue = x.queue and r.kind = x.kind and r.priority = x.priority and r.due = x.due and r.seq = x.seq
				for update skip locked) r
			where ` + notPaused + `x.queue)),` + taken

	// taken makes the jobs running whose rows of errand.ready p names. What it notes it takes from these rows, so that
	// the jobs go straight to the client.
	taken = `
		d0 as (delete from errand.ready_0 where ctid = any (array(select tid from p where gen = 0)) returning seq, queue, kind, due),
		d1 as (delete from errand.ready_1 where ctid = any (array(select tid from p where gen = 1)) returning seq, queue, kind, due),
		d2 as (delete from errand.ready_2 where ctid = any (array(select tid from p where gen = 2)) returning seq, queue, kind, due),
		d as materialized (select * from d0 union all select * from d1 union all select * from d2),
		m as (
			insert into errand.moves (n, src, dst, queue, kind, waited)
			select count(*), 'ready', 'running', queue, kind, sum(greatest(0, extract(epoch from clock_timestamp() - due) * 1000)) from d group by queue, kind),
		r as (
			insert into errand.runs (session, minute, chunk)
			select $1::uuid, date_trunc('minute', clock_timestamp()), c.chunk from (select distinct seq >> 10 as chunk from d) c order by 3 on conflict do nothing),
		w as (
			insert into errand.changes (queue, kind, state, ids)
			select d.queue, d.kind, 'running', array_agg(o.id) from d join errand.jobs o on o.seq = d.seq where ` + isWatched + ` group by 1, 2)
		update errand.jobs j set state = 'running', worker = $1::uuid, started = n.now, attempt = attempt + 1, token = token + 1,
			version = version + 1, unique_held = case when unique_scope = 'started' then null else unique_held end
		from (select clock_timestamp() as now) n
		where j.seq = any (array(select seq from d))
		returning ` + columns

	selectNext = `select due, due <= statement_timestamp() from errand.jobs where shelf = 'scheduled' order by due limit 1`
)

// Claim implements [errand.Store]. It is one round trip, and writes nothing when there is nothing to claim.
func (s *Store) Claim(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
	c.Lanes = slices.DeleteFunc(slices.Clone(c.Lanes), func(l errand.Lane) bool { return l.Limit <= 0 || len(l.Kinds) == 0 })
	if next, ok := s.dispatch.known(); ok {
		jobs, err := s.claimDispatched(ctx, c)
		if len(jobs) > 0 || err == nil {
			return errand.Claimed{Jobs: jobs, Next: next}, nil
		}
		if err != errNotDispatched {
			return errand.Claimed{}, err
		}
	}
	x := claiming{Claim: c}
	err := s.do(ctx, s.work, func(ctx context.Context, db *pgxpool.Conn) error {
		err := s.claim(ctx, db, &x, false)
		if err == nil && x.due && len(x.jobs) == 0 { // if it got some, another process has just woken what was due
			err = s.claim(ctx, db, &x, true)
		}
		return err
	})
	if err != nil {
		return errand.Claimed{}, err
	}
	s.held.put(x.jobs)
	s.dispatch.claimed(c, x.jobs, x.woken, x.next)
	return errand.Claimed{Jobs: plain(x.jobs), Next: x.next}, nil
}

// claiming is a claim with what it has got.
type claiming struct {
	errand.Claim
	jobs  []stored
	woken []Ticket
	next  time.Time // the earliest scheduled due
	due   bool      // it has come: there are jobs to wake
}

// claim claims in one round trip: after it has woken what is due, or only if nothing is.
func (s *Store) claim(ctx context.Context, db *pgxpool.Conn, x *claiming, waking bool) error {
	x.jobs, x.woken, x.next, x.due = nil, nil, time.Time{}, false
	b := &pgx.Batch{}
	next := func() {
		b.Queue(s.sql(selectNext)).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				r := reader{row: rows.RawValues()}
				x.next, x.due = r.time(), r.bool()
			}
			return rows.Err()
		})
	}
	if waking {
		b.Queue(s.sql(wake), errand.MaxWake).Query(func(rows pgx.Rows) (err error) {
			x.woken, err = scanTickets(rows, nil)
			return err
		})
	} else {
		next() // before the claim: what comes due after it is looked at next time
	}
	for _, l := range x.Lanes {
		b.Queue(s.sql(claim), [16]byte(x.Session), l.Queue, l.Kinds, l.Limit, waking).Query(func(rows pgx.Rows) error {
			lane, err := jobs(rows, nil)
			sortLane(lane)
			x.jobs = append(x.jobs, lane...)
			return err
		})
	}
	if waking {
		next()
	}
	return db.SendBatch(ctx, b).Close()
}

// sortLane puts claimed jobs in the order in which they should start; that of "returning" is not defined.
func sortLane(lane []stored) {
	slices.SortFunc(lane, func(a, b stored) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Due.Compare(b.Due), cmp.Compare(a.seq, b.seq))
	})
}

// errNotDispatched says that the dispatcher cannot tell what there is to claim.
var errNotDispatched = errors.New("the dispatcher does not answer")

// claimDispatched claims jobs whose tickets the dispatcher has, more of them while there are old ones among these.
func (s *Store) claimDispatched(ctx context.Context, c errand.Claim) ([]errand.Job, error) {
	lanes, again := slices.Clone(c.Lanes), false
	got := make([][]errand.Job, len(lanes))
	for {
		tickets, ok := s.dispatch.take(ctx, lanes)
		if !ok {
			return slices.Concat(got...), errNotDispatched
		}
		jobs, err := s.claimTickets(ctx, c.Session, tickets)
		if err != nil {
			return slices.Concat(got...), err
		}
		old := false
		for i := range lanes {
			got[i] = append(got[i], jobs[i]...)
			lanes[i].Limit -= len(jobs[i])
			old = old || len(jobs[i]) < len(tickets[i])
		}
		if !old {
			if again {
				s.dispatch.doubt() // somebody may have held what the old ones lead to, and then not taken it
			}
			return slices.Concat(got...), nil
		}
		again = true
	}
}

// claimTickets claims the jobs of the tickets that are still good, lane by lane.
func (s *Store) claimTickets(ctx context.Context, session uuid.UUID, tickets [][]Ticket) ([][]errand.Job, error) {
	var x lines
	out := make([][]errand.Job, len(tickets))
	lane := map[int64]int{}
	for i, of := range tickets {
		for _, t := range of {
			x.add(t.Queue, t.Kind, int16(t.Priority), t.Due, t.Seq)
			lane[t.Seq] = i
		}
	}
	if len(x.seqs) == 0 {
		return out, nil
	}
	var all []stored
	err := s.do(ctx, s.work, func(ctx context.Context, c *pgxpool.Conn) (err error) {
		all, err = jobs(c.Query(ctx, s.sql(claimTickets), [16]byte(session), x.queues, x.kinds, x.priorities, x.dues, x.seqs))
		return err
	})
	if err != nil {
		s.dispatch.doubt() // the tickets are gone
		return nil, err
	}
	sortLane(all)
	for i := range all {
		k := lane[all[i].seq]
		out[k] = append(out[k], all[i].Job)
	}
	s.held.put(all)
	return out, nil
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

// workerIs begins a condition on the session that runs a job.
const workerIs = `coalesce(j.worker, '00000000-0000-0000-0000-000000000000') = `

// forgetRuns forgets where a session has claimed jobs, if it was a while ago and none of them runs any more. What is younger
// may belong to a claim that is not yet committed.
const forgetRuns = `
	delete from errand.runs r where r.ctid = any (array(
		select ctid from errand.runs where session = $1::uuid and minute < statement_timestamp() - interval '2 minutes' limit 1000))
	and not exists (select 1 from errand.jobs j where j.seq >= r.chunk << 10 and j.seq < (r.chunk + 1) << 10 and j.state = 'running' and ` + workerIs + `$1::uuid)`

// Orphans implements [errand.Store].
func (s *Store) Orphans(ctx context.Context, limit int) ([]errand.Job, error) {
	const lapsed = `
		select distinct r.session, r.chunk from errand.runs r
		where not exists (select 1 from errand.sessions s where s.id = r.session and s.expires > statement_timestamp())
		order by r.chunk limit 1000`
	const orphans = `select ` + columns + ` from errand.jobs j
		where j.seq >= $1::bigint << 10 and j.seq < ($1::bigint + 1) << 10 and j.state = 'running' and ` + workerIs + `$2::uuid limit $3`
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
		empty := map[uuid.UUID]bool{}
		for i := 0; i < len(places) && len(out) < limit && err == nil; i++ {
			var found []stored
			found, err = jobs(c.Query(ctx, s.sql(orphans), places[i].chunk, [16]byte(places[i].session), limit-len(out)))
			if out = append(out, found...); len(found) == 0 {
				empty[places[i].session] = true
			}
		}
		for session := range empty {
			if err == nil {
				_, err = c.Exec(ctx, s.sql(forgetRuns), [16]byte(session))
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return plain(out), nil
}
