package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var benchArgs = json.RawMessage(`{"to":"someone@example.com","subject":"hello","n":12345678}`)

func newJob(now time.Time) errand.Job {
	return errand.Job{
		ID: uuid.Must(uuid.NewV7()), Kind: "mail", Queue: "default", Args: benchArgs, MaxAttempts: 20, MaxCrashes: 3,
		State: errand.Ready, Version: 1, Created: now, Due: now,
	}
}

func newJobs(n int) []errand.Job {
	jobs := make([]errand.Job, n)
	now := now()
	for i := range jobs {
		jobs[i] = newJob(now)
	}
	return jobs
}

// succeed is what the engine does to a job whose handler returned nil.
func succeed(j errand.Job) errand.Change {
	c := errand.Change{Job: j, Was: j.Version, From: j.State}
	c.Job.Version++
	c.Job.State, c.Job.Ended = errand.Succeeded, now()
	c.Job.Expires = c.Job.Ended.Add(24 * time.Hour)
	return c
}

func openBench(b *testing.B) *Store {
	s, err := Open(filepath.Join(b.TempDir(), "bench.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func insertAll(b *testing.B, s *Store, n, batch int) {
	for n > 0 {
		if _, err := s.Insert(context.Background(), newJobs(min(n, batch))); err != nil {
			b.Fatal(err)
		}
		n -= batch
	}
}

// drain claims and finishes all jobs and returns their number.
func drain(b *testing.B, s *Store, batch int) (n int) {
	for {
		done := drainBatch(b, s, batch)
		if done == 0 {
			return n
		}
		n += done
	}
}

var benchSession = uuid.New()

func drainBatch(b *testing.B, s *Store, batch int) int {
	ctx := context.Background()
	got, err := s.Claim(ctx, errand.Claim{Session: benchSession, Lanes: []errand.Lane{{Queue: "default", Kinds: []string{"mail"}, Limit: batch}}})
	if err != nil {
		b.Fatal(err)
	}
	if len(got.Jobs) == 0 {
		return 0
	}
	changes := make([]errand.Change, len(got.Jobs))
	for i := range changes {
		changes[i] = succeed(got.Jobs[i])
	}
	out, err := s.Swap(ctx, changes)
	if err != nil || out[0] != errand.Written {
		b.Fatal(out, err)
	}
	return len(got.Jobs)
}

// BenchmarkBesideRaw measures insert, and claim and finish, beside the floor: the same on a
// lean table by the same driver (see bench/raw.go). They take turns batch by batch, so
// that whatever else the machine does hits both.
func BenchmarkBesideRaw(b *testing.B) {
	for _, batch := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) { benchBesideRaw(b, batch) })
	}
}

func benchBesideRaw(b *testing.B, batch int) {
	var insert, drain [2]time.Duration // errand, raw
	for b.Loop() {
		s, r := openBench(b), openRaw(b, b.TempDir(), batch)
		takeTurns(&insert, func() { insertAll(b, s, batch, batch) }, r.insertBatch)
		takeTurns(&drain, func() { drainBatch(b, s, batch) }, r.drainBatch)
	}
	rate := func(d time.Duration) float64 { return float64(b.N*turns*batch) / d.Seconds() }
	life := [2]time.Duration{insert[0] + drain[0], insert[1] + drain[1]}
	b.ReportMetric(rate(drain[0]), "drain/s")
	b.ReportMetric(rate(life[0]), "life/s")
	b.ReportMetric(rate(life[1]), "raw-life/s")
	b.ReportMetric(float64(insert[1])/float64(insert[0]), "insert/raw")
	b.ReportMetric(float64(drain[1])/float64(drain[0]), "drain/raw")
	b.ReportMetric(float64(life[1])/float64(life[0]), "life/raw")
	b.ReportMetric(0, "ns/op")
}

const turns = 40

func takeTurns(took *[2]time.Duration, work ...func()) {
	for range turns {
		for i, f := range work {
			start := time.Now()
			f()
			took[i] += time.Since(start)
		}
	}
}

