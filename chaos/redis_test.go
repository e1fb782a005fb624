package main

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

// TestRedis has all processes use a Redis in front of the database, which is flushed and killed among other faults.
func TestRedis(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pg, err := testserver.StartPostgres(ctx, &testserver.PostgresOptions{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	front, err := testserver.StartRedis(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	s, err := newStage(ctx, stageOptions{seed: rand.Uint64(), url: pg.URL("postgres"), proxied: true, redis: front, say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.logs = []string{filepath.Join(pg.Dir, "log"), filepath.Join(front.Dir, "log")}
	if err := s.startAll(map[role]int{worker: 3, apiServe: 1, enqueuer: 1}); err != nil {
		t.Fatal(err)
	}
	s.underLoad(ctx, 8*time.Second, func(ctx context.Context) {
		x := &trouble{stage: s, Rand: s.rng(0), pg: pg}
		for _, do := range []func(context.Context){x.flushRedis, x.killWorker, x.killRedis, x.dropReplies, x.killDatabase, x.flushRedis, x.killRedis} {
			sleep(ctx, 600*time.Millisecond)
			do(ctx)
		}
		x.pending.Wait()
	})
	if err := s.settle(ctx); err != nil {
		t.Error(err)
	}
	if s.counts.takes == 0 {
		t.Error("no tickets were taken from Redis")
	}
}
