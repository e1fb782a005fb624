package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// columns are those of errand_jobs in the order in which scanJob reads them.
const columns = `seq, id, kind, queue, state, version, priority, due, attempt, token, worker, started, ended, expires,
	entries, created, limits, unique_key, unique_held, options, extra, error, checkpoint, result, args`

// stored is a job with what only this store knows of it.
type stored struct {
	errand.Job
	seq  int64
	held bool // the index keeps its unique key
}

// options are the parts of a job that few jobs have and no statement looks at.
type options struct {
	Scope     errand.Scope      `json:"scope,omitempty"`
	Until     int64             `json:"until,omitempty"`
	After     []errand.ID       `json:"after,omitempty"`
	OnFailure errand.OnFailure  `json:"on_failure,omitempty"`
	Tags      []string          `json:"tags,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

func hasOptions(j *errand.Job) bool {
	return j.UniqueScope != "" || j.OnFailure != "" || !j.UniqueUntil.IsZero() ||
		len(j.After) > 0 || len(j.Tags) > 0 || len(j.Metadata) > 0
}

func encodeOptions(j *errand.Job) driver.Value {
	if !hasOptions(j) {
		return nil
	}
	o := options{j.UniqueScope, 0, j.After, j.OnFailure, j.Tags, j.Metadata}
	if !j.UniqueUntil.IsZero() {
		o.Until = j.UniqueUntil.UnixMicro()
	}
	b, _ := json.Marshal(o) // strings and numbers only: it cannot fail
	return string(b)
}

func (o *options) apply(j *errand.Job) {
	j.UniqueScope, j.After, j.OnFailure, j.Tags, j.Metadata = o.Scope, o.After, o.OnFailure, o.Tags, o.Metadata
	if o.Until != 0 {
		j.UniqueUntil = time.UnixMicro(o.Until).UTC()
	}
}

// extra are the parts of a job's fate that few jobs have.
type extra struct {
	Crashes  int              `json:"crashes,omitempty"`
	Blocked  int              `json:"blocked,omitempty"`
	CleanUp  errand.CleanUp   `json:"clean_up,omitempty"`
	Want     errand.State     `json:"want,omitempty"`
	Actor    string           `json:"actor,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	Progress *errand.Progress `json:"progress,omitempty"`
}

func encodeExtra(j *errand.Job) driver.Value {
	x := extra{Crashes: j.Crashes, Blocked: j.Blocked, CleanUp: j.CleanUp, Want: j.Want, Actor: j.Actor, Reason: j.Reason}
	if j.Progress != (errand.Progress{}) {
		x.Progress = &j.Progress
	}
	if x == (extra{}) {
		return nil
	}
	b, _ := json.Marshal(x) // strings and numbers only: it cannot fail
	return string(b)
}

func (x *extra) apply(j *errand.Job) {
	j.Crashes, j.Blocked, j.CleanUp, j.Want, j.Actor, j.Reason = x.Crashes, x.Blocked, x.CleanUp, x.Want, x.Actor, x.Reason
	if x.Progress != nil {
		j.Progress = *x.Progress
	}
}

// limits are the numbers that the jobs of a kind have in common, so that one column holds
// them and the same ones need not be read again.
type limits struct {
	maxAttempts, maxCrashes int
	timeout, retention      time.Duration
}

func encodeLimits(j *errand.Job) driver.Value {
	b := make([]byte, 1, 32)
	b[0] = '['
	for _, n := range [...]int64{int64(j.MaxAttempts), int64(j.MaxCrashes), int64(j.Timeout), int64(j.Retention)} {
		b = append(strconv.AppendInt(b, n, 10), ',')
	}
	b[len(b)-1] = ']'
	return string(b)
}

func decodeLimits(s string) (l limits, err error) {
	var n [4]int64
	err = json.Unmarshal([]byte(s), &n)
	return limits{int(n[0]), int(n[1]), time.Duration(n[2]), time.Duration(n[3])}, err
}

