package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// tx is a transaction, of this package or of the application, in which jobs are inserted.
type tx interface {
	// one runs a statement that yields one text; "" for null.
	one(ctx context.Context, text string, args ...any) (string, error)
}

// native is a transaction of pgx.
type native struct{ pgx.Tx }

func (n native) one(ctx context.Context, text string, args ...any) (string, error) {
	var s *string
	err := n.QueryRow(ctx, text, args...).Scan(&s)
	if err != nil || s == nil {
		return "", err
	}
	return *s, nil
}

// shape is what fresh jobs of one batch mostly have in common.
type shape struct {
	kind, queue             string
	state                   errand.State
	version                 int64
	priority                int
	maxAttempts, maxCrashes int
	timeout, retention      time.Duration
	onFailure               errand.OnFailure
}

func shapeOf(j *errand.Job) shape {
	return shape{j.Kind, j.Queue, j.State, j.Version, j.Priority, j.MaxAttempts, j.MaxCrashes, j.Timeout, j.Retention, j.OnFailure}
}

// isFresh reports whether a job has nothing but its shape, times and args, and an ID that was just made: almost all are so.
func isFresh(j *errand.Job) bool {
	return j.ID.Version() == 7 && j.Unique == "" && len(j.After) == 0 && len(j.Tags) == 0 && len(j.Metadata) == 0 && len(j.Args) > 0 && !j.Created.IsZero() &&
		j.UniqueScope == "" && j.UniqueUntil.IsZero() && (j.State == errand.Ready || j.State == errand.Scheduled) &&
		j.Attempt == 0 && j.Token == 0 && j.Entries == 0 && j.Started.IsZero() && j.Ended.IsZero() && j.Expires.IsZero() &&
		j.Worker == (errand.ID{}) && len(j.Result) == 0 && isPlain(j)
}

// isPlain reports whether a job has none of what few jobs have.
func isPlain(j *errand.Job) bool {
	return j.Want == "" && j.Actor == "" && j.Reason == "" && j.Error == "" && j.Crashes == 0 && j.Blocked == 0 && j.CleanUp == 0 &&
		j.Progress == (errand.Progress{}) && len(j.Checkpoint) == 0
}

// insertFresh inserts fresh jobs of one shape, and fails if one of the IDs is there: to look first would cost a third of the insert.
const (
	insertFresh = `
		insert into errand.jobs (id, due, created, args, kind, queue, state, version, priority, max_attempts, max_crashes, timeout, retention, on_failure, shelf)
		select x.id, x.due, x.created, x.args, $5::text, $6::text, $7::text, $8::bigint, $9::smallint, $10::integer, $11::integer, $12::bigint, $13::bigint,
			nullif($14::text, ''), nullif($7::text, 'ready')
		from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::json[]) x (id, due, created, args)`

	countFresh = `m as (insert into errand.moves (n, dst, queue, kind) values (cardinality($1::uuid[]), $7::text, $6::text, $5::text)),
		w as (insert into errand.changes (queue, kind, state, ids) select $6::text, $5::text, $7::text, $1::uuid[] where ` + isWatched + `)`

	insertScheduled = `with ` + countFresh + insertFresh

	insertReadies = `
		with j as (` + insertFresh + ` returning due, seq), ` + countFresh + `
		insert into errand.ready (gen, queue, kind, priority, due, seq)
		select (select gen from errand.turn), $6::text, $5::text, $9::smallint, j.due, j.seq from j returning seq`
)

// Values of SQL that several statements need.
const (
	isEnd = `in ('succeeded', 'failed', 'cancelled')`

	// isLapsed says that a unique key is held for a time that is over.
	isLapsed = `unique_scope = 'time' and unique_until <= statement_timestamp()`

	// holds is errand.Job.HoldsUnique at the job's creation, null for false.
	holds = `case when unique_key is null then null
			when unique_scope = 'time' then nullif(created < unique_until, false)
			when state ` + isEnd + ` then null
			when unique_scope = 'started' then nullif(token = 0, false)
			else true end`
)

// onShelf is the column shelf of a state.
func onShelf(state string) string {
	return `case when ` + state + ` not in ('ready', 'running', 'succeeded') then ` + state + ` end`
}

