package sqlite

import (
	"context"
	"database/sql/driver"

	"github.com/errandhq/errand"
)

const (
	insertEntry = "insert into errand_entries (job, seq, time, type, level, attempt, text, attrs) values (?, ?, ?, ?, ?, ?, ?, ?)"

	// The oldest entry to drop is the first beyond the newest that are kept.
	trimLines = `delete from errand_entries where job = ?1 and type = 'log' and seq <= (
		select seq from errand_entries where job = ?1 and type = 'log' order by seq desc limit 1 offset ?2 + 0)`
	trimAll = `delete from errand_entries where job = ?1 and seq <= (
		select seq from errand_entries where job = ?1 order by seq desc limit 1 offset ?2 + 0)`

	selectEntries = `select e.seq, e.time, e.type, e.level, e.attempt, e.text, e.attrs from errand_entries e
		where e.job = (select seq from errand_jobs where id = ?) and e.seq > ? order by e.seq limit ? + 0`
)

// log appends the entries of a change to the job's log and drops the oldest beyond the limits.
func (t *tx) log(job int64, c *errand.Change) error {
	if len(c.Entries) == 0 {
		return nil
	}
	for i := range c.Entries {
		e := &c.Entries[i]
		if _, err := t.exec(insertEntry, job, e.Seq, e.Time.UnixMicro(), string(e.Type), int64(e.Level), int64(e.Attempt), e.Text, rawValue(e.Attrs)); err != nil {
			return err
		}
	}
	if c.Job.Entries <= errand.MaxLogLines { // nothing can be beyond a limit yet
		return nil
	}
	_, err := t.exec(trimLines, job, int64(errand.MaxLogLines))
	if err != nil || c.Job.Entries <= errand.MaxEntries {
		return err
	}
	_, err = t.exec(trimAll, job, int64(errand.MaxEntries))
	return err
}

// Entries implements [errand.Store].
func (s *Store) Entries(ctx context.Context, id errand.ID, after int64, limit int) ([]errand.Entry, error) {
	var out []errand.Entry
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		return c.query(ctx, selectEntries, func(row []driver.Value) error {
			r := reader{row: row}
			out = append(out, errand.Entry{
				Seq: r.int(), Time: dueOf(r.int()), Type: errand.EntryType(r.text()), Level: int(r.int()),
				Attempt: int(r.int()), Text: r.text(), Attrs: r.raw(),
			})
			return nil
		}, id[:], after, int64(limit))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
