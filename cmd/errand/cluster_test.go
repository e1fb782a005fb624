package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/server"
)

const clusterSettings = `
lease = "2s"
shutdown_grace = "10s"
[command.note]
argv = ["sh", "-c", "echo $ERRAND_JOB_ID >> ran; sleep 0.02"]
queue = "notes"
priority = 7
concurrency = 4
`

// daemon is a server or a worker as a process of its own.
type daemon struct {
	*cluster
	args []string
	url  string // of a server
	cmd  *exec.Cmd
	log  *os.File
}

// cluster is daemons on one database, in one directory, and a client for them.
type cluster struct {
	site
	database string
	daemons  []*daemon
}

// newCluster returns one without daemons, on a database of its own.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{site: site{T: t, dir: t.TempDir()}}
	// Nobody asks for the password: it is here so that it can leak.
	c.database = strings.Replace(testserver.PostgresURL(t), "postgres@", "postgres:s3cret@", 1)
	c.env = []string{"ERRAND_DATABASE=" + c.database}
	if err := os.WriteFile(filepath.Join(c.dir, "errand.toml"), []byte(clusterSettings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range c.daemons {
			if d.cmd.ProcessState == nil {
				d.stop(syscall.SIGTERM)
			}
			raw, _ := os.ReadFile(d.log.Name())
			if bytes.Contains(raw, []byte("s3cret")) {
				t.Errorf("the log of errand %v shows a password:\n%s", d.args, raw)
			}
			if t.Failed() {
				t.Logf("log of errand %v:\n%s", d.args, raw)
			}
			d.log.Close()
		}
	})
	return c
}

// daemon starts "errand serve …" or "errand worker …".
func (c *cluster) daemon(args ...string) *daemon {
	c.Helper()
	d := &daemon{cluster: c, args: args}
	var err error
	if d.log, err = os.CreateTemp(c.dir, "log"); err != nil {
		c.Fatal(err)
	}
	c.daemons = append(c.daemons, d)
	d.start()
	return d
}

var started = regexp.MustCompile(`^errand \S+ (?:listens on (http://\S+), keeps its jobs|works on the jobs) in (\S+)`)

// start starts it, a server on the same address as before.
func (d *daemon) start() {
	d.Helper()
	args := d.args
	if d.url != "" {
		args = append(slices.Clone(args), "--listen", strings.TrimPrefix(d.url, "http://"))
	}
	d.cmd = d.command(context.Background(), args...)
	d.cmd.Stderr = d.log
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		d.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	m := started.FindStringSubmatch(line)
	if m == nil || strings.Contains(line, "s3cret") {
		d.stop(syscall.SIGKILL)
		d.Fatalf("errand %v begins with %q", args, line)
	}
	d.url = m[1]
}

// stop ends it by a signal and returns its exit code.
func (d *daemon) stop(sig os.Signal) int {
	d.cmd.Process.Signal(sig)
	timer := time.AfterFunc(20*time.Second, func() { d.cmd.Process.Kill() })
	defer timer.Stop()
	d.cmd.Wait()
	return d.cmd.ProcessState.ExitCode()
}

// restart ends and starts it again in order.
func (d *daemon) restart() {
	d.Helper()
	if code := d.stop(syscall.SIGTERM); code != 0 {
		d.Errorf("errand %v exits with %d after SIGTERM", d.args, code)
	}
	d.start()
}

// ran returns how many times each job ran.
func (c *cluster) ran() map[string]int {
	raw, _ := os.ReadFile(filepath.Join(c.dir, "ran"))
	times := map[string]int{}
	for _, id := range strings.Fields(string(raw)) {
		times[id]++
	}
	return times
}

// TestAPIAndWorkers: a server without workers takes jobs, and workers in other processes run them.
func TestAPIAndWorkers(t *testing.T) {
	c := newCluster(t)
	c.url = c.daemon("serve", "--api-only", "--listen", "127.0.0.1:0").url
	r := c.errand("enqueue", "note", "-o", "id")
	r.check(t, 0, anyID+"\n", `errand: warning: no worker that is alive handles this kind.*`)
	first := strings.TrimSpace(r.out)
	if j := c.job(first); j.Queue != "notes" || j.Priority != 7 || j.State != errand.Ready {
		t.Errorf("a job without a worker is %+v", j)
	}
	c.errand("health").check(t, 0, "ok\n", ``)
	c.errand("health", "--ready").check(t, 0, "ok\n", ``)
	c.errand("workers").check(t, 0, ``, `errand: no worker has run of late.*`)
	c.daemon("worker")
	c.daemon("worker", "--queues", "notes=1")
	c.errand("watch", first, "-o", "id").check(t, 0, first+"\n", `.*`)
	began := time.Now()
	c.errand("run", "note", "-o", "id").check(t, 0, anyID+"\n", `.*errand: job .*errand: succeeded .*`)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("a job took %s from end to end", took)
	}
	c.errand("workers").check(t, 0, `SESSION .*alive.*alive.*`, ``)
	id := c.must("enqueue", "note", "--in", "1h", "-o", "id")
	c.errand("pause", id).check(t, 0, `.*paused\n`, ``)
	c.errand("cancel", id).check(t, 0, `.*cancelled\n`, ``)
	for id, n := range c.ran() {
		if n != 1 {
			t.Errorf("job %s ran %d times", id, n)
		}
	}
}

