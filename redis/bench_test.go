package redis_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/redis"
)

// BenchmarkIdleWorkers enqueues a job every 20 ms for many workers that have nothing to do, with and without Redis: how long until it
// starts, how long until a third process that waits for it learns of its end, and how many transactions PostgreSQL has to do for it.
//
//	go test -run - -bench IdleWorkers -benchtime 300x ./redis
func BenchmarkIdleWorkers(b *testing.B) {
	for _, workers := range []int{1, 10, 50} {
		for _, name := range []string{"postgres", "redis"} {
			b.Run(fmt.Sprintf("%s/%d", name, workers), func(b *testing.B) { benchmarkIdle(b, workers, name == "redis") })
		}
	}
}

func benchmarkIdle(b *testing.B, workers int, dispatched bool) {
	url, addr := testserver.PostgresURL(b), testserver.RedisAddr(b)
	engine := func() *errand.Engine {
		o := &postgres.Options{Log: quiet}
		if dispatched {
			d, err := redis.Open(addr, nil)
			if err != nil {
				b.Fatal(err)
			}
			o.Dispatcher = d
		}
		s, err := postgres.Open(b.Context(), url, o)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return errand.New(s, &errand.Config{Log: quiet})
	}
	started := make(chan time.Time, 1)
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for range workers {
		e := engine()
		count.Do(e, func(context.Context, nothing) error { started <- time.Now(); return nil })
		working.Go(func() { _ = e.Run(ctx) })
	}
	defer working.Wait()
	defer stop()
	api, watcher := engine(), engine()
	var pickups, ends []time.Duration
	one := func() {
		time.Sleep(20 * time.Millisecond)
		sent := time.Now()
		job, err := count.Enqueue(b.Context(), api, nothing{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := watcher.Wait(b.Context(), job.ID); err != nil {
			b.Fatal(err)
		}
		ends = append(ends, time.Since(sent))
		pickups = append(pickups, (<-started).Sub(sent))
	}
	for range 20 {
		one()
	}
	time.Sleep(time.Second) // the listeners are there
	pickups, ends = nil, nil
	before, began := commits(b, url), time.Now()
	for b.Loop() {
		one()
	}
	time.Sleep(100 * time.Millisecond)
	took := time.Since(began)
	idle := commits(b, url)
	time.Sleep(took)
	polls := commits(b, url) - idle // what these processes do when nothing happens
	for _, x := range []struct {
		name string
		d    []time.Duration
	}{{"start", pickups}, {"end", ends}} {
		slices.Sort(x.d)
		b.ReportMetric(float64(x.d[len(x.d)/2].Microseconds()), x.name+"-p50-µs")
		b.ReportMetric(float64(x.d[len(x.d)*99/100].Microseconds()), x.name+"-p99-µs")
	}
	b.ReportMetric(float64(idle-before-polls)/float64(b.N), "transactions/job")
	b.ReportMetric(0, "ns/op")
}

// commits is how many transactions the database has seen.
func commits(b *testing.B, url string) (n int64) {
	time.Sleep(1100 * time.Millisecond) // statistics come late
	c, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := c.QueryRow(b.Context(), "select xact_commit from pg_stat_database where datname = current_database()").Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}