// insertAny inserts jobs of any kind, and answers the IDs of those that it has inserted, unless these are all. Rows are written in the order of
// their keys, so that two processes do not wait for each other, and numbered in the order given.
var insertAny = `
	with n as materialized (
		select x.*, nextval('errand.jobs_seq_seq') as seq from ` + unnest(allColumns, 1) + ` x),
	j as (
		insert into errand.jobs (seq, ` + names(allColumns) + `, unique_held, shelf)
		select seq, ` + names(allColumns) + `, ` + holds + `, ` + onShelf("state") + ` from n
		order by unique_key nulls first, case when unique_key is null then id end, seq
		on conflict do nothing
		returning *),
	r as (
		insert into errand.ready (gen, queue, kind, priority, due, seq)
		select (select gen from errand.turn), queue, kind, priority, due, seq from j where state = 'ready'),
	m as (
		insert into errand.moves (n, dst, queue, kind) select count(*), state, queue, kind from j group by state, queue, kind),
	s as (
		insert into errand.runs (session, minute, chunk)
		select distinct coalesce(worker, '00000000-0000-0000-0000-000000000000'), date_trunc('minute', clock_timestamp()), seq >> 10
		from j where state = 'running' on conflict do nothing),
	e as (
		insert into errand.expiry (at, chunk)
		select distinct expires, seq >> 10 from j where expires is not null on conflict do nothing),
	` + noteChanges("state") + `
	select case when count(*) < cardinality($1::uuid[]) then coalesce(json_agg(id), '[]')::text end from j`

const (
	insertTags = `
		with t as (
			insert into errand.tags (tag, job) select t.tag, j.seq from unnest($1::uuid[], $2::text[]) t (id, tag) join errand.jobs j on j.id = t.id
			on conflict do nothing)
		select null::text`

	insertLinks = `
		with l as (
			insert into errand.links (on_id, job, ended)
			select l.on_id, j.seq, not exists (select 1 from errand.jobs o where o.id = l.on_id and o.seq < j.seq and o.state not ` + isEnd + `)
			from unnest($1::uuid[], $2::uuid[]) l (id, on_id) join errand.jobs j on j.id = l.id
			on conflict do nothing)
		select null::text`

	// releaseLapsed takes keys from holders whose time is over.
	releaseLapsed = `
		with r as (
			update errand.jobs set unique_held = null where seq = any (array(
				select seq from errand.jobs where unique_key = any ($1::text[]) and unique_held
					and ` + isLapsed + ` order by seq for update))
			returning 1)
		select null::text`
)

// selectConflicts yields the jobs that have an ID or hold a key.
var selectConflicts = `
	select json_agg(x)::text from (
		select ` + jsonColumns() + ` from errand.jobs where id = any ($1::uuid[])
		union all
		select ` + jsonColumns() + ` from errand.jobs where unique_key = any ($2::text[]) and unique_held and not id = any ($1::uuid[])) x`

var _ errand.Parallel = (*Store)(nil)

// Inserts implements [errand.Parallel]: while the server works on one, this process prepares another.
func (s *Store) Inserts() int { return 2 }

