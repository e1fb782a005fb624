package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// finish ends jobs whose every other value is as this process has read it. It answers the seqs
// of those that it has ended, unless these are all.
var finish = `
	with j as (
		update errand.jobs j set state = 'succeeded', version = c.was + 1, ended = $4, expires = $5, result = c.result::json
		from unnest($1::bigint[], $2::bigint[], $3::text[]) c (seq, was, result)
		where j.seq = c.seq and j.version = c.was
		returning j.seq, j.id, j.queue, j.kind),
	m as (
		insert into errand.moves (n, src, dst, queue, kind) select count(*), 'running', 'succeeded', queue, kind from j group by queue, kind),
	e as (
		insert into errand.expiry (at, chunk)
		select distinct $6::timestamptz, seq >> 10 from j where $6 is not null order by 2 on conflict do nothing),
	` + noteChanges("'succeeded'") + `
	select case when count(*) < cardinality($1::bigint[]) then coalesce(array_agg(seq), '{}') end from j`

// Swap implements [errand.Store].
func (s *Store) Swap(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
	out := make([]errand.Swapped, len(changes))
	if len(changes) == 0 {
		return out, ctx.Err()
	}
	var err error
	var joined lines
	known := s.held.take(changes)
	if f := finishes(changes, known); f != nil {
		err = s.finish(ctx, f, out)
	} else {
		err = s.again(ctx, func(ctx context.Context, tx pgx.Tx) error {
			w := swap{s: s, tx: tx, changes: changes, out: out}
			err := w.write(ctx)
			joined = w.joined
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	for i := range changes {
		if out[i] == errand.Written && known[i] != nil && !changes[i].Delete && changes[i].Job.State == errand.Running {
			s.held.keep(known[i], &changes[i].Job)
		}
	}
	s.relinks.add(s, changes, out)
	s.dispatch.swapped(changes, out, &joined)
	s.hints.swapped(changes, out)
	return out, nil
}

// again is transact, repeated when a unique key is taken that was free a moment ago: who looks knows only of what is committed.
func (s *Store) again(ctx context.Context, f func(context.Context, pgx.Tx) error) (err error) {
	for range 10 {
		if err = s.transact(ctx, s.work, f); code(err) != uniqueViolation {
			break
		}
	}
	return err
}

// finishing is what finish writes, for the jobs that ended at one time and expire at another.
type finishing struct {
	ended, expires time.Time
	index          []int // in the changes
	ids            [][16]byte
	seqs, was      []int64
	results        []*string
}

// finishes returns how to write the changes if all of them are plain finishes; else nil.
func finishes(changes []errand.Change, known []*stored) []*finishing {
	var groups []*finishing
	for i := range changes {
		c := &changes[i]
		if known[i] == nil || !isFinish(c, known[i]) {
			return nil
		}
		j := &c.Job
		k := slices.IndexFunc(groups, func(f *finishing) bool { return f.ended.Equal(j.Ended) && f.expires.Equal(j.Expires) })
		if k < 0 {
			if k = len(groups); k == 8 { // of many lifetimes: one statement for all is better
				return nil
			}
			groups = append(groups, &finishing{ended: j.Ended, expires: j.Expires})
		}
		groups[k].index = append(groups[k].index, i)
	}
	for _, f := range groups {
		f.fill(changes, known)
	}
	return groups
}

// fill writes the arguments, in the order of seqs.
func (f *finishing) fill(changes []errand.Change, known []*stored) {
	slices.SortFunc(f.index, func(a, b int) int { return cmp.Compare(known[a].seq, known[b].seq) })
	for _, i := range f.index {
		c := &changes[i]
		f.ids, f.seqs, f.was = append(f.ids, c.Job.ID), append(f.seqs, known[i].seq), append(f.was, c.Was)
		f.results = append(f.results, optional(c.Job.Result))
	}
}

// isFinish reports whether a change ends a job well and is no other than that.
func isFinish(c *errand.Change, s *stored) bool {
	j, was := &c.Job, &s.Job
	return !c.Delete && len(c.Entries) == 0 && len(c.Unblocks) == 0 && c.From == errand.Running && j.State == errand.Succeeded && !j.Ended.IsZero() &&
		j.Version == c.Was+1 && j.Unique == "" && isPlain(j) && isPlain(was) && j.Due.Equal(was.Due) && j.Attempt == was.Attempt &&
		j.Worker == was.Worker && j.Token == was.Token && j.Started.Equal(was.Started) && j.Entries == was.Entries
}

func optional(b json.RawMessage) *string {
	if len(b) == 0 {
		return nil
	}
	text := string(b)
	return &text
}

// finish writes finishes in one round trip.
func (s *Store) finish(ctx context.Context, groups []*finishing, out []errand.Swapped) error {
	return s.do(ctx, s.work, func(ctx context.Context, c *pgxpool.Conn) error {
		b := &pgx.Batch{}
		for _, f := range groups {
			b.Queue(s.sql(finish), f.seqs, f.was, f.results, f.ended, nullTime(f.expires), nullTime(expiryOf(f.ended, f.expires))).QueryRow(func(row pgx.Row) error {
				var written []int64
				err := row.Scan(&written)
				slices.Sort(written)
				for k, i := range f.index {
					out[i] = errand.Written
					if _, found := slices.BinarySearch(written, f.seqs[k]); written != nil && !found {
						out[i] = errand.Stale
					}
				}
				return err
			})
		}
		for _, f := range groups {
			b.Queue(s.sql(markLinks), f.ids)
		}
		return c.SendBatch(ctx, b).Close()
	})
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// expiryOf returns when to look for a job that expires: a little later, so that many jobs share a row
// of errand.expiry. It is a thirtieth of the time from now at most.
func expiryOf(now, expires time.Time) time.Time {
	if expires.IsZero() {
		return expires
	}
	step := time.Second
	for step*64 <= expires.Sub(now) {
		step *= 2
	}
	if at := expires.Truncate(step); !at.Equal(expires) {
		return at.Add(step)
	}
	return expires
}

// swap writes any changes, in a transaction. It locks before it looks, always in the same order: rows of
// errand.ready (as claims do), then of errand.jobs.
type swap struct {
	s       *Store
	tx      pgx.Tx
	changes []errand.Change
	out     []errand.Swapped

	now     time.Time
	watched bool
	rows    map[errand.ID]*row // the jobs as they are stored, locked
	holder  map[string]*row    // of unique keys
	free    []int64            // seqs of the jobs that no longer hold their key
	joined  lines              // the jobs that become ready
	batch   pgx.Batch
}

// row is what a change must know of the stored job.
type row struct {
	id           uuid.UUID
	seq, version int64
	priority     int16
	due          time.Time
	state        errand.State
	queue, kind  string
	key, scope   string
	until        time.Time
	held         bool
}

const rowColumns = `j.id, j.seq, j.version, j.priority, j.due, j.state, j.queue, j.kind, j.unique_key, j.unique_scope, j.unique_until, j.unique_held`

func scanRows(rows pgx.Rows) ([]*row, error) {
	return pgx.CollectRows(rows, func(rows pgx.CollectableRow) (*row, error) {
		r := reader{row: rows.RawValues()}
		x := &row{
			id: r.uuid(), seq: r.int64(), version: r.int64(), priority: r.int16(), due: r.time(), state: errand.State(r.text()), queue: r.text(), kind: r.text(),
			key: r.text(), scope: r.text(), until: r.time(), held: r.bool(),
		}
		return x, r.err
	})
}

const (
	lockReady = `
		select 1 from errand.jobs j
		cross join lateral (
			select 1 from errand.ready r where r.queue = j.queue and r.kind = j.kind and r.priority = j.priority and r.due = j.due and r.seq = j.seq for update) r
		where j.id = any ($1::uuid[]) and j.state = 'ready'`

	lockRows = `select ` + rowColumns + ` from errand.jobs j where j.id = any ($1::uuid[]) order by j.id for no key update`

	lockHolders = `select ` + rowColumns + ` from errand.jobs j where j.unique_key = any ($1::text[]) and j.unique_held order by j.unique_key for no key update`

	deleteReady = `
		delete from errand.ready r using unnest($1::text[], $2::text[], $3::smallint[], $4::timestamptz[], $5::bigint[]) x (queue, kind, priority, due, seq)
		where r.queue = x.queue and r.kind = x.kind and r.priority = x.priority and r.due = x.due and r.seq = x.seq`

	insertReady = `
		insert into errand.ready (gen, queue, kind, priority, due, seq)
		select (select gen from errand.turn), x.* from unnest($1::text[], $2::text[], $3::smallint[], $4::timestamptz[], $5::bigint[]) x`

	insertMoves = `insert into errand.moves (n, src, dst, queue, kind)
		select count(*), nullif(src, ''), nullif(dst, ''), queue, kind from unnest($1::text[], $2::text[], $3::text[], $4::text[]) x (src, dst, queue, kind) group by 2, 3, 4, 5`

	insertChanges = `insert into errand.changes (queue, kind, state, ids)
		select queue, kind, nullif(state, ''), array_agg(id) from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) x (queue, kind, state, id) group by 1, 2, 3`

	insertRuns = `insert into errand.runs (session, minute, chunk)
		select distinct x.session, date_trunc('minute', clock_timestamp()), x.seq >> 10 from unnest($1::uuid[], $2::bigint[]) x (session, seq) on conflict do nothing`

	insertExpiry = `insert into errand.expiry (at, chunk) select distinct x.at, x.seq >> 10 from unnest($1::timestamptz[], $2::bigint[]) x (at, seq) order by 1, 2 on conflict do nothing`

	dropLinks = `
		delete from errand.links l using unnest($1::uuid[], $2::uuid[]) x (id, on_id), errand.jobs j
		where j.id = x.id and l.on_id = x.on_id and l.job = j.seq`

	releaseKeys = `update errand.jobs set unique_held = null where seq = any ($1::bigint[])`
)

// expire has jobs pruned that were kept because another one waited for them.
func expire(ids string) string {
	return `
		insert into errand.expiry (at, chunk)
		select distinct date_trunc('second', clock_timestamp()), seq >> 10 from errand.jobs where id = any (` + ids + `) and expires <= statement_timestamp()
		order by 1, 2 on conflict do nothing`
}

var expireUsed = expire("$1::uuid[]")

// updateColumns are those of updateRows: where, whether it holds its unique key, and what.
var updateColumns = append([]column{{name: "seq", array: "bigint"}, {name: "held", array: "boolean"}}, changingColumns...)

// updateRows writes the changing columns of locked jobs.
var updateRows = func() string {
	set := ""
	for _, c := range changingColumns {
		set += c.name + " = c." + c.name + ", "
	}
	return `update errand.jobs j set ` + set + `unique_held = nullif(c.held, false), shelf = ` + onShelf("c.state") + `
		from ` + unnest(updateColumns, 1) + ` c where j.seq = c.seq`
}()

func (w *swap) write(ctx context.Context) error {
	if err := w.lock(ctx); err != nil {
		return err
	}
	ok := w.decide()
	if len(ok) == 0 {
		return nil
	}
	w.remove(ok)
	w.update(ok)
	w.note(ok)
	w.log(ok)
	return w.tx.SendBatch(ctx, &w.batch).Close()
}

// lock locks all that the changes touch, and reads it.
func (w *swap) lock(ctx context.Context) error {
	ids := make([][16]byte, len(w.changes))
	var ready [][16]byte
	var keys []string
	for i := range w.changes {
		c := &w.changes[i]
		ids[i] = c.Job.ID
		if c.From == errand.Ready {
			ready = append(ready, c.Job.ID)
		}
		if c.Job.Unique != "" && !c.Delete {
			keys = append(keys, c.Job.Unique)
		}
	}
	b := &pgx.Batch{}
	b.Queue(w.s.sql("select clock_timestamp(), " + isWatched)).QueryRow(func(row pgx.Row) error { return row.Scan(&w.now, &w.watched) })
	if len(ready) > 0 {
		b.Queue(w.s.sql(lockReady), sorted(ready))
	}
	var found, holders []*row
	collect := func(to *[]*row) func(pgx.Rows) error {
		return func(rows pgx.Rows) (err error) {
			*to, err = scanRows(rows)
			return err
		}
	}
	b.Queue(w.s.sql(lockRows), sorted(ids)).Query(collect(&found))
	if len(keys) > 0 {
		b.Queue(w.s.sql(lockHolders), keys).Query(collect(&holders))
	}
	if err := w.tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	w.rows, w.holder = map[errand.ID]*row{}, map[string]*row{}
	for _, r := range found {
		w.rows[r.id] = r
	}
	for _, r := range holders {
		if known := w.rows[r.id]; known != nil {
			r = known
		}
		w.holder[r.key] = r
	}
	return nil
}

func sorted(ids [][16]byte) [][16]byte {
	slices.SortFunc(ids, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
	return ids
}

// decided is a change that is to be written onto a row.
type decided struct {
	*errand.Change
	row  *row
	held bool
}

// decide goes through the changes in their order, and returns those to write.
func (w *swap) decide() []decided {
	var ok []decided
	for i := range w.changes {
		c := &w.changes[i]
		r := w.rows[c.Job.ID]
		if r == nil || r.version != c.Was {
			w.out[i] = errand.Stale
			continue
		}
		d := decided{Change: c, row: r}
		if c.Job.Unique != "" {
			holder := w.holder[c.Job.Unique]
			if holder != nil && holder != r && holder.scope == string(errand.UntilTime) && !w.now.Before(holder.until) {
				w.free = append(w.free, holder.seq)
				holder.held, holder = false, nil
				delete(w.holder, c.Job.Unique)
			}
			d.held = !c.Delete && c.Job.HoldsUnique(w.now)
			if d.held && holder != nil && holder != r {
				w.out[i] = errand.Taken
				continue
			}
			if d.held {
				w.holder[c.Job.Unique] = r
			} else if holder == r {
				delete(w.holder, c.Job.Unique)
			}
		}
		w.out[i] = errand.Written
		ok = append(ok, d)
	}
	return ok
}

// remove deletes jobs with all that belongs to them.
func (w *swap) remove(changes []decided) {
	var seqs []int64
	for _, d := range changes {
		if d.Delete {
			seqs = append(seqs, d.row.seq)
		}
	}
	if len(seqs) > 0 {
		for _, text := range removals {
			w.batch.Queue(w.s.sql(text), seqs)
		}
	}
}

// removals delete jobs with all that belongs to them.
var removals = []string{
	`delete from errand.jobs where seq = any ($1::bigint[])`,
	`delete from errand.entries where job = any ($1::bigint[])`,
	`delete from errand.tags where job = any ($1::bigint[])`,
	`with l as (delete from errand.links where job = any ($1::bigint[]) returning on_id)` + expire("array(select on_id from l)"),
}

// update writes the jobs that stay.
func (w *swap) update(changes []decided) {
	var seqs []int64
	var held []bool
	var jobs []*errand.Job
	takes := false
	for _, d := range changes {
		if d.Delete {
			continue
		}
		seqs, held, jobs = append(seqs, d.row.seq), append(held, d.held), append(jobs, &d.Job)
		takes = takes || d.held && !d.row.held
		if d.row.held && !d.held {
			w.free = append(w.free, d.row.seq)
		}
	}
	if takes && len(w.free) > 0 { // the index must see a key freed before it is taken
		w.batch.Queue(w.s.sql(releaseKeys), w.free)
	}
	if len(seqs) > 0 {
		args := append([]any{seqs, held}, arrays(changingColumns, len(jobs), func(i int) *errand.Job { return jobs[i] })...)
		w.batch.Queue(w.s.sql(updateRows), args...)
	}
}

// lines are rows of errand.ready.
type lines struct {
	queues, kinds []string
	priorities    []int16
	dues          []time.Time
	seqs          []int64
}

func (l *lines) add(queue, kind string, priority int16, due time.Time, seq int64) {
	l.queues, l.kinds, l.priorities = append(l.queues, queue), append(l.kinds, kind), append(l.priorities, priority)
	l.dues, l.seqs = append(l.dues, due), append(l.seqs, seq)
}

func (w *swap) queueLines(text string, l *lines) {
	if len(l.seqs) > 0 {
		w.batch.Queue(w.s.sql(text), l.queues, l.kinds, l.priorities, l.dues, l.seqs)
	}
}

// changed are rows of errand.changes.
type changed struct {
	queues, kinds, states []string
	ids                   [][16]byte
}

func (c *changed) add(r *row, state errand.State) {
	c.queues, c.kinds = append(c.queues, r.queue), append(c.kinds, r.kind)
	c.states, c.ids = append(c.states, string(state)), append(c.ids, r.id)
}

// note keeps true what leads to the jobs: the ready ones, the running ones, those that expire, the counts and the links.
func (w *swap) note(changes []decided) {
	var left lines
	var changed changed
	var src, dst, queues, kinds []string
	var sessions, ended, waiting, used [][16]byte
	var running, expiring []int64
	var at []time.Time
	for _, d := range changes {
		j, r := &d.Job, d.row
		state := j.State
		if d.Delete {
			state = ""
		}
		changed.add(r, state)
		if r.state == errand.Ready && (state != errand.Ready || !j.Due.Equal(r.due)) {
			left.add(r.queue, r.kind, r.priority, r.due, r.seq)
		}
		if state == errand.Ready && (r.state != errand.Ready || !j.Due.Equal(r.due)) {
			w.joined.add(r.queue, r.kind, r.priority, j.Due, r.seq)
		}
		if state != r.state {
			src, dst = append(src, string(r.state)), append(dst, string(state))
			queues, kinds = append(queues, r.queue), append(kinds, r.kind)
			if state == "" || state.Ended() {
				ended = append(ended, r.id)
			}
		}
		if state == errand.Running && r.state != errand.Running {
			sessions, running = append(sessions, j.Worker), append(running, r.seq)
		}
		if state.Ended() && !j.Expires.IsZero() {
			at, expiring = append(at, expiryOf(w.now, j.Expires)), append(expiring, r.seq)
		}
		for _, id := range d.Unblocks {
			waiting, used = append(waiting, j.ID), append(used, id)
		}
	}
	w.queueLines(deleteReady, &left)
	w.queueLines(insertReady, &w.joined)
	if w.watched {
		w.batch.Queue(w.s.sql(insertChanges), changed.queues, changed.kinds, changed.states, changed.ids)
	}
	if len(src) > 0 {
		w.batch.Queue(w.s.sql(insertMoves), src, dst, queues, kinds)
	}
	if len(running) > 0 {
		w.batch.Queue(w.s.sql(insertRuns), sessions, running)
	}
	if len(expiring) > 0 {
		w.batch.Queue(w.s.sql(insertExpiry), at, expiring)
	}
	if len(used) > 0 {
		w.batch.Queue(w.s.sql(dropLinks), waiting, used)
		w.batch.Queue(w.s.sql(expireUsed), used)
	}
	if len(ended) > 0 {
		w.batch.Queue(w.s.sql(markLinks), ended)
	}
}

// log appends the entries of the changes and drops the oldest beyond the limits.
func (w *swap) log(changes []decided) {
	var jobs, seqs []int64
	var times []time.Time
	var types, texts, attrs []string
	var levels, attempts []int32
	for _, d := range changes {
		for i := range d.Entries {
			e := &d.Entries[i]
			jobs, seqs, times = append(jobs, d.row.seq), append(seqs, e.Seq), append(times, e.Time)
			types, texts, attrs = append(types, string(e.Type)), append(texts, e.Text), append(attrs, string(e.Attrs))
			levels, attempts = append(levels, int32(e.Level)), append(attempts, int32(e.Attempt))
		}
	}
	if len(jobs) == 0 {
		return
	}
	w.batch.Queue(w.s.sql(insertEntries), jobs, seqs, times, types, levels, attempts, texts, attrs)
	for _, d := range changes {
		if len(d.Entries) == 0 || d.Delete {
			continue
		}
		if d.Job.Entries > errand.MaxLogLines { // else nothing can be beyond a limit yet
			w.batch.Queue(w.s.sql(trimLines), d.row.seq, errand.MaxLogLines)
		}
		if d.Job.Entries > errand.MaxEntries {
			w.batch.Queue(w.s.sql(trimAll), d.row.seq, errand.MaxEntries)
		}
	}
}
