package errand

import (
	"container/heap"
	"context"
	"maps"
	"slices"
	"time"
)

// planned is a schedule with its latest firings.
type planned struct {
	Schedule
	firings []Firing
}

func (m *memory) SwapSchedules(ctx context.Context, changes []ScheduleChange) ([]Swapped, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	now := time.Now()
	out := make([]Swapped, len(changes))
	for i := range changes {
		c := &changes[i]
		p := m.plans[c.Schedule.Name]
		if p == nil && c.Was == 0 && !c.Delete {
			p = &planned{}
			m.plans[c.Schedule.Name] = p
		}
		switch {
		case p == nil || p.Version != c.Was:
			out[i] = Stale
			continue
		case c.Delete:
			delete(m.plans, c.Schedule.Name)
			continue
		}
		p.Schedule = c.Schedule
		m.await(p)
		p.firings = append(p.firings, c.Firings...)
		p.firings = slices.Delete(p.firings, 0, max(len(p.firings)-MaxFirings, 0))
		for k := range c.Jobs {
			if m.conflict(&c.Jobs[k], now) == nil {
				m.insert(&c.Jobs[k], now)
			}
		}
	}
	return out, nil
}

func (m *memory) Schedules(ctx context.Context, q ScheduleQuery) (found []Schedule, err error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	names, limit := slices.Sorted(slices.Values(q.Names)), len(q.Names)
	if q.Names == nil {
		names, limit = slices.Sorted(maps.Keys(m.plans)), q.Limit
		if limit == 0 {
			limit = 100
		}
	}
	for _, name := range names {
		if p := m.plans[name]; p != nil && name > q.After && len(found) < limit {
			found = append(found, p.Schedule)
		}
	}
	return found, nil
}

func (m *memory) DueSchedules(ctx context.Context, limit int) (DueSchedules, error) {
	if err := m.lock(ctx); err != nil {
		return DueSchedules{}, err
	}
	defer m.mu.Unlock()
	due := DueSchedules{Now: timestamp(time.Now())}
	var taken []wake
	for ; len(m.wakes) > 0; heap.Pop(&m.wakes) {
		w := m.wakes[0]
		if w.p.Version != w.version || m.plans[w.p.Name] != w.p {
			continue
		}
		if w.at.After(due.Now) || len(taken) == limit {
			due.Next = w.at
			break
		}
		taken = append(taken, w)
		due.Schedules = append(due.Schedules, w.p.Schedule)
	}
	if len(taken) > 0 {
		due.Next = time.Time{}
	}
	for _, w := range taken {
		heap.Push(&m.wakes, w)
	}
	return due, nil
}

// wake says that a schedule, as of a version, is to be looked at.
type wake struct {
	at      time.Time
	p       *planned
	version int64
}

// wakes is a heap, the earliest first. Of a schedule that has changed stale ones are left in it.
type wakes []wake

func (w wakes) Len() int { return len(w) }
func (w wakes) Less(i, j int) bool {
	if c := w[i].at.Compare(w[j].at); c != 0 {
		return c < 0
	}
	return w[i].p.Name < w[j].p.Name
}
func (w wakes) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *wakes) Push(x any)   { *w = append(*w, x.(wake)) }
func (w *wakes) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = wake{}
	*w = (*w)[:last]
	return x
}

// await puts a schedule among those to be looked at.
func (m *memory) await(p *planned) {
	if p.Wake.IsZero() {
		return
	}
	if len(m.wakes) > 2*len(m.plans)+100 {
		m.wakes = slices.DeleteFunc(m.wakes, func(w wake) bool { return w.p.Version != w.version || m.plans[w.p.Name] != w.p })
		heap.Init(&m.wakes)
	}
	heap.Push(&m.wakes, wake{p.Wake, p, p.Version})
}

func (m *memory) Firings(ctx context.Context, names []string, limit int) (found []Firing, err error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(slices.Values(names)) {
		if p := m.plans[name]; p != nil {
			for i := len(p.firings) - 1; i >= max(len(p.firings)-limit, 0); i-- {
				found = append(found, p.firings[i])
			}
		}
	}
	return found, nil
}