// Insert implements [errand.Store].
func (s *Store) Insert(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error) {
	if len(jobs) == 0 {
		return nil, ctx.Err()
	}
	there := make([]*errand.Job, len(jobs))
	seqs, done, err := s.insertFresh(ctx, jobs)
	if err == nil && !done {
		err = s.transact(ctx, s.general, func(ctx context.Context, tx pgx.Tx) (err error) {
			there, err = s.insert(ctx, native{tx}, jobs)
			return err
		})
		if err == nil && hasLinks(jobs) {
			// A transaction that has ended a job meanwhile may not have seen the link to it. If this fails Unblocked does it: the jobs are stored.
			_ = s.settleLinks(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	s.dispatch.inserted(jobs, there, seqs)
	s.hints.inserted(jobs, there)
	return there, nil
}

// insertFresh inserts the jobs by one statement, unless they are not fresh, not of one shape, or there. The seqs are there if there is a dispatcher.
func (s *Store) insertFresh(ctx context.Context, jobs []errand.Job) (seqs []int64, done bool, err error) {
	args, ok := uniform(jobs)
	if !ok {
		return nil, false, nil
	}
	text := insertScheduled
	if jobs[0].State == errand.Ready {
		text = insertReadies
	}
	err = s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql(text), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		seqs = nil
		for rows.Next() {
			if s.dispatch.d != nil {
				r := reader{row: rows.RawValues()}
				seqs = append(seqs, r.int64())
			}
		}
		return rows.Err()
	})
	if code(err) == uniqueViolation {
		return nil, false, nil
	}
	return seqs, err == nil, err
}

// uniform returns the arguments of insertFresh, if the jobs are fresh and of one shape.
func uniform(jobs []errand.Job) (args []any, ok bool) {
	x := shapeOf(&jobs[0])
	ids, dues, createds, bodies := make([][16]byte, len(jobs)), make([]time.Time, len(jobs)), make([]time.Time, len(jobs)), make([]string, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		if !isFresh(j) || shapeOf(j) != x {
			return nil, false
		}
		ids[i], dues[i], createds[i], bodies[i] = j.ID, j.Due, j.Created, string(j.Args)
	}
	return []any{
		ids, dues, createds, bodies, x.kind, x.queue, string(x.state), x.version, int16(x.priority),
		int32(x.maxAttempts), int32(x.maxCrashes), int64(x.timeout), int64(x.retention), string(x.onFailure),
	}, true
}

// all returns 0, 1 … n-1.
func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// insert adds jobs in a transaction.
func (s *Store) insert(ctx context.Context, t tx, jobs []errand.Job) ([]*errand.Job, error) {
	there := make([]*errand.Job, len(jobs))
	for from := 0; from < len(jobs); {
		n := distinct(jobs[from:])
		part := jobs[from : from+n]
		if err := s.release(ctx, t, part); err != nil {
			return nil, err
		}
		missing, err := s.insertRows(ctx, t, part, all(n))
		if err == nil && len(missing) > 0 {
			err = s.resolve(ctx, t, part, missing, there[from:from+n])
		}
		if err != nil {
			return nil, err
		}
		from += n
	}
	return there, s.insertExtras(ctx, t, jobs, there)
}

// distinct returns how many jobs at the beginning have each an ID of its own.
func distinct(jobs []errand.Job) int {
	ids := make(map[errand.ID]bool, len(jobs))
	for i := range jobs {
		if ids[jobs[i].ID] {
			return i
		}
		ids[jobs[i].ID] = true
	}
	return len(jobs)
}

// release takes the keys of the jobs from holders whose time is over.
func (s *Store) release(ctx context.Context, t tx, jobs []errand.Job) error {
	var keys []string
	for i := range jobs {
		if jobs[i].Unique != "" {
			keys = append(keys, jobs[i].Unique)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	_, err := t.one(ctx, s.sql(releaseLapsed), keys)
	return err
}

// insertRows inserts some of the jobs and returns those that were kept out.
func (s *Store) insertRows(ctx context.Context, t tx, jobs []errand.Job, which []int) ([]int, error) {
	at := func(i int) *errand.Job { return &jobs[which[i]] }
	answer, err := t.one(ctx, s.sql(insertAny), arrays(allColumns, len(which), at)...)
	if err != nil || answer == "" {
		return nil, err
	}
	in, err := inserted(answer)
	return slices.DeleteFunc(slices.Clone(which), func(i int) bool { return in[jobs[i].ID] }), err
}

// inserted reads the IDs of the jobs that a statement has inserted.
func inserted(answer string) (map[errand.ID]bool, error) {
	var ids []errand.ID
	err := json.Unmarshal([]byte(answer), &ids)
	set := make(map[errand.ID]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set, err
}

// resolve finds what keeps the missing jobs out, or inserts them after all.
func (s *Store) resolve(ctx context.Context, t tx, jobs []errand.Job, missing []int, there []*errand.Job) error {
	for range 10 + len(missing) { // of several that come after their own windows, each takes the key from the one before, and comes after the rest of the call
		var keys []string
		ids := make([][16]byte, len(missing))
		for i, k := range missing {
			ids[i] = jobs[k].ID
			if jobs[k].Unique != "" {
				keys = append(keys, jobs[k].Unique)
			}
		}
		answer, err := t.one(ctx, s.sql(selectConflicts), ids, keys)
		if err != nil {
			return err
		}
		found, err := decodeJobs(answer)
		if err != nil {
			return err
		}
		byID, byKey := map[errand.ID]*errand.Job{}, map[string]*errand.Job{}
		for i := range found {
			byID[found[i].ID] = &found[i].Job
			if found[i].held {
				byKey[found[i].Unique] = &found[i].Job
			}
		}
		var free []int
		for _, k := range missing {
			j := byID[jobs[k].ID]
			if j == nil && jobs[k].Unique != "" {
				j = byKey[jobs[k].Unique]
			}
			if there[k] = j; j == nil {
				free = append(free, k)
			}
		}
		if len(free) == 0 {
			return nil
		}
		if err := s.release(ctx, t, jobs); err != nil {
			return err
		}
		if missing, err = s.insertRows(ctx, t, jobs, free); err != nil || len(missing) == 0 {
			return err
		}
	}
	return fmt.Errorf("%d jobs conflict with others that come and go, the first is %s", len(missing), jobs[missing[0]].ID)
}

// insertExtras adds the tags and links of the jobs that were inserted.
func (s *Store) insertExtras(ctx context.Context, t tx, jobs []errand.Job, there []*errand.Job) error {
	var tagged, linked, on [][16]byte
	var tags []string
	for i := range jobs {
		if there[i] != nil {
			continue
		}
		for _, tag := range jobs[i].Tags {
			tagged, tags = append(tagged, jobs[i].ID), append(tags, tag)
		}
		for _, id := range jobs[i].After {
			linked, on = append(linked, jobs[i].ID), append(on, id)
		}
	}
	if len(tags) > 0 {
		if _, err := t.one(ctx, s.sql(insertTags), tagged, tags); err != nil {
			return err
		}
	}
	if len(on) > 0 {
		if _, err := t.one(ctx, s.sql(insertLinks), linked, on); err != nil {
			return err
		}
	}
	return nil
}

func hasLinks(jobs []errand.Job) bool {
	for i := range jobs {
		if len(jobs[i].After) > 0 {
			return true
		}
	}
	return false
}

// literal writes an array of PostgreSQL; "" for an empty one.
func literal(elements []string) string {
	if len(elements) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(e))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}
