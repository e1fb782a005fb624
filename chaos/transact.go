package main

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/errandhq/errand"
)

// transaction is one of the application, of pgx or of database/sql.
type transaction struct {
	tx               any
	exec             func(ctx context.Context, statement string, arg any) error
	commit, rollback func() error
}

// transact enqueues in transactions, which it commits or rolls back, until ctx ends. What fails is not tried
// again. In the same transaction it writes down a deal for each job: the one is there if and only if the other is.
func (s *stage) transact(ctx context.Context, m *mix, rate time.Duration) {
	db := stdlib.OpenDBFromPool(s.db)
	defer db.Close()
	for sleep(ctx, m.span(rate/2, rate*3/2)) {
		t, err := s.begin(ctx, db, m.IntN(2) == 0)
		if err != nil {
			continue
		}
		orders := make([]order, 1+m.IntN(4))
		for i := range orders {
			if orders[i] = m.order(); m.IntN(3) == 0 {
				orders[i] = m.brief()
			}
			s.ledger.put(note{What: offered, Job: orders[i].id})
		}
		since := time.Now()
		jobs, outcome := s.deal(t, m, orders)
		for i := range orders {
			switch outcome {
			case acked:
				s.ledger.acknowledge(&jobs[i], &orders[i], since)
				m.remember(jobs[i].ID, &orders[i])
				s.know(&jobs[i], &orders[i])
			case undone:
				s.ledger.put(note{What: undone, Job: orders[i].id})
			}
		}
	}
}

// deal makes one transaction. Its outcome is acked, undone, or "" if it is unknown.
func (s *stage) deal(t transaction, m *mix, orders []order) (jobs []errand.Job, outcome what) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var err error
	view := s.engine.Tx(t.tx)
	for _, part := range [][]order{orders[:1], orders[1:]} { // the others may wait for the first
		for i := range part {
			if part[i].kind == follower && len(jobs) > 0 && m.IntN(2) == 0 {
				part[i].after = []errand.ID{jobs[0].ID}
			}
		}
		var more []errand.Job
		if err == nil && len(part) > 0 {
			more, err = view.Enqueue(ctx, newJobs(part)...)
		}
		jobs = append(jobs, more...)
	}
	if err == nil {
		err = t.exec(ctx, `insert into chaos.deals select unnest(string_to_array($1, ','))::uuid`, created(jobs))
	}
	if m.IntN(4) == 0 {
		time.Sleep(m.span(0, time.Second))
	}
	switch {
	case errors.Is(err, errand.ErrInvalid):
		s.ledger.put(note{What: wrong, Text: err.Error()})
	case err != nil:
		s.note("a transaction failed: %v", err)
		s.count(failedDeals, 1)
	}
	if err != nil || m.IntN(3) == 0 {
		_ = t.rollback() // if it fails, the connection is gone, and the transaction with it
		return nil, undone
	}
	if err := t.commit(); err != nil {
		s.note("a commit failed: %v", err)
		s.count(failedDeals, 1)
		return nil, ""
	}
	return jobs, acked
}

// created lists the IDs of the jobs that were not there.
func created(jobs []errand.Job) string {
	var ids []string
	for i := range jobs {
		if !jobs[i].Duplicate {
			ids = append(ids, jobs[i].ID.String())
		}
	}
	return strings.Join(ids, ",")
}

func (s *stage) begin(ctx context.Context, db *sql.DB, native bool) (t transaction, err error) {
	ctx = context.WithoutCancel(ctx)
	if native {
		tx, err := s.db.Begin(ctx)
		if err != nil {
			return t, err
		}
		return transaction{tx, func(ctx context.Context, statement string, arg any) error {
			_, err := tx.Exec(ctx, statement, arg)
			return err
		}, func() error { return tx.Commit(ctx) }, func() error { return tx.Rollback(ctx) }}, nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return t, err
	}
	return transaction{tx, func(ctx context.Context, statement string, arg any) error {
		_, err := tx.ExecContext(ctx, statement, arg)
		return err
	}, tx.Commit, tx.Rollback}, nil
}

// checkDeal: a job that was enqueued in a transaction is there if and only if that was committed.
func (q *inquest) checkDeal(st *story) {
	var offer, rolledBack, witness *note
	for _, n := range st.notes {
		switch n.What {
		case offered:
			offer = n
		case undone:
			rolledBack = n
		case acked, began, event, seen:
			witness = n
		}
	}
	if offer == nil {
		return
	}
	dealt, there := q.deals[st.row.id], len(st.history) > 0
	switch {
	case dealt:
		q.counts.dealt++
	case rolledBack != nil:
		q.counts.undone++
	}
	switch {
	case rolledBack != nil && (dealt || there):
		q.bad(st, "its transaction was rolled back, line %d, and it is there", rolledBack.line)
	case dealt != there:
		q.bad(st, "its transaction was committed: %t; it was there: %t", dealt, there)
	case !dealt && witness != nil:
		q.bad(st, "its transaction was not committed, but line %d tells of it", witness.line)
	}
}
