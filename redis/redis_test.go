package redis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/redis"
	"github.com/errandhq/errand/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

func openOn(t *testing.T, url, addr string, opts *redis.Options) *postgres.Store {
	return openIn(t, url, "errand", addr, opts)
}

func openIn(t *testing.T, url, schema, addr string, opts *redis.Options) *postgres.Store {
	d, err := redis.Open(addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), url, &postgres.Options{Dispatcher: d, Schema: schema, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// stores returns what opens empty stores: each is a schema of its own in one database, with a prefix of its own in Redis.
func stores(t *testing.T) func(*testing.T) errand.Store {
	url, addr, n := testserver.PostgresURL(t), testserver.RedisAddr(t), new(atomic.Int32)
	return func(t *testing.T) errand.Store {
		schema := fmt.Sprintf("errand_%d", n.Add(1))
		return openIn(t, url, schema, addr, &redis.Options{Prefix: schema})
	}
}

func TestContract(t *testing.T) { storetest.Run(t, stores(t)) }

func TestCompare(t *testing.T) { storetest.Compare(t, stores(t)) }

func TestScenarios(t *testing.T) { storetest.Scenarios(t, nil, stores(t)) }

// A Redis that keeps next to nothing.
func TestFull(t *testing.T) {
	s := openOn(t, testserver.PostgresURL(t), testserver.RedisAddr(t), &redis.Options{Keep: 3})
	drain(t, s, 500, nil)
}

type nothing struct{}

var count = errand.Define[nothing, errand.None]("count")

// drain enqueues n jobs, disturbs, and waits until all of them have run once.
func drain(t *testing.T, s *postgres.Store, n int, disturb func(i int)) {
	t.Helper()
	q := errand.New(s, &errand.Config{Log: quiet})
	var ran atomic.Int64
	done := make(chan struct{})
	count.Do(q, func(context.Context, nothing) error {
		if ran.Add(1) == int64(n) {
			close(done)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	for i := range n {
		if _, err := count.Enqueue(t.Context(), q, nothing{}); err != nil {
			t.Fatal(err)
		}
		if disturb != nil {
			disturb(i)
		}
	}
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Errorf("after half a minute %d of %d jobs have run", ran.Load(), n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	counts, err := q.Stats(t.Context())
	if err != nil || len(counts) != 1 || counts[0].State != errand.Succeeded || counts[0].Jobs != int64(n) || ran.Load() != int64(n) {
		t.Errorf("%d runs of %d jobs; counts %+v, %v", ran.Load(), n, counts, err)
	}
}

// A Redis that forgets everything, dies, and comes back, costs no job.
func TestDisturbed(t *testing.T) {
	server, err := testserver.StartRedis(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	s := openOn(t, testserver.PostgresURL(t), server.Addr(), nil)
	drain(t, s, 3000, func(i int) {
		var err error
		switch {
		case i == 1000:
			err = server.Kill()
		case i == 2000:
			err = server.Start()
		case i%100 == 50 && (i < 1000 || i > 2000):
			_, err = server.CLI("FLUSHALL")
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// A process starts without Redis, and uses it once it is there.
func TestLate(t *testing.T) {
	server, err := testserver.StartRedis(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	s := openOn(t, testserver.PostgresURL(t), server.Addr(), nil)
	drain(t, s, 100, nil)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	q := errand.New(s, &errand.Config{Log: quiet})
	s.OnHint(func(errand.Hint) {})
	for deadline := time.Now().Add(20 * time.Second); s.HintMode() != "redis"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("hint mode %s", s.HintMode())
		}
	}
	_ = q
}

// A Redis without memory left refuses every ticket.
func TestOutOfMemory(t *testing.T) {
	server, err := testserver.StartRedis(t.Context(), &testserver.RedisOptions{MaxMemory: "1mb"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for i := range 200 {
		_, _ = server.CLI("SET", fmt.Sprint("fill", i), fmt.Sprintf("%10000d", i)) // until it is full
	}
	drain(t, openOn(t, testserver.PostgresURL(t), server.Addr(), nil), 300, nil)
}

// A claim of many kinds takes the jobs in their order over all of them, and asks PostgreSQL no more than once a second.
func TestTickets(t *testing.T) {
	d, err := redis.Open(testserver.RedisAddr(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	due := time.Date(2026, 1, 1, 0, 0, 0, 1000, time.UTC)
	ticket := func(kind string, priority int, after time.Duration, seq int64) postgres.Ticket {
		return postgres.Ticket{Queue: "q", Kind: kind, Priority: priority, Due: due.Add(after), Seq: seq}
	}
	want := []postgres.Ticket{
		ticket("b", 32767, time.Hour, 9), ticket("a", 1, time.Second, 8), ticket("b", 0, -time.Second, 7), ticket("a", 0, 0, 1),
		ticket("b", 0, 0, 2), ticket("a", 0, time.Microsecond, 1<<40), ticket("a", -1, -time.Hour, 5), ticket("b", -32768, 0, 4),
	}
	offered := []postgres.Ticket{want[5], want[0], want[7], want[2], want[1], want[3], want[4], want[6], ticket("other", 5, 0, 1)}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(d.Offer(t.Context(), offered))
	check(d.Offer(t.Context(), offered[:2])) // again: it changes nothing
	check(d.Withdraw(t.Context(), want[4:5]))
	want = append(want[:4:4], want[5:]...)
	for _, n := range []int{3, 100} {
		got, err := d.Take(t.Context(), []errand.Lane{{Queue: "q", Kinds: []string{"a", "b"}, Limit: n}, {Queue: "empty", Kinds: []string{"a"}, Limit: 1}})
		check(err)
		n = min(n, len(want))
		if fmt.Sprint(got) != fmt.Sprint([][]postgres.Ticket{want[:n], nil}) {
			t.Fatalf("got  %v\nwant %v", got, want[:n])
		}
		want = want[n:]
	}
}

func TestPassword(t *testing.T) {
	server, err := testserver.StartRedis(t.Context(), &testserver.RedisOptions{Args: []string{"--requirepass", "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for address, opts := range map[string]*redis.Options{
		server.Addr():                             {Password: "secret"},
		"redis://:secret@" + server.Addr():        nil,
		"redis://:wrong@" + server.Addr():         nil,
		"redis://:secret@" + server.Addr() + "/2": {Prefix: "other"},
	} {
		d, err := redis.Open(address, opts)
		if err != nil {
			t.Fatal(err)
		}
		err = d.Offer(t.Context(), []postgres.Ticket{{Queue: "q", Kind: "k", Seq: 1}})
		if right := !strings.Contains(address, "wrong"); (err == nil) != right {
			t.Errorf("%s: %v", address, err)
		}
		d.Close()
	}
	for _, address := range []string{"", "localhost", "redis://%zz", "http://localhost:1"} {
		if _, err := redis.Open(address, nil); !errors.Is(err, errand.ErrInvalid) || strings.Contains(err.Error(), "zz") {
			t.Errorf("address %q: %v, want ErrInvalid", address, err)
		}
	}
}
