package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand"
)

// probeSQL yields what is wrong in the store, at whatever moment: it is one statement and sees one moment.
const probeSQL = `
	select 'a ready job that no claim finds', j.id::text from errand.jobs j where j.state = 'ready' and not exists (
		select 1 from errand.ready r where (r.queue, r.kind, r.priority, r.due, r.seq) = (j.queue, j.kind, j.priority, j.due, j.seq))
	union all
	select 'a line for a job that is ' || coalesce(j.state, 'gone'), r.seq::text from errand.ready r left join errand.jobs j on j.seq = r.seq
	where j.state is distinct from 'ready'
	union all
	select 'two lines for a ready job', seq::text from errand.ready group by seq having count(*) > 1
	union all
	select 'a running job that no rescue finds', j.id::text from errand.jobs j where j.state = 'running' and not exists (
		select 1 from errand.runs r where r.session = j.worker and r.chunk = j.seq >> 10)
	union all
	select 'a job that waits for ' || j.blocked || ' others and has another number of links', j.id::text from errand.jobs j
	where j.state in ('waiting', 'paused') and j.blocked <> (select count(*) from errand.links l where l.job = j.seq)
	union all
	select 'on the wrong shelf', id::text from errand.jobs
	where shelf is distinct from case when state not in ('ready', 'running', 'succeeded') then state end
	union all
	select 'counted ' || coalesce(m.n, 0) || ' jobs instead of ' || coalesce(j.n, 0), format('%s %s %s', coalesce(j.queue, m.queue), coalesce(j.kind, m.kind), coalesce(j.state, m.state))
	from (select queue, kind, state, count(*) as n from errand.jobs group by queue, kind, state) j
	full join (
		select queue, kind, state, sum(n) as n from (
			select queue, kind, dst as state, n from errand.moves where dst is not null
			union all
			select queue, kind, src, -n from errand.moves where src is not null) x
		group by queue, kind, state having sum(n) <> 0) m using (queue, kind, state)
	where m.n is distinct from j.n`

// probe looks for inconsistencies every now and then, until ctx ends.
func (s *stage) probe(ctx context.Context, every time.Duration) {
	for sleep(ctx, every) {
		if err := s.probeOnce(ctx); err == nil {
			s.mu.Lock()
			s.counts.probes++
			s.mu.Unlock()
		}
	}
}

func (s *stage) probeOnce(ctx context.Context) error {
	rows, err := s.db.Query(ctx, probeSQL)
	if err != nil {
		return err
	}
	var what, where string
	_, err = pgx.ForEachRow(rows, []any{&what, &where}, func() error {
		s.find("in the store: %s: %s", what, where)
		return nil
	})
	return err
}

// checkStats: the engine counts what is there.
func (s *stage) checkStats(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `select queue, kind, state, count(*) from errand.jobs group by queue, kind, state order by 1, 2, 3`)
	if err != nil {
		return err
	}
	count := func(queue, kind string, state errand.State, n int64) string {
		return fmt.Sprintf("%s %s %s: %d", queue, kind, state, n)
	}
	var want, got []string
	var queue, kind string
	var state errand.State
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&queue, &kind, &state, &n}, func() error {
		want = append(want, count(queue, kind, state, n))
		return nil
	}); err != nil {
		return err
	}
	counts, err := s.engine.Stats(ctx)
	for _, c := range counts {
		got = append(got, count(c.Queue, c.Kind, c.State, c.Jobs))
	}
	slices.Sort(want)
	slices.Sort(got)
	if err == nil && !slices.Equal(want, got) {
		s.find("the engine counts %q instead of %q", got, want)
	}
	return err
}

// checkSessions: after a lease, the living sessions are those of the living workers.
func (s *stage) checkSessions(ctx context.Context) error {
	alive := 0
	for deadline := time.Now().Add(s.lease + 5*time.Second); time.Now().Before(deadline); sleep(ctx, 100*time.Millisecond) {
		sessions, err := s.engine.Sessions(ctx)
		if err != nil {
			return err
		}
		alive = 0
		for i := range sessions {
			if sessions[i].Expires.After(time.Now()) {
				alive++
			}
		}
		if alive == len(s.living(worker)) {
			return nil
		}
	}
	s.find("%d sessions of %d workers live", alive, len(s.living(worker)))
	return nil
}
