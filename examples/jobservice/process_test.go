package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestMain is the program itself where a test has started it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("JOBSERVICE_PROCESS") != "" {
		main()
		return
	}
	testserver.Main(m)
}

// service is a database of its own, and the processes that share it.
type service struct {
	t   *testing.T
	env []string
	url string // of the database
	db  *pgxpool.Pool
	api []*process
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, url: testserver.PostgresURL(t)}
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	s.env = []string{
		"SQL_USER=" + u.User.Username(), "SQL_PASSWORD=" + password, "SQL_ADDRESS=" + u.Host,
		"SQL_NAME=" + strings.TrimPrefix(u.Path, "/"), "HTTP_PORT=0", "JOB_LEASE=2s",
	}
	if s.db, err = pgxpool.New(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.db.Close)
	return s
}

// process is a jobservice in a process of its own.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	out output
}

// output gathers what a process prints, and tells when it is ready.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan struct{}
	found []string
}

var readyLine = regexp.MustCompile(`listening url=(\S+)|worker started`)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.found == nil {
		if o.found = readyLine.FindStringSubmatch(o.text.String()); o.found != nil {
			close(o.ready)
		}
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts n processes of a command at once, and waits until all are ready.
func (s *service) start(n int, command string, env ...string) []*process {
	s.t.Helper()
	all := make([]*process, n)
	for i := range all {
		p := &process{t: s.t, cmd: exec.Command(os.Args[0], command)}
		p.out.ready = make(chan struct{})
		p.cmd.Env = append(append(append(os.Environ(), "JOBSERVICE_PROCESS=1"), s.env...), env...)
		p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
		if err := p.cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() {
			_ = p.end(syscall.SIGKILL)
			if s.t.Failed() {
				s.t.Logf("%s %d:\n%s", command, p.cmd.Process.Pid, &p.out)
			}
		})
		all[i] = p
	}
	for _, p := range all {
		select {
		case <-p.out.ready:
		case <-time.After(20 * time.Second):
			s.t.Fatalf("%s is not ready:\n%s", command, &p.out)
		}
	}
	if command == "serve" {
		s.api = append(s.api, all...)
	}
	return all
}

// end sends a signal that ends the process, and waits for it.
func (p *process) end(sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig)
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // in case it was stopped
	return p.cmd.Wait()
}

// call sends a request to an API server and returns the status and the body of the answer.
func (s *service) call(p *process, method, path, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, p.out.found[1]+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
	}
	return resp.StatusCode, string(answer)
}

// post posts a job for an object to an API server, and returns its id.
func (s *service) post(p *process, objectID int64) int64 {
	s.t.Helper()
	status, answer := s.call(p, "POST", "/v1/jobs", fmt.Sprintf(`{"object_id": %d}`, objectID))
	var id int64
	if _, err := fmt.Sscanf(answer, `{"job_id":%d}`, &id); err != nil || status != http.StatusCreated {
		s.t.Errorf("object %d: %d %s", objectID, status, answer)
	}
	return id
}

// get gets a job from the last API server.
func (s *service) get(id int64) job {
	s.t.Helper()
	status, answer := s.call(s.api[len(s.api)-1], "GET", fmt.Sprintf("/v1/jobs/%d", id), "")
	var j job
	if err := json.Unmarshal([]byte(answer), &j); err != nil || status != http.StatusOK {
		s.t.Fatalf("job %d: %d %s", id, status, answer)
	}
	return j
}

// await waits until the API tells a status of a job.
func (s *service) await(id int64, status string) job {
	s.t.Helper()
	var j job
	s.until(fmt.Sprintf("job %d is %s", id, status), func() bool {
		j = s.get(id)
		return j.Status == status
	})
	return j
}

func (s *service) until(what string, isSo func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !isSo(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// row reads a job from the table, where nobody has asked for it.
func (s *service) row(id int64) job {
	s.t.Helper()
	rows, err := s.db.Query(context.Background(), "select id, object_id, status, start_time, end_time, message, created_at from jobs where id = $1", id)
	if err != nil {
		s.t.Fatal(err)
	}
	j, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[job])
	if err != nil {
		s.t.Fatal(err)
	}
	for _, t := range []*time.Time{j.StartTime, j.EndTime, &j.CreatedAt} {
		if t != nil {
			*t = t.UTC()
		}
	}
	return j
}

// awaitRow waits until the table tells what the API has told.
func (s *service) awaitRow(want job) {
	s.t.Helper()
	s.until(fmt.Sprintf("the table tells %+v", want), func() bool { return reflect.DeepEqual(s.row(want.ID), want) })
}

// query asks the database for one value.
func query[T any](s *service, sql string, args ...any) T {
	s.t.Helper()
	var v T
	if err := s.db.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		s.t.Fatal(sql, err)
	}
	return v
}

// workerOf returns which of the processes runs a job.
func (s *service) workerOf(id int64, among []*process) *process {
	s.t.Helper()
	q := s.engine()
	j, err := q.Get(s.t.Context(), s.errandID(id))
	if err != nil {
		s.t.Fatal(err)
	}
	sessions, err := q.Sessions(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, session := range sessions {
		for _, p := range among {
			if session.ID == j.Worker && session.PID == p.cmd.Process.Pid {
				return p
			}
		}
	}
	s.t.Fatalf("nobody runs job %d", id)
	return nil
}

// mustHaveOneResult checks that a job has one picture, and returns which run has drawn it.
func (s *service) mustHaveOneResult(id int64) (run int64) {
	s.t.Helper()
	if n := query[int](s, "select count(*) from results where job_id = $1", id); n != 1 {
		s.t.Fatalf("job %d has %d results", id, n)
	}
	return query[int64](s, "select run from results where job_id = $1", id)
}

// engine is errand from outside, such as its command line.
func (s *service) engine() *errand.Engine {
	s.t.Helper()
	store, err := postgres.Open(s.t.Context(), s.url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = store.Close() })
	return errand.New(store, nil)
}

func (s *service) errandID(id int64) errand.ID {
	return query[errand.ID](s, "select errand_id from jobs where id = $1", id)
}
