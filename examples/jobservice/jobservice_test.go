package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

func TestInterface(t *testing.T) {
	t.Parallel()
	s := newService(t)
	api := s.start(1, "serve", "JOB_WINDOW=24h")[0]
	const stamp = `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`
	bad := `400 {"message":"the body must be JSON, such as {\"object_id\": 1}"}`
	badID := `400 {"message":"the body must be an object with an integer \"object_id\", such as {\"object_id\": 1}"}`
	noJob := `404 {"message":"there is no job with this id"}`
	for _, q := range []struct{ method, path, body, want string }{
		{"GET", "/health", "", `200 {"status":"ok"}`},
		{"GET", "/v1/jobs/1", "", noJob},
		{"POST", "/v1/jobs", `{"object_id": 1}`, `201 {"job_id":1}`},
		{"POST", "/v1/jobs", `{"object_id": 2}`, `201 {"job_id":2}`},
		{"POST", "/v1/jobs", ` {"object_id":1, "more":[]} `, `201 {"job_id":1}`},
		{"POST", "/v1/jobs", `{"object_id": -9223372036854775808}`, `201 {"job_id":3}`},
		{"POST", "/v1/jobs", `{"object_id": 0}`, `201 {"job_id":4}`},
		{"POST", "/v1/jobs", ``, bad},
		{"POST", "/v1/jobs", `{"object_id": abc}`, bad},
		{"POST", "/v1/jobs", `{"object_id": 1`, bad},
		{"POST", "/v1/jobs", `{"object_id": 1} {}`, bad},
		{"POST", "/v1/jobs", `object_id=1`, bad},
		{"POST", "/v1/jobs", `{"object_id": "1"}`, badID},
		{"POST", "/v1/jobs", `{"object_id": 1.5}`, badID},
		{"POST", "/v1/jobs", `{"object_id": 9223372036854775808}`, badID},
		{"POST", "/v1/jobs", `{"object_id": null}`, badID},
		{"POST", "/v1/jobs", `{}`, badID},
		{"POST", "/v1/jobs", `null`, badID},
		{"POST", "/v1/jobs", `[1]`, badID},
		{"POST", "/v1/jobs", strings.Repeat(" ", 64<<10) + `{"object_id": 1}`, `413 {"message":"the body is longer than 65536 bytes"}`},
		{"PUT", "/v1/jobs", `{"object_id": 1}`, `405 {"message":"use POST"}`},
		{"GET", "/v1/jobs", "", `405 {"message":"use POST"}`},
		{"DELETE", "/v1/jobs/1", "", `405 {"message":"use GET"}`},
		{"GET", "/v1/jobs/5", "", noJob},
		{"GET", "/v1/jobs/0", "", noJob},
		{"GET", "/v1/jobs/-1", "", noJob},
		{"GET", "/v1/jobs/99999999999999999999", "", noJob},
		{"GET", "/v1/jobs/abc", "", `400 {"message":"the id of a job is an integer"}`},
		{"GET", "/v1/jobs/1/result", "", `404 {"message":"there is no result of a job with this id"}`},
		{"GET", "/v1/jobs/", "", `404 {"message":"there is nothing here"}`},
		{"GET", "/", "", `404 {"message":"there is nothing here"}`},
		{"GET", "/v1/jobs/1", "", `200 {"id":1,"object_id":1,"status":"created","start_time":null,"end_time":null,"message":"","created_at":STAMP}`},
	} {
		status, answer := s.call(api, q.method, q.path, q.body)
		got := fmt.Sprint(status, " ", strings.TrimSpace(answer))
		want := strings.ReplaceAll(regexp.QuoteMeta(q.want), "STAMP", stamp)
		if !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%s %s %.40q:\n got %s\nwant %s", q.method, q.path, q.body, got, q.want)
		}
	}
	if n := query[int](s, "select count(*) from jobs"); n != 4 || n != query[int](s, "select count(*) from errand.jobs") {
		t.Errorf("%d jobs in the table", n)
	}

	s.start(1, "worker", "JOB_DURATION=800ms")
	running := s.await(1, "running")
	if running.StartTime == nil || running.EndTime != nil {
		t.Errorf("running: %+v", running)
	}
	s.awaitRow(running)
	done := s.await(1, "success")
	if done.EndTime == nil || done.EndTime.Sub(*done.StartTime) < 700*time.Millisecond || done.Message != "" ||
		!done.StartTime.Equal(*running.StartTime) || done.CreatedAt.After(*done.StartTime) {
		t.Errorf("success: %+v", done)
	}
	s.awaitRow(done)
	status, picture := s.call(api, "GET", "/v1/jobs/1/result", "")
	if _, err := png.Decode(strings.NewReader(picture)); status != 200 || err != nil {
		t.Errorf("result: %d, %v", status, err)
	}
	if _, other := s.call(api, "GET", "/v1/jobs/2/result", ""); other == picture {
		t.Error("two objects have the same picture")
	}
	if id := s.post(api, 1); id != 1 {
		t.Errorf("the object of a finished job gets job %d within the window", id)
	}
	if err := api.end(syscall.SIGTERM); err != nil {
		t.Error("the server, told to stop:", err)
	}
}

