package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand"
)

// historySQL has PostgreSQL itself write down each version of each job, in the transaction that makes it.
const historySQL = `
	create schema chaos;
	create table chaos.history (
		n bigint generated always as identity, at timestamptz not null default clock_timestamp(),
		id uuid not null, kind text not null, version bigint not null, state text not null, token bigint not null, worker uuid, want text not null,
		crashes integer not null, expires timestamptz);
	create table chaos.deals (id uuid primary key);
	create function chaos.note() returns trigger language plpgsql as $$
	begin
		if tg_op = 'DELETE' then
			insert into chaos.history (id, kind, version, state, token, worker, want, crashes, expires)
			values (old.id, old.kind, old.version, 'deleted', old.token, old.worker, '', old.crashes, old.expires);
		elsif tg_op = 'INSERT' or new.version <> old.version or new.state <> old.state or new.token <> old.token then
			insert into chaos.history (id, kind, version, state, token, worker, want, crashes, expires)
			values (new.id, new.kind, new.version, new.state, new.token, new.worker, coalesce(new.want, ''), new.crashes, new.expires);
		end if;
		return null;
	end $$;
	create trigger note after insert or update or delete on errand.jobs for each row execute function chaos.note();`

// version is one version of a job, as PostgreSQL wrote it down.
type version struct {
	at      time.Time
	version int64
	state   errand.State
	token   int64
	worker  uuid.UUID
	want    errand.State
	crashes int
	expires time.Time
}

// deleted is the state of a job's last line in the history once it is gone.
const deleted errand.State = "deleted"

// row is what the checks need of a job as it is stored in the end.
type row struct {
	id                   errand.ID
	kind, key, actor     string
	state                errand.State
	version, token       int64
	worker               uuid.UUID
	attempt, maxAttempts int
	until                time.Time
	after                []errand.ID
	outcome              string
	result               *string
	error                string
}

// story is all that is known of a job.
type story struct {
	row     row // of a job that is gone: only id and kind
	history []version
	notes   []*note
	retried bool // after its end
}

// last returns the last version of a job, gone or not; ok is false if there never was one.
func (st *story) last() (v version, ok bool) {
	for _, v := range slices.Backward(st.history) {
		if v.state != deleted {
			return v, true
		}
	}
	return v, false
}

func (st *story) has(ok func(*note) bool) bool { return slices.ContainsFunc(st.notes, ok) }

// outputs is the result of a job that succeeded.
func (r *row) outputs() (res result) {
	if r.result != nil {
		_ = json.Unmarshal([]byte(*r.result), &res)
	}
	return res
}

// session is the column worker without null.
const session = `coalesce(worker, '00000000-0000-0000-0000-000000000000')`

// inquest compares the ledger with what is stored.
type inquest struct {
	*stage
	stories map[errand.ID]*story
	notes   []note
	deals   map[errand.ID]bool // jobs that were enqueued in transactions which were committed
	victims map[uuid.UUID]bool // sessions of workers that a killer has killed
}

// inquire loads everything and runs all checks. Nothing may be under way.
func (s *stage) inquire(ctx context.Context) error {
	q := &inquest{stage: s, stories: map[errand.ID]*story{}, deals: map[errand.ID]bool{}, victims: map[uuid.UUID]bool{}}
	if err := q.load(ctx); err != nil {
		return err
	}
	q.tally()
	for _, st := range q.stories {
		q.checkHistory(st)
		q.checkNotes(st)
		q.checkStarts(st)
		q.checkEnd(st)
		q.checkLinks(st)
		q.checkPauses(st)
		q.checkDeal(st)
		q.checkTimeouts(st)
		q.checkCleanUp(st)
		q.checkPoison(st)
	}
	q.checkAcks()
	q.checkKeys()
	if q.counts.refused == 0 && q.counts.faults[workerStops] > 0 {
		q.find("workers were stopped past their lease, and no write was refused")
	}
	return nil
}

