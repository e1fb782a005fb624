package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/errandhq/errand"
)

const (
	// updatePlain is for a job that has none of what few jobs have, as most that succeed: see isPlain.
	updatePlain = `update errand_jobs set state = ?, version = ?, due = ?, attempt = ?, token = ?, worker = ?, started = ?,
			ended = ?, expires = ?, entries = ?, result = ?, extra = null, error = null, checkpoint = null
		where seq = ? and id = ? and version = ?`

	updateAny = `update errand_jobs set state = ?, version = ?, due = ?, attempt = ?, token = ?, worker = ?, started = ?,
			ended = ?, expires = ?, entries = ?, result = ?, extra = ?, error = ?, checkpoint = ?, unique_held = ?
		where seq = ? and id = ? and version = ?`

	selectVersion = "select " + columns + " from errand_jobs where id = ? and version = ?"
	selectPlace   = "select seq from errand_jobs where id = ? and version = ?"
	selectSeq     = "select seq from errand_jobs where id = ?"
)

// Swap implements [errand.Store].
func (s *Store) Swap(ctx context.Context, changes []errand.Change) ([]errand.Swapped, error) {
	out := make([]errand.Swapped, len(changes))
	if len(changes) == 0 {
		return out, nil
	}
	err := s.write(ctx, func(t *tx) error {
		for i := range changes {
			var err error
			if out[i], err = t.swap(&changes[i]); err != nil {
				return fmt.Errorf("write job %s: %w", changes[i].Job.ID, err)
			}
			if i%256 == 255 && t.ctx.Err() != nil {
				return t.ctx.Err()
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (t *tx) swap(c *errand.Change) (errand.Swapped, error) {
	if c.Delete {
		return t.delete(c)
	}
	seq, outcome, err := t.update(c)
	if outcome != errand.Written || err != nil {
		return outcome, err
	}
	t.note(seq, c.From, &c.Job)
	if err := t.changed(&c.Job.ID, c.Job.Queue, c.Job.Kind, stateNumber(c.Job.State)); err != nil {
		return outcome, err
	}
	if c.From != c.Job.State {
		t.count(c.Job.Queue, c.Job.Kind, stateNumber(c.From), -1)
		t.count(c.Job.Queue, c.Job.Kind, stateNumber(c.Job.State), 1)
		t.flow(c.From, &c.Job)
		if c.Job.State.Ended() {
			err = t.markLinks(&c.Job.ID)
		}
	}
	if err == nil {
		err = t.dropLinks(seq, c.Unblocks)
	}
	if err == nil {
		err = t.log(seq, c)
	}
	return outcome, err
}

// update writes the row, if it still has the version that was read, and returns its seq.
func (t *tx) update(c *errand.Change) (int64, errand.Swapped, error) {
	seq, remembered := t.places.take(&c.Job)
	for {
		if !remembered {
			var there bool
			var err error
			if seq, there, err = t.number(selectPlace, c.Job.ID[:], c.Was); !there || err != nil {
				return 0, errand.Stale, err
			}
		}
		n, err := t.updateRow(c, seq)
		switch {
		case err == nil && n > 0:
			return seq, errand.Written, nil
		case err == nil && remembered: // it is not where it was: look for it
			remembered = false
			continue
		case err == nil:
			return 0, errand.Stale, nil
		case !isTaken(err):
			return 0, errand.Stale, err
		}
		holder, err := t.one(selectByUnique, c.Job.Unique)
		if err != nil {
			return 0, errand.Stale, err
		}
		if holder == nil {
			return 0, errand.Stale, fmt.Errorf("it conflicts with another job, which is not there: unique key %q", c.Job.Unique)
		}
		if released, err := t.releaseLapsed(holder); !released || err != nil {
			return 0, errand.Taken, err
		}
	}
}

func (t *tx) updateRow(c *errand.Change, seq int64) (int64, error) {
	j := &c.Job
	text, args := updatePlain, make([]driver.Value, 0, 18)
	args = append(args, stateNumber(j.State), j.Version, j.Due.UnixMicro(), int64(j.Attempt), j.Token, idValue(&j.Worker), timeValue(j.Started),
		timeValue(j.Ended), timeValue(j.Expires), j.Entries, rawValue(j.Result))
	if j.Unique != "" || !isPlain(j) {
		text = updateAny
		args = append(args, encodeExtra(j), textValue(j.Error), rawValue(j.Checkpoint), heldValue(j.HoldsUnique(t.now)))
	}
	return t.exec(text, append(args, seq, j.ID[:], c.Was)...)
}

// places remembers where claimed jobs are, which saves their finish the way through the
// index of ids: a tenth of its cost. It is only a hint, since other processes delete
// jobs and reuse their places. The writer guards it.
type places map[errand.ID]int64

// maxPlaces bounds it; a worker rarely holds as many jobs.
const maxPlaces = 1 << 16

func (p places) put(id errand.ID, seq int64) {
	if len(p) >= maxPlaces {
		clear(p)
	}
	p[id] = seq
}

// take returns the place of j, and forgets it if j is no longer running.
func (p places) take(j *errand.Job) (int64, bool) {
	seq, ok := p[j.ID]
	if ok && j.State != errand.Running {
		delete(p, j.ID)
	}
	return seq, ok
}

func (t *tx) delete(c *errand.Change) (errand.Swapped, error) {
	s, err := t.one(selectVersion, c.Job.ID[:], c.Was)
	if s == nil || err != nil {
		return errand.Stale, err
	}
	if err := t.remove(s); err != nil {
		return errand.Stale, err
	}
	return errand.Written, t.markLinks(&c.Job.ID)
}

// remove deletes a job with its log, tags and links.
func (t *tx) remove(s *stored) error {
	if _, err := t.exec("delete from errand_jobs where seq = ?", s.seq); err != nil {
		return err
	}
	t.count(s.Queue, s.Kind, stateNumber(s.State), -1)
	t.note(s.seq, s.State, &errand.Job{})
	if err := t.changed(&s.ID, s.Queue, s.Kind, 0); err != nil {
		return err
	}
	if s.Entries > 0 {
		if _, err := t.exec("delete from errand_entries where job = ?", s.seq); err != nil {
			return err
		}
	}
	for _, tag := range s.Tags {
		if _, err := t.exec("delete from errand_tags where tag = ? and job = ?", tag, s.seq); err != nil {
			return err
		}
	}
	if len(s.After) > 0 {
		if _, err := t.exec("delete from errand_links where job = ?", s.seq); err != nil {
			return err
		}
	}
	return nil
}
