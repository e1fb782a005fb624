package postgres

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand"
)

// columns are those of errand.jobs in the order in which scanJob reads them.
const columns = `j.seq, j.id, j.kind, j.queue, j.state, j.version, j.priority, j.due, j.attempt, j.token, j.worker, j.started, j.args,
	j.created, j.max_attempts, j.max_crashes, j.timeout, j.retention, j.on_failure, j.entries, j.crashes, j.blocked, j.clean_up,
	j.ended, j.expires, j.unique_held, j.want, j.actor, j.reason, j.unique_key, j.unique_scope, j.unique_until,
	array_send(j.after), array_send(j.tags), j.metadata, j.progress, j.error, j.checkpoint, j.result`

// stored is a job with what only this store knows of it.
type stored struct {
	errand.Job
	seq  int64
	held bool // the index keeps its unique key
}

// scanJob reads a row of columns. It reads PostgreSQL's binary format itself: pgx's way through
// reflection would cost a worker as much as all else that it does with a job.
func scanJob(row [][]byte) (stored, error) {
	r := reader{row: row}
	var s stored
	j := &s.Job
	s.seq = r.int64()
	j.ID, j.Kind, j.Queue, j.State = r.uuid(), r.text(), r.text(), errand.State(r.text())
	j.Version, j.Priority, j.Due, j.Attempt, j.Token = r.int64(), int(r.int16()), r.time(), int(r.int32()), r.int64()
	j.Worker, j.Started, j.Args = r.uuid(), r.time(), r.json()
	j.Created, j.MaxAttempts, j.MaxCrashes = r.time(), int(r.int32()), int(r.int32())
	j.Timeout, j.Retention, j.OnFailure = time.Duration(r.int64()), time.Duration(r.int64()), errand.OnFailure(r.text())
	j.Entries, j.Crashes, j.Blocked, j.CleanUp = r.int64(), int(r.int32()), int(r.int32()), errand.CleanUp(r.int16())
	j.Ended, j.Expires, s.held = r.time(), r.time(), r.bool()
	j.Want, j.Actor, j.Reason = errand.State(r.text()), r.text(), r.text()
	j.Unique, j.UniqueScope, j.UniqueUntil = r.text(), errand.Scope(r.text()), r.time()
	for _, e := range r.array() {
		var id uuid.UUID
		copy(id[:], e)
		j.After = append(j.After, id)
	}
	for _, e := range r.array() {
		j.Tags = append(j.Tags, string(e))
	}
	r.decode(&j.Metadata)
	r.decode(&j.Progress)
	j.Error, j.Checkpoint, j.Result = r.text(), r.json(), r.json()
	if r.err != nil {
		return s, fmt.Errorf("job %s (seq %d) is damaged: %w", j.ID, s.seq, r.err)
	}
	return s, nil
}

// jobs reads the rows of a query of columns.
func jobs(rows pgx.Rows, err error) ([]stored, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []stored
	for rows.Next() {
		s, err := scanJob(rows.RawValues())
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// plain drops what only this store knows of the jobs.
func plain(jobs []stored) []errand.Job {
	if len(jobs) == 0 {
		return nil
	}
	out := make([]errand.Job, len(jobs))
	for i := range jobs {
		out[i] = jobs[i].Job
	}
	return out
}

// reader reads the columns of a row in their order, null as zero.
type reader struct {
	row [][]byte
	err error
}

func (r *reader) next(size int) []byte {
	if len(r.row) == 0 {
		r.err = fmt.Errorf("a column is missing")
		return nil
	}
	b := r.row[0]
	r.row = r.row[1:]
	if b != nil && size > 0 && len(b) != size {
		r.err = fmt.Errorf("a value has %d bytes instead of %d", len(b), size)
		return nil
	}
	return b
}

func (r *reader) int64() int64 {
	if b := r.next(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.next(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int16() int16 {
	if b := r.next(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) bool() bool {
	b := r.next(1)
	return b != nil && b[0] != 0
}

func (r *reader) text() string { return string(r.next(0)) }

func (r *reader) uuid() (id uuid.UUID) {
	copy(id[:], r.next(16))
	return id
}

// epoch is the zero of PostgreSQL's times, 2000-01-01, in microseconds since 1970.
const epoch = 946684800000000

func (r *reader) time() time.Time {
	if b := r.next(8); b != nil {
		return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + epoch).UTC()
	}
	return time.Time{}
}

func (r *reader) json() json.RawMessage {
	b := r.next(0)
	if b == nil {
		return nil
	}
	return json.RawMessage(append([]byte(nil), b...))
}

func (r *reader) decode(v any) {
	if b := r.next(0); b != nil && r.err == nil {
		r.err = json.Unmarshal(b, v)
	}
}

// array reads an array of one dimension, without nulls.
func (r *reader) array() (elements [][]byte) {
	b := r.next(0)
	if len(b) < 20 { // of no dimension
		return nil
	}
	n := int(binary.BigEndian.Uint32(b[12:]))
	b = b[20:]
	for range n {
		if len(b) < 4 {
			r.err = fmt.Errorf("an array is cut short")
			return nil
		}
		size := int(binary.BigEndian.Uint32(b))
		if b = b[4:]; size > len(b) {
			r.err = fmt.Errorf("an array is cut short")
			return nil
		}
		elements = append(elements, b[:size])
		b = b[size:]
	}
	return elements
}