// bad is a finding about a job. The first one writes its story to a file.
func (q *inquest) bad(st *story, format string, args ...any) {
	name := "story-" + st.row.id.String()
	q.find("job %s: %s; see %s", st.row.id, fmt.Sprintf(format, args...), name)
	if err := q.tell(st, name); err != nil {
		q.find("cannot write %s: %v", name, err)
	}
}

func (q *inquest) load(ctx context.Context) error {
	rows, _ := q.db.Query(ctx, `
		select id, kind, coalesce(unique_key, ''), coalesce(actor, ''), state, version, token, `+session+`, attempt, max_attempts,
			coalesce(unique_until, 'epoch'), after, coalesce(on_failure, ''), result::text, coalesce(error, '') from errand.jobs`)
	var r row
	_, err := pgx.ForEachRow(rows, []any{
		&r.id, &r.kind, &r.key, &r.actor, &r.state, &r.version, &r.token, &r.worker, &r.attempt, &r.maxAttempts,
		&r.until, &r.after, &r.outcome, &r.result, &r.error,
	}, func() error {
		st := &story{row: r}
		st.row.after = slices.Clone(r.after)
		q.stories[r.id] = st
		return nil
	})
	if err != nil {
		return err
	}
	rows, _ = q.db.Query(ctx, `select id, kind, at, version, state, token, `+session+`, want, crashes, coalesce(expires, 'epoch') from chaos.history order by n`)
	var id errand.ID
	var kind string
	var v version
	_, err = pgx.ForEachRow(rows, []any{&id, &kind, &v.at, &v.version, &v.state, &v.token, &v.worker, &v.want, &v.crashes, &v.expires}, func() error {
		st := q.of(id)
		st.row.kind = kind
		st.history = append(st.history, v)
		return nil
	})
	if err != nil {
		return err
	}
	rows, _ = q.db.Query(ctx, `select id from chaos.deals`)
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		q.deals[id] = true
		return nil
	})
	if err != nil {
		return err
	}
	return q.loadLedger()
}

func (q *inquest) loadLedger() (err error) {
	q.notes, q.counts.torn, err = readLedger(q.path("ledger"))
	for i := range q.notes {
		if n := &q.notes[i]; n.Job != uuid.Nil {
			st := q.of(n.Job)
			st.notes = append(st.notes, n)
			q.victims[n.Session] = q.victims[n.Session] || n.What == dying
		}
	}
	return err
}

func (q *inquest) of(id errand.ID) *story {
	st := q.stories[id]
	if st == nil {
		st = &story{row: row{id: id}}
		q.stories[id] = st
	}
	return st
}

// asked reports whether the driver has used a verb on the job until then.
func (st *story) asked(verb string, until time.Time) bool {
	return slices.ContainsFunc(st.notes, func(n *note) bool {
		return n.What == asking && n.Text == verb && n.At <= until.UnixMicro()
	})
}

// checkHistory: versions grow by one; tokens grow by one with each claim and never else; a job that has ended stays so
// until somebody retries it, or until it is pruned.
func (q *inquest) checkHistory(st *story) {
	var was version
	ends := 0
	for i, v := range st.history {
		claim := v.state == errand.Running && was.state != errand.Running
		if was.state.Ended() && !v.state.Ended() && v.state != deleted && st.mayReturn(was, v) {
			q.counts.retries++
			st.retried, ends = true, 0
			was.state = ""
		}
		switch {
		case was.state == deleted:
			q.bad(st, "version %d after it was gone", v.version)
		case v.state == deleted:
			q.checkPruned(st, was, v)
		case v.version != was.version+1:
			q.bad(st, "version %d follows %d", v.version, was.version)
		case claim && v.token != was.token+1 || !claim && v.token != was.token:
			q.bad(st, "token %d follows %d, from %s to %s", v.token, was.token, was.state, v.state)
		case was.state.Ended() && v.state != was.state: // the news that another job has ended reaches an ended one too
			q.bad(st, "%s after it was %s", v.state, was.state)
		case claim && was.state != errand.Ready:
			q.bad(st, "claimed when it was %q", was.state)
		case was.want != "" && v.want == "" && v.state == errand.Running && !st.asked("resume", v.at):
			q.bad(st, "version %d has forgotten that the job is to be %s", v.version, was.want)
		case i > 0 && was.state == errand.Running && v.state == errand.Running && v.worker != was.worker:
			q.bad(st, "moved from one worker to another while it ran")
		}
		if v.state.Ended() && !was.state.Ended() {
			ends++
		}
		was = v
	}
	if ends > 1 {
		q.counts.doubled++
	}
	q.checkStored(st, was)
}

