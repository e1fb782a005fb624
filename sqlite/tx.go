package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// tx is a transaction that writes.
type tx struct {
	*conn
	ctx    context.Context
	now    time.Time // of the whole transaction
	counts map[countKey]int64
	chunks map[int64]chunk
	links  *bool // whether there are any links, once known
	places places

	flows   map[flowKey]int64
	process *uuid.UUID
	watched *bool // whether another process watches, once known
	changes map[changedKey][]byte
}

type countKey struct {
	queue, kind string
	state       int64
}

// write runs f in a transaction that holds the write lock from its begin, and commits what it did.
func (s *Store) write(ctx context.Context, f func(*tx) error) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	c, err := s.acquire(ctx, s.writer, func() (*conn, error) { return s.dialWriter(ctx) })
	if err != nil {
		return err
	}
	if err := s.begin(ctx, c); err != nil {
		s.writer <- c
		return err
	}
	t := &tx{conn: c, ctx: ctx, now: now(), counts: map[countKey]int64{}, chunks: map[int64]chunk{}, flows: map[flowKey]int64{}, places: s.places, process: &s.process}
	if err = f(t); err == nil {
		err = t.commit()
	}
	if err != nil {
		if _, e := c.exec("rollback"); e != nil { // in an unknown state: begin anew
			_ = c.close()
			c = nil
		}
	} else {
		s.checkWAL(c)
		c.tidy()
	}
	s.writer <- c
	return err
}

func (t *tx) commit() error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	for k, n := range t.counts {
		if n == 0 {
			continue
		}
		if _, err := t.exec(`insert into errand_counts (queue, state, kind, jobs) values (?1, ?2, ?3, ?4)
			on conflict do update set jobs = jobs + ?4`, k.queue, k.state, k.kind, n); err != nil {
			return fmt.Errorf("counts: %w", err)
		}
	}
	if err := t.flushChunks(); err != nil {
		return fmt.Errorf("chunks: %w", err)
	}
	if err := t.flushFlows(); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := t.flushChanges(); err != nil {
		return fmt.Errorf("changes: %w", err)
	}
	_, err := t.exec("commit")
	return err
}

// count notes that n more jobs are in a state.
func (t *tx) count(queue, kind string, state, n int64) {
	t.counts[countKey{queue, kind, state}] += n
}

// read runs f on a snapshot of the file.
func (s *Store) read(ctx context.Context, f func(context.Context, *conn) error) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	c, err := s.acquire(ctx, s.readers, s.dialReader)
	if err != nil {
		return err
	}
	if _, err = c.exec("begin"); err == nil {
		err = f(ctx, c)
	}
	if _, e := c.exec("rollback"); e != nil { // in an unknown state: begin anew
		_ = c.close()
		c = nil
	} else {
		c.tidy()
	}
	s.readers <- c
	return err
}

// now is the store's clock, which is Go's, to the precision of stored times.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