// TestKill kills the worker in the middle of a job, with three others about.
func TestKill(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	workers := s.start(4, "worker", "JOB_DURATION=1500ms")
	id := s.post(s.api[0], 7)
	first := s.await(id, "running")
	s.awaitRow(first)
	_ = s.workerOf(id, workers).end(syscall.SIGKILL)
	s.until("it runs again", func() bool {
		j := s.get(id)
		return j.Status == "running" && j.StartTime.After(*first.StartTime)
	})
	done := s.await(id, "success")
	s.awaitRow(done)
	if run := s.mustHaveOneResult(id); run < 2 || done.Message != "" || done.EndTime.Sub(*done.StartTime) < 1400*time.Millisecond {
		t.Errorf("run %d, %+v", run, done)
	}
}

// TestZombie freezes the worker in the middle of a job. Another one takes over; and the first writes nothing when it wakes.
func TestZombie(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	first := s.start(1, "worker", "JOB_DURATION=1500ms")[0]
	id := s.post(s.api[0], 7)
	before := s.await(id, "running")
	s.awaitRow(before) // it writes nothing for a while from here
	_ = first.cmd.Process.Signal(syscall.SIGSTOP)
	s.start(1, "worker", "JOB_DURATION=1500ms")
	s.until("it runs again", func() bool {
		j := s.get(id)
		return j.Status == "running" && j.StartTime.After(*before.StartTime)
	})
	_ = first.cmd.Process.Signal(syscall.SIGCONT)
	s.awaitRow(s.await(id, "success"))
	if run := s.mustHaveOneResult(id); run < 2 {
		t.Error("the run that was frozen has written its picture")
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	s.start(1, "worker", "JOB_DURATION=10s", "JOB_TIMEOUT=2")
	id := s.post(s.api[0], 7)
	j := s.await(id, "failed")
	if took := j.EndTime.Sub(*j.StartTime); took < 1900*time.Millisecond || took > 4*time.Second || j.Message != "timeout: the job ran longer than 2s" {
		t.Errorf("after %s: %+v", took, j)
	}
	s.awaitRow(j)
	time.Sleep(300 * time.Millisecond) // a retry would have begun
	if again := s.get(id); again.Status != "failed" || query[int](s, "select count(*) from results") != 0 {
		t.Errorf("later: %+v", again)
	}
}

// TestSameObject posts from many sides at once; and again when the window is over.
func TestSameObject(t *testing.T) {
	t.Parallel()
	const window = 3 * time.Second
	s := newService(t)
	s.start(3, "serve", "JOB_WINDOW="+window.String())
	s.start(1, "worker", "JOB_DURATION=10ms")
	posts := func(objectID int64) int64 {
		var ids [16]int64
		var posting sync.WaitGroup
		for i := range ids {
			posting.Go(func() { ids[i] = s.post(s.api[i%3], objectID) })
		}
		posting.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("object %d has the jobs %v", objectID, ids)
			}
		}
		return ids[0]
	}
	seen := map[int64]bool{}
	round := func() {
		for object := range int64(5) {
			id := posts(object)
			if seen[id] {
				t.Errorf("object %d gets job %d, which is another's or past its window", object, id)
			}
			seen[id] = true
			s.await(id, "success")
			if again := s.post(s.api[0], object); again != id {
				t.Errorf("the object of job %d, which has finished, gets job %d", id, again)
			}
			s.mustHaveOneResult(id)
		}
	}
	round()
	time.Sleep(time.Until(query[time.Time](s, "select max(created_at) from jobs").Add(window)))
	round()
	for _, table := range []string{"jobs", "results", "errand.jobs"} {
		if n := query[int](s, "select count(*) from "+table); n != 10 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
}

