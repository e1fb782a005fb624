package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	s := mustOpen(t, newer)
	script(t, s, "insert into errand_schema (version, applied) values (1000, 'in the future')")
	s.Close()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		opts *Options
		want string
	}{
		{":memory:", nil, "errand.Memory"},
		{"", nil, "path of a file"},
		{"file:x.db", nil, "path of a file"},
		{filepath.Join(dir, "x.db"), &Options{Synchronous: "OFF"}, "FULL or NORMAL"},
		{filepath.Join(dir, "missing", "x.db"), nil, "unable to open"},
		{newer, nil, "use a newer errand"},
		{text, nil, "not an SQLite database"},
	} {
		s, err := Open(c.path, c.opts)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(%q): %v, want an error with %q", c.path, err, c.want)
		}
	}
}

func script(t *testing.T, s *Store, text string) {
	t.Helper()
	if err := s.write(context.Background(), func(t *tx) error { return t.script(text) }); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsSharedWithApplication(t *testing.T) {
	path := filepath.Join(t.TempDir(), "strange name?#%41 ö.db")
	c, err := dial(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.script("create table jobs (a); insert into jobs values (1); pragma user_version = 7; pragma application_id = 42"); err != nil {
		t.Fatal(err)
	}
	c.close()
	for range 2 { // the second time there is nothing to migrate
		s := mustOpen(t, path)
		if _, err := s.Insert(context.Background(), newJobs(1)); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the WAL is still there after Close: %v", err)
	}
	if c, err = dial(path); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for q, want := range map[string]int64{
		"select a from jobs": 1, "pragma user_version": 7, "pragma application_id": 42,
		"select count(*) from errand_jobs_readable where state = 'ready' and max_attempts = 20": 2,
	} {
		if n, _, err := c.number(q); n != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", q, n, err, want)
		}
	}
}

// TestWaitForLock: a call waits for another process that writes, as long as it may.
func TestWaitForLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s, err := Open(path, &Options{BusyTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if err := other.script("begin immediate"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Insert(context.Background(), newJobs(1)); err == nil || !strings.Contains(err.Error(), "locked for 200ms") {
		t.Errorf("Insert while another process writes: %v", err)
	}
	if _, err := s.Claim(context.Background(), errand.Claim{}); err != nil {
		t.Errorf("a claim of nothing waits for the lock: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Insert(ctx, newJobs(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Insert past its deadline: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = other.script("commit") })
	if _, err := s.Insert(context.Background(), newJobs(1)); err != nil {
		t.Errorf("Insert after another process wrote: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "jobs.db"))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Stats(context.Background()); err == nil {
		t.Error("Stats of a closed store: no error")
	}
	if _, err := s.Insert(context.Background(), newJobs(1)); err == nil {
		t.Error("Insert into a closed store: no error")
	}
}

// TestNoScans: the statements that run all the time go to the rows by an index.
func TestNoScans(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "jobs.db"))
	texts := []string{
		insertTogether, insertAny, selectByID, selectByUnique, selectNext, selectReadyKinds, selectDue, updateWoken,
		claimed + readyMerged(1) + returning, claimed + readyMerged(3) + returning, selectBySeq,
		updatePlain, updateAny, selectAhead, selectPlace, selectVersion, selectUnblocked, selectOldest, selectEntries, trimLines, selectChunk,
		updateSchedule, deleteSchedule, deleteFirings, selectFirings, afterName, ofNames, selectDueWakes, selectNextWake,
	}
	err := s.read(context.Background(), func(ctx context.Context, c *conn) error {
		for _, q := range []errand.Query{
			{States: []errand.State{errand.Failed}},
			{States: []errand.State{errand.Failed, errand.Cancelled, errand.Running}, Kinds: []string{"mail"}},
			{Tags: []string{"x", "y"}, States: []errand.State{errand.Succeeded}},
			{Unique: "k"},
		} {
			l := listing{q: &q, args: []driver.Value{int64(1)}}
			if err := l.write(c); err != nil {
				return err
			}
			texts = append(texts, l.horizon(), l.page(0))
		}
		for _, text := range texts {
			checkPlan(t, c, text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkPlan(t *testing.T, c *conn, text string) {
	var plan []string
	err := c.query(context.Background(), "explain query plan "+text, func(row []driver.Value) error {
		plan = append(plan, fmt.Sprint(row[3]))
		return nil
	}, make([]driver.Value, together*freshValues)...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for _, line := range plan {
		// What is scanned by an index that holds only what is looked for is none.
		scan := strings.Contains(line, "SCAN errand_") && !strings.Contains(line, "INDEX") && !strings.Contains(line, "errand_chunks")
		sort := strings.Contains(line, "TEMP B-TREE FOR ORDER BY") && (strings.Contains(text, "ready") || strings.Contains(text, "schedules"))
		if scan || sort {
			t.Errorf("%s\n\t%s", text, strings.Join(plan, "\n\t"))
			return
		}
	}
}

// TestClaimMergesKinds: jobs of several kinds start in one order, whatever others are ready.
func TestClaimMergesKinds(t *testing.T) {
	for _, kinds := range []int{2, 30, maxMerged, maxMerged + 10} {
		s := mustOpen(t, filepath.Join(t.TempDir(), "jobs.db"))
		jobs := newJobs(3 * kinds)
		lane := errand.Lane{Queue: "default", Limit: 2*kinds + 1}
		for i := range jobs {
			jobs[i].Kind = fmt.Sprint("kind ", i*7%kinds)
			jobs[i].Priority = i % 3
			lane.Kinds = append(lane.Kinds, jobs[i].Kind)
		}
		if _, err := s.Insert(context.Background(), jobs); err != nil {
			t.Fatal(err)
		}
		got, err := s.Claim(context.Background(), errand.Claim{Session: uuid.New(), Lanes: []errand.Lane{lane}})
		if err != nil || len(got.Jobs) != lane.Limit {
			t.Fatalf("%d jobs, %v", len(got.Jobs), err)
		}
		var want []uuid.UUID
		for p := 2; p >= 0; p-- {
			for i := p; i < len(jobs) && len(want) < lane.Limit; i += 3 {
				want = append(want, jobs[i].ID)
			}
		}
		for i := range want {
			if got.Jobs[i].ID != want[i] {
				t.Fatalf("%d kinds: job %d is not the one that should start then", kinds, i)
			}
		}
	}
}
