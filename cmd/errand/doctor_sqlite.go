package main

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/sqlite"
)

// largeWAL is more than the WAL grows to while nobody keeps a transaction open.
const largeWAL = 256 << 20

// examineFile looks at a SQLite file. The store that it returns is nil if there is no file, or none that can be opened.
func (d *doctor) examineFile(ctx context.Context) (errand.Store, error) {
	path := d.dataPath()
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		d.add("file", problem, path+" is not there", "start errand serve, which makes it, or say with --data or --database where the jobs are")
		return nil, nil
	case err != nil:
		d.add("file", problem, err.Error(), "errand needs to read and write it, and its directory")
		return nil, nil
	}
	store, err := sqlite.Open(path, nil)
	if err != nil {
		d.add("file", problem, err.Error(), "see the message")
		return nil, nil
	}
	d.add("file", fine, path+", "+size(info.Size()), "")
	wal := int64(0)
	if info, err := os.Stat(path + "-wal"); err == nil {
		wal = info.Size()
	}
	l := fine
	if wal > largeWAL {
		l = warning
	}
	d.add("wal", l, size(wal), "some program keeps a transaction open: end it, so that the WAL can begin anew")
	if d.thorough {
		d.checkFile(ctx, path)
	}
	return store, nil
}

// checkFile reads through the file.
func (d *doctor) checkFile(ctx context.Context, path string) {
	answer := ""
	path, err := filepath.Abs(path)
	uri := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: "mode=ro"}
	var db *sql.DB
	if err == nil {
		db, err = sql.Open("sqlite", uri.String())
	}
	if err == nil {
		defer db.Close()
		err = db.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&answer)
	}
	const advice = "stop errand, copy the file, and restore a backup or use the sqlite3 command's .recover"
	switch {
	case err != nil:
		d.add("integrity", problem, err.Error(), advice)
	case answer != "ok":
		d.add("integrity", problem, answer, advice)
	default:
		d.add("integrity", fine, "the whole file was read, and is sound", "")
	}
}