// checkStored: what is stored is what the history ends with, and it is an end.
func (q *inquest) checkStored(st *story, was version) {
	r := &st.row
	if r.state != "" && (was.version != r.version || was.state != r.state || was.token != r.token) {
		q.bad(st, "stored as %s, version %d, but the last change was to %s, version %d", r.state, r.version, was.state, was.version)
	}
	switch {
	case r.state != "" && !r.state.Ended():
		q.bad(st, "still %s", r.state)
	case r.state == "" && len(st.history) > 0 && was.state != deleted:
		q.bad(st, "gone, when it was %s", was.state)
	}
}

// checkPruned: what is gone had ended, and had expired.
func (q *inquest) checkPruned(st *story, was, v version) {
	q.counts.pruned++
	if st.row.kind != brief || !was.state.Ended() || v.version != was.version || v.at.Before(v.expires) || v.expires.Unix() == 0 {
		q.bad(st, "deleted as %s, version %d, at %s although it expires at %s", was.state, v.version, v.at, v.expires)
	}
}

// checkNotes: whatever anybody was told of a version is what was stored under this version.
func (q *inquest) checkNotes(st *story) {
	for _, n := range st.notes {
		if n.What != event && n.What != seen && n.What != obeyed && n.What != acked && n.What != began && n.What != cleaning || n.Version == 0 {
			continue
		}
		if int(n.Version) > len(st.history) {
			q.bad(st, "line %d tells of version %d, which was lost", n.line, n.Version)
			continue
		}
		if v := st.history[n.Version-1]; v.state != n.State || v.token != n.Token || v.worker != n.Session {
			q.bad(st, "line %d tells of %s, token %d in version %d, which is %s, token %d", n.line, n.State, n.Token, n.Version, v.state, v.token)
		}
	}
}

// checkStarts: each claim starts one handler at most, a later claim later; and no run finds an older checkpoint than one that was acknowledged before.
func (q *inquest) checkStarts(st *story) {
	var starts, saves []*note
	for _, n := range st.notes {
		switch n.What {
		case began, cleaning:
			starts = append(starts, n)
		case saved:
			saves = append(saves, n)
		}
	}
	if !slices.IsSortedFunc(starts, func(a, b *note) int { return cmp.Compare(a.Token, b.Token) }) {
		q.counts.lateStarts++ // a worker was stopped between its claim and the start
	}
	slices.SortStableFunc(starts, func(a, b *note) int { return cmp.Compare(a.Token, b.Token) })
	for i, n := range starts {
		if i > 0 && n.Token == starts[i-1].Token {
			q.bad(st, "lines %d and %d: two starts with token %d", starts[i-1].line, n.line, n.Token)
		}
		if i > 0 && n.Started <= starts[i-1].Started {
			q.bad(st, "lines %d and %d: token %d was claimed before token %d", starts[i-1].line, n.line, n.Token, starts[i-1].Token)
		}
		for _, s := range saves {
			if s.Token < n.Token && s.Step > n.Step {
				q.bad(st, "line %d: starts at step %d, but line %d had saved step %d", n.line, n.Step, s.line, s.Step)
			}
		}
	}
}

// parentEnded reports whether a job that the job waits for has ended without success.
func (q *inquest) parentEnded(r *row) bool {
	return r.outcome == string(errand.CancelAfter) && slices.ContainsFunc(r.after, func(id errand.ID) bool {
		return slices.ContainsFunc(q.of(id).history, func(v version) bool { return v.state == errand.Failed || v.state == errand.Cancelled })
	})
}

