package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

const selectByID = `select ` + columns + ` from unnest($1::uuid[]) with ordinality x (id, n) join errand.jobs j on j.id = x.id order by x.n`

// Get implements [errand.Store].
func (s *Store) Get(ctx context.Context, ids []errand.ID) ([]errand.Job, error) {
	if len(ids) == 0 {
		return nil, ctx.Err()
	}
	var found []stored
	err := s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) (err error) {
		found, err = jobs(c.Query(ctx, s.sql(selectByID), raw(ids)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return plain(found), nil
}

// raw returns IDs in the form that pgx encodes fastest.
func raw(ids []errand.ID) [][16]byte {
	out := make([][16]byte, len(ids))
	for i := range ids {
		out[i] = ids[i]
	}
	return out
}

// List implements [errand.Store]. Jobs in any state but ready and succeeded, those of a tag, and few ready ones are found by
// an index; all else by going through the jobs from the newest on.
func (s *Store) List(ctx context.Context, q errand.Query) (errand.Page, error) {
	var p errand.Page
	limit, before, err := q.Bounds()
	if err != nil {
		return p, err
	}
	q.Limit = limit
	err = s.do(ctx, s.general, func(ctx context.Context, c *pgxpool.Conn) error {
		p = errand.Page{}
		few := true
		if slices.Contains(q.States, errand.Ready) && len(q.Tags) == 0 {
			if err := c.QueryRow(ctx, s.sql(selectFewReady), fewReady).Scan(&few); err != nil {
				return err
			}
		}
		l := listing{q: &q, args: []any{before}, few: few}
		l.write()
		horizon := int64(0)
		if l.filter != "" && q.Unique == "" {
			if err := c.QueryRow(ctx, s.sql(l.horizon()), l.args[:l.lineArgs]...).Scan(&horizon); err != nil {
				return err
			}
		}
		text := l.page(horizon)
		found, err := jobs(c.Query(ctx, s.sql(text), l.args...))
		switch {
		case len(found) > q.Limit:
			found = found[:q.Limit]
			p.Next = errand.CursorAt(found[q.Limit-1].seq)
		case horizon > 0:
			p.Next = errand.CursorAt(horizon)
		}
		p.Jobs = plain(found)
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

const selectFewReady = `select count(*) < $1 from (select 1 from errand.ready limit $1) r`

// listing writes the statements of a page.
type listing struct {
	q        *errand.Query
	args     []any // $1: the seq that all are below
	few      bool  // ready jobs
	lines    []line
	lineArgs int    // how many of the args are theirs
	filter   string // what must be true of the jobs of all lines: it may leave out most of them
}

// line is one way to jobs.
type line struct {
	from, seq string
	ordered   bool // by seq, by an index: it may be long
}

func (l *listing) arg(v any) string {
	l.args = append(l.args, v)
	return "$" + strconv.Itoa(len(l.args))
}

func (l *listing) and(condition string) { l.filter += " and " + condition }

// write finds the lines, and the filter.
func (l *listing) write() {
	q := l.q
	byState := false
	switch {
	case q.Unique != "":
		l.lines = []line{{"errand.jobs j where j.unique_key = " + l.arg(q.Unique) + "::text and j.unique_held and not (" + isLapsed + ")", "j.seq", false}}
	case len(q.Tags) > 0:
		l.lines = []line{{"errand.tags t join errand.jobs j on j.seq = t.job where t.tag = " + l.arg(q.Tags[0]), "t.job", true}}
	case len(q.States) == 0 || slices.Contains(q.States, errand.Succeeded) || slices.Contains(q.States, errand.Ready) && !l.few:
		l.lines = []line{{"errand.jobs j where true", "j.seq", true}}
	default:
		byState = true
		for _, state := range slices.Compact(slices.Sorted(slices.Values(q.States))) {
			l.lines = append(l.lines, l.line(state))
		}
	}
	l.lineArgs = len(l.args)
	if !byState {
		l.states()
	}
	l.conditions()
}

// line leads to the jobs in a state.
func (l *listing) line(s errand.State) line {
	switch s {
	case errand.Ready:
		return line{"errand.ready r join errand.jobs j on j.seq = r.seq where true", "j.seq", false}
	case errand.Running:
		return line{`(select distinct chunk from errand.runs) r join errand.jobs j on j.seq >= r.chunk << 10 and j.seq < (r.chunk + 1) << 10
			where j.state = 'running'`, "j.seq", false}
	}
	return line{"errand.jobs j where j.shelf = " + l.arg(string(s)) + " and j.shelf is not null", "j.seq", true}
}

// states filters by state where no line does.
func (l *listing) states() {
	if len(l.q.States) == 0 {
		return
	}
	states := make([]string, len(l.q.States))
	for i, s := range l.q.States {
		states[i] = string(s)
	}
	l.and("j.state = any (" + l.arg(states) + "::text[])")
}

// conditions filters by all else.
func (l *listing) conditions() {
	q := l.q
	if len(q.Kinds) > 0 {
		var patterns []string
		for _, k := range q.Kinds {
			if prefix, open := strings.CutSuffix(k, "*"); open {
				patterns = append(patterns, likeEscaper.Replace(prefix)+"%")
			}
		}
		condition := "j.kind = any (" + l.arg(q.Kinds) + "::text[])"
		if len(patterns) > 0 {
			condition = "(" + condition + " or j.kind like any (" + l.arg(patterns) + "::text[]))"
		}
		l.and(condition)
	}
	if len(q.Queues) > 0 {
		l.and("j.queue = any (" + l.arg(q.Queues) + "::text[])")
	}
	if q.Worker != uuid.Nil {
		l.and("j.worker = " + l.arg([16]byte(q.Worker)) + "::uuid")
	}
	if len(q.Tags) > 0 && (len(q.Tags) > 1 || q.Unique != "") {
		l.and("j.tags @> " + l.arg(q.Tags) + "::text[]")
	}
	if q.Error != "" {
		l.and("strpos(lower(j.error), lower(" + l.arg(q.Error) + "::text)) > 0")
	}
	for _, m := range q.Args {
		path, value := l.arg(m.Path)+"::text[]", l.arg(m.Value)+"::text"
		l.and("case json_typeof(j.args #> " + path + ") when 'object' then false when 'array' then false when 'null' then " + value + " = 'null' else j.args #>> " +
			path + " = " + value + " end")
	}
	if !q.CreatedBefore.IsZero() {
		l.and("j.created < " + l.arg(q.CreatedBefore) + "::timestamptz")
	}
	if !q.CreatedAfter.IsZero() {
		l.and("j.created >= " + l.arg(q.CreatedAfter) + "::timestamptz")
	}
	if !q.EndedAfter.IsZero() {
		l.and("j.ended >= " + l.arg(q.EndedAfter) + "::timestamptz")
	}
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// horizon writes the query of the seq down to which a page is looked for; 0 if that is all.
func (l *listing) horizon() string {
	ends := []string{"0"}
	for _, x := range l.lines {
		if x.ordered {
			ends = append(ends, fmt.Sprintf("(select %[1]s from %[2]s and %[1]s < $1 order by %[1]s desc offset %[3]d limit 1)", x.seq, x.from, scanned))
		}
	}
	return "select greatest(" + strings.Join(ends, ", ") + ", least($1::bigint, 0))"
}

// page writes the query of a page, of one job more than it holds.
func (l *listing) page(horizon int64) string {
	limit := l.arg(l.q.Limit + 1)
	bounds := "j.seq < $1"
	if horizon > 0 {
		bounds += " and j.seq >= " + l.arg(horizon)
	}
	parts := make([]string, len(l.lines))
	for i, x := range l.lines {
		columns := columns
		if len(l.lines) > 1 || !x.ordered {
			columns = "j.seq"
		}
		of := strings.ReplaceAll(bounds, "j.seq", x.seq)
		parts[i] = "select " + columns + " from " + x.from + " and " + of + l.filter + " order by " + x.seq + " desc limit " + limit
	}
	if len(parts) == 1 && l.lines[0].ordered {
		return parts[0]
	}
	return "select " + columns + " from errand.jobs j where j.seq in ((" + strings.Join(parts, ") union all (") + ")) order by j.seq desc limit " + limit
}
