package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// Beat implements [errand.Store].
func (s *Store) Beat(ctx context.Context, session errand.Session, runs []errand.Lease) (errand.Pulse, error) {
	var p errand.Pulse
	err := s.write(ctx, func(t *tx) (err error) {
		p.Now = t.now
		if _, err := t.exec("delete from errand_sessions where expires < ?", t.now.Add(-time.Hour).UnixMicro()); err != nil {
			return err
		}
		if err := t.beat(session); err != nil {
			return err
		}
		_, p.Draining, err = t.number("select 1 from errand_sessions where id = ? and draining", session.ID[:])
		return err
	})
	if err != nil {
		return p, err
	}
	// Outside of the transaction, so that others may write meanwhile.
	err = s.read(ctx, func(ctx context.Context, c *conn) (err error) {
		p.Changed, err = c.changed(ctx, runs)
		return err
	})
	return p, err
}

func (t *tx) beat(s errand.Session) error {
	if s.Lease <= 0 {
		_, err := t.exec("delete from errand_sessions where id = ?", s.ID[:])
		return err
	}
	info, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into errand_sessions (id, started, expires, info) values (?, ?, ?, ?)
		on conflict (id) do update set started = excluded.started, expires = excluded.expires, info = excluded.info`,
		s.ID[:], s.Started.UnixMicro(), t.now.Add(s.Lease).UnixMicro(), string(info))
	return err
}

// changed returns the jobs behind the leases that need attention.
func (c *conn) changed(ctx context.Context, runs []errand.Lease) ([]errand.Job, error) {
	var out []errand.Job
	for i := range runs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l := &runs[i]
		_, held, err := c.number("select 1 from errand_jobs where id = ? and state = 3 and token = ? and (extra is null or extra ->> 'want' is null)", l.ID[:], l.Token)
		if err != nil {
			return nil, err
		}
		if held {
			continue
		}
		job, err := c.one(selectByID, l.ID[:])
		if err != nil {
			return nil, err
		}
		if job == nil {
			job = &stored{Job: errand.Job{ID: l.ID}}
		}
		out = append(out, job.Job)
	}
	return out, nil
}

// Sessions implements [errand.Store].
func (s *Store) Sessions(ctx context.Context) ([]errand.Session, error) {
	var out []errand.Session
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		return c.query(ctx, "select id, started, expires, draining, info from errand_sessions order by started desc, id desc", func(row []driver.Value) error {
			r := reader{row: row}
			x := errand.Session{ID: r.id(), Started: dueOf(r.int()), Expires: dueOf(r.int()), Draining: r.int() != 0}
			r.json(&x)
			out = append(out, x)
			return r.err
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Drain implements [errand.Store].
func (s *Store) Drain(ctx context.Context, session uuid.UUID, drain bool) (found bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		n, err := t.exec("update errand_sessions set draining = ? where id = ?", drain, session[:])
		found = n > 0
		return err
	})
	return found && err == nil, err
}
