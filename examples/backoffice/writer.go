package main

import (
	"time"

	"github.com/errandhq/errand"
)

const (
	groupRows = 500                   // rows in one transaction, at most
	groupTime = 20 * time.Millisecond // how long they may wait for it
	saveEvery = time.Second           // how often the place in the source is saved
)

// writer stores the rows of one run, in groups.
type writer struct {
	db           *database
	run          *errand.Run
	table, job   string
	total        int64 // rows that are expected
	rows         int64 // rows in the database
	group        []string
	place        mark // after the last row of the group
	wrote, saved time.Time
}

// begin finds out where to go on. The database knows which rows are done; the checkpoint
// only saves reading those of the source again.
func (w *writer) begin() (err error) {
	if w.rows, err = w.db.begin(w.table, w.job, w.run.Token()); err != nil {
		return err
	}
	if w.place, err = errand.Checkpoint[mark](w.run); err != nil || w.place.Row > w.rows {
		w.place = mark{}
	}
	w.wrote = time.Now()
	return nil
}

// add adds a row, which ends at a place.
func (w *writer) add(data string, place mark) error {
	w.group, w.place = append(w.group, data), place
	if len(w.group) < groupRows && time.Since(w.wrote) < groupTime {
		return nil
	}
	return w.flush()
}

// flush stores the group in one transaction.
func (w *writer) flush() error {
	if len(w.group) == 0 {
		return nil
	}
	if err := w.db.insert(w.table, w.job, w.run.Token(), w.rows, w.group); err != nil {
		return err
	}
	w.rows += int64(len(w.group))
	w.group = w.group[:0]
	w.wrote = time.Now()
	w.run.Progress(w.rows, max(w.total, w.rows), "")
	if w.wrote.Sub(w.saved) < saveEvery {
		return nil
	}
	w.saved = w.wrote
	return w.run.Save(w.place)
}