// TestAPIAndWorkerOnFile: the same on one SQLite file.
func TestAPIAndWorkerOnFile(t *testing.T) {
	c := newCluster(t)
	c.env = nil
	c.url = c.daemon("serve", "--api-only", "--listen", "127.0.0.1:0").url
	c.daemon("worker")
	c.errand("run", "note", "-o", "id").check(t, 0, anyID+"\n", `.*errand: job .*errand: succeeded .*`)
	c.errand("doctor", "--thorough").check(t, 0, `ok +file +errand.db, .*ok +wal .*ok +integrity .*ok +workers +1 alive.*ok +orphans .*ok +kinds .*ok +backlog .*`, ``)
	c.errand("doctor", "--data", "none.db").check(t, 1, `problem +file +none.db is not there → .*`, `errand: 1 problem found\n`)
	c.errand("migrate").check(t, 0, `errand.db is up to date .*`, ``)
}

// TestRollingRestart: while jobs are enqueued without a pause, each server and each worker is restarted. Every job
// that was acknowledged runs exactly once.
func TestRollingRestart(t *testing.T) {
	c := newCluster(t)
	var servers, workers []*daemon
	for range 2 {
		servers = append(servers, c.daemon("serve", "--api-only", "--listen", "127.0.0.1:0"))
		workers = append(workers, c.daemon("worker"))
	}
	urls := []string{servers[0].url, servers[1].url}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	acknowledged := make([][]string, 2)
	for i := range acknowledged {
		wg.Go(func() {
			for ctx.Err() == nil {
				acknowledged[i] = append(acknowledged[i], enqueueSomewhere(t, urls))
				pause(ctx, 10*time.Millisecond)
			}
		})
	}
	for _, d := range slices.Concat(servers, workers) {
		pause(ctx, 200*time.Millisecond)
		d.restart()
	}
	stop()
	wg.Wait()
	c.url = urls[0]
	ids := slices.Concat(acknowledged...)
	eventually(t, "all jobs have succeeded", func() bool {
		var stats server.Stats
		json.Unmarshal([]byte(c.must("stats", "-o", "json")), &stats)
		return len(stats.Counts) == 1 && stats.Counts[0].State == errand.Succeeded && stats.Counts[0].Jobs >= int64(len(ids))
	})
	times := c.ran()
	for _, id := range ids {
		if times[id] != 1 {
			t.Errorf("job %s ran %d times", id, times[id])
		}
	}
	t.Logf("%d jobs", len(ids))
	if len(ids) < 50 {
		t.Errorf("only %d jobs were enqueued", len(ids))
	}
}

