package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// Get implements [errand.Store].
func (s *Store) Get(ctx context.Context, ids []errand.ID) ([]errand.Job, error) {
	var out []errand.Job
	err := s.read(ctx, func(ctx context.Context, c *conn) (err error) {
		out, err = c.lookup(ctx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// lookupChunk is how many jobs one statement looks up: starting a query costs more than a row.
const lookupChunk = 64

var selectChunk = "select " + columns + " from errand_jobs where id in (?" + strings.Repeat(", ?", lookupChunk-1) + ")"

// lookup returns those of the jobs that are there, in the order of ids.
func (c *conn) lookup(ctx context.Context, ids []uuid.UUID) ([]errand.Job, error) {
	var out []errand.Job
	for chunk := range slices.Chunk(ids, lookupChunk) {
		if len(chunk) == 1 {
			job, err := c.one(selectByID, chunk[0][:])
			if err != nil {
				return nil, err
			}
			if job != nil {
				out = append(out, job.Job)
			}
			continue
		}
		args := make([]driver.Value, lookupChunk)
		for i := range args {
			args[i] = chunk[min(i, len(chunk)-1)][:]
		}
		found, err := c.jobs(ctx, nil, selectChunk, args...)
		if err != nil {
			return nil, err
		}
		byID := make(map[uuid.UUID]*errand.Job, len(found))
		for i := range found {
			byID[found[i].ID] = &found[i].Job
		}
		for _, id := range chunk {
			if j := byID[id]; j != nil {
				out = append(out, *j)
			}
		}
	}
	return out, nil
}

// List implements [errand.Store]. Scheduled, waiting, running, paused, failed and
// cancelled jobs, few ready ones, and those of a tag are found by an index; all else by going through
// the jobs from the newest on.
func (s *Store) List(ctx context.Context, q errand.Query) (errand.Page, error) {
	var p errand.Page
	limit, before, err := q.Bounds()
	if err != nil {
		return p, err
	}
	q.Limit = limit
	err = s.read(ctx, func(ctx context.Context, c *conn) error {
		text, args, err := c.listing(&q, before)
		if err != nil || text == "" {
			return err
		}
		jobs, err := c.jobs(ctx, nil, text, args...)
		if len(jobs) > q.Limit {
			jobs = jobs[:q.Limit]
			p.Next = errand.CursorAt(jobs[q.Limit-1].seq)
		}
		p.Jobs = plain(jobs)
		return err
	})
	if err != nil {
		return errand.Page{}, err
	}
	return p, nil
}

// listing writes the query of a page, of one job more than it holds; "" if it is empty for sure.
func (c *conn) listing(q *errand.Query, before int64) (string, []driver.Value, error) {
	filter := "seq < ?1"
	args := []driver.Value{before, int64(q.Limit + 1)}
	arg := func(v driver.Value) int {
		args = append(args, v)
		return len(args)
	}
	among := func(column string, names []string) {
		if len(names) > 0 {
			list, _ := json.Marshal(names) // strings: it cannot fail
			filter += fmt.Sprintf(" and %s in (select value from json_each(?%d))", column, arg(string(list)))
		}
	}
	among("kind", q.Kinds)
	among("queue", q.Queues)
	if q.Worker != uuid.Nil {
		filter += fmt.Sprintf(" and worker = ?%d", arg(q.Worker[:]))
	}
	from := "errand_jobs not indexed"
	if q.Tag != "" {
		from = fmt.Sprintf("errand_tags t cross join errand_jobs on seq = t.job and t.tag = ?%d and t.job < ?1", arg(q.Tag))
	}
	states := make([]int64, 0, len(q.States))
	for _, s := range q.States {
		if n := stateNumber(s); n != 0 && !slices.Contains(states, n) {
			states = append(states, n)
		}
	}
	if len(q.States) > 0 && len(states) == 0 {
		return "", nil, nil
	}
	if len(states) > 0 && q.Tag == "" {
		indexed, err := c.indexed(states)
		if err != nil {
			return "", nil, err
		}
		if indexed {
			return listByState(states, filter), args, nil
		}
	}
	if len(states) > 0 {
		filter += " and state in (" + joinInts(states) + ")"
	}
	order := "seq"
	if q.Tag != "" {
		order = "t.job"
	}
	return "select " + columns + " from " + from + " where " + filter + " order by " + order + " desc limit ?2 + 0", args, nil
}

// fewReady is how many ready jobs are sorted to list them, rather than looked for among all jobs.
const fewReady = 10_000

// indexed reports whether an index leads to all jobs in these states at a bounded cost.
func (c *conn) indexed(states []int64) (bool, error) {
	for _, n := range states {
		switch n {
		case succeeded:
			return false, nil
		case ready:
			n, _, err := c.number("select sum(jobs) from errand_counts where state = 1")
			if err != nil || n > fewReady {
				return false, err
			}
		}
	}
	return true, nil
}

// listByState merges the lists of several states, to each of which an index leads.
func listByState(states []int64, filter string) string {
	parts := make([]string, len(states))
	for i, n := range states {
		switch n {
		case ready:
			parts[i] = "select seq from errand_jobs indexed by errand_jobs_ready where state = 1 and " + filter
		case running:
			parts[i] = `select seq from errand_chunks cross join errand_jobs on seq >= chunk << 8 and seq < (chunk + 1) << 8
				where running > 0 and state = 3 and ` + filter
		default: // in the index's words too, or it is not used
			parts[i] = fmt.Sprintf("select seq from errand_jobs indexed by errand_jobs_state where state = %d and state > 3 and %s", n, filter)
		}
	}
	return "select " + columns + " from errand_jobs where seq in (select seq from (" + strings.Join(parts, " union all ") +
		" order by seq desc limit ?2 + 0)) order by seq desc"
}

func joinInts(n []int64) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ", "), "[]")
}
