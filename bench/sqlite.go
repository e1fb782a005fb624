package main

import (
	"database/sql"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver that every SQLite system here uses
)

// The settings of the table, as DSN parameters. All keep a write-ahead log;
// what differs is what a commit is worth when the power fails.
const (
	// documented is what the peers' manuals say: WAL and a busy timeout, which
	// leaves SQLite's default of synchronous=FULL.
	documented = "_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)"
	// durable forces every commit to the disk before it returns.
	durable = documented + "&_pragma=synchronous(FULL)&_pragma=cache_size(-65536)&_txlock=immediate"
	// unsynced forces nothing to the disk: a power cut loses the last commits
	// and may damage the file.
	unsynced = documented + "&_pragma=synchronous(OFF)&_pragma=cache_size(-65536)&_txlock=immediate"
)

// openSQLite opens dir/bench.db. conns limits the pool, 0 is no limit.
func openSQLite(dir, settings string, conns int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bench.db")+"?"+settings)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	if conns == 0 {
		db.SetMaxIdleConns(16) // the default of 2 would open the file again and again
	}
	return db, db.Ping()
}