// enqueueSomewhere creates a job on whichever server takes it, and returns its id.
func enqueueSomewhere(t *testing.T, urls []string) string {
	n := server.NewJob{Kind: "note"}
	n.ID = uuid.Must(uuid.NewV7())
	for try := 0; try < 500; try++ {
		c := &client{base: urls[try%len(urls)], http: http.DefaultClient}
		_, err := c.create(context.Background(), n)
		switch {
		case err == nil:
			return n.ID.String()
		case !isCode(err, exitUnreachable):
			t.Error(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("nobody takes job %s", n.ID)
	return n.ID.String()
}

// TestMigrate: what migrate prints makes a database that a server takes as it is.
func TestMigrate(t *testing.T) {
	c := newCluster(t)
	c.errand("serve", "--no-migrate").check(t, 1, ``, `errand: database postgres://.* the schema "errand" has version 0 .*errand migrate\)\n`)
	c.errand("doctor").check(t, 1, `problem +schema +version 0 of \d+ → run errand migrate.*`, `errand: 1 problem found\n`)
	c.errand("migrate", "--status").check(t, 0, `VERSION +NAME +STATE\n1 +0001_jobs.sql +pending\n.*`, ``)
	script := c.must("migrate", "--print")
	if !regexp.MustCompile(`(?s)^-- errand, schema "errand": version 1 of \d+ \(0001_jobs.sql\)\nbegin;\n.*\ncommit;\n`).MatchString(script) {
		t.Errorf("the script is\n%s", script)
	}
	all := c.must("migrate", "--print", "--database", "") // with a word about SQLite on stderr
	if all != script {
		t.Error("without a database, other steps are printed")
	}
	c.sql(script)
	c.errand("migrate", "--print").check(t, 0, ``, `errand: nothing to do: version \d+ is the newest\n`)
	c.errand("migrate").check(t, 0, `nothing to do: version \d+ is the newest \(postgres://.*\)\n`, ``)
	c.daemon("worker", "--no-migrate")
	c.url = c.daemon("serve", "--api-only", "--no-migrate", "--listen", "127.0.0.1:0").url
	c.errand("run", "note", "-o", "id").check(t, 0, anyID+"\n", `.*`)
	c.errand("migrate", "--database-schema", "other").check(t, 0, `applied 0001_jobs.sql\n.*the schema has version \d+ now \(.*, schema other\)\n`, ``)
	c.errand("migrate", "--status", "--database-schema", "other", "-o", "jsonl").check(t, 0, `\{"version":1,"name":"0001_jobs.sql","applied":true\}\n.*`, ``)
}

// sql runs a script in the database.
func (c *cluster) sql(script string) {
	c.Helper()
	conn := c.connect()
	defer conn.Close(context.Background())
	if _, err := conn.Exec(c.Context(), script, pgx.QueryExecModeSimpleProtocol); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) connect() *pgx.Conn {
	c.Helper()
	conn, err := pgx.Connect(c.Context(), c.database)
	if err != nil {
		c.Fatal(err)
	}
	return conn
}

func TestDoctor(t *testing.T) {
	c := newCluster(t)
	c.errand("migrate").check(t, 0, `applied .*`, ``)
	c.errand("doctor").check(t, 0, `.*warning +workers +none is alive → start errand worker or .*`, ``)
	c.url = c.daemon("serve", "--listen", "127.0.0.1:0").url
	c.errand("run", "note", "-o", "id").check(t, 0, anyID+"\n", `.*`)

	findings := func() map[string]finding {
		t.Helper()
		var r report
		out := c.must("doctor", "-o", "json")
		if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Contains(out, "s3cret") {
			t.Fatalf("%v\n%s", err, out)
		}
		all := map[string]finding{}
		for _, f := range r.Checks {
			if all[f.Check] = f; (f.Level == fine) != (f.Advice == "") {
				t.Errorf("advice for %+v", f)
			}
		}
		return all
	}
	f := findings()
	for _, check := range []string{
		"connection", "schema", "primary", "clock", "hints", "snapshot", "bloat", "connections", "workers", "orphans", "kinds", "backlog",
	} {
		if f[check].Level != fine {
			t.Errorf("on a healthy store: %+v, %q", f[check], check)
		}
	}

	c.must("enqueue", "no-such", "--in", "1h", "-o", "id")
	c.must("enqueue", "no-such", "-o", "id")
	if k := findings()["kinds"]; k.Level != warning || !strings.Contains(k.Text, "no-such (queue default): 2 jobs") {
		t.Errorf("with a missing kind: %+v", k)
	}

	conn := c.connect()
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "begin isolation level repeatable read; select count(*) from errand.jobs"); err != nil {
		t.Fatal(err)
	}
	c.must("enqueue", "no-such", "-o", "id")
	if s := findings()["snapshot"]; s.Level != fine || !strings.Contains(s.Text, "idle in transaction, since ") {
		t.Errorf("with an open transaction: %+v", s)
	}
}

func TestDoctorUnreachable(t *testing.T) {
	s := &site{T: t, dir: t.TempDir()}
	r := s.errand("doctor", "--database", "postgres://me:s3cret@127.0.0.1:1/x")
	r.check(t, 1, `problem +connection +postgres://me:…@127.0.0.1:1/x: .*connection refused.* → check the address.*\n`, `errand: 1 problem found\n`)
	s.errand("worker", "--database", "postgres://me:s3cret@127.0.0.1:1/x").check(t, 1, ``, `errand: database postgres://me:…@127.0.0.1:1/x \(flag --database\): .*connection refused.*`)
	s.errand("health", "--server", "127.0.0.1:1").check(t, 6, ``, `errand: cannot reach the server.*`)
}
