package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

// sweep removes files that nobody needs any more: uploads whose job has succeeded, was
// terminated or is gone, and what crashes have left behind. It does so once an hour.
func (a *app) sweep(ctx context.Context) {
	for {
		err := errors.Join(
			remove(a.uploads, func(name string) bool { return a.isNeeded(ctx, strings.TrimSuffix(name, ".csv")) }),
			remove(a.exports, func(name string) bool { return !strings.HasPrefix(name, ".") }),
		)
		if err != nil {
			slog.Warn("cannot remove old files", "error", err)
		}
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return
		}
	}
}

// isNeeded reports whether the job may read its file again.
func (a *app) isNeeded(ctx context.Context, id string) bool {
	job, err := a.jobs.Get(ctx, errandID(id))
	if err != nil {
		return !errors.Is(err, errand.ErrNotFound)
	}
	return job.State != errand.Succeeded && job.State != errand.Cancelled
}

// remove removes the files of a directory that are old and not needed.
func remove(dir *os.Root, isNeeded func(name string) bool) error {
	files, err := fs.ReadDir(dir.FS(), ".")
	for _, f := range files {
		info, e := f.Info()
		if e == nil && time.Since(info.ModTime()) > time.Hour && !isNeeded(f.Name()) {
			err = errors.Join(err, dir.Remove(f.Name()))
		}
	}
	return err
}

// demonstrate imports the file of the -demo flag, unless something was imported before, and tells
// what to try.
func (a *app) demonstrate(addr string) error {
	ctx := context.Background()
	found, err := a.jobs.List(ctx, errand.Query{Kinds: []string{baselineCSV.Name()}})
	if a.demo == "" || err != nil {
		return err
	}
	var id string
	for _, j := range found.Jobs { // the first one that is not over, else the oldest
		if id = j.Metadata["id"]; !j.State.Ended() {
			break
		}
	}
	if id == "" {
		f, err := os.Open(a.demo)
		if err != nil {
			return err
		}
		defer f.Close()
		if id, err = a.importFile(ctx, baselineCSV, f); err == nil {
			err = a.accompany(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	fmt.Printf(`
The import is job %[2]s. To begin anew, remove %[4]s.

  Look:       http://%[1]s/console/  (the console: all jobs, and what can be done about them)
              http://%[1]s/          (this example's own page)
  Pause:      curl 'http://%[1]s/updateTask?id=%[2]s&action=stop'
  Go on:      curl 'http://%[1]s/updateTask?id=%[2]s&action=start'
  Terminate:  curl 'http://%[1]s/updateTask?id=%[2]s&action=terminate'
  Kill:       kill -9 %[3]d
              then start again with the same command: it goes on by itself within five
              seconds, from the row where it was; a paused job stays paused.
  Check:      sqlite3 %[4]s/backoffice.db 'select count(*), count(distinct row), max(row) from baseline'
  Stop:       Ctrl-C

`, addr, id, os.Getpid(), a.data)
	return nil
}

// accompany enqueues jobs that are not running beside the import: one for later, one that is paused, one that waits for the import,
// and one whose file is broken.
func (a *app) accompany(ctx context.Context, importID string) error {
	year := dates{time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2018, 12, 31, 0, 0, 0, 0, time.UTC)}
	export := func(options ...errand.Option) (*errand.Handle[done], error) {
		return createExport.Enqueue(ctx, a.jobs, year, append(named(a.newID(createExport.Name())), options...)...)
	}
	_, err := export(errand.In(time.Hour))
	if err == nil {
		_, err = export(errand.After(errandID(importID)))
	}
	var paused *errand.Handle[done]
	if err == nil {
		paused, err = export(errand.In(time.Minute))
	}
	if err == nil {
		err = paused.Pause(errand.WithActor(ctx, a.user), "until somebody has looked at the dates")
	}
	if err == nil {
		_, err = a.importFile(ctx, bulkTeam, strings.NewReader("team,lead\nred,Ann\n\"blue,Ben\n"))
	}
	return err
}
