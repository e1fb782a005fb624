package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/errandhq/errand"
)

// selectOldest yields the highest priority below ?3 among the ready jobs of a queue and kind,
// and the earliest due of that priority.
const selectOldest = `select priority, due from errand_jobs indexed by errand_jobs_ready
	where state = 1 and queue = ?1 and kind = ?2 and priority < ?3 order by priority desc, due limit 1`

// Stats implements [errand.Store]. It reads the counts that each write keeps, and of the
// ready jobs one a priority.
func (s *Store) Stats(ctx context.Context) ([]errand.Count, error) {
	var out []errand.Count
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		err := c.query(ctx, "select queue, kind, state, jobs from errand_counts where jobs > 0", func(row []driver.Value) error {
			r := reader{row: row}
			out = append(out, errand.Count{Queue: r.text(), Kind: r.text(), State: stateOf(r.int()), Jobs: r.int()})
			return nil
		})
		for i := 0; i < len(out) && err == nil; i++ {
			if out[i].State == errand.Ready {
				out[i].OldestReady, err = c.oldestReady(ctx, out[i].Queue, out[i].Kind)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b errand.Count) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Kind, b.Kind),
			slices.Index(errand.States, a.State)-slices.Index(errand.States, b.State))
	})
	return out, nil
}

func (c *conn) oldestReady(ctx context.Context, queue, kind string) (time.Time, error) {
	var oldest time.Time
	priority, found, any := int64(1<<62), true, false
	for found {
		found = false
		err := c.query(ctx, selectOldest, func(row []driver.Value) error {
			r := reader{row: row}
			priority, found = r.int(), true
			if due := dueOf(r.int()); !any || due.Before(oldest) {
				oldest, any = due, true
			}
			return nil
		}, queue, kind, priority)
		if err != nil {
			return oldest, err
		}
	}
	return oldest, nil
}
