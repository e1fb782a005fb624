package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand/internal/testserver"
)

// servers are the database servers of a run. Each starts when the first
// system asks for it.
type servers struct{ running []io.Closer }

func (s *servers) close() error {
	var errs []error
	for _, server := range s.running {
		errs = append(errs, server.Close())
	}
	s.running = nil
	return errors.Join(errs...)
}

// start makes a server start once.
func start[S io.Closer](s *servers, open func() (S, error)) func() (S, error) {
	return sync.OnceValues(func() (S, error) {
		server, err := open()
		if err == nil {
			s.running = append(s.running, server)
		}
		return server, err
	})
}

// address is where the jobs of a system's directory are. It is noted there,
// for other processes and for the next time; without a note it is made.
func address(dir string, create func() (string, error)) (string, error) {
	note := filepath.Join(dir, "address")
	if data, err := os.ReadFile(note); err == nil {
		return string(data), nil
	}
	address, err := create()
	if err != nil {
		return "", err
	}
	return address, os.WriteFile(note, []byte(address), 0o644)
}

// postgresSettings suit a long run on a small machine: no checkpoint but those
// between measurements. All else is PostgreSQL's default.
var postgresSettings = map[string]string{"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}

// pgHome gives each system a database on one PostgreSQL server.
type pgHome struct {
	start func() (*testserver.Postgres, error)
}

func newPGHome(s *servers) *pgHome {
	return &pgHome{start(s, func() (*testserver.Postgres, error) {
		return testserver.StartPostgres(context.Background(), &testserver.PostgresOptions{Fsync: true, Settings: postgresSettings})
	})}
}

// url is the address of the system's database.
func (h *pgHome) url(dir string) (string, error) {
	return address(dir, func() (string, error) {
		server, err := h.start()
		if err != nil {
			return "", err
		}
		name := filepath.Base(dir)
		return server.URL(name), server.CreateDatabase(name)
	})
}

// pid is the process ID of the server.
func (h *pgHome) pid() (int, error) {
	server, err := h.start()
	if err != nil {
		return 0, err
	}
	raw, err := server.SQL("postgres", "select split_part(pg_read_file('postmaster.pid'), chr(10), 1)")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(raw))
}

// Clear drops the database, which PostgreSQL precedes by a checkpoint.
func (h *pgHome) Clear(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "address")); err != nil {
		return nil
	}
	server, err := h.start()
	if err != nil {
		return err
	}
	_, err = server.SQL("postgres", "drop database if exists "+pgx.Identifier{filepath.Base(dir)}.Sanitize()+" with (force)")
	return err
}

// Tidy does what PostgreSQL would do in the midst of a measurement.
func (h *pgHome) Tidy(dir string) error {
	server, err := h.start()
	if err != nil {
		return err
	}
	for _, statement := range []string{"vacuum analyze", "checkpoint"} {
		if _, err := server.SQL(filepath.Base(dir), statement); err != nil {
			return err
		}
	}
	return nil
}

// redisHome is a Redis server of one system's own.
type redisHome struct {
	start func() (*testserver.Redis, error)
}

func newRedisHome(s *servers, args ...string) *redisHome {
	return &redisHome{start(s, func() (*testserver.Redis, error) {
		return testserver.StartRedis(context.Background(), &testserver.RedisOptions{Args: args})
	})}
}

// addr is host:port of the system's server.
func (h *redisHome) addr(dir string) (string, error) {
	return address(dir, func() (string, error) {
		server, err := h.start()
		if err != nil {
			return "", err
		}
		_, err = server.CLI("FLUSHALL")
		return server.Addr(), err
	})
}

// Clear empties the server.
func (h *redisHome) Clear(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "address")); err != nil {
		return nil
	}
	server, err := h.start()
	if err == nil {
		_, err = server.CLI("FLUSHALL")
	}
	return err
}

func (h *redisHome) Tidy(string) error { return nil }
