package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// column is a column of errand.jobs that holds a value of an errand.Job, and how a statement that writes any
// number of jobs is given it: as one array.
type column struct {
	name  string
	array string // the type of the array's elements
	value string // what is stored of the element x; "": itself
	of    func(n int, at func(int) *errand.Job) any
}

func each[T any](f func(*errand.Job) T) func(int, func(int) *errand.Job) any {
	return func(n int, at func(int) *errand.Job) any {
		values := make([]T, n)
		for i := range values {
			values[i] = f(at(i))
		}
		return values
	}
}

// Texts and IDs are null when they are empty, so that almost all rows are short.
func textColumn(name string, f func(*errand.Job) string) column {
	return column{name, "text", "nullif(x, '')", each(f)}
}

func jsonColumn(name string, f func(*errand.Job) string) column {
	return column{name, "text", "nullif(x, '')::json", each(f)}
}

func timeColumn(name string, f func(*errand.Job) time.Time) column {
	return column{name, "timestamptz", "", each(func(j *errand.Job) *time.Time {
		if t := f(j); !t.IsZero() {
			return &t
		}
		return nil
	})}
}

func numberColumn[T int16 | int32 | int64](name string, f func(*errand.Job) T) column {
	var zero T
	kind := map[string]string{"int16": "smallint", "int32": "integer", "int64": "bigint"}[fmt.Sprintf("%T", zero)]
	return column{name, kind, "", each(f)}
}

// fixedColumns are set when a job is created.
var fixedColumns = []column{
	{"id", "uuid", "", each(func(j *errand.Job) [16]byte { return j.ID })},
	{"kind", "text", "", each(func(j *errand.Job) string { return j.Kind })},
	{"queue", "text", "", each(func(j *errand.Job) string { return j.Queue })},
	timeColumn("created", func(j *errand.Job) time.Time { return j.Created }),
	numberColumn("priority", func(j *errand.Job) int16 { return int16(j.Priority) }),
	numberColumn("max_attempts", func(j *errand.Job) int32 { return int32(j.MaxAttempts) }),
	numberColumn("max_crashes", func(j *errand.Job) int32 { return int32(j.MaxCrashes) }),
	numberColumn("timeout", func(j *errand.Job) int64 { return int64(j.Timeout) }),
	numberColumn("retention", func(j *errand.Job) int64 { return int64(j.Retention) }),
	textColumn("on_failure", func(j *errand.Job) string { return string(j.OnFailure) }),
	textColumn("unique_key", func(j *errand.Job) string { return j.Unique }),
	textColumn("unique_scope", func(j *errand.Job) string { return string(j.UniqueScope) }),
	timeColumn("unique_until", func(j *errand.Job) time.Time { return j.UniqueUntil }),
	{"after", "text", "nullif(x, '')::uuid[]", each(func(j *errand.Job) string {
		ids := make([]string, len(j.After))
		for i, id := range j.After {
			ids[i] = id.String()
		}
		return literal(ids)
	})},
	{"tags", "text", "nullif(x, '')::text[]", each(func(j *errand.Job) string { return literal(j.Tags) })},
	jsonColumn("metadata", func(j *errand.Job) string {
		if len(j.Metadata) == 0 {
			return ""
		}
		b, _ := json.Marshal(j.Metadata) // strings: it cannot fail
		return string(b)
	}),
	jsonColumn("args", func(j *errand.Job) string { return string(j.Args) }),
}

// changingColumns are set by the state machine.
var changingColumns = []column{
	{"state", "text", "", each(func(j *errand.Job) string { return string(j.State) })},
	numberColumn("version", func(j *errand.Job) int64 { return j.Version }),
	{"due", "timestamptz", "", each(func(j *errand.Job) time.Time { return j.Due })},
	textColumn("want", func(j *errand.Job) string { return string(j.Want) }),
	textColumn("actor", func(j *errand.Job) string { return j.Actor }),
	textColumn("reason", func(j *errand.Job) string { return j.Reason }),
	numberColumn("attempt", func(j *errand.Job) int32 { return int32(j.Attempt) }),
	numberColumn("crashes", func(j *errand.Job) int32 { return int32(j.Crashes) }),
	numberColumn("blocked", func(j *errand.Job) int32 { return int32(j.Blocked) }),
	numberColumn("clean_up", func(j *errand.Job) int16 { return int16(j.CleanUp) }),
	{"worker", "uuid", "nullif(x, '00000000-0000-0000-0000-000000000000')", each(func(j *errand.Job) [16]byte { return j.Worker })},
	numberColumn("token", func(j *errand.Job) int64 { return j.Token }),
	timeColumn("started", func(j *errand.Job) time.Time { return j.Started }),
	timeColumn("ended", func(j *errand.Job) time.Time { return j.Ended }),
	timeColumn("expires", func(j *errand.Job) time.Time { return j.Expires }),
	numberColumn("entries", func(j *errand.Job) int64 { return j.Entries }),
	jsonColumn("checkpoint", func(j *errand.Job) string { return string(j.Checkpoint) }),
	jsonColumn("progress", func(j *errand.Job) string {
		if j.Progress == (errand.Progress{}) {
			return ""
		}
		b, _ := json.Marshal(j.Progress) // numbers and a text: it cannot fail
		return string(b)
	}),
	jsonColumn("result", func(j *errand.Job) string { return string(j.Result) }),
	textColumn("error", func(j *errand.Job) string { return j.Error }),
}

var allColumns = append(append([]column{}, fixedColumns...), changingColumns...)