func (l *limits) apply(j *errand.Job) {
	j.MaxAttempts, j.MaxCrashes, j.Timeout, j.Retention = l.maxAttempts, l.maxCrashes, l.timeout, l.retention
}

// scanJob reads a row of columns.
func scanJob(row []driver.Value) (stored, error) {
	r := reader{row: row}
	var s stored
	j := &s.Job
	s.seq = r.int()
	j.ID, j.Kind, j.Queue, j.State = r.id(), r.text(), r.text(), stateOf(r.int())
	j.Version, j.Priority, j.Due, j.Attempt, j.Token = r.int(), int(r.int()), dueOf(r.int()), int(r.int()), r.int()
	j.Worker, j.Started, j.Ended, j.Expires = r.id(), r.time(), r.time(), r.time()
	j.Entries, j.Created = r.int(), r.time()
	l := r.limits()
	l.apply(j)
	j.Unique, s.held = r.text(), r.int() == 1
	var o options
	r.json(&o)
	o.apply(j)
	var x extra
	r.json(&x)
	x.apply(j)
	j.Error, j.Checkpoint, j.Result, j.Args = r.text(), r.raw(), r.raw(), r.raw()
	if r.err != nil {
		return s, fmt.Errorf("job %s (seq %d) is damaged: %w", j.ID, s.seq, r.err)
	}
	return s, nil
}

// reader takes the values of a row one after the other.
type reader struct {
	row []driver.Value
	err error
}

func (r *reader) next() driver.Value {
	v := r.row[0]
	r.row = r.row[1:]
	return v
}

func (r *reader) int() int64 {
	n, _ := r.next().(int64)
	return n
}

func (r *reader) text() string {
	s, _ := r.next().(string)
	return s
}

func (r *reader) raw() json.RawMessage {
	if s := r.text(); s != "" {
		return json.RawMessage(s)
	}
	return nil
}

func (r *reader) limits() limits {
	l, err := decodeLimits(r.text())
	if r.err == nil {
		r.err = err
	}
	return l
}

func (r *reader) json(v any) {
	if s := r.text(); s != "" && r.err == nil {
		r.err = json.Unmarshal([]byte(s), v)
	}
}

func (r *reader) id() (id uuid.UUID) {
	if b, _ := r.next().([]byte); b != nil {
		copy(id[:], b)
	}
	return id
}

func (r *reader) time() time.Time {
	if n, ok := r.next().(int64); ok {
		return time.UnixMicro(n).UTC()
	}
	return time.Time{}
}

// dueOf is the inverse of UnixMicro, which holds for the zero time too: Due is never
// null, so that it sorts.
func dueOf(n int64) time.Time { return time.UnixMicro(n).UTC() }

// The values of optional columns: null when there is nothing to say.

func timeValue(t time.Time) driver.Value {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func textValue(s string) driver.Value {
	if s == "" {
		return nil
	}
	return s
}

func rawValue(b json.RawMessage) driver.Value {
	if len(b) == 0 {
		return nil
	}
	return string(b)
}

func idValue(id *uuid.UUID) driver.Value {
	if *id == uuid.Nil {
		return nil
	}
	return id[:]
}

func heldValue(held bool) driver.Value {
	if held {
		return int64(1)
	}
	return nil
}

// The numbers of the states, see migrations/0001_jobs.sql.
const (
	ready = 1 + iota
	succeeded
	running
	scheduled
	waiting
	paused
	failed
	cancelled
)

var stateNames = [...]errand.State{
	ready: errand.Ready, succeeded: errand.Succeeded, running: errand.Running, scheduled: errand.Scheduled,
	waiting: errand.Waiting, paused: errand.Paused, failed: errand.Failed, cancelled: errand.Cancelled,
}

// stateNumber returns 0 for what is no state.
func stateNumber(s errand.State) int64 {
	return int64(slices.Index(stateNames[1:], s) + 1)
}

// stateOf is the inverse of stateNumber.
func stateOf(n int64) errand.State {
	if n < 0 || n >= int64(len(stateNames)) {
		return ""
	}
	return stateNames[n]
}
