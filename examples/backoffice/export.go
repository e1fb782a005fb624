package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/errandhq/errand"
)

const day = 24 * time.Hour

// days is how many there are, the first and the last included.
func (d dates) days() int64 { return int64(d.To.Sub(d.From)/day) + 1 }

// export works out a line for each date, and then makes a file of them.
func (a *app) export(ctx context.Context, in dates) (done, error) {
	rows, err := a.process(ctx, "exported", in.days(), func(from mark) (source, error) {
		return &calendar{a.db, in, from}, nil
	})
	if err != nil {
		return done{}, err
	}
	run := errand.Current(ctx)
	if err := a.publish(jobID(run), run.Token()); err != nil {
		return done{}, err
	}
	return done{rows, "/exports/" + exportFile(jobID(run))}, nil
}

func exportFile(job string) string { return job + ".jsonl" }

// publish writes the file of an export. It appears at once and whole, or not at all if a
// later run of the job has begun.
func (a *app) publish(job string, token int64) error {
	part := fmt.Sprintf(".%s.%d", job, token)
	f, err := a.exports.Create(part)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = a.exports.Remove(part)
	}()
	w := bufio.NewWriter(f)
	if err := a.db.each("exported", job, func(data string) error {
		_, err := w.WriteString(data + "\n")
		return err
	}); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return a.db.fenced(job, token, func(*sql.Tx) error {
		if err := a.exports.Rename(part, exportFile(job)); err != nil {
			return err
		}
		return syncDir(a.exports)
	})
}

// syncDir makes new names in a directory safe against a loss of power.
func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// calendar is the dates of an export: for each what was imported on that day.
type calendar struct {
	db    *database
	dates dates
	place mark
}

func (c *calendar) at() mark { return c.place }

func (c *calendar) Close() error { return nil }

func (c *calendar) next() (string, error) {
	if c.place.Row >= c.dates.days() {
		return "", io.EOF
	}
	date := c.dates.From.Add(time.Duration(c.place.Row) * day)
	baseline, teams, err := c.db.imported(date)
	if err != nil {
		return "", err
	}
	c.place.Row++
	line, err := json.Marshal(struct {
		Date     string `json:"date"`
		Weekday  string `json:"weekday"`
		Baseline int64  `json:"baseline_rows"`
		Teams    int64  `json:"teams"`
	}{date.Format(time.DateOnly), date.Weekday().String(), baseline, teams})
	return string(line), err
}