// checkLinks: a job that waits for others starts after them, by the history as by the ledger.
func (q *inquest) checkLinks(st *story) {
	i := slices.IndexFunc(st.history, func(v version) bool { return v.state == errand.Running })
	if len(st.row.after) == 0 || i < 0 {
		return
	}
	start := slices.IndexFunc(st.notes, func(n *note) bool { return n.What == began })
	for _, id := range st.row.after {
		other := q.of(id)
		if len(other.history) == 0 {
			q.bad(st, "ran after %s, which does not exist", id)
			continue
		}
		end := other.endBefore(st.history[i].at)
		if end.state == "" {
			q.bad(st, "ran before %s had ended", id)
			continue
		}
		if end.state != errand.Succeeded {
			if st.row.outcome != string(errand.RunAfter) {
				q.bad(st, "ran although %s has %s", id, end.state)
			}
			continue
		}
		work := slices.IndexFunc(other.notes, func(n *note) bool { return n.What == done && n.Token == end.token })
		if start >= 0 && work >= 0 && other.notes[work].line > st.notes[start].line {
			q.bad(st, "line %d: started before %s was done, line %d", st.notes[start].line, id, other.notes[work].line)
		}
	}
}

// endBefore returns how the job had ended until then, the zero version if it had not: the success, if that
// is among the ends of one that was retried.
func (st *story) endBefore(then time.Time) (end version) {
	for _, v := range st.history {
		if v.state.Ended() && !v.at.After(then) && end.state != errand.Succeeded {
			end = v
		}
	}
	return end
}

// checkPauses: between the moment when a job was seen paused and the one when somebody asked to resume it, no new run starts.
func (q *inquest) checkPauses(st *story) {
	var paused *note
	for _, n := range st.notes {
		switch {
		case n.What == seen && n.State == errand.Paused:
			paused = n
			q.counts.pauses++
		case n.What == asking:
			paused = nil
		case paused != nil && n.What == began && n.Token > paused.Token:
			q.bad(st, "line %d: started while it was paused, line %d", n.line, paused.line)
		}
	}
}

// checkAcks: what was acknowledged is there.
func (q *inquest) checkAcks() {
	for _, st := range q.stories {
		i := slices.IndexFunc(st.notes, func(n *note) bool { return n.What == acked })
		if i >= 0 && (len(st.history) == 0 || st.row.state == "" && st.row.kind != brief) {
			q.counts.lost++
			q.bad(st, "acknowledged in line %d, and lost", st.notes[i].line)
		}
	}
	for i := range q.notes {
		switch n := &q.notes[i]; {
		case n.What == wrong:
			q.find("line %d: %s was answered: %s", n.line, n.By, n.Text)
		case n.What == acked && n.Again && (!n.Dup || n.Asked != n.Job):
			q.find("line %d: job %s was enqueued again, and the answer is job %s, duplicate: %t", n.line, n.Asked, n.Job, n.Dup)
		case n.What == acked && n.Again:
			q.counts.again++
		case n.What == acked && n.Dup && n.Asked != n.Job:
			q.counts.duplicates++
			if st := q.of(n.Job); st.row.key != single+":"+n.Key || n.Key == "" || st.row.until.UnixMicro() < n.Since {
				q.bad(st, "line %d: it was no answer to an enqueue with the unique key %q", n.line, n.Key)
			}
		case n.What == acked && n.Dup:
			q.counts.repeats++
		}
	}
}

// checkKeys: no job was inserted within the window of another with its unique key.
func (q *inquest) checkKeys() {
	byKey := map[string][]*story{}
	for _, st := range q.stories {
		if st.row.key != "" && len(st.history) > 0 {
			byKey[st.row.key] = append(byKey[st.row.key], st)
		}
	}
	for _, all := range byKey {
		slices.SortFunc(all, func(a, b *story) int { return a.history[0].at.Compare(b.history[0].at) })
		for i, st := range all[1:] {
			if before := all[i]; st.history[0].at.Before(before.row.until) {
				q.bad(st, "created at %s within the window of %s, until %s", st.history[0].at, before.row.id, before.row.until)
			}
		}
	}
}
