package errand_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/sqlite"
)

// These tests run workers as processes of their own, on one SQLite file, and stop and kill them for real.

// tick goes on until its context ends or the file named in its args is there.
var tick = errand.Define[string, errand.None]("tick")

// die kills the process that runs it, after a moment.
var die = errand.Define[errand.None, errand.None]("die")

// hold takes longer than die takes to kill.
var hold = errand.Define[errand.None, errand.None]("hold")

func TestMain(m *testing.M) {
	if path := os.Getenv("ERRAND_TEST_WORKER"); path != "" {
		workerMain(path, os.Getenv("ERRAND_TEST_LEASE"))
		return
	}
	os.Exit(m.Run())
}

// workerMain is the worker process. It says "on" once it can be relied on to work.
func workerMain(path, lease string) {
	store, err := sqlite.Open(path, nil)
	if err != nil {
		panic(err)
	}
	d, _ := time.ParseDuration(lease)
	e := errand.New(store, &errand.Config{Lease: d, Poll: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	tick.Do(e, func(ctx context.Context, until string) error {
		run := errand.Current(ctx)
		for i := 0; ; i++ {
			if _, err := os.Stat(until); err == nil {
				return nil
			}
			if err := run.Save(i); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return run.Stop(i)
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	hold.Do(e, func(context.Context, errand.None) error {
		time.Sleep(300 * time.Millisecond)
		return nil
	})
	die.Do(e, func(context.Context, errand.None) error {
		time.Sleep(100 * time.Millisecond)
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})
	fmt.Println("on")
	if err := e.Run(context.Background()); err != nil {
		panic(err)
	}
}

// lab is one SQLite file with its worker processes.
type lab struct {
	*testing.T
	dir    string
	store  errand.Store
	client *errand.Engine
}

func newLab(t *testing.T) *lab {
	dir := t.TempDir()
	store, err := sqlite.Open(filepath.Join(dir, "jobs.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &lab{T: t, dir: dir, store: store, client: errand.New(store, &errand.Config{Poll: 50 * time.Millisecond})}
}

func (l *lab) worker(lease time.Duration) *exec.Cmd {
	l.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ERRAND_TEST_WORKER="+filepath.Join(l.dir, "jobs.db"), "ERRAND_TEST_LEASE="+lease.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "on\n" {
		l.Fatalf("worker said %q, %v", line, err)
	}
	return cmd
}

func (l *lab) signal(cmd *exec.Cmd, s syscall.Signal) {
	l.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		l.Fatal(err)
	}
}

// freeze stops a worker with SIGSTOP while it does not hold the file's write lock, which
// it would keep. (Holding the lock ourselves is how we know.)
func (l *lab) freeze(cmd *exec.Cmd) {
	l.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(l.dir, "jobs.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		l.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		l.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	l.signal(cmd, syscall.SIGSTOP)
}

// until waits for the job to be so.
func (l *lab) until(id errand.ID, within time.Duration, what string, ok func(*errand.Job) bool) *errand.Job {
	l.Helper()
	for deadline := time.Now().Add(within); ; {
		j, err := l.client.Get(l.Context(), id)
		if err == nil && ok(j) {
			return j
		}
		if time.Now().After(deadline) {
			l.Fatalf("not %s within %s: %+v, %v", what, within, j, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func running(worker int64) func(*errand.Job) bool {
	return func(j *errand.Job) bool {
		return j.State == errand.Running && j.Token == worker && len(j.Checkpoint) > 0
	}
}

// TestStoppedWorker stops a worker with SIGSTOP past its lease: another one runs the job, and
// when the first comes to life again its writes are refused.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	end := filepath.Join(l.dir, "end")
	job, err := tick.Enqueue(t.Context(), l.client, end)
	if err != nil {
		t.Fatal(err)
	}
	first := l.worker(2 * time.Second)
	j := l.until(job.ID, 20*time.Second, "running", running(1))
	stopped := j.Worker
	l.freeze(first)
	l.worker(2 * time.Second)
	l.until(job.ID, 30*time.Second, "run by another", func(j *errand.Job) bool {
		return running(2)(j) && j.Worker != stopped && j.Crashes == 0 // a new checkpoint: not poison
	})
	l.signal(first, syscall.SIGCONT)
	var refused int64
	for deadline := time.Now().Add(20 * time.Second); refused == 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		sessions, err := l.store.Sessions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sessions {
			if s.ID == stopped {
				refused = s.Refused
			}
		}
	}
	if refused == 0 {
		t.Error("the stopped worker has seen no refused write")
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if j, err := l.client.Wait(t.Context(), job.ID); err != nil || j.Token != 2 {
		t.Errorf("in the end: %+v, %v", j, err)
	}
}

// TestKilledWorker kills a worker with SIGKILL: its job starts again within 5 s with a lease of 4 s,
// and within 40 s with the default lease. The machine may stall for a moment: it has two tries.
func TestKilledWorker(t *testing.T) {
	for lease, within := range map[time.Duration]time.Duration{4 * time.Second: 5 * time.Second, 0: 40 * time.Second} {
		t.Run(lease.String(), func(t *testing.T) {
			t.Parallel()
			took := newLab(t).killWorker(lease, within+10*time.Second)
			if took > within {
				took = newLab(t).killWorker(lease, within+10*time.Second)
			}
			if took > within {
				t.Errorf("the job started again after %s, more than %s", took, within)
			}
		})
	}
}

// killWorker kills the worker that runs a job, and returns how long it takes until another runs it.
func (l *lab) killWorker(lease, patience time.Duration) time.Duration {
	l.Helper()
	job, err := tick.Enqueue(l.Context(), l.client, filepath.Join(l.dir, "end"))
	if err != nil {
		l.Fatal(err)
	}
	first := l.worker(lease)
	l.until(job.ID, 20*time.Second, "running", running(1))
	l.worker(lease)
	l.signal(first, syscall.SIGKILL)
	killed := time.Now()
	l.until(job.ID, patience, "running again", running(2))
	took := time.Since(killed)
	l.Logf("lease %s: started again %s after the kill", lease, took.Round(time.Millisecond))
	return took
}

// TestPoison runs a job that kills its worker: after the third it fails.
func TestPoison(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	job, err := die.Enqueue(t.Context(), l.client, errand.None{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		worker := l.worker(time.Second)
		err := worker.Wait()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("worker ended with %v", err)
		}
	}
	l.worker(time.Second)
	j := l.until(job.ID, 20*time.Second, "failed", func(j *errand.Job) bool { return j.State == errand.Failed })
	if j.Error != "poison: 3 workers in a row were lost while they ran this job" || j.Crashes != 3 {
		t.Errorf("job %+v", j)
	}
}

// TestPoisonNeighbours runs innocent jobs beside one that kills its worker: again and again they die with it, but they are not
// taken for poison.
func TestPoisonNeighbours(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var innocent []errand.ID
	for range 5 {
		job, err := hold.Enqueue(t.Context(), l.client, errand.None{})
		if err != nil {
			t.Fatal(err)
		}
		innocent = append(innocent, job.ID)
	}
	killer, err := die.Enqueue(t.Context(), l.client, errand.None{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // with a lease so long that what is put off is claimed again only after the worker is dead
		_ = l.worker(3 * time.Second).Wait()
	}
	l.worker(3 * time.Second)
	l.until(killer.ID, time.Minute, "failed", func(j *errand.Job) bool { return j.State == errand.Failed })
	for _, id := range innocent {
		j := l.until(id, time.Minute, "ended", func(j *errand.Job) bool { return j.State.Ended() })
		if j.State != errand.Succeeded {
			t.Errorf("an innocent job is %s: %s", j.State, j.Error)
		}
	}
}
