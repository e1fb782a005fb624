package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	selectExpired = `select distinct chunk from errand.expiry where at <= statement_timestamp() order by chunk limit 100`

	// settleChunk notes when to look at a chunk again: soon, if there is more to prune, or a job was spared that others wait for.
	settleChunk = `
		with d as (delete from errand.expiry where chunk = $1::bigint and at <= statement_timestamp())
		insert into errand.expiry (at, chunk)
		select clock_timestamp() + min(case when exists (select 1 from errand.links where on_id = id) then interval '1 minute' else '0' end), $1::bigint
		from errand.jobs where seq >= $1::bigint << 10 and seq < ($1::bigint + 1) << 10 and expires <= statement_timestamp() and state ` + isEnd + `
		having count(*) > 0
		on conflict do nothing`
)

// pruneChunk removes up to $2 expired jobs of a chunk with all that belongs to them.
var pruneChunk = `
	with j as (
		delete from errand.jobs j where j.seq = any (array(
			select seq from errand.jobs where seq >= $1::bigint << 10 and seq < ($1::bigint + 1) << 10 and expires <= statement_timestamp() and state ` + isEnd + `
				and not exists (select 1 from errand.links where on_id = id) order by seq limit $2 for update skip locked))
		returning j.seq, j.id, j.queue, j.kind, j.state, j.entries, j.tags, j.after),
	m as (
		insert into errand.moves (n, src, queue, kind) select count(*), state, queue, kind from j group by state, queue, kind),
	` + noteChanges("null::text") + `,
	e as (
		delete from errand.entries where job = any (array(select seq from j where entries > 0))),
	t as (
		delete from errand.tags where job = any (array(select seq from j where tags is not null)) and tag = any (array(select unnest(tags) from j))),
	l as (
		delete from errand.links where job = any (array(select seq from j where after is not null)) returning on_id)
	select count(*), (select array_agg(on_id) from l) from j`

// Prune implements [errand.Store]. A job may stay a thirtieth of its retention longer than it should. On
// the way it keeps the other tables small.
func (s *Store) Prune(ctx context.Context, limit int) (int, error) {
	n := 0
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		n = 0
		rows, err := c.Query(ctx, s.sql(selectExpired))
		if err != nil {
			return err
		}
		chunks, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		for i := 0; i < len(chunks) && n < limit && err == nil; i++ {
			var removed int
			removed, err = s.pruneChunk(ctx, c, chunks[i], limit-n)
			n += removed
		}
		return err
	})
	if err != nil {
		return n, err
	}
	return n, s.tidy(ctx)
}

func (s *Store) pruneChunk(ctx context.Context, c *pgxpool.Conn, chunk int64, limit int) (removed int, err error) {
	var freed [][16]byte
	err = c.QueryRow(ctx, s.sql(pruneChunk), chunk, limit).Scan(&removed, &freed)
	if err == nil && removed < limit {
		_, err = c.Exec(ctx, s.sql(settleChunk), chunk)
	}
	if err == nil && len(freed) > 0 {
		_, err = c.Exec(ctx, s.sql(expireUsed), freed)
	}
	return removed, err
}

// tidyEvery is how often a process looks whether there is anything to tidy up.
const tidyEvery = time.Second

// tidy adds up errand.moves and turns over the partitions of errand.ready. One process at a time does.
func (s *Store) tidy(ctx context.Context) error {
	if !s.upkeep.due() {
		return nil
	}
	return s.transact(ctx, s.general, func(ctx context.Context, tx pgx.Tx) error {
		var mine bool
		err := tx.QueryRow(ctx, "select pg_try_advisory_xact_lock(hashtextextended('errand tidy ' || $1, 0))", s.options.Schema).Scan(&mine)
		if err != nil || !mine {
			return err
		}
		if err := s.addUp(ctx, tx); err != nil {
			return err
		}
		if err := s.foldHistory(ctx, tx); err != nil {
			return err
		}
		if err := s.truncateChanges(ctx, tx); err != nil {
			return err
		}
		return s.turnOver(ctx, tx)
	})
}

const (
	// addUpDue says whether there are many moves, or some that have not been in the history for a while.
	addUpDue = `select count(*) > 500 or coalesce(bool_or(not folded), false) and (select folded < statement_timestamp() - interval '5 seconds' from errand.turn)
		from (select folded from errand.moves limit 501) m`

	// addUp replaces moves by their sums, and adds them to the history.
	addUp = `
		with m as (delete from errand.moves where ctid = any (array(select ctid from errand.moves limit 50000 for update skip locked)) returning *),
		h as (
			insert into errand.history (at, what, queue, kind, n)
			select to_timestamp(floor(extract(epoch from statement_timestamp()) / 10) * 10), what, queue, kind, sum(n) from (
				select waited as n, queue, kind, 5 as what from m where waited > 0
				union all
				select n, queue, kind, case when dst = 'succeeded' then 2 when dst = 'failed' then 3 when dst = 'cancelled' then 4
					when src is null then 0 when dst = 'running' then 1 end as what
				from m where not folded) m
			where what is not null group by what, queue, kind order by what, queue, kind
			on conflict (at, what, queue, kind) do update set n = history.n + excluded.n),
		t as (update errand.turn set folded = statement_timestamp())
		insert into errand.moves (n, dst, queue, kind, folded)
		select sum(n), state, queue, kind, true from (
			select n, dst as state, queue, kind from m where dst is not null
			union all
			select -n, src, queue, kind from m where src is not null) m
		group by state, queue, kind having sum(n) <> 0`
)

