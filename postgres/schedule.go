package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const (
	// lockSchedules locks those schedules that still have the version that was read. It waits for nobody: who writes one of them makes it stale.
	lockSchedules = `
		select s.name, s.wake from unnest($1::text[], $2::bigint[]) x (name, was) join errand.schedules s on s.name = x.name and s.version = x.was
		order by s.name for no key update of s skip locked`

	createSchedules = `
		insert into errand.schedules (name, version, wake, body)
		select x.* from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::json[]) x (name, version, wake, body) order by x.name
		on conflict do nothing
		returning name, wake`

	updateSchedules = `
		update errand.schedules s set version = x.version, wake = x.wake, body = x.body
		from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::json[]) x (name, version, wake, body) where s.name = x.name`

	deleteSchedules = `
		with s as (delete from errand.schedules where name = any ($1::text[]))
		delete from errand.firings where schedule = any ($1::text[])`

	insertFirings = `
		insert into errand.firings (schedule, slot, seq, nominal, at, job, outcome, missed)
		select x.schedule, x.seq % $8, x.seq, x.nominal, x.at, nullif(x.job, '00000000-0000-0000-0000-000000000000'), x.outcome, x.missed
		from unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::uuid[], $6::text[], $7::bigint[]) x (schedule, seq, nominal, at, job, outcome, missed)
		on conflict (schedule, slot) do update set
			seq = excluded.seq, nominal = excluded.nominal, at = excluded.at, job = excluded.job, outcome = excluded.outcome, missed = excluded.missed`
)

// SwapSchedules implements [errand.Store].
func (s *Store) SwapSchedules(ctx context.Context, changes []errand.ScheduleChange) ([]errand.Swapped, error) {
	out := make([]errand.Swapped, len(changes))
	if len(changes) == 0 {
		return out, ctx.Err()
	}
	var w scheduling
	err := s.transact(ctx, s.work, func(ctx context.Context, tx pgx.Tx) error {
		w = scheduling{s: s, tx: tx, changes: changes, out: out}
		return w.write(ctx)
	})
	if err != nil {
		return nil, err
	}
	if hasLinks(w.jobs) {
		_ = s.settleLinks(ctx) // as after Insert
	}
	s.dispatch.inserted(w.jobs, w.there, nil)
	s.hints.inserted(w.jobs, w.there)
	s.looks.written(changes)
	if w.sooner {
		s.hints.controlled()
	}
	return out, nil
}

// scheduling writes changes of schedules, in a transaction.
type scheduling struct {
	s       *Store
	tx      pgx.Tx
	changes []errand.ScheduleChange
	out     []errand.Swapped

	wakes  map[string]time.Time // of the schedules to be written, which are locked or new: when they were to be looked at
	batch  pgx.Batch
	jobs   []errand.Job  // to insert
	there  []*errand.Job // those that were there already
	sooner bool          // a schedule is to be looked at sooner than others know
}

func (w *scheduling) write(ctx context.Context) error {
	if err := w.lock(ctx); err != nil {
		return err
	}
	if err := w.decide(); err != nil || len(w.wakes) == 0 {
		return err
	}
	err := w.tx.SendBatch(ctx, &w.batch).Close()
	if err == nil && len(w.jobs) > 0 {
		w.there, err = w.s.insert(ctx, native{w.tx}, w.jobs)
	}
	return err
}

// lock locks the schedules that are there and makes those that are new.
func (w *scheduling) lock(ctx context.Context) error {
	var names []string
	var was []int64
	var fresh schedules
	for i := range w.changes {
		switch c := &w.changes[i]; {
		case c.Was > 0:
			names, was = append(names, c.Schedule.Name), append(was, c.Was)
		case !c.Delete:
			if err := fresh.add(&c.Schedule); err != nil {
				return err
			}
		}
	}
	w.wakes = map[string]time.Time{}
	note := func(rows pgx.Rows) error {
		for rows.Next() {
			r := reader{row: rows.RawValues()}
			w.wakes[r.text()] = r.time()
		}
		return rows.Err()
	}
	b := &pgx.Batch{}
	if len(names) > 0 {
		b.Queue(w.s.sql(lockSchedules), names, was).Query(note)
	}
	if len(fresh.names) > 0 {
		b.Queue(w.s.sql(createSchedules), fresh.args()...).Query(note)
	}
	return w.tx.SendBatch(ctx, b).Close()
}

