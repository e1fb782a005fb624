package main

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

// TestPooler has all processes use the database through PgBouncer in transaction mode. One worker is killed.
func TestPooler(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pg, err := testserver.StartPostgres(ctx, &testserver.PostgresOptions{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	bouncer, err := testserver.StartPgBouncer(ctx, pg)
	if err != nil {
		t.Fatal(err)
	}
	defer bouncer.Close()
	s, err := newStage(ctx, stageOptions{seed: rand.Uint64(), url: bouncer.URL("postgres"), driverURL: pg.URL("postgres"), say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.logs = []string{filepath.Join(pg.Dir, "log")}
	if err := s.startAll(map[role]int{worker: 3, apiServe: 1, enqueuer: 1}); err != nil {
		t.Fatal(err)
	}
	s.underLoad(ctx, 6*time.Second, func(ctx context.Context) {
		x := &trouble{stage: s, Rand: s.rng(0)}
		sleep(ctx, 3*time.Second)
		x.killWorker(ctx)
		x.pending.Wait()
	})
	if err := s.settle(ctx); err != nil {
		t.Error(err)
	}
	if s.counts.pauses == 0 || s.counts.faults[workerKills] == 0 {
		t.Errorf("%d pauses, %d kills", s.counts.pauses, s.counts.faults[workerKills])
	}
}
