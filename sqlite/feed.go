package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

const (
	watchFor   = time.Minute      // changes are noted so long after another process asked for them, and kept so long
	watchRenew = 20 * time.Second // a process that goes on asking says so this often
	feedKept   = 50 * time.Second // changes are surely noted and kept so long
	feedRows   = 10_000           // read at once
)

// changedKey is what changed jobs are noted by.
type changedKey struct {
	queue, kind string
	state       int64 // 0: deleted
}

// changed notes a changed job for the processes that watch.
func (t *tx) changed(id *errand.ID, queue, kind string, state int64) error {
	if t.watched == nil {
		_, yes, err := t.number("select 1 from errand_watchers where until > ? and process <> ?", t.now.UnixMicro(), t.process[:])
		if err != nil {
			return err
		}
		t.watched = &yes
	}
	if *t.watched {
		if t.changes == nil {
			t.changes = map[changedKey][]byte{}
		}
		k := changedKey{queue, kind, state}
		t.changes[k] = append(t.changes[k], id[:]...)
	}
	return nil
}

func (t *tx) flushChanges() error {
	for k, ids := range t.changes {
		var state driver.Value
		if k.state != 0 {
			state = k.state
		}
		if _, err := t.exec("insert into errand_changes (at, queue, kind, state, ids) values (?, ?, ?, ?, ?)",
			t.now.UnixMicro(), k.queue, k.kind, state, ids); err != nil {
			return err
		}
	}
	return nil
}

var _ errand.Feed = (*Store)(nil)

// Changed implements [errand.Feed]. It does not tell of the changes of this process. A mark is when it was made, in microseconds, and the number of the last change.
func (s *Store) Changed(ctx context.Context, mark string) (errand.Changed, error) {
	var c errand.Changed
	var made, last int64
	_, _ = fmt.Sscanf(mark, "%d;%d", &made, &last)
	now := time.Now().UnixMicro()
	stale := now-made > feedKept.Microseconds() // it stood still: others may have taken it for gone
	if err := s.watch(ctx, stale); err != nil {
		return c, err
	}
	err := s.read(ctx, func(ctx context.Context, db *conn) error {
		newest, _, err := db.number("select seq from sqlite_sequence where name = 'errand_changes'")
		c.Mark = fmt.Sprintf("%d;%d", now, newest)
		if c.Lost = stale && made > 0; stale || newest <= last || err != nil {
			return err
		}
		n := int64(0)
		err = db.query(ctx, "select queue, kind, state, ids from errand_changes where n > ? and n <= ? limit ? + 0", func(row []driver.Value) error {
			n++
			r := reader{row: row}
			x := errand.ChangedJobs{Queue: r.text(), Kind: r.text()}
			if state := r.int(); state != 0 {
				x.State = stateOf(state)
			}
			ids, _ := r.next().([]byte)
			for ; len(ids) >= 16; ids = ids[16:] {
				x.IDs = append(x.IDs, uuid.UUID(ids[:16]))
			}
			c.Jobs = append(c.Jobs, x)
			return r.err
		}, last, newest, int64(feedRows))
		c.Lost = n < newest-last
		return err
	})
	if err != nil {
		return errand.Changed{}, err
	}
	return c, nil
}

// watch says now and then, or at once, that this process watches, and removes what is old.
func (s *Store) watch(ctx context.Context, atOnce bool) error {
	s.feedMu.Lock()
	due := atOnce || time.Since(s.renewed) > watchRenew
	if due {
		s.renewed = time.Now()
	}
	s.feedMu.Unlock()
	if !due {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec("insert or replace into errand_watchers (process, until) values (?, ?)", s.process[:], t.now.Add(watchFor).UnixMicro())
		if err == nil {
			_, err = t.exec("delete from errand_watchers where until < ?", t.now.UnixMicro())
		}
		if err == nil {
			_, err = t.exec("delete from errand_changes where at < ?", t.now.Add(-watchFor).UnixMicro())
		}
		return err
	})
}