// decide finds the changes to write, and how.
func (w *scheduling) decide() error {
	var old schedules
	var gone []string
	var kept firings
	for i := range w.changes {
		c := &w.changes[i]
		name, next := c.Schedule.Name, c.Schedule.Wake
		was, ok := w.wakes[name]
		if !ok {
			w.out[i] = errand.Stale
			continue
		}
		w.out[i] = errand.Written
		if c.Delete {
			gone = append(gone, name)
			continue
		}
		if c.Was > 0 {
			if err := old.add(&c.Schedule); err != nil {
				return err
			}
		}
		w.sooner = w.sooner || !next.IsZero() && (c.Was == 0 || was.IsZero() || next.Before(was))
		w.jobs = append(w.jobs, c.Jobs...)
		kept.add(name, c.Firings)
	}
	if len(old.names) > 0 {
		w.batch.Queue(w.s.sql(updateSchedules), old.args()...)
	}
	if len(gone) > 0 {
		w.batch.Queue(w.s.sql(deleteSchedules), gone)
	}
	if len(kept.seqs) > 0 {
		w.batch.Queue(w.s.sql(insertFirings), kept.args()...)
	}
	return nil
}

// schedules are rows of errand.schedules.
type schedules struct {
	names    []string
	versions []int64
	wakes    []*time.Time
	bodies   []string
}

func (a *schedules) add(s *errand.Schedule) error {
	var body strings.Builder
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // args come back as they were
	if err := e.Encode(s); err != nil {
		return fmt.Errorf("schedule %q: %w", s.Name, err)
	}
	a.names, a.versions = append(a.names, s.Name), append(a.versions, s.Version)
	a.wakes, a.bodies = append(a.wakes, nullTime(s.Wake)), append(a.bodies, body.String())
	return nil
}

func (a *schedules) args() []any { return []any{a.names, a.versions, a.wakes, a.bodies} }

// firings are rows of errand.firings.
type firings struct {
	schedules    []string
	seqs, missed []int64
	nominal, at  []time.Time
	jobs         [][16]byte
	outcomes     []string
}

// add adds those firings of a schedule that stay.
func (a *firings) add(schedule string, all []errand.Firing) {
	for _, f := range all[max(len(all)-errand.MaxFirings, 0):] {
		a.schedules, a.seqs = append(a.schedules, schedule), append(a.seqs, f.Seq)
		a.nominal, a.at = append(a.nominal, f.Nominal), append(a.at, f.At)
		a.jobs, a.outcomes, a.missed = append(a.jobs, f.Job), append(a.outcomes, string(f.Outcome)), append(a.missed, f.Missed)
	}
}

func (a *firings) args() []any {
	return []any{a.schedules, a.seqs, a.nominal, a.at, a.jobs, a.outcomes, a.missed, errand.MaxFirings}
}

const (
	scheduleColumns = `s.name, s.version, s.wake, s.body`

	selectSchedules = `select ` + scheduleColumns + ` from errand.schedules s where s.name > $1 order by s.name limit $2`

	selectNamed = `select ` + scheduleColumns + ` from errand.schedules s where s.name = any ($2::text[]) and s.name > $1 order by s.name`

	// selectDue yields one row at least: if nothing is due it has the earliest time at which something will be. What is due since before $2 is not looked for.
	selectDue = `
		with t as materialized (select clock_timestamp() as now)
		select t.now, case when s.name is null then (select min(wake) from errand.schedules where wake >= $2::timestamptz) end, ` + scheduleColumns + `
		from t left join lateral (
			select * from errand.schedules s where s.wake >= $2::timestamptz and s.wake <= t.now order by s.wake, s.name limit $1) s on true
		order by s.wake, s.name`

	selectFirings = `
		select f.* from unnest($1::text[]) x (schedule) cross join lateral (
			select f.schedule, f.seq, f.nominal, f.at, f.job, f.outcome, f.missed from errand.firings f where f.schedule = x.schedule order by f.seq desc limit $2) f
		order by f.schedule, f.seq desc`
)

