package main

import (
	"database/sql"
	"fmt"
	"net/url"
	"time"

	"github.com/errandhq/errand"
	_ "modernc.org/sqlite" // the driver
)

// database holds what the jobs have done: the effects, where errand's own store only holds
// the jobs.
type database struct{ *sql.DB }

// schema: a row is there once by its key, and fences names the latest run of each job.
const schema = `
create table if not exists fences (job_id text primary key, token integer not null) strict, without rowid;
create table if not exists baseline (
	job_id text not null,
	row    integer not null,
	data   text not null,
	day    text not null default (date('now')),
	primary key (job_id, row)
) strict, without rowid;
create index if not exists baseline_day on baseline (day);
create table if not exists teams (
	job_id text not null,
	row    integer not null,
	data   text not null,
	name   text as (data ->> '$.name'),
	day    text not null default (date('now')),
	primary key (job_id, row)
) strict, without rowid;
create index if not exists teams_day on teams (day);
create table if not exists exported (
	job_id text not null,
	row    integer not null,
	data   text not null,
	primary key (job_id, row)
) strict, without rowid;`

// openDatabase opens or creates the file.
func openDatabase(path string) (*database, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(wal)", "synchronous(full)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // one writes at a time anyway
	if _, err := db.Exec(schema); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &database{db}, nil
}

// begin fences off all earlier runs of a job, and returns how many of its rows are done.
func (d *database) begin(table, job string, token int64) (done int64, err error) {
	if _, err := d.Exec(`insert into fences (job_id, token) values (?1, ?2)
		on conflict do update set token = ?2 where token < ?2`, job, token); err != nil {
		return 0, err
	}
	err = d.fenced(job, token, func(tx *sql.Tx) error {
		return tx.QueryRow("select coalesce(max(row), 0) from "+table+" where job_id = ?", job).Scan(&done)
	})
	return done, err
}

// fenced does something in a transaction, unless a later run of the job has begun. From
// then on nothing that this one does can come through, however long it was asleep.
func (d *database) fenced(job string, token int64, do func(*sql.Tx) error) error {
	tx, err := d.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var latest int64
	if err := tx.QueryRow("select token from fences where job_id = ?", job).Scan(&latest); err != nil {
		return err
	}
	if latest != token {
		return errand.ErrLeaseLost
	}
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// insert stores the rows that come after the first done ones.
func (d *database) insert(table, job string, token, done int64, rows []string) error {
	return d.fenced(job, token, func(tx *sql.Tx) error {
		insert, err := tx.Prepare("insert into " + table + " (job_id, row, data) values (?, ?, ?)")
		if err != nil {
			return err
		}
		defer insert.Close()
		for i, data := range rows {
			if _, err := insert.Exec(job, done+int64(i)+1, data); err != nil {
				return err
			}
		}
		return nil
	})
}

// remove deletes some thousand rows of a job, and returns how many.
func (d *database) remove(table, job string, token int64) (n int64, err error) {
	err = d.fenced(job, token, func(tx *sql.Tx) error {
		result, err := tx.Exec("delete from "+table+" where job_id = ?1 and row in (select row from "+
			table+" where job_id = ?1 limit 5000)", job)
		if err == nil {
			n, err = result.RowsAffected()
		}
		return err
	})
	return n, err
}

// each calls f with every row of a job, in order.
func (d *database) each(table, job string, f func(data string) error) error {
	rows, err := d.Query("select data from "+table+" where job_id = ? order by row", job)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var data string
		if err := rows.Scan(&data); err != nil {
			return err
		}
		if err := f(data); err != nil {
			return err
		}
	}
	return rows.Err()
}

// imported counts what was imported on a day.
func (d *database) imported(day time.Time) (baseline, teams int64, err error) {
	err = d.QueryRow(`select (select count(*) from baseline where day = ?1), (select count(*) from teams where day = ?1)`,
		day.Format(time.DateOnly)).Scan(&baseline, &teams)
	return baseline, teams, err
}