// TestPrefetch: a worker takes what it can run, and what it is told to reserve.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	for object := range int64(10) {
		s.post(s.api[0], object)
	}
	s.start(1, "worker", "JOB_DURATION=25", "JOB_CONCURRENCY=2", "JOB_PREFETCH=3")
	taken := func() int { return query[int](s, "select count(*) from errand.jobs where state = 'running'") }
	s.until("5 jobs are taken", func() bool { return taken() == 5 })
	for range 20 {
		time.Sleep(20 * time.Millisecond)
		if n := taken(); n != 5 {
			t.Fatalf("%d jobs are taken", n)
		}
	}
}

// TestFromOutside: what somebody does to errand's job without any worker is seen at once.
func TestFromOutside(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	q, ctx := s.engine(), t.Context()
	id := s.post(s.api[0], 7)
	must := func(_ *errand.Job, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(status, message string) {
		t.Helper()
		j := s.get(id)
		if j.Status != status || j.Message != message || j.StartTime != nil || (j.EndTime != nil) != (status == "failed") {
			t.Errorf("%+v, want %s %q", j, status, message)
		}
		s.awaitRow(j)
	}
	must(q.Pause(ctx, s.errandID(id), "wait"))
	expect("created", "")
	must(q.Cancel(ctx, s.errandID(id), "not needed"))
	expect("failed", "cancelled: not needed")
	must(q.Retry(ctx, s.errandID(id), ""))
	expect("created", "")
	must(nil, q.Delete(ctx, s.errandID(id)))
	expect("failed", "the job was deleted")

	// The table alone, without a request: a worker looks after it.
	id = s.post(s.api[0], 8)
	must(q.Cancel(ctx, s.errandID(id), ""))
	s.start(1, "worker")
	s.until("the table tells it", func() bool { return s.row(id).Message == "cancelled" })
}

// TestPoison: a job under which three workers die has failed, though no handler says so.
func TestPoison(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	id := s.post(s.api[0], 7)
	for run := int64(1); run <= 3; run++ {
		worker := s.start(1, "worker", "JOB_DURATION=1m", "JOB_TIMEOUT=5m", "JOB_LEASE=1s")[0]
		s.until(fmt.Sprint("run ", run), func() bool { return query[int64](s, "select token from errand.jobs") == run })
		_ = worker.end(syscall.SIGKILL)
	}
	s.start(1, "worker", "JOB_LEASE=1s")
	s.until("the table tells it", func() bool { return s.row(id).Status == "failed" })
	if j := s.row(id); !strings.HasPrefix(j.Message, "poison: 3 workers") || j.EndTime == nil || !reflect.DeepEqual(s.get(id), j) {
		t.Errorf("%+v", j)
	}
}

// TestShutdown: a worker that is told to stop finishes what is soon done.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	worker := s.start(1, "worker", "JOB_DURATION=4s", "JOB_CONCURRENCY=1", "JOB_PREFETCH=1")[0]
	soon, later := s.post(s.api[0], 1), s.post(s.api[0], 2)
	s.await(soon, "running")
	s.await(later, "running") // reserved
	if err := worker.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if a, b := s.row(soon), s.row(later); a.Status != "success" || b.Status != "created" || b.StartTime != nil {
		t.Errorf("after the shutdown: %+v, %+v", a, b)
	}
}

