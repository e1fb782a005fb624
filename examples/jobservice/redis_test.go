package main

import (
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

// TestRedis: a Redis that forgets everything, again and again, and dies and comes back, costs no job. JOBSERVICE_TEST_JOBS is
// how many there are.
func TestRedis(t *testing.T) {
	t.Parallel()
	n := 1000
	if text := os.Getenv("JOBSERVICE_TEST_JOBS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	server, err := testserver.StartRedis(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	s := newService(t)
	s.env = append(s.env, "REDIS_ADDRESS="+server.Addr(), "JOB_DURATION=1ms")
	s.start(2, "serve")
	s.start(4, "worker")
	stop := make(chan struct{})
	var disturbing sync.WaitGroup
	flushes := 0
	disturbing.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(150 * time.Millisecond):
			}
			if i%8 != 0 {
				if _, err := server.CLI("FLUSHALL"); err != nil {
					t.Error(err)
				}
				flushes++
				continue
			}
			if err := server.Kill(); err != nil {
				t.Error(err)
			}
			time.Sleep(300 * time.Millisecond)
			if err := server.Start(); err != nil {
				t.Error(err)
			}
		}
	})
	var posting sync.WaitGroup
	for p := range 16 {
		posting.Go(func() {
			for i := p; i < n; i += 16 {
				s.post(s.api[i%2], int64(i))
			}
		})
	}
	posting.Wait()
	for deadline := time.Now().Add(time.Minute); query[int](s, "select count(*) from results") < n; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d jobs are done", query[int](s, "select count(*) from results"), n)
		}
	}
	close(stop)
	disturbing.Wait()
	s.until("every job has the status success", func() bool { return query[int](s, "select count(*) from jobs where status = 'success'") == n })
	t.Logf("%d jobs, %d times FLUSHALL", n, flushes)
}
