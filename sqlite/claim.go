package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

const (
	selectNext = "select due from errand_jobs indexed by errand_jobs_due where state = 4 order by due limit 1"

	// selectReadyKinds jumps through the index from kind to kind. A paused queue has none.
	selectReadyKinds = `with recursive k (kind) as (
			select (select min(kind) from errand_jobs indexed by errand_jobs_ready where state = 1 and queue = ?1)
				where not exists (select 1 from errand_pauses where queue = ?1)
			union all
			select (select min(kind) from errand_jobs indexed by errand_jobs_ready where state = 1 and queue = ?1 and kind > k.kind)
				from k where k.kind is not null)
		select kind from k where kind is not null`

	// claimed is followed by a query for the seqs of the first ready jobs, and by returning.
	claimed = `update errand_jobs set state = 3, worker = ?1, started = ?2, attempt = attempt + 1,
		token = token + 1, version = version + 1 where seq in (`

	// Returning a column costs more than looking whether there is anything in it, so the last
	// one tells whether there is more to read than almost all jobs have.
	returning = `) returning seq, id, kind, version, priority, due, attempt, token, created, limits, args, entries <> 0 or
		coalesce(ended, expires, unique_key, options, extra, error, checkpoint, result) is not null`

	// readySorted yields the seqs of the first ready jobs of any number of kinds.
	readySorted = `select seq from errand_jobs indexed by errand_jobs_ready
		where state = 1 and queue = ?3 and kind in (select value from json_each(?5)) order by priority desc, due, seq limit ?4 + 0`

	selectBySeq = "select " + columns + " from errand_jobs where seq in (select value from json_each(?))"

	selectDue = `select id, queue, kind from errand_jobs indexed by errand_jobs_due
		where state = 4 and due <= ? order by due limit ? + 0`

	updateWoken = `update errand_jobs set state = 1, version = version + 1 where seq in (
		select seq from errand_jobs indexed by errand_jobs_due where state = 4 and due <= ? order by due limit ? + 0)`
)

// maxMerged is how many kinds of one queue are claimed by merging their lines; with more
// of them ready at once, all that is ready is sorted. SQLite takes 500.
const maxMerged = 400

// Claim implements [errand.Store]. When there is nothing to do it only reads: polling
// costs no lock and no commit.
func (s *Store) Claim(ctx context.Context, c errand.Claim) (errand.Claimed, error) {
	var got errand.Claimed
	work := false
	err := s.read(ctx, func(_ context.Context, db *conn) (err error) {
		work, got.Next, err = db.pending(c)
		return err
	})
	if err != nil || !work {
		return got, err
	}
	err = s.write(ctx, func(t *tx) (err error) {
		if err := t.wake(); err != nil {
			return err
		}
		for _, l := range c.Lanes {
			if got.Jobs, err = t.claim(got.Jobs, c.Session, l); err != nil {
				return fmt.Errorf("claim: %w", err)
			}
		}
		got.Next, err = t.next()
		return err
	})
	if err != nil {
		return errand.Claimed{}, err
	}
	return got, nil
}

// pending reports whether a claim would change anything, and the earliest scheduled Due.
func (c *conn) pending(claim errand.Claim) (bool, time.Time, error) {
	next, err := c.next()
	if err != nil || !next.IsZero() && !next.After(now()) {
		return err == nil, next, err
	}
	for _, l := range claim.Lanes {
		if kinds, err := c.readyKinds(l); err != nil || len(kinds) > 0 {
			return err == nil, next, err
		}
	}
	return false, next, nil
}

func (c *conn) next() (time.Time, error) {
	due, ok, err := c.number(selectNext)
	if !ok || err != nil {
		return time.Time{}, err
	}
	return dueOf(due), nil
}

// readyKinds returns those of the lane's kinds that have ready jobs.
func (c *conn) readyKinds(l errand.Lane) ([]string, error) {
	if l.Limit <= 0 {
		return nil, nil
	}
	var kinds []string
	err := c.query(context.Background(), selectReadyKinds, func(row []driver.Value) error {
		if kind, _ := row[0].(string); slices.Contains(l.Kinds, kind) {
			kinds = append(kinds, kind)
		}
		return nil
	}, l.Queue)
	return kinds, err
}

// wake makes due jobs ready.
func (t *tx) wake() error {
	type woke struct {
		id          uuid.UUID
		queue, kind string
	}
	var woken []woke
	limits := []driver.Value{t.now.UnixMicro(), int64(errand.MaxWake)}
	err := t.query(t.ctx, selectDue, func(row []driver.Value) error {
		r := reader{row: row}
		id, queue, kind := r.id(), r.text(), r.text()
		t.count(queue, kind, scheduled, -1)
		t.count(queue, kind, ready, 1)
		woken = append(woken, woke{id, queue, kind})
		return nil
	}, limits...)
	for i := range woken {
		if err == nil {
			err = t.changed(&woken[i].id, woken[i].queue, woken[i].kind, ready)
		}
	}
	n := int64(len(woken))
	if err != nil || n == 0 {
		return err
	}
	return t.all(n, updateWoken, limits...)
}

