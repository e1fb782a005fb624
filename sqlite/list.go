package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
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
		l := listing{q: &q, args: []driver.Value{before}}
		if err := l.write(c); err != nil || l.none {
			return err
		}
		horizon := int64(0)
		if l.filter != "" && q.Unique == "" {
			if horizon, _, err = c.number(l.horizon(), l.args[:l.lineArgs]...); err != nil {
				return err
			}
		}
		text := l.page(horizon)
		jobs, err := c.jobs(ctx, nil, text, l.args...)
		switch {
		case len(jobs) > q.Limit:
			jobs = jobs[:q.Limit]
			p.Next = errand.CursorAt(jobs[q.Limit-1].seq)
		case horizon > 0:
			p.Next = errand.CursorAt(horizon)
		}
		jobs = slices.DeleteFunc(jobs, func(s stored) bool { // what SQLite cannot tell exactly
			return !q.MatchesText(&s.Job) || q.Unique != "" && !s.HoldsUnique(now())
		})
		p.Jobs = plain(jobs)
		return err
	})
	if err != nil {
		return errand.Page{}, err
	}
	return p, nil
}

const (
	// fewReady is how many ready jobs are sorted to list them, rather than looked for among all jobs.
	fewReady = 10_000
	// scanned is how many jobs of a line are looked through for one page.
	scanned = 5_000
)

// listing writes the statements of a page.
type listing struct {
	q        *errand.Query
	args     []driver.Value // ?1: the seq that all are below
	lines    []line
	lineArgs int    // how many of the args are theirs
	filter   string // what must be true of the jobs of all lines: it may leave out most of them
	none     bool   // the page is empty for sure
}

// line is one way to jobs.
type line struct {
	from, seq string
	ordered   bool // by seq, by an index: it may be long
}

func (l *listing) arg(v driver.Value) string {
	l.args = append(l.args, v)
	return "?" + strconv.Itoa(len(l.args))
}

func (l *listing) and(condition string) { l.filter += " and " + condition }

// write finds the lines, and the filter.
func (l *listing) write(c *conn) error {
	q := l.q
	states := make([]int64, 0, len(q.States))
	for _, s := range q.States {
		if n := stateNumber(s); n != 0 && !slices.Contains(states, n) {
			states = append(states, n)
		}
	}
	if l.none = len(q.States) > 0 && len(states) == 0; l.none {
		return nil
	}
	byState := false
	switch {
	case q.Unique != "":
		l.lines = []line{{"errand_jobs indexed by errand_jobs_unique where unique_key = " + l.arg(q.Unique) + " and unique_held = 1", "seq", false}}
	case len(q.Tags) > 0:
		l.lines = []line{{"errand_tags t cross join errand_jobs on seq = t.job where t.tag = " + l.arg(q.Tags[0]), "t.job", true}}
	default:
		var err error
		if byState, err = c.indexed(states); err != nil {
			return err
		}
		if !byState {
			l.lines = []line{{"errand_jobs not indexed where true", "seq", true}}
		}
	}
	if byState {
		for _, n := range states {
			l.lines = append(l.lines, lineOf(n))
		}
	}
	l.lineArgs = len(l.args)
	if !byState && len(states) > 0 {
		l.and("state in (" + joinInts(states) + ")")
	}
	l.conditions()
	return nil
}

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
	return len(states) > 0, nil
}

// lineOf leads to the jobs in a state.
func lineOf(state int64) line {
	switch state {
	case ready:
		return line{"errand_jobs indexed by errand_jobs_ready where state = 1", "seq", false}
	case running:
		return line{"errand_chunks cross join errand_jobs on seq >= chunk << 8 and seq < (chunk + 1) << 8 where running > 0 and state = 3", "seq", false}
	}
	// In the index's words too, or it is not used.
	return line{fmt.Sprintf("errand_jobs indexed by errand_jobs_state where state = %d and state > 3", state), "seq", true}
}

// conditions filters by all else than states. It may let jobs through that the query's MatchesText does not.
func (l *listing) conditions() {
	q := l.q
	if len(q.Kinds) > 0 {
		kinds := []string{"kind in (select value from json_each(" + l.arg(list(q.Kinds)) + "))"}
		for _, k := range q.Kinds {
			if prefix, open := strings.CutSuffix(k, "*"); open {
				kinds = append(kinds, fmt.Sprintf("substr(kind, 1, %d) = %s", len([]rune(prefix)), l.arg(prefix)))
			}
		}
		l.and("(" + strings.Join(kinds, " or ") + ")")
	}
	if len(q.Queues) > 0 {
		l.and("queue in (select value from json_each(" + l.arg(list(q.Queues)) + "))")
	}
	if q.Worker != uuid.Nil {
		l.and("worker = " + l.arg(q.Worker[:]))
	}
	for i, tag := range q.Tags {
		if i == 0 && q.Unique == "" {
			continue // its line
		}
		l.and("exists (select 1 from errand_tags x where x.tag = " + l.arg(tag) + " and x.job = seq)")
	}
	if q.Error != "" {
		l.and("error is not null")
		if isASCII(q.Error) { // SQLite knows no other letters
			l.and("instr(lower(error), lower(" + l.arg(q.Error) + ")) > 0")
		}
	}
	for _, m := range q.Args {
		if isASCII(m.Value) {
			l.and("instr(args, " + l.arg(m.Value) + ") > 0") // most jobs need not be decoded to see that they do not match
		}
	}
	if !q.CreatedBefore.IsZero() {
		l.and("created < " + l.arg(q.CreatedBefore.UnixMicro()))
	}
	if !q.CreatedAfter.IsZero() {
		l.and("created >= " + l.arg(q.CreatedAfter.UnixMicro()))
	}
	if !q.EndedAfter.IsZero() {
		l.and("ended >= " + l.arg(q.EndedAfter.UnixMicro()))
	}
}

// list writes names as a JSON array.
func list(names []string) string {
	raw, _ := json.Marshal(names) // strings: it cannot fail
	return string(raw)
}

// isASCII reports whether a text is of letters, digits and signs that JSON writes as they are.
func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\\/<>&`, r) }) < 0
}

// horizon writes the query of the seq down to which a page is looked for; 0 if that is all.
func (l *listing) horizon() string {
	ends := []string{"0", "min(?1, 0)"}
	for _, x := range l.lines {
		if x.ordered {
			ends = append(ends, fmt.Sprintf("coalesce((select %[1]s from %[2]s and %[1]s < ?1 order by %[1]s desc limit 1 offset %[3]d), 0)", x.seq, x.from, scanned))
		}
	}
	return "select max(" + strings.Join(ends, ", ") + ")"
}

// page writes the query of a page, of one job more than it holds.
func (l *listing) page(horizon int64) string {
	limit := l.arg(int64(l.q.Limit+1)) + " + 0"
	low := l.arg(horizon)
	parts := make([]string, len(l.lines))
	for i, x := range l.lines {
		columns := columns
		if len(l.lines) > 1 || !x.ordered {
			columns = "seq"
		}
		parts[i] = fmt.Sprintf("select %[1]s from %[2]s and %[3]s < ?1 and %[3]s >= %[4]s%[5]s", columns, x.from, x.seq, low, l.filter)
	}
	if len(parts) == 1 && l.lines[0].ordered {
		return parts[0] + " order by " + l.lines[0].seq + " desc limit " + limit
	}
	return "select " + columns + " from errand_jobs where seq in (select seq from (" + strings.Join(parts, " union all ") +
		" order by seq desc limit " + limit + ")) order by seq desc"
}

func joinInts(n []int64) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ", "), "[]")
}
