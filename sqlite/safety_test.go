package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// TestMain plays a process of its own when a test starts it as one.
func TestMain(m *testing.M) {
	path := os.Getenv("ERRAND_TEST_SQLITE")
	var err error
	switch os.Getenv("ERRAND_TEST_PLAY") {
	case "":
		os.Exit(m.Run())
	case "insert":
		err = playInsert(path)
	case "share":
		err = playShare(path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// play starts a process that plays the role on the file.
func play(t *testing.T, role, path string) (*exec.Cmd, io.Reader) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ERRAND_TEST_PLAY="+role, "ERRAND_TEST_SQLITE="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// playInsert inserts jobs and prints their ids once that is acknowledged, until it is killed.
func playInsert(path string) error {
	s, err := Open(path, nil)
	for err == nil {
		jobs := newJobs(1 + rand.N(100))
		if _, err = s.Insert(context.Background(), jobs); err != nil {
			break
		}
		var b bytes.Buffer
		for i := range jobs {
			fmt.Fprintln(&b, jobs[i].ID)
		}
		_, err = os.Stdout.Write(b.Bytes())
	}
	return err
}

func TestAcknowledgedSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	var acknowledged []uuid.UUID
	for range 5 {
		cmd, out := play(t, "insert", path)
		killer := time.AfterFunc(300*time.Millisecond+rand.N(200*time.Millisecond), func() { _ = cmd.Process.Kill() })
		acknowledged = append(acknowledged, readIDs(t, out)...)
		_ = cmd.Wait()
		killer.Stop()
	}
	if len(acknowledged) < 100 {
		t.Fatalf("only %d jobs were acknowledged", len(acknowledged))
	}
	checkThere(t, path, acknowledged)
}

// readIDs reads whole lines until the process is gone.
func readIDs(t *testing.T, out io.Reader) []uuid.UUID {
	var ids []uuid.UUID
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return ids
		}
		id, err := uuid.Parse(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
}

func checkThere(t *testing.T, path string, ids []uuid.UUID) {
	t.Helper()
	s := mustOpen(t, path)
	defer s.Close()
	jobs, err := s.Get(context.Background(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) != len(ids) {
		t.Fatalf("%d jobs were acknowledged, %d are there", len(ids), len(jobs))
	}
	checkSound(t, s)
}

// checkSound checks the file, and that what is kept beside the jobs agrees with them.
func checkSound(t *testing.T, s *Store) {
	t.Helper()
	err := s.read(context.Background(), func(ctx context.Context, c *conn) error {
		for _, q := range []string{
			"select integrity_check from pragma_integrity_check where integrity_check <> 'ok'",
			`select 'count of ' || queue || ' ' || kind || ' ' || state from (
				select queue, kind, state, jobs from errand_counts where jobs <> 0 except
				select queue, kind, state, count(*) from errand_jobs group by 1, 2, 3)`,
			`select 'no count of ' || queue || ' ' || kind || ' ' || state from (
				select queue, kind, state, count(*) from errand_jobs group by 1, 2, 3 except
				select queue, kind, state, jobs from errand_counts)`,
			`select 'running in chunk ' || chunk from errand_chunks c where running <>
				(select count(*) from errand_jobs where state = 3 and seq >> 8 = chunk)`,
			`select 'expiry of ' || seq from errand_jobs where expires is not null and not exists
				(select 1 from errand_chunks c where chunk = seq >> 8 and c.expires <= errand_jobs.expires)`,
			"select 'firings of ' || schedule from errand_firings where schedule not in (select name from errand_schedules)",
			"select 'running without a chunk' from errand_jobs where state = 3 and seq >> 8 not in (select chunk from errand_chunks)",
		} {
			if err := c.query(ctx, q, func(row []driver.Value) error { return fmt.Errorf("%v", row[0]) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestAcknowledgedSurvivesPowerLoss takes the files as they are after each commit, and as a
// power cut during the next one may leave them: with a part of it, or with garbage.
func TestAcknowledgedSurvivesPowerLoss(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := mustOpen(t, path)
	checkFullSync(t, s)
	var acknowledged []uuid.UUID
	wal, torn := readFile(t, path+"-wal"), 0
	for step := range 20 {
		main := readFile(t, path)
		jobs := newJobs(1 + rand.N(100))
		if _, err := s.Insert(context.Background(), jobs); err != nil {
			t.Fatal(err)
		}
		if step%4 == 3 {
			claimAndFinish(t, s)
		}
		after := readFile(t, path+"-wal")
		grown := len(after) > len(wal) && bytes.HasPrefix(after, wal) && bytes.Equal(main, readFile(t, path))
		if step%2 == 0 && grown {
			torn++
			cut := len(wal) + rand.N(len(after)-len(wal))
			checkThere(t, restore(t, main, after[:cut]), acknowledged)
			checkThere(t, restore(t, main, append(bytes.Clone(wal), garbage(1+rand.N(20_000))...)), acknowledged)
		}
		for i := range jobs {
			acknowledged = append(acknowledged, jobs[i].ID)
		}
		if step%5 == 0 {
			checkThere(t, restore(t, readFile(t, path), after), acknowledged)
		}
		wal = after
	}
	checkThere(t, restore(t, readFile(t, path), wal), acknowledged)
	if torn < 5 {
		t.Errorf("only %d commits were torn", torn)
	}
}

// checkFullSync checks that a commit waits for the disk, which a copy of the files cannot tell.
func checkFullSync(t *testing.T, s *Store) {
	c := <-s.writer
	defer func() { s.writer <- c }()
	if n, _, err := c.number("pragma synchronous"); n != 2 || err != nil {
		t.Errorf("synchronous is %d (%v), want 2, FULL", n, err)
	}
}

func claimAndFinish(t *testing.T, s *Store) {
	t.Helper()
	got, err := s.Claim(context.Background(), errand.Claim{Session: uuid.New(), Lanes: []errand.Lane{{Queue: "default", Kinds: []string{"mail"}, Limit: 100}}})
	if err != nil {
		t.Fatal(err)
	}
	changes := make([]errand.Change, len(got.Jobs)/2)
	for i := range changes {
		changes[i] = succeed(got.Jobs[i])
	}
	if _, err := s.Swap(context.Background(), changes); err != nil {
		t.Fatal(err)
	}
}

func garbage(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

// restore writes the files as a machine finds them when it is up again.
func restore(t *testing.T, main, wal []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jobs.db")
	for name, b := range map[string][]byte{path: main, path + "-wal": wal} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

const shared = 2000 // jobs that each process inserts in TestProcessesShareFile

// playShare inserts jobs, claims all that it can get and prints their ids.
func playShare(path string) error {
	s, err := Open(path, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, session := context.Background(), uuid.New()
	for n, idle := 0, 0; n < shared || idle < 20; {
		if n < shared {
			if _, err := s.Insert(ctx, newJobs(20)); err != nil {
				return err
			}
			n += 20
		}
		got, err := s.Claim(ctx, errand.Claim{Session: session, Lanes: []errand.Lane{{Queue: "default", Kinds: []string{"mail"}, Limit: 1 + rand.N(50)}}})
		if err != nil {
			return err
		}
		if idle++; len(got.Jobs) > 0 {
			idle = 0
		} else {
			time.Sleep(5 * time.Millisecond)
		}
		changes := make([]errand.Change, len(got.Jobs))
		for i := range changes {
			fmt.Println(got.Jobs[i].ID)
			changes[i] = succeed(got.Jobs[i])
		}
		out, err := s.Swap(ctx, changes)
		if err != nil {
			return err
		}
		for _, o := range out {
			if o != errand.Written {
				return fmt.Errorf("a claimed job was changed by somebody else: %v", o)
			}
		}
	}
	return nil
}

func TestProcessesShareFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db") // which both create and migrate at once
	var mu sync.Mutex
	var wg sync.WaitGroup
	claims := map[uuid.UUID]int{}
	for range 2 {
		cmd, out := play(t, "share", path)
		wg.Go(func() {
			ids := readIDs(t, out)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				claims[id]++
			}
		})
	}
	wg.Wait()
	for id, n := range claims {
		if n != 1 {
			t.Errorf("job %s was claimed %d times", id, n)
		}
	}
	if len(claims) != 2*shared {
		t.Errorf("%d jobs were claimed, want %d", len(claims), 2*shared)
	}
	checkSound(t, mustOpen(t, path))
}

func TestManyStoresOfOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := Open(path, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for range 20 {
				if _, err := s.Insert(context.Background(), newJobs(5)); err != nil {
					t.Error(err)
				}
				claimAndFinish(t, s)
			}
		})
	}
	wg.Wait()
	s := mustOpen(t, path)
	checkSound(t, s)
	stats, err := s.Stats(context.Background())
	total := int64(0)
	for _, c := range stats {
		total += c.Jobs
	}
	if diff := cmp.Diff(int64(400), total); diff != "" || err != nil {
		t.Error(diff, err)
	}
}
