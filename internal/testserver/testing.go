package testserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// shared are the servers of this test binary.
var shared struct {
	mu       sync.Mutex
	postgres *Postgres
	redis    *Redis
}

// Main runs the tests and stops the servers that [PostgresURL] and [RedisAddr] have started. To be called by TestMain:
//
//	func TestMain(m *testing.M) { testserver.Main(m) }
//
// It returns, and when TestMain does so too, the process exits with the tests' result.
func Main(m *testing.M) {
	m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "testserver:", err)
	}
}

func closeShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var err error
	if shared.postgres != nil {
		err = shared.postgres.Close()
		shared.postgres = nil
	}
	if shared.redis != nil {
		err = errors.Join(err, shared.redis.Close())
		shared.redis = nil
	}
	return err
}

// PostgresURL returns the connection string of a new, empty database that is the test's own and is
// dropped at its end. All tests of the binary share one server, which must not be stopped, without fsync.
// If ERRAND_TEST_POSTGRES is set, it is that server: a URL of any database on it, of a user who may create databases.
//
// Without PostgreSQL the test fails.
func PostgresURL(tb testing.TB) string {
	tb.Helper()
	program, base, err := sharedPostgres()
	if err != nil {
		tb.Fatal(err)
	}
	name := "errand_test_" + strings.ToLower(rand.Text())
	if _, err := psql(program, base.String(), "create database "+quote(name)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if _, err := psql(program, base.String(), "drop database "+quote(name)+" with (force)"); err != nil {
			tb.Error(err)
		}
	})
	u := *base
	u.Path = "/" + name
	return u.String()
}

// sharedPostgres returns psql and the URL to connect to for creating databases.
func sharedPostgres() (program string, base *url.URL, err error) {
	if s := os.Getenv("ERRAND_TEST_POSTGRES"); s != "" {
		if base, err = url.Parse(s); err != nil || base.Host == "" {
			return "", nil, errors.New("ERRAND_TEST_POSTGRES: expected a URL such as postgres://user:password@host:5432/postgres")
		}
		if program, err = exec.LookPath("psql"); err != nil {
			return "", nil, errors.New("psql is missing: apt-get install postgresql-client")
		}
		return program, base, nil
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.postgres == nil {
		if shared.postgres, err = StartPostgres(context.Background(), nil); err != nil {
			return "", nil, err
		}
	}
	base, err = url.Parse(shared.postgres.URL("postgres"))
	return shared.postgres.program("psql"), base, err
}

// RedisAddr returns host:port of a Redis that is empty now. All tests of the binary share one server, so those that use
// it must not be parallel. If ERRAND_TEST_REDIS is set (host:port), it is that server: EVERYTHING ON IT IS
// DELETED (FLUSHALL), and packages that use it must be tested one after the other (go test -p 1).
//
// Without Redis the test fails.
func RedisAddr(tb testing.TB) string {
	tb.Helper()
	addr, err := sharedRedis()
	if err == nil {
		_, err = redis(addr, "FLUSHALL")
	}
	if err != nil {
		tb.Fatal(err)
	}
	return addr
}

func sharedRedis() (addr string, err error) {
	if addr := os.Getenv("ERRAND_TEST_REDIS"); addr != "" {
		return addr, nil
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.redis == nil {
		if shared.redis, err = StartRedis(context.Background(), nil); err != nil {
			return "", err
		}
	}
	return shared.redis.Addr(), nil
}
