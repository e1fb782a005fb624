package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/errandhq/errand"
)

// together is how many fresh jobs one statement inserts: opening and closing the indexes
// costs as much as a row.
const together = 16

// insertFresh is for a job that nobody has touched yet, with nothing unusual: almost all of
// them. It binds half as many values as insertAny.
const (
	insertFresh = `insert into errand_jobs (id, kind, queue, state, version, priority, due, created, limits, args, attempt, token, entries)
		values ` + freshRow
	freshRow    = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0)"
	freshValues = 10
)

var insertTogether = insertFresh + strings.Repeat(", "+freshRow, together-1)

const (
	insertAny = `insert into errand_jobs (id, kind, queue, state, version, priority, due, created, limits, args, attempt, token, entries,
			worker, started, ended, expires, unique_key, unique_held, options, extra, error, checkpoint, result)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	selectByID     = "select " + columns + " from errand_jobs where id = ?"
	selectByUnique = "select " + columns + " from errand_jobs indexed by errand_jobs_unique where unique_key = ? and unique_held = 1"

	insertTag  = "insert or ignore into errand_tags (tag, job) select ?, seq from errand_jobs where id = ?"
	insertLink = `insert or ignore into errand_links (on_id, job, ended)
		select ?1, seq, not exists (select 1 from errand_jobs where id = ?1 and state not in (2, 7, 8)) from errand_jobs where id = ?2`
)

// Insert implements [errand.Store].
func (s *Store) Insert(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error) {
	there := make([]*errand.Job, len(jobs))
	if len(jobs) == 0 {
		return there, nil
	}
	err := s.write(ctx, func(t *tx) error { return t.insertAll(jobs, there) })
	if err != nil {
		return nil, err
	}
	return there, nil
}

func (t *tx) insertAll(jobs []errand.Job, there []*errand.Job) error {
	for i := 0; i < len(jobs); {
		n, done := freshRun(jobs[i:]), false
		if n == together {
			var err error
			if done, err = t.insertTogether(jobs[i : i+n]); err != nil {
				return fmt.Errorf("insert jobs: %w", err)
			}
		}
		for end := i + max(n, 1); i < end; i++ {
			if done {
				continue
			}
			var err error
			if there[i], err = t.insert(&jobs[i]); err != nil {
				return fmt.Errorf("insert job %s: %w", jobs[i].ID, err)
			}
		}
		if err := t.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// freshRun returns how many jobs at the beginning are fresh, up to what fits together.
func freshRun(jobs []errand.Job) int {
	n := 0
	for n < len(jobs) && n < together && isFresh(&jobs[n]) {
		n++
	}
	return n
}

// insertTogether inserts fresh jobs in one statement; or none, if one of them is there already.
func (t *tx) insertTogether(jobs []errand.Job) (bool, error) {
	args := make([]driver.Value, 0, together*freshValues)
	for i := range jobs {
		args = appendFresh(args, &jobs[i])
	}
	if _, err := t.exec(insertTogether, args...); err != nil {
		if isTaken(err) {
			err = nil
		}
		return false, err
	}
	for i := range jobs {
		if err := t.entered(&jobs[i]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// entered notes a job that was inserted.
func (t *tx) entered(j *errand.Job) error {
	t.count(j.Queue, j.Kind, stateNumber(j.State), 1)
	t.flow("", j)
	return t.changed(&j.ID, j.Queue, j.Kind, stateNumber(j.State))
}

// insert adds a job, or returns the one that keeps it out.
func (t *tx) insert(j *errand.Job) (*errand.Job, error) {
	for {
		err := t.insertRow(j)
		if err == nil {
			break
		}
		if !isTaken(err) {
			return nil, err
		}
		there, err := t.conflict(j)
		if there != nil || err != nil {
			return there, err
		}
	}
	if err := t.entered(j); err != nil {
		return nil, err
	}
	for _, tag := range j.Tags {
		if _, err := t.exec(insertTag, tag, j.ID[:]); err != nil {
			return nil, err
		}
	}
	for i := range j.After {
		if _, err := t.exec(insertLink, j.After[i][:], j.ID[:]); err != nil {
			return nil, err
		}
	}
	if len(j.After) > 0 {
		t.links = nil
	}
	return nil, nil
}

func (t *tx) insertRow(j *errand.Job) error {
	args := appendFresh(make([]driver.Value, 0, 24), j)
	if isFresh(j) {
		_, err := t.exec(insertFresh, args...)
		return err
	}
	args = append(args,
		int64(j.Attempt), j.Token, j.Entries, idValue(&j.Worker), timeValue(j.Started), timeValue(j.Ended), timeValue(j.Expires),
		textValue(j.Unique), heldValue(j.HoldsUnique(j.Created)), encodeOptions(j), encodeExtra(j), textValue(j.Error), rawValue(j.Checkpoint), rawValue(j.Result),
	)
	if _, err := t.exec(insertAny, args...); err != nil {
		return err
	}
	if j.State != errand.Running && j.Expires.IsZero() {
		return nil
	}
	seq, _, err := t.number(selectSeq, j.ID[:])
	t.note(seq, "", j)
	return err
}

// appendFresh appends the values of insertFresh.
func appendFresh(args []driver.Value, j *errand.Job) []driver.Value {
	return append(args, j.ID[:], j.Kind, j.Queue, stateNumber(j.State), j.Version, int64(j.Priority), j.Due.UnixMicro(),
		timeValue(j.Created), encodeLimits(j), rawValue(j.Args))
}

// isFresh reports whether all that insertFresh leaves out is empty.
func isFresh(j *errand.Job) bool {
	return !hasOptions(j) && j.Unique == "" && j.Attempt == 0 && j.Token == 0 && j.Entries == 0 && j.Started.IsZero() && j.Ended.IsZero() &&
		j.Expires.IsZero() && j.Worker == (errand.ID{}) && j.State != errand.Running && len(j.Result) == 0 && isPlain(j)
}

// isPlain reports whether a job has none of what few jobs have, so that statements
// which write nulls there will do.
func isPlain(j *errand.Job) bool {
	return j.Want == "" && j.Actor == "" && j.Reason == "" && j.Error == "" && j.Crashes == 0 && j.Blocked == 0 && j.CleanUp == 0 &&
		j.Progress == (errand.Progress{}) && len(j.Checkpoint) == 0
}

// conflict returns the job that keeps j out: nil if it was one that held the unique key
// UntilTime and has now lost it.
func (t *tx) conflict(j *errand.Job) (*errand.Job, error) {
	there, err := t.one(selectByID, j.ID[:])
	if there != nil || err != nil {
		return there.job(), err
	}
	holder, err := t.one(selectByUnique, j.Unique)
	if err != nil {
		return nil, err
	}
	if holder == nil {
		return nil, fmt.Errorf("it conflicts with another job, which is not there: unique key %q", j.Unique)
	}
	if released, err := t.releaseLapsed(holder); released || err != nil {
		return nil, err
	}
	return holder.job(), nil
}

// releaseLapsed takes the unique key from a holder whose time is over.
func (t *tx) releaseLapsed(holder *stored) (bool, error) {
	if holder.UniqueScope != errand.UntilTime || holder.HoldsUnique(t.now) {
		return false, nil
	}
	return true, t.release(holder.seq)
}

func (t *tx) release(seq int64) error {
	_, err := t.exec("update errand_jobs set unique_held = null where seq = ?", seq)
	return err
}

func (s *stored) job() *errand.Job {
	if s == nil {
		return nil
	}
	return &s.Job
}

// one returns the job that a query yields, or nil.
func (c *conn) one(text string, args ...driver.Value) (*stored, error) {
	all, err := c.jobs(context.Background(), nil, text, args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// jobs appends the jobs that a query of columns yields.
func (c *conn) jobs(ctx context.Context, to []stored, text string, args ...driver.Value) ([]stored, error) {
	err := c.query(ctx, text, func(row []driver.Value) error {
		s, err := scanJob(row)
		to = append(to, s)
		return err
	}, args...)
	return to, err
}
