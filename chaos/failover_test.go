package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

// TestFailover kills the primary of two servers while jobs run, and promotes the standby: the processes, which know both
// addresses, go on without a restart, and since replication is synchronous nothing that was acknowledged is lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	const load, patience = 4 * time.Second, time.Minute
	ctx := t.Context()
	primary, err := testserver.StartPostgres(ctx, &testserver.PostgresOptions{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	standby, err := primary.Standby(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	// The standby has its copy of the settings by now, and will not wait for another one.
	for _, statement := range []string{"alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"} {
		if _, err := primary.SQL("postgres", statement); err != nil {
			t.Fatal(err)
		}
	}
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?target_session_attrs=read-write&sslmode=disable", primary.Port, standby.Port)
	s, err := newStage(ctx, stageOptions{seed: rand.Uint64(), url: url, say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.logs = []string{filepath.Join(primary.Dir, "log"), filepath.Join(standby.Dir, "log")}
	if err := s.startAll(map[role]int{worker: 2, apiServe: 1, enqueuer: 1}); err != nil {
		t.Fatal(err)
	}
	s.underLoad(ctx, load, func(context.Context) {})
	s.note("the primary is killed")
	killed := time.Now()
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	promoted := time.Now()
	s.note("the standby is promoted")
	for goesOn := false; !goesOn; time.Sleep(20 * time.Millisecond) {
		if time.Since(promoted) > patience {
			t.Fatalf("no job has started and ended within %s of the promotion; see %s", patience, s.dir)
		}
		_ = s.db.QueryRow(ctx, `select exists (
			select 1 from chaos.history a join chaos.history b using (id, token) where a.state = 'running' and b.state = 'succeeded' and a.at > $1)`,
			promoted).Scan(&goesOn)
	}
	t.Logf("jobs start and end again %s after the promotion, %s after the kill", time.Since(promoted).Round(time.Millisecond), time.Since(killed).Round(time.Millisecond))
	s.underLoad(ctx, load, func(context.Context) {})
	if n := s.started[worker] + s.started[apiServe] + s.started[enqueuer]; n != 4 {
		t.Errorf("%d processes were started: some were started again", n)
	}
	if err := s.settle(ctx); err != nil {
		t.Error(err)
	}
}
