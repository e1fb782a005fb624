package errand

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

func (m *memory) Orphans(ctx context.Context, limit int) ([]Job, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	now := time.Now()
	var out []Job
	for _, r := range m.running() {
		if s, ok := m.sessions[r.job.Worker]; ok && s.Expires.After(now) {
			continue
		}
		if out = append(out, r.job); len(out) == limit {
			break
		}
	}
	return out, nil
}

// running returns the running jobs. It looks at all jobs only while any runs.
func (m *memory) running() []*record {
	var n int64
	for _, l := range m.lanes {
		n += l.counts[stateIndex(Running)]
	}
	var out []*record
	for i := len(m.order) - 1; i >= 0 && int64(len(out)) < n; i-- {
		if r := m.order[i]; !r.gone && r.job.State == Running {
			out = append(out, r)
		}
	}
	return out
}

func (m *memory) Beat(ctx context.Context, s Session, runs []Lease) (Pulse, error) {
	if err := m.lock(ctx); err != nil {
		return Pulse{}, err
	}
	defer m.mu.Unlock()
	now := timestamp(time.Now())
	for id, old := range m.sessions {
		if now.Sub(old.Expires) > time.Hour {
			delete(m.sessions, id)
		}
	}
	if s.Lease <= 0 {
		delete(m.sessions, s.ID)
	} else {
		s.Expires, s.Draining = timestamp(now.Add(s.Lease)), m.sessions[s.ID].Draining
		m.sessions[s.ID] = s
	}
	p := Pulse{Now: now, Draining: m.sessions[s.ID].Draining}
	for _, l := range runs {
		r := m.jobs[l.ID]
		switch {
		case r == nil:
			p.Changed = append(p.Changed, Job{ID: l.ID})
		case r.job.State != Running || r.job.Token != l.Token || r.job.Want != "":
			p.Changed = append(p.Changed, r.job)
		}
	}
	return p, nil
}

func (m *memory) Sessions(ctx context.Context) ([]Session, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var out []Session
	for _, s := range m.sessions {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Session) int {
		return b.Started.Compare(a.Started)
	})
	return out, nil
}

func (m *memory) Prune(ctx context.Context, limit int) (int, error) {
	if err := m.lock(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	now := time.Now()
	n := 0
	var spared []*record
	for n < limit {
		p, ok := m.expires.peek()
		if !ok || p.r.job.Expires.After(now) {
			break
		}
		m.displace(p.r)
		if len(m.links[p.r.job.ID]) > 0 {
			spared = append(spared, p.r)
			continue
		}
		m.remove(p.r)
		n++
	}
	for _, r := range spared {
		m.join(&m.expires, r, 0, r.job.Expires)
	}
	return n, nil
}

func (m *memory) PauseQueue(ctx context.Context, p QueuePause) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, paused := m.pauses[p.Queue]; !paused {
		m.pauses[p.Queue] = p
	}
	return nil
}

func (m *memory) ResumeQueue(ctx context.Context, queue string) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.pauses, queue)
	return nil
}

func (m *memory) PausedQueues(ctx context.Context) ([]QueuePause, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	out := slices.Collect(maps.Values(m.pauses))
	slices.SortFunc(out, func(a, b QueuePause) int { return strings.Compare(a.Queue, b.Queue) })
	return out, nil
}

func (m *memory) Drain(ctx context.Context, session uuid.UUID, drain bool) (bool, error) {
	if err := m.lock(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	s, ok := m.sessions[session]
	if ok {
		s.Draining = drain
		m.sessions[session] = s
	}
	return ok, nil
}

func (m *memory) Ahead(ctx context.Context, j *Job, kinds []string, limit int) (int, error) {
	if err := m.lock(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	self := place{rank: int64(-j.Priority), at: j.Due.UnixMicro(), seq: math.MaxInt64}
	if r := m.jobs[j.ID]; r != nil {
		self.seq = r.seq
	}
	n := 0
	for _, kind := range kinds {
		if l := m.lanes[laneKey{j.Queue, kind}]; l != nil && n < limit {
			n += l.ready.before(self, limit-n)
		}
	}
	return n, nil
}