// arrays are the arguments of unnest: the columns of n jobs.
func arrays(columns []column, n int, at func(int) *errand.Job) []any {
	args := make([]any, len(columns))
	for i, c := range columns {
		args[i] = c.of(n, at)
	}
	return args
}

// unnest writes the rows of a statement that is given arrays, the first as the parameter of that number.
func unnest(columns []column, first int) string {
	params, values := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		params[i] = fmt.Sprintf("$%d::%s[]", first+i, c.array)
		values[i] = c.name
		if c.value != "" {
			values[i] = strings.Replace(c.value, "x", c.name, 1) + " as " + c.name
		}
	}
	return "(select " + strings.Join(values, ", ") + " from unnest(" + strings.Join(params, ", ") + ") x (" + names(columns) + "))"
}

func names(columns []column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// jsonColumns are those of jobJSON. A statement in the application's transaction answers jobs as one JSON text, which
// every driver of database/sql can carry. Times go as microseconds, and JSON as text, so that both come back as they were.
func jsonColumns() string {
	values := []string{"seq", "coalesce(unique_held and not (" + isLapsed + "), false) as held"}
	for _, c := range allColumns {
		switch {
		case c.array == "timestamptz":
			values = append(values, fmt.Sprintf("(extract(epoch from %s) * 1000000)::bigint as %[1]s", c.name))
		case strings.HasSuffix(c.value, "::json"):
			values = append(values, c.name+"::text as "+c.name)
		default:
			values = append(values, c.name)
		}
	}
	return strings.Join(values, ", ")
}

// jobJSON is a job as jsonColumns answer it.
type jobJSON struct {
	Seq         int64       `json:"seq"`
	Held        bool        `json:"held"`
	ID          uuid.UUID   `json:"id"`
	Kind        string      `json:"kind"`
	Queue       string      `json:"queue"`
	Created     *int64      `json:"created"`
	Priority    int         `json:"priority"`
	MaxAttempts int         `json:"max_attempts"`
	MaxCrashes  int         `json:"max_crashes"`
	Timeout     int64       `json:"timeout"`
	Retention   int64       `json:"retention"`
	OnFailure   string      `json:"on_failure"`
	Unique      string      `json:"unique_key"`
	Scope       string      `json:"unique_scope"`
	Until       *int64      `json:"unique_until"`
	After       []errand.ID `json:"after"`
	Tags        []string    `json:"tags"`
	Metadata    string      `json:"metadata"`
	Args        string      `json:"args"`
	State       string      `json:"state"`
	Version     int64       `json:"version"`
	Due         *int64      `json:"due"`
	Want        string      `json:"want"`
	Actor       string      `json:"actor"`
	Reason      string      `json:"reason"`
	Attempt     int         `json:"attempt"`
	Crashes     int         `json:"crashes"`
	Blocked     int         `json:"blocked"`
	CleanUp     int8        `json:"clean_up"`
	Worker      *uuid.UUID  `json:"worker"`
	Token       int64       `json:"token"`
	Started     *int64      `json:"started"`
	Ended       *int64      `json:"ended"`
	Expires     *int64      `json:"expires"`
	Entries     int64       `json:"entries"`
	Checkpoint  string      `json:"checkpoint"`
	Progress    string      `json:"progress"`
	Result      string      `json:"result"`
	Error       string      `json:"error"`
}

// decodeJobs reads a JSON array of jobs, or "".
func decodeJobs(text string) ([]stored, error) {
	if text == "" {
		return nil, nil
	}
	var rows []jobJSON
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, err
	}
	out := make([]stored, len(rows))
	for i := range rows {
		if err := rows[i].decode(&out[i]); err != nil {
			return nil, fmt.Errorf("job %s (seq %d) is damaged: %w", rows[i].ID, rows[i].Seq, err)
		}
	}
	return out, nil
}

func (r *jobJSON) decode(s *stored) error {
	s.seq, s.held = r.Seq, r.Held
	at := func(micros *int64) time.Time {
		if micros == nil {
			return time.Time{}
		}
		return time.UnixMicro(*micros).UTC()
	}
	raw := func(text string) json.RawMessage {
		if text == "" {
			return nil
		}
		return json.RawMessage(text)
	}
	s.Job = errand.Job{
		ID: r.ID, Kind: r.Kind, Queue: r.Queue, Args: raw(r.Args), Priority: r.Priority, MaxAttempts: r.MaxAttempts, MaxCrashes: r.MaxCrashes,
		Timeout: time.Duration(r.Timeout), Retention: time.Duration(r.Retention), Unique: r.Unique, UniqueScope: errand.Scope(r.Scope), UniqueUntil: at(r.Until),
		After: r.After, OnFailure: errand.OnFailure(r.OnFailure), Tags: r.Tags, Created: at(r.Created),
		State: errand.State(r.State), Version: r.Version, Due: at(r.Due), Want: errand.State(r.Want), Actor: r.Actor, Reason: r.Reason,
		Attempt: r.Attempt, Crashes: r.Crashes, Blocked: r.Blocked, CleanUp: errand.CleanUp(r.CleanUp), Token: r.Token,
		Started: at(r.Started), Ended: at(r.Ended), Expires: at(r.Expires), Entries: r.Entries,
		Checkpoint: raw(r.Checkpoint), Result: raw(r.Result), Error: r.Error,
	}
	if r.Worker != nil {
		s.Worker = *r.Worker
	}
	var errs []error
	if r.Metadata != "" {
		errs = append(errs, json.Unmarshal([]byte(r.Metadata), &s.Metadata))
	}
	if r.Progress != "" {
		errs = append(errs, json.Unmarshal([]byte(r.Progress), &s.Progress))
	}
	return errors.Join(errs...)
}
