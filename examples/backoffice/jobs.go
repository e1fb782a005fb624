package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/errandhq/errand"
)

// upload is what an import gets: a file in the directory of uploads.
type upload struct {
	File string `json:"file"`
	Rows int64  `json:"rows"` // for the progress only: a bad file has fewer
}

// dates is what an export gets: the first and the last date.
type dates struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// done is the result of a job.
type done struct {
	Rows int64  `json:"rows"`
	File string `json:"file,omitempty"` // of an export
}

// The kinds of jobs. Their names are part of their ids.
var (
	baselineCSV  = errand.Define[upload, done]("baselineCSV")
	bulkTeam     = errand.Define[upload, done]("bulkTeam")
	createExport = errand.Define[dates, done]("createExport")
)

// handle says how jobs are run, and how they are rolled back when they are terminated.
func (a *app) handle() {
	for table, kind := range map[string]*errand.Kind[upload, done]{"baseline": baselineCSV, "teams": bulkTeam} {
		kind.Handle(a.jobs, func(ctx context.Context, in upload) (done, error) {
			rows, err := a.process(ctx, table, in.Rows, func(from mark) (source, error) {
				return openCSV(a.uploads, in.File, from)
			})
			return done{Rows: rows}, err
		})
		kind.CleanUp(a.jobs, func(ctx context.Context, in upload) error {
			return a.rollBack(ctx, table, nil)
		})
	}
	createExport.Handle(a.jobs, a.export)
	createExport.CleanUp(a.jobs, func(ctx context.Context, in dates) error {
		return a.rollBack(ctx, "exported", func(job string) error { return a.exports.Remove(exportFile(job)) })
	})
}

// mark is a place between two rows of a source: the checkpoint of a job.
type mark struct {
	Row    int64 `json:"row"`    // rows before it
	Offset int64 `json:"offset"` // bytes before it, for a file
	Line   int   `json:"line"`   // and lines
}

// source yields the rows of a job as JSON.
type source interface {
	next() (data string, err error) // io.EOF after the last
	at() mark                       // the place after what next returned last
	Close() error
}

// process does the rows of a source one by one, and stores each exactly once in a table. It goes
// on where the last run of the job was, and returns how many rows there are.
func (a *app) process(ctx context.Context, table string, total int64, open func(mark) (source, error)) (int64, error) {
	run := errand.Current(ctx)
	w := &writer{db: a.db, run: run, table: table, job: jobID(run), total: total}
	if err := w.begin(); err != nil {
		return 0, err
	}
	src, err := open(w.place)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	for ctx.Err() == nil {
		data, err := src.next()
		if err != nil { // there are no more, or no more that can be read
			if e := w.flush(); e != nil || !errors.Is(err, io.EOF) {
				return w.rows, cmp.Or(e, err)
			}
			run.Progress(w.rows, w.rows, "")
			return w.rows, nil
		}
		if src.at().Row <= w.rows {
			w.place = src.at() // it is in the database already
			continue
		}
		if !work(ctx, a.delay) {
			break
		}
		if err := w.add(data, src.at()); err != nil {
			return w.rows, err
		}
	}
	if err := w.flush(); err != nil {
		return w.rows, err
	}
	return w.rows, run.Stop(w.place)
}

// work is what a row costs. It reports false if it was told to stop before it was done.
func work(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// rollBack removes what a job did, but for what also removes.
func (a *app) rollBack(ctx context.Context, table string, also func(job string) error) error {
	run := errand.Current(ctx)
	job := jobID(run)
	if _, err := a.db.begin(table, job, run.Token()); err != nil {
		return err
	}
	if also != nil {
		if err := also(job); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for removed := int64(0); ctx.Err() == nil; {
		n, err := a.db.remove(table, job, run.Token())
		if n == 0 || err != nil {
			return err
		}
		removed += n
		run.Progress(removed, 0, rollingBack)
	}
	return context.Cause(ctx)
}

const rollingBack = "rolling back"