// scanSchedule reads a row of scheduleColumns.
func scanSchedule(r *reader) (s errand.Schedule, err error) {
	name, version, wake := r.text(), r.int64(), r.time()
	r.decode(&s)
	s.Name, s.Version, s.Wake = name, version, wake
	if r.err != nil {
		return s, fmt.Errorf("schedule %q is damaged: %w", name, r.err)
	}
	return s, nil
}

// Schedules implements [errand.Store].
func (s *Store) Schedules(ctx context.Context, q errand.ScheduleQuery) ([]errand.Schedule, error) {
	text, arg := selectSchedules, any(cmp.Or(q.Limit, 100))
	if q.Names != nil {
		text, arg = selectNamed, q.Names
	}
	var out []errand.Schedule
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql(text), q.After, arg)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (errand.Schedule, error) {
			return scanSchedule(&reader{row: row.RawValues()})
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// looks is from when on to look for due schedules. Each firing leaves a dead entry at the begin of the index, and while an old transaction keeps vacuum
// from removing them every look from the begin walks over all of them.
type looks struct {
	mu    sync.Mutex
	from  time.Time // by the store's clock: nothing that was due before was there at the last look
	whole time.Time // by this process' clock: when all were looked for
	wrote int       // how often this process has written schedules
}

const (
	lookBack  = time.Minute // what others write may be due for so long already
	lookWhole = time.Minute // and if for longer, it is found after so long
)

// begin returns from when on to look, and what to pass to end.
func (l *looks) begin() (from time.Time, wrote int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.whole) > lookWhole {
		l.from, l.whole = time.Time{}, now
	}
	return l.from, l.wrote
}

func (l *looks) end(due errand.DueSchedules, wrote int) {
	first := due.Now
	if len(due.Schedules) > 0 && due.Schedules[0].Wake.Before(first) {
		first = due.Schedules[0].Wake
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrote == wrote { // else the look may not have seen it
		l.from = first.Add(-lookBack)
	}
}

// written notes what this process has written.
func (l *looks) written(changes []errand.ScheduleChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrote++
	for i := range changes {
		if wake := changes[i].Schedule.Wake; !wake.IsZero() && wake.Before(l.from) {
			l.from = wake
		}
	}
}

// DueSchedules implements [errand.Store].
func (s *Store) DueSchedules(ctx context.Context, limit int) (errand.DueSchedules, error) {
	var due errand.DueSchedules
	from, wrote := s.looks.begin()
	err := s.do(ctx, s.work, func(ctx context.Context, c *pgxpool.Conn) error {
		due = errand.DueSchedules{}
		rows, err := c.Query(ctx, s.sql(selectDue), limit, from)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r := reader{row: rows.RawValues()}
			due.Now, due.Next = r.time(), r.time()
			if r.row[0] == nil { // none is due
				continue
			}
			x, err := scanSchedule(&r)
			if err != nil {
				return err
			}
			due.Schedules = append(due.Schedules, x)
		}
		return rows.Err()
	})
	if err != nil {
		return errand.DueSchedules{}, err
	}
	s.looks.end(due, wrote)
	return due, nil
}

// Firings implements [errand.Store].
func (s *Store) Firings(ctx context.Context, names []string, limit int) ([]errand.Firing, error) {
	var out []errand.Firing
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql(selectFirings), names, max(limit, 0))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (errand.Firing, error) {
			r := reader{row: row.RawValues()}
			f := errand.Firing{
				Schedule: r.text(), Seq: r.int64(), Nominal: r.time(), At: r.time(), Job: r.uuid(), Outcome: errand.Outcome(r.text()), Missed: r.int64(),
			}
			return f, r.err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
