package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
)

// stage is what a run takes place on: a database, the processes that use it, their ledger, and the
// driver's own way to the database, on which no faults are but those of the database.
type stage struct {
	seed    uint64
	dir     string
	url     string // of the database, for the processes
	proxied bool
	pooler  bool
	redis   *testserver.Redis // in front of the database; nil without
	lease   time.Duration
	say     func(format string, args ...any)
	began   time.Time

	ledger *ledger // the driver's lines
	store  *postgres.Store
	engine *errand.Engine
	db     *pgxpool.Pool
	client client
	log    io.Closer
	logs   []string // of servers, to be kept if there are findings

	watchers sync.WaitGroup

	mu        sync.Mutex
	processes []*process
	started   map[role]int
	findings  []string
	known     []known
	counts    counts
}

// known is a job that the driver may use verbs on.
type known struct {
	id   errand.ID
	kind string
}

// stageOptions say what a stage is like.
type stageOptions struct {
	seed      uint64
	url       string // for the processes
	driverURL string // default: url
	proxied   bool
	pooler    bool
	redis     *testserver.Redis
	say       func(format string, args ...any)
}

const lease = 3 * time.Second

// newStage makes the directory and the tables.
func newStage(ctx context.Context, o stageOptions) (*stage, error) {
	if o.driverURL == "" {
		o.driverURL = o.url
	}
	s := &stage{
		seed: o.seed, url: o.url, proxied: o.proxied, pooler: o.pooler, redis: o.redis, lease: lease, say: o.say,
		began: time.Now(), started: map[role]int{}, counts: counts{faults: map[string]int{}},
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "errand-chaos-"); err != nil {
		return nil, err
	}
	s.say("seed %d, directory %s", s.seed, s.dir)
	if s.ledger, err = openLedger(s.path("ledger"), "driver"); err != nil {
		return nil, err
	}
	log, err := os.Create(s.path("driver.log"))
	if err != nil {
		return nil, err
	}
	s.log = log
	logger := slog.New(slog.NewTextHandler(log, nil))
	if s.store, err = openStore(ctx, o.driverURL, s.front(), &postgres.Options{Log: logger}); err != nil {
		return nil, err
	}
	s.engine = errand.New(s.store, &errand.Config{Poll: 200 * time.Millisecond, Observer: s.ledger, Log: logger})
	config, err := pgxpool.ParseConfig(o.driverURL)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.RuntimeParams["jit"] = "off" // it costs the probe two seconds
	if s.db, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	s.client = client{addr: s.anyServer}
	_, err = s.db.Exec(ctx, historySQL)
	return s, err
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// front returns the address of the Redis, "" without.
func (s *stage) front() string {
	if s.redis == nil {
		return ""
	}
	return s.redis.Addr()
}

// anyServer returns the address of an API server.
func (s *stage) anyServer() string {
	x := s.pick(apiServe, rand.IntN)
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.addr
}

// note writes what the driver does to the ledger.
func (s *stage) note(format string, args ...any) {
	s.ledger.put(note{What: fault, Text: fmt.Sprintf(format, args...)})
}

// find notes what must not be. A run with findings has failed.
func (s *stage) find(format string, args ...any) {
	s.mu.Lock()
	s.findings = append(s.findings, fmt.Sprintf(format, args...))
	s.mu.Unlock()
	s.note("FINDING: "+format, args...)
}

func (s *stage) count(what string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.faults[what] += n
}

// interesting are the kinds of jobs that verbs are used on: to stop them, to retry them, and to have them cleaned up.
var (
	stoppable   = []string{steps, deaf, flaky, follower}
	retriable   = []string{stubborn, hopeless}
	undoable    = []string{hooked}
	interesting = slices.Concat(stoppable, retriable, undoable)
)

// know remembers an acknowledged job that is worth being paused or cancelled.
func (s *stage) know(j *errand.Job, o *order) {
	if !slices.Contains(interesting, o.kind) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known = append(s.known, known{j.ID, o.kind}); len(s.known) > 100 {
		s.known = s.known[1:]
	}
}

// someKnown takes one of the latest remembered jobs of some kinds: most of the others have ended.
func (s *stage) someKnown(intn func(int) int, latest int, kinds []string) (id errand.ID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []int
	for i, k := range slices.Backward(s.known) {
		if len(found) < latest && slices.Contains(kinds, k.kind) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return id, false
	}
	i := found[intn(len(found))]
	id = s.known[i].id
	s.known = append(s.known[:i:i], s.known[i+1:]...)
	return id, true
}

// end ends the processes of a role in an orderly way.
func (s *stage) end(r role) {
	all := s.living(r)
	for _, x := range all {
		x.signal(syscall.SIGCONT, false)
		x.signal(syscall.SIGTERM, true)
	}
	for _, x := range all {
		s.wait(x, 30*time.Second)
	}
}

// close ends all processes at once. It keeps the directory if there are findings.
func (s *stage) close() {
	for _, x := range s.living("") {
		x.signal(syscall.SIGKILL, true)
	}
	s.watchers.Wait()
	s.db.Close()
	_ = s.store.Close()
	_ = s.log.Close()
	if len(s.findings) == 0 {
		_ = os.RemoveAll(s.dir)
		return
	}
	for i, path := range s.logs {
		if raw, err := os.ReadFile(path); err == nil {
			_ = os.WriteFile(s.path(fmt.Sprintf("server-%d.log", i+1)), raw, 0o600)
		}
	}
}

// verdict returns what was found as an error.
func (s *stage) verdict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.findings) == 0 {
		return nil
	}
	const most = 10
	errs := []error{fmt.Errorf("%d findings; seed %d, directory %s", len(s.findings), s.seed, s.dir)}
	for i, f := range s.findings {
		if i == most {
			errs = append(errs, fmt.Errorf("and %d more", len(s.findings)-most))
			break
		}
		errs = append(errs, errors.New(f))
	}
	return errors.Join(errs...)
}

// drained waits until every job has ended.
func (s *stage) drained(ctx context.Context, patience time.Duration) bool {
	left := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); sleep(ctx, 100*time.Millisecond) {
		err := s.db.QueryRow(ctx, `select coalesce(string_agg(n || ' ' || state, ', '), '') from (
			select state, count(*) as n from errand.jobs where state not in ('succeeded', 'failed', 'cancelled') group by state) x`).Scan(&left)
		if err == nil && left == "" {
			return true
		}
	}
	s.find("not all jobs have ended within %s: %s", patience, left)
	return false
}