// all runs a statement that must change n rows: those that were just read.
func (t *tx) all(n int64, text string, args ...driver.Value) error {
	changed, err := t.exec(text, args...)
	if err == nil && changed != n {
		err = fmt.Errorf("%d rows were read and %d changed", n, changed)
	}
	return err
}

// claim takes the ready jobs of one lane and appends them.
func (t *tx) claim(jobs []errand.Job, session uuid.UUID, l errand.Lane) ([]errand.Job, error) {
	kinds, err := t.readyKinds(l)
	if err != nil || len(kinds) == 0 {
		return jobs, err
	}
	taken, err := t.take(session, l, kinds)
	if err != nil {
		return jobs, err
	}
	slices.SortFunc(taken, func(a, b stored) int { // the order of "returning" is not defined
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Due.Compare(b.Due), cmp.Compare(a.seq, b.seq))
	})
	jobs = slices.Grow(jobs, len(taken))
	for i := range taken {
		s := &taken[i]
		if s.held && s.UniqueScope == errand.UntilStarted {
			if err := t.release(s.seq); err != nil {
				return jobs, err
			}
		}
		t.count(s.Queue, s.Kind, ready, -1)
		t.count(s.Queue, s.Kind, running, 1)
		t.flow(errand.Ready, &s.Job)
		if err := t.changed(&s.ID, s.Queue, s.Kind, running); err != nil {
			return jobs, err
		}
		t.note(s.seq, errand.Ready, &s.Job)
		t.places.put(s.ID, s.seq)
		jobs = append(jobs, s.Job)
	}
	return jobs, nil
}

// take makes the first jobs of the kinds running and returns them, in any order.
func (t *tx) take(session uuid.UUID, l errand.Lane, kinds []string) ([]stored, error) {
	args := []driver.Value{session[:], t.now.UnixMicro(), l.Queue, int64(l.Limit)}
	first := readySorted
	if len(kinds) <= maxMerged {
		first = readyMerged(len(kinds))
		for _, kind := range kinds {
			args = append(args, kind)
		}
	} else {
		list, _ := json.Marshal(kinds) // strings: it cannot fail
		args = append(args, string(list))
	}
	taken := make([]stored, 0, min(l.Limit, 1000))
	var more []int64
	var text string // of the limits of the job before
	var limits limits
	err := t.query(context.Background(), claimed+first+returning, func(row []driver.Value) (err error) {
		r := reader{row: row}
		taken = append(taken, stored{seq: r.int(), Job: errand.Job{
			ID: r.id(), Kind: r.text(), Queue: l.Queue, State: errand.Running, Version: r.int(), Priority: int(r.int()), Due: dueOf(r.int()),
			Attempt: int(r.int()), Token: r.int(), Created: r.time(), Worker: session, Started: t.now,
		}})
		s := &taken[len(taken)-1]
		if now := r.text(); now != text {
			text = now
			limits, err = decodeLimits(text)
		}
		limits.apply(&s.Job)
		s.Args = r.raw()
		if r.int() != 0 {
			more = append(more, s.seq)
		}
		return err
	}, args...)
	if err == nil && len(more) > 0 {
		err = t.complete(taken, more)
	}
	return taken, err
}

// complete reads the whole of those jobs that have more than almost all.
func (c *conn) complete(jobs []stored, seqs []int64) error {
	list, err := json.Marshal(seqs)
	if err != nil {
		return err
	}
	whole, err := c.jobs(context.Background(), nil, selectBySeq, string(list))
	bySeq := make(map[int64]*stored, len(whole))
	for i := range whole {
		bySeq[whole[i].seq] = &whole[i]
	}
	for i := range jobs {
		if s := bySeq[jobs[i].seq]; s != nil {
			jobs[i] = *s
		}
	}
	return err
}

// readyMerged writes the query for the seqs of the first ready jobs of n kinds. It merges
// their lines, and reads no more of each than it needs.
func readyMerged(n int) string {
	const one = "select %s from errand_jobs indexed by errand_jobs_ready where state = 1 and queue = ?3 and kind = ?%d"
	const order = " order by priority desc, due, seq limit ?4 + 0"
	if n == 1 {
		return fmt.Sprintf(one, "seq", 5) + order
	}
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(one, "priority, due, seq", 5+i)
	}
	return "select seq from (" + strings.Join(lines, " union all ") + order + ")"
}
