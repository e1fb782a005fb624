// Package sqlite keeps errand's jobs in one SQLite file.
//
//	store, err := sqlite.Open("jobs.db", nil)
//	q := errand.New(store, nil)
//
// # Safety
//
// A call that returned without an error survives a crash of the process, of the system and
// a loss of power: the file is in WAL mode with synchronous=FULL (see [Options] to
// trade that for speed).
//
// Any number of processes of one machine may have the file open, each with workers or
// without: they take turns by SQLite's write lock. Network filesystems (NFS, SMB and the like) are
// not supported, since WAL mode needs memory that all processes share; for several machines
// take PostgreSQL.
//
// # The file
//
// Everything is in tables whose names begin with errand_, so an application may keep its
// own tables in the same file. Its own transactions should be short, because all writers wait for
// them. The view errand_jobs_readable is for people with the sqlite3 command. Change
// nothing by hand: the counts in errand_counts are kept by this package.
//
// Beside the file stand FILE-wal and FILE-shm. The WAL is folded into the file as it goes and
// cut to a few megabytes; a foreign reader that keeps a transaction open makes it grow until it ends.
// To copy a file in use, take "vacuum into" or the sqlite3 command's .backup.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// Options are the options of [Open].
type Options struct {
	// Synchronous is "FULL", so that what was acknowledged survives a power cut (the
	// default), or "NORMAL": faster for single jobs, and a power cut may undo the last
	// moments, but never damages the file or undoes anything when only the process dies.
	Synchronous string

	// BusyTimeout is how long a call waits for other processes that write. Default 10 s.
	BusyTimeout time.Duration
}

// Store is an [errand.Store] on one SQLite file.
type Store struct {
	path    string
	options Options
	writer  chan *conn // holds the one connection that writes, or nil after it broke
	readers chan *conn // holds the connections that read; nil ones are yet to be opened
	closed  chan struct{}
	closing atomic.Bool

	walChecked time.Time // guarded by the writer
	places     places    // guarded by the writer

	folded  atomic.Int64 // when the history was last folded, in Unix microseconds
	process uuid.UUID    // names this store among those who watch
	feedMu  sync.Mutex
	renewed time.Time // when it last said that it watches
}

var _ errand.Store = (*Store)(nil)

const (
	readers     = 4
	callTimeout = 30 * time.Second // of a call whose context has no deadline

	walPages = 2000     // after so many pages the WAL is folded into the file
	walKept  = 16 << 20 // bytes to which the WAL is cut when it begins anew
	walLarge = 64 << 20 // bytes at which readers are made to wait so that it can begin anew
)

// Open opens or creates the file and brings its schema up to date. It refuses a file
// that a newer version of errand has changed, one that is no database, and ":memory:", for which
// there is [errand.Memory]. Opts may be nil.
func Open(path string, opts *Options) (*Store, error) {
	s, err := newStore(path, opts)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if err := s.open(); err != nil {
		_ = s.Close()
		if code(err)&0xff == codeNotADB {
			err = errors.New("it is not an SQLite database, or an encrypted one")
		}
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	return s, nil
}

func newStore(path string, opts *Options) (*Store, error) {
	if path == ":memory:" || path == "" || strings.HasPrefix(path, "file:") {
		return nil, fmt.Errorf("%w path %q: give the path of a file; for a store in memory use errand.Memory", errand.ErrInvalid, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, writer: make(chan *conn, 1), readers: make(chan *conn, readers), closed: make(chan struct{}), places: places{}, process: uuid.New()}
	if opts != nil {
		s.options = *opts
	}
	switch s.options.Synchronous = strings.ToUpper(s.options.Synchronous); s.options.Synchronous {
	case "":
		s.options.Synchronous = "FULL"
	case "FULL", "NORMAL":
	default:
		return nil, fmt.Errorf("%w Synchronous %q: use FULL or NORMAL", errand.ErrInvalid, s.options.Synchronous)
	}
	if s.options.BusyTimeout <= 0 {
		s.options.BusyTimeout = 10 * time.Second
	}
	s.writer <- nil
	for range readers {
		s.readers <- nil
	}
	return s, nil
}

func (s *Store) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	<-s.writer
	c, err := s.dialWriter(ctx)
	s.writer <- c
	if err != nil {
		return err
	}
	return c.migrate(func() error { return s.begin(ctx, c) })
}

func (s *Store) dialWriter(ctx context.Context) (*conn, error) {
	var c *conn
	// Switching to WAL mode and recovering a WAL need locks for which SQLite does not always wait.
	err := s.retry(ctx, func() (err error) {
		c, err = dial(s.path, "busy_timeout = 0", "journal_mode = wal", "synchronous = "+s.options.Synchronous,
			fmt.Sprintf("wal_autocheckpoint = %d", walPages), fmt.Sprintf("journal_size_limit = %d", walKept),
			"cache_size = -16000", "temp_store = memory")
		return err
	})
	if err != nil {
		return nil, err
	}
	mode := ""
	err = c.query(ctx, "pragma journal_mode", func(row []driver.Value) error {
		mode, _ = row[0].(string)
		return nil
	})
	if err == nil && mode != "wal" {
		err = fmt.Errorf("the journal mode is %q and cannot be made \"wal\": is it on a network filesystem?", mode)
	}
	if err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

func (s *Store) dialReader() (*conn, error) {
	return dial(s.path, fmt.Sprintf("busy_timeout = %d", s.options.BusyTimeout.Milliseconds()),
		"query_only = on", "cache_size = -4000", "temp_store = memory")
}

// retry calls f until it does not fail because another process is in the way.
func (s *Store) retry(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(s.options.BusyTimeout)
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		err := f()
		if err == nil || !isBusy(err) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("another process kept the file locked for %s: %w", s.options.BusyTimeout, err)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// begin takes the write lock. Waiting for it here and not in SQLite's busy handler makes
// the wait heed the context, and shorter.
func (s *Store) begin(ctx context.Context, c *conn) error {
	return s.retry(ctx, func() error {
		_, err := c.exec("begin immediate")
		return err
	})
}

// withDeadline gives a call without a deadline one.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// acquire takes a connection out of a pool, and opens it if need be.
func (s *Store) acquire(ctx context.Context, pool chan *conn, dial func() (*conn, error)) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c := <-pool:
		if c != nil {
			return c, nil
		}
		c, err := dial()
		if err != nil {
			pool <- nil
		}
		return c, err
	case <-s.closed:
		return nil, errors.New("sqlite: the store is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close folds the WAL into the file, if no other process is using it, and closes it. Calls
// under way are waited for; later ones fail.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	close(s.closed)
	var errs []error
	for range readers {
		if c := <-s.readers; c != nil {
			errs = append(errs, c.close())
		}
	}
	if c := <-s.writer; c != nil {
		_ = c.script("pragma wal_checkpoint(truncate)") // others may be using it: it is theirs to fold then
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// checkWAL makes readers wait for a moment if the WAL has become large: as long as
// readers overlap it cannot begin anew by itself.
func (s *Store) checkWAL(c *conn) {
	if time.Since(s.walChecked) < 5*time.Second {
		return
	}
	s.walChecked = time.Now()
	if f, err := os.Stat(s.path + "-wal"); err != nil || f.Size() < walLarge {
		return
	}
	// A foreign reader that stays longer than this is not ours to stop.
	_ = c.script("pragma busy_timeout = 500")
	_ = c.script("pragma wal_checkpoint(truncate)")
	_ = c.script("pragma busy_timeout = 0")
}
