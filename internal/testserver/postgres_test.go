package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var noContext = context.Background()

func sql(t *testing.T, p *Postgres, want, statements string) {
	t.Helper()
	if got, err := p.SQL("postgres", statements); err != nil || got != want {
		t.Errorf("%s: got %q, %v, want %q", statements, got, err, want)
	}
}

func startPostgres(t *testing.T, opts *PostgresOptions) *Postgres {
	t.Helper()
	p, err := StartPostgres(noContext, opts)
	must(t, err)
	t.Cleanup(func() {
		must(t, p.Close())
		must(t, p.Close())
		if _, err := os.Stat(p.Dir); !os.IsNotExist(err) {
			t.Errorf("after Close: %v", err)
		}
	})
	return p
}

// A commit survives the server's SIGKILL, and the next start does not trip over what the killed one left.
func TestPostgresKill(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, &PostgresOptions{Fsync: true, Settings: map[string]string{"cluster_name": "it's"}})
	sql(t, p, "it's|on", "select current_setting('cluster_name'), current_setting('fsync')")
	sql(t, p, "", "create table t (n int)")
	sql(t, p, "1\n2", "insert into t values (1), (2) returning n")
	must(t, p.CreateDatabase(`a "b`))
	busy := make(chan error)
	go func() {
		_, err := p.SQL("postgres", "select pg_sleep(60)")
		busy <- err
	}()
	waitFor(t, p, "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'")

	must(t, p.Kill())
	if left := runningIn([]string{p.Dir}); len(left) > 0 || p.Running() {
		t.Errorf("still running after Kill: %q", left)
	}
	if err := <-busy; err == nil {
		t.Error("a query survived the server")
	}
	must(t, p.Start())
	sql(t, p, "2", "select count(*) from t")
	must(t, p.Stop("immediate"))
	must(t, p.Start())
	must(t, p.Stop("fast"))
	must(t, p.Stop("fast"))
	must(t, p.Start())
	sql(t, p, "2", "select count(*) from t")
	if err := p.Start(); err == nil {
		t.Error("Start of a running server succeeds")
	}
	must(t, p.Kill()) // Close has to cope with this
}

// waitFor waits until the query returns 1.
func waitFor(t *testing.T, p *Postgres, query string) {
	t.Helper()
	waitUntil(t, func() error {
		got, err := p.SQL("postgres", query)
		if err == nil && got != "1" {
			err = fmt.Errorf("%s: %q", query, got)
		}
		return err
	})
}

func waitUntil(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestStandby(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, nil)
	sql(t, p, "", "create table t (n int); insert into t values (1)")
	s, err := p.Standby(noContext, nil)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	sql(t, p, "", "insert into t values (2)")
	waitFor(t, s, "select count(*) from t where n = 2")
	sql(t, s, "t", "select pg_is_in_recovery()")

	must(t, s.Kill())
	must(t, s.Start())
	sql(t, p, "", "insert into t values (3)")
	waitFor(t, s, "select count(*) from t where n = 3")

	must(t, p.Kill())
	must(t, s.Promote())
	sql(t, s, "", "insert into t values (4)")
	sql(t, s, "4", "select count(*) from t")
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, nil)
	b, err := StartPgBouncer(noContext, p)
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	must(t, p.CreateDatabase("other"))
	ask := func() (string, error) {
		return psql(p.program("psql"), b.URL("other"), "select current_database()")
	}
	expect := func() {
		t.Helper()
		if got, err := ask(); err != nil || got != "other" {
			t.Error(got, err)
		}
	}
	expect()
	must(t, b.Kill())
	must(t, b.Start())
	expect()

	must(t, p.Kill())
	must(t, p.Start())
	waitUntil(t, func() error { _, err := ask(); return err })
}

func TestShared(t *testing.T) {
	program, base, err := sharedPostgres()
	must(t, err)
	databases := func() string {
		names, err := psql(program, base.String(), "select datname from pg_database")
		must(t, err)
		return names
	}
	before := databases()
	t.Run("one", func(t *testing.T) {
		a, b := PostgresURL(t), PostgresURL(t)
		for _, url := range []string{a, b} {
			if _, err := psql(program, url, "create table t (n int)"); err != nil {
				t.Error(err)
			}
		}
		if _, err := redis(RedisAddr(t), "SET", "a", "1"); err != nil {
			t.Error(err)
		}
	})
	if after := databases(); after != before {
		t.Errorf("databases before: %q, after: %q", before, after)
	}
	if keys, err := redis(RedisAddr(t), "KEYS", "*"); err != nil || keys != "" {
		t.Error(keys, err)
	}
}

// The variables make the tests use other servers.
func TestForeign(t *testing.T) {
	p := startPostgres(t, nil)
	t.Setenv("ERRAND_TEST_POSTGRES", p.URL("postgres"))
	t.Setenv("ERRAND_TEST_REDIS", "127.0.0.1:1")
	if url := PostgresURL(t); !strings.Contains(url, p.address()) {
		t.Error(url)
	}
	if addr, err := sharedRedis(); addr != "127.0.0.1:1" || err != nil {
		t.Error(addr, err)
	}
}

// A start that is given up leaves nothing.
func TestStartCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(noContext, 300*time.Millisecond)
	defer cancel()
	if _, err := StartPostgres(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