// addUp replaces many rows of errand.moves by their sums.
func (s *Store) addUp(ctx context.Context, tx pgx.Tx) error {
	var due bool
	err := tx.QueryRow(ctx, s.sql(addUpDue)).Scan(&due)
	if err == nil && due {
		_, err = tx.Exec(ctx, s.sql(addUp))
	}
	return err
}

// A partition of errand.ready is turned over when it has so many dead rows; one with few live rows is emptied
// into the next, so many at a time.
const (
	manyDead = 20_000
	fewLive  = 10_000
)

// turnOver truncates a partition of errand.ready that is worked off, or lets another fill if the one that does has many dead rows.
func (s *Store) turnOver(ctx context.Context, tx pgx.Tx) error {
	const partitions = `
		select p.gen, p.gen = t.gen, pg_relation_size(p.name), pg_stat_get_dead_tuples(p.name), pg_stat_get_live_tuples(p.name)
		from errand.turn t, (values (0, 'errand.ready_0'::regclass), (1, 'errand.ready_1'), (2, 'errand.ready_2')) p (gen, name)`
	rows, err := tx.Query(ctx, s.sql(partitions))
	if err != nil {
		return err
	}
	type partition struct {
		Gen              int
		Current          bool
		Size, Dead, Live int64
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[partition])
	if err != nil {
		return err
	}
	var current, empty, used *partition
	for i := range all {
		switch p := &all[i]; {
		case p.Current:
			current = p
		case p.Size == 0:
			empty = p
		case used == nil || p.Live < used.Live:
			used = p
		}
	}
	if current != nil && current.Dead > manyDead && empty != nil {
		_, err := tx.Exec(ctx, s.sql(`update errand.turn set gen = $1`), empty.Gen)
		return err
	}
	if used == nil {
		return nil
	}
	if empty == nil || used.Dead > manyDead && used.Live <= fewLive {
		if err := s.moveReady(ctx, tx, used.Gen); err != nil {
			return err
		}
	}
	return s.truncateReady(ctx, tx, used.Gen)
}

var (
	moveReady = [3]string{
		`with r as (delete from errand.ready_0 where ctid = any (array(select ctid from errand.ready_0 limit $1 for update skip locked)) returning *) ` + insertMoved,
		`with r as (delete from errand.ready_1 where ctid = any (array(select ctid from errand.ready_1 limit $1 for update skip locked)) returning *) ` + insertMoved,
		`with r as (delete from errand.ready_2 where ctid = any (array(select ctid from errand.ready_2 limit $1 for update skip locked)) returning *) ` + insertMoved,
	}
	anyReady = [3]string{
		`select exists (select 1 from errand.ready_0)`, `select exists (select 1 from errand.ready_1)`, `select exists (select 1 from errand.ready_2)`,
	}
)

const insertMoved = `insert into errand.ready (gen, priority, due, seq, queue, kind) select (select gen from errand.turn), priority, due, seq, queue, kind from r`

func (s *Store) moveReady(ctx context.Context, tx pgx.Tx, gen int) error {
	_, err := tx.Exec(ctx, s.sql(moveReady[gen]), fewLive)
	return err
}

// truncateReady truncates a partition, if nothing is left in it and nobody is using it.
func (s *Store) truncateReady(ctx context.Context, tx pgx.Tx, gen int) error {
	var left bool
	if err := tx.QueryRow(ctx, s.sql(anyReady[gen])).Scan(&left); err != nil || left {
		return err
	}
	return s.truncate(ctx, tx, fmt.Sprintf("errand.ready_%d", gen), anyReady[gen])
}

// truncate truncates a table if nobody is using it, and unless a query says that there is something left in it.
func (s *Store) truncate(ctx context.Context, tx pgx.Tx, table, anyLeft string) error {
	// Others wait behind this lock, so it must not wait long itself: for a transaction of the application, say.
	_, err := tx.Exec(ctx, "savepoint truncating")
	if err == nil {
		_, err = tx.Exec(ctx, "set local lock_timeout = '20ms'")
	}
	if err == nil {
		_, err = tx.Exec(ctx, s.sql("lock table "+table+" in access exclusive mode"))
	}
	if code(err) == "55P03" { // lock_not_available: next time
		_, err = tx.Exec(ctx, "rollback to truncating")
		return err
	}
	left := false
	if err == nil && anyLeft != "" { // an insert that was under way may have come to its end
		err = tx.QueryRow(ctx, s.sql(anyLeft)).Scan(&left)
	}
	if err == nil && !left {
		_, err = tx.Exec(ctx, s.sql("truncate "+table))
	}
	return err
}

// upkeep is what is done on the way, when nobody waits for it.
type upkeep struct {
	busy    atomic.Bool
	last    atomic.Int64 // when tidy ran, in Unix nanoseconds
	folded  atomic.Int64 // when the history was last folded
	running sync.WaitGroup
}

func (u *upkeep) due() bool {
	now, last := time.Now().UnixNano(), u.last.Load()
	return now-last >= int64(tidyEvery) && u.last.CompareAndSwap(last, now)
}

// start runs f in the background, unless something is running already.
func (u *upkeep) start(ctx context.Context, f func(context.Context)) {
	if ctx.Err() != nil || !u.busy.CompareAndSwap(false, true) {
		return
	}
	u.running.Go(func() {
		defer u.busy.Store(false)
		f(ctx)
	})
}