// BenchmarkBesideFinished measures insert, claim and finish in a store with a million
// finished jobs, beside an empty one.
func BenchmarkBesideFinished(b *testing.B) {
	full, empty := openBench(b), openBench(b)
	for range 100 {
		jobs := newJobs(10_000)
		for i := range jobs {
			jobs[i] = succeed(jobs[i]).Job
		}
		if _, err := full.Insert(context.Background(), jobs); err != nil {
			b.Fatal(err)
		}
	}
	var insert, drain [2]time.Duration
	for b.Loop() {
		takeTurns(&insert, func() { insertAll(b, full, 1000, 1000) }, func() { insertAll(b, empty, 1000, 1000) })
		takeTurns(&drain, func() { drainBatch(b, full, 1000) }, func() { drainBatch(b, empty, 1000) })
	}
	b.ReportMetric(float64(b.N*turns*1000)/drain[0].Seconds(), "drain/s")
	b.ReportMetric(float64(insert[1])/float64(insert[0]), "insert/empty")
	b.ReportMetric(float64(drain[1])/float64(drain[0]), "drain/empty")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEmptyClaim polls a store that has nothing to do.
func BenchmarkEmptyClaim(b *testing.B) {
	s := openBench(b)
	for b.Loop() {
		if got, err := s.Claim(context.Background(), errand.Claim{Lanes: []errand.Lane{{Queue: "default", Kinds: []string{"mail"}, Limit: 100}}}); err != nil || len(got.Jobs) > 0 {
			b.Fatal(got, err)
		}
	}
}

// BenchmarkSingle is the life of a job alone: three commits.
func BenchmarkSingle(b *testing.B) {
	s := openBench(b)
	for b.Loop() {
		insertAll(b, s, 1, 1)
		if drain(b, s, 1) != 1 {
			b.Fatal("not one job")
		}
	}
}

// BenchmarkBeat is a heartbeat with ten thousand leases.
func BenchmarkBeat(b *testing.B) {
	s := openBench(b)
	insertAll(b, s, 10_000, 1000)
	session := errand.Session{ID: uuid.New(), Started: now(), Lease: 30 * time.Second}
	got, err := s.Claim(context.Background(), errand.Claim{Session: session.ID, Lanes: []errand.Lane{{Queue: "default", Kinds: []string{"mail"}, Limit: 10_000}}})
	if err != nil || len(got.Jobs) != 10_000 {
		b.Fatal(len(got.Jobs), err)
	}
	leases := make([]errand.Lease, len(got.Jobs))
	for i, j := range got.Jobs {
		leases[i] = errand.Lease{ID: j.ID, Token: j.Token}
	}
	for b.Loop() {
		if p, err := s.Beat(context.Background(), session, leases); err != nil || len(p.Changed) > 0 {
			b.Fatal(len(p.Changed), err)
		}
	}
}

type rawLoop struct {
	b                     *testing.B
	db                    *sql.DB
	insert, claim, finish *sql.Stmt
	batch                 int
}

func openRaw(b *testing.B, dir string, batch int) *rawLoop {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "raw.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`create table jobs (
			seq integer primary key, id blob not null unique, kind text not null, queue text not null, state text not null,
			priority integer not null, due integer not null, attempt integer not null, args blob not null, worker text,
			token integer not null, version integer not null, result blob,
			created integer not null, started integer, ended integer
		) strict;
		create index jobs_ready on jobs (queue, priority desc, due) where state = 'ready';
		create index jobs_scheduled on jobs (due) where state = 'scheduled';`); err != nil {
		b.Fatal(err)
	}
	r := &rawLoop{b: b, db: db, batch: batch}
	for text, stmt := range map[string]**sql.Stmt{
		`insert into jobs (id, kind, queue, state, priority, due, attempt, args, token, version, created)
			values (?, 'mail', 'default', 'ready', 0, ?, 0, ?, 0, 1, ?)`: &r.insert,
		`update jobs set state = 'running', worker = 'w1', attempt = attempt + 1, token = token + 1,
			version = version + 1, started = ? where seq in (
			select seq from jobs where state = 'ready' and queue = 'default' order by priority desc, due limit ?)
			returning id, args, version`: &r.claim,
		`update jobs set state = 'succeeded', result = ?, version = version + 1, ended = ?
			where id = ? and version = ?`: &r.finish,
	} {
		if *stmt, err = db.Prepare(text); err != nil {
			b.Fatal(err)
		}
	}
	return r
}

func (r *rawLoop) commit(stmt *sql.Stmt, n int, args func(i int) []any) {
	tx, err := r.db.Begin()
	if err != nil {
		r.b.Fatal(err)
	}
	stmt = tx.Stmt(stmt)
	for i := range n {
		if _, err := stmt.Exec(args(i)...); err != nil {
			r.b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		r.b.Fatal(err)
	}
}

func (r *rawLoop) insertBatch() {
	r.commit(r.insert, r.batch, func(int) []any {
		id, now := uuid.Must(uuid.NewV7()), time.Now().UnixMicro()
		return []any{id[:], now, []byte(benchArgs), now}
	})
}

func (r *rawLoop) drainBatch() {
	type claimed struct {
		id, args []byte
		version  int64
	}
	rows, err := r.claim.Query(time.Now().UnixMicro(), r.batch)
	if err != nil {
		r.b.Fatal(err)
	}
	var jobs []claimed
	for rows.Next() {
		var c claimed
		if err := rows.Scan(&c.id, &c.args, &c.version); err != nil {
			r.b.Fatal(err)
		}
		jobs = append(jobs, c)
	}
	if err := rows.Err(); err != nil {
		r.b.Fatal(err)
	}
	r.commit(r.finish, len(jobs), func(i int) []any {
		return []any{nil, time.Now().UnixMicro(), jobs[i].id, jobs[i].version}
	})
}