// TestErrors: what goes wrong in a job is told, what goes wrong here is not.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := newService(t)
	database, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	a, err := open(t.Context(), settings{sql: *database, concurrency: 10, window: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	picture.Do(a.jobs, func(_ context.Context, o object) error {
		if o.ID == 1 {
			panic("no ink")
		}
		return errors.New("no paper")
	})
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan error)
	go func() { worked <- a.worker(ctx) }()
	server := httptest.NewServer(a.routes())
	defer server.Close()
	p := &process{}
	p.out.found = []string{"", server.URL}
	s.api = []*process{p}
	for object, want := range []string{"no paper", "panic: no ink"} {
		if j := s.await(s.post(p, int64(object)), "failed"); j.Message != want {
			t.Errorf("%+v, want %q", j, want)
		}
	}
	stop()
	if err := errors.Join(<-worked, a.close()); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{
		"/v1/jobs/1": `500 {"message":"internal error"}`, "/v1/jobs/1/result": `500 {"message":"internal error"}`,
		"/health": `503 {"message":"the database does not answer"}`,
	} {
		if status, answer := s.call(p, "GET", path, ""); fmt.Sprint(status, " ", strings.TrimSpace(answer)) != want {
			t.Errorf("%s without a database: %d %s", path, status, answer)
		}
	}
}

// TestSave: a picture is stored once, and by the run that holds the job.
func TestSave(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start(1, "serve")
	id := s.post(s.api[0], 7)
	q, a := s.engine(), &app{db: s.db}
	held, released := make(chan int64), make(chan bool)
	picture.Do(q, func(ctx context.Context, _ object) error {
		held <- errand.Current(ctx).Token()
		<-released
		return nil
	})
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan error)
	go func() { worked <- q.Run(ctx) }()
	token := <-held
	save := func(token int64, text string, want int) {
		t.Helper()
		if err := a.save(ctx, s.errandID(id), token, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if n := query[int](s, "select count(*) from results"); n != want {
			t.Errorf("%s: %d results, want %d", text, n, want)
		}
	}
	save(token-1, "an earlier run", 0)
	save(token, "this run", 1)
	save(token, "this run again", 1)
	close(released)
	s.await(id, "success")
	if _, err := s.db.Exec(ctx, "delete from results"); err != nil {
		t.Fatal(err)
	}
	save(token, "this run, which is over", 0)
	stop()
	if err := <-worked; err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	for name, values := range map[string][]string{
		"SQL_ADDRESS": {"localhost", "localhost:x", "localhost:70000", "a:b:c"}, "REDIS_ADDRESS": {"redis"},
		"HTTP_PORT": {"http", "-1", "65536", "3000.5"}, "JOB_TIMEOUT": {"0", "-1", "soon", "1e9", "NaN"},
		"JOB_PREFETCH": {"-1", "1001", "many"}, "JOB_CONCURRENCY": {"0"}, "JOB_WINDOW": {"0s", "25h"}, "JOB_LEASE": {"10ms"}, "JOB_DURATION": {"-1s"},
	} {
		for _, value := range values {
			t.Setenv(name, value)
			if _, err := readSettings(); err == nil || !strings.HasPrefix(err.Error(), name+"="+value+": use ") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
		t.Setenv(name, "")
	}
	for value, want := range map[string]time.Duration{"": 30 * time.Second, "2": 2 * time.Second, "0.5": 500 * time.Millisecond, "1m30s": 90 * time.Second} {
		t.Setenv("JOB_TIMEOUT", value)
		if s, err := readSettings(); err != nil || s.timeout != want {
			t.Errorf("JOB_TIMEOUT=%s is %s, %v", value, s.timeout, err)
		}
	}
}

// TestSecrets: a password is in nothing that the program prints.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := newService(t)
	const secret = "s3cr%t/@:?"
	for _, env := range [][]string{
		{"SQL_ADDRESS=a b:5432"}, {"SQL_ADDRESS=127.0.0.1:1"}, {"SQL_NAME=missing?x=%zz"}, {"SQL_USER=nobody"}, {"JOB_PREFETCH=x"},
	} {
		for _, command := range []string{"serve", "worker"} {
			p := &process{cmd: exec.Command(os.Args[0], command)}
			p.cmd.Env = append(append(append([]string{"JOBSERVICE_PROCESS=1"}, s.env...), "SQL_PASSWORD="+secret, "REDIS_PASSWORD="+secret), env...)
			out, err := p.cmd.CombinedOutput()
			if err == nil || bytes.Contains(out, []byte("s3cr")) || !bytes.HasPrefix(out, []byte("jobservice: ")) || bytes.Contains(out, []byte("panic")) {
				t.Errorf("%s %s: %v\n%s", command, env, err, out)
			}
		}
	}
}
