package sqlite

import (
	"context"
	"database/sql/driver"

	"github.com/errandhq/errand"
)

// chunkBits is how many bits of a seq tell the jobs of a chunk apart, see errand_chunks.
const chunkBits = 8

// chunk is a change of a row of errand_chunks.
type chunk struct {
	running int64
	expires int64 // the earliest; 0 if none
}

const (
	upsertChunk = `insert into errand_chunks (chunk, running, expires) values (?1, ?2, ?3) on conflict do update
		set running = running + ?2, expires = coalesce(min(expires, ?3), expires, ?3)`

	selectRunningChunks = "select chunk from errand_chunks where running > 0 order by chunk"
	selectExpiredChunks = "select chunk from errand_chunks where expires <= ? order by chunk limit 1000"

	// inChunk limits a statement to a chunk; ?1 is its number.
	inChunk = "seq >= ?1 << 8 and seq < (?1 + 1) << 8"
)

// note keeps the chunk of a job true that was in a state, or new, and is now j.
func (t *tx) note(seq int64, from errand.State, j *errand.Job) {
	running := int64(0)
	if from == errand.Running {
		running--
	}
	if j.State == errand.Running {
		running++
	}
	if running == 0 && j.Expires.IsZero() {
		return
	}
	c := t.chunks[seq>>chunkBits]
	c.running += running
	if !j.Expires.IsZero() {
		if e := j.Expires.UnixMicro(); c.expires == 0 || e < c.expires {
			c.expires = e
		}
	}
	t.chunks[seq>>chunkBits] = c
}

func (t *tx) flushChunks() error {
	for n, c := range t.chunks {
		var expires driver.Value
		if c.expires != 0 {
			expires = c.expires
		}
		if _, err := t.exec(upsertChunk, n, c.running, expires); err != nil {
			return err
		}
	}
	return nil
}

// numbers returns the integers that a query yields.
func (c *conn) numbers(ctx context.Context, text string, args ...driver.Value) ([]int64, error) {
	var out []int64
	err := c.query(ctx, text, func(row []driver.Value) error {
		n, _ := row[0].(int64)
		out = append(out, n)
		return nil
	}, args...)
	return out, err
}

// Orphans implements [errand.Store].
func (s *Store) Orphans(ctx context.Context, limit int) ([]errand.Job, error) {
	var out []stored
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		chunks, err := c.numbers(ctx, selectRunningChunks)
		for i := 0; i < len(chunks) && len(out) < limit && err == nil; i++ {
			out, err = c.jobs(ctx, out, "select "+columns+" from errand_jobs where "+inChunk+
				" and state = 3 and worker not in (select id from errand_sessions where expires > ?2) limit ?3 + 0",
				chunks[i], now().UnixMicro(), int64(limit-len(out)))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return plain(out), nil
}

// Prune implements [errand.Store]. When there is nothing to do it only reads.
func (s *Store) Prune(ctx context.Context, limit int) (int, error) {
	due := false
	err := s.read(ctx, func(ctx context.Context, c *conn) error {
		chunks, err := c.numbers(ctx, selectExpiredChunks, now().UnixMicro())
		due = len(chunks) > 0
		return err
	})
	fold := now().UnixMicro()-s.folded.Load() > errand.HistoryCoarse.Microseconds()
	if err != nil || !due && !fold {
		return 0, err
	}
	n := 0
	err = s.write(ctx, func(t *tx) error {
		if fold {
			if err := t.foldHistory(); err != nil {
				return err
			}
		}
		chunks, err := t.numbers(t.ctx, selectExpiredChunks, t.now.UnixMicro())
		for i := 0; i < len(chunks) && n < limit && err == nil; i++ {
			var removed int
			removed, err = t.pruneChunk(chunks[i], limit-n)
			n += removed
		}
		if err == nil {
			_, err = t.exec("delete from errand_counts where jobs = 0")
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if fold {
		s.folded.Store(now().UnixMicro())
	}
	return n, nil
}

// pruneChunk removes up to limit expired jobs of a chunk, and looks when the next expires.
func (t *tx) pruneChunk(chunk int64, limit int) (int, error) {
	expired, err := t.jobs(t.ctx, nil, "select "+columns+" from errand_jobs where "+inChunk+` and expires <= ?2 and state in (2, 7, 8)
		and not exists (select 1 from errand_links where on_id = id) limit ?3 + 0`, chunk, t.now.UnixMicro(), int64(limit))
	if err != nil {
		return 0, err
	}
	for i := range expired {
		if err := t.remove(&expired[i]); err != nil {
			return 0, err
		}
	}
	_, err = t.exec(`update errand_chunks set expires = (select min(expires) from errand_jobs where `+inChunk+`) where chunk = ?1`, chunk)
	if err == nil {
		_, err = t.exec("delete from errand_chunks where chunk = ? and running = 0 and expires is null", chunk)
	}
	return len(expired), err
}
