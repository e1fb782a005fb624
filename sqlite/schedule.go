package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/errandhq/errand"
)

const (
	insertSchedule = "insert into errand_schedules (version, wake, body, name) values (?, ?, ?, ?) on conflict do nothing"
	updateSchedule = "update errand_schedules set version = ?, wake = ?, body = ? where name = ? and version = ?"
	deleteSchedule = "delete from errand_schedules where name = ? and version = ?"

	upsertFiring  = "insert or replace into errand_firings (schedule, slot, seq, body) values (?, ?, ?, ?)"
	deleteFirings = "delete from errand_firings where schedule = ?"
	selectFirings = "select seq, body from errand_firings where schedule = ? order by seq desc limit ? + 0"

	selectSchedules = "select name, version, wake, body from errand_schedules "
	afterName       = selectSchedules + "where name > ? order by name limit ? + 0"
	ofNames         = selectSchedules + "where name in (select value from json_each(?)) and name > ? order by name"
	selectDueWakes  = selectSchedules + "indexed by errand_schedules_wake where wake <= ? order by wake, name limit ? + 0"
	selectNextWake  = "select wake from errand_schedules indexed by errand_schedules_wake where wake is not null order by wake limit 1"
)

// SwapSchedules implements [errand.Store].
func (s *Store) SwapSchedules(ctx context.Context, changes []errand.ScheduleChange) ([]errand.Swapped, error) {
	out := make([]errand.Swapped, len(changes))
	if len(changes) == 0 {
		return out, nil
	}
	err := s.write(ctx, func(t *tx) error {
		for i := range changes {
			var err error
			if out[i], err = t.swapSchedule(&changes[i]); err != nil {
				return fmt.Errorf("write schedule %q: %w", changes[i].Schedule.Name, err)
			}
			if err := t.ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (t *tx) swapSchedule(c *errand.ScheduleChange) (errand.Swapped, error) {
	if n, err := t.writeSchedule(c); n == 0 || err != nil {
		return errand.Stale, err
	}
	if c.Delete {
		_, err := t.exec(deleteFirings, c.Schedule.Name)
		return errand.Written, err
	}
	for i := range c.Firings {
		x := &c.Firings[i]
		body, err := encode(x)
		if err == nil {
			_, err = t.exec(upsertFiring, c.Schedule.Name, x.Seq%errand.MaxFirings, x.Seq, body)
		}
		if err != nil {
			return errand.Stale, err
		}
	}
	return errand.Written, t.insertAll(c.Jobs, make([]*errand.Job, len(c.Jobs))) // one that is there stays as it is
}

// writeSchedule writes the row, if it still has the version that was read, and returns how many it has written.
func (t *tx) writeSchedule(c *errand.ScheduleChange) (int64, error) {
	s := &c.Schedule
	if c.Delete {
		return t.exec(deleteSchedule, s.Name, c.Was)
	}
	body, err := encode(s)
	if err != nil {
		return 0, err
	}
	args := []driver.Value{s.Version, timeValue(s.Wake), body, s.Name}
	if c.Was == 0 {
		return t.exec(insertSchedule, args...)
	}
	return t.exec(updateSchedule, append(args, c.Was)...)
}

// encode writes a value as JSON, with <, > and & as they are: people read it.
func encode(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// Schedules implements [errand.Store].
func (s *Store) Schedules(ctx context.Context, q errand.ScheduleQuery) ([]errand.Schedule, error) {
	var out []errand.Schedule
	err := s.read(ctx, func(ctx context.Context, c *conn) (err error) {
		if q.Names != nil {
			out, err = c.schedules(ctx, ofNames, list(q.Names), q.After)
		} else {
			out, err = c.schedules(ctx, afterName, q.After, int64(cmp.Or(q.Limit, 100)))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DueSchedules implements [errand.Store].
func (s *Store) DueSchedules(ctx context.Context, limit int) (errand.DueSchedules, error) {
	var due errand.DueSchedules
	err := s.read(ctx, func(ctx context.Context, c *conn) (err error) {
		due.Now = now()
		due.Schedules, err = c.schedules(ctx, selectDueWakes, due.Now.UnixMicro(), int64(limit))
		if err != nil || len(due.Schedules) > 0 {
			return err
		}
		next, found, err := c.number(selectNextWake)
		if found {
			due.Next = dueOf(next)
		}
		return err
	})
	if err != nil {
		return errand.DueSchedules{}, err
	}
	return due, nil
}

// schedules returns the schedules that a query yields.
func (c *conn) schedules(ctx context.Context, text string, args ...driver.Value) ([]errand.Schedule, error) {
	var out []errand.Schedule
	err := c.query(ctx, text, func(row []driver.Value) error {
		r := reader{row: row}
		s := errand.Schedule{Name: r.text(), Version: r.int(), Wake: r.time()}
		if r.json(&s); r.err != nil {
			return fmt.Errorf("schedule %q is damaged: %w", s.Name, r.err)
		}
		out = append(out, s)
		return nil
	}, args...)
	return out, err
}

// Firings implements [errand.Store].
func (s *Store) Firings(ctx context.Context, names []string, limit int) ([]errand.Firing, error) {
	var out []errand.Firing
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		for _, name := range slices.Sorted(slices.Values(names)) {
			err := c.query(ctx, selectFirings, func(row []driver.Value) error {
				r := reader{row: row}
				x := errand.Firing{Schedule: name, Seq: r.int()}
				r.json(&x)
				out = append(out, x)
				return r.err
			}, name, int64(limit))
			if err != nil {
				return fmt.Errorf("firings of schedule %q: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
