package errand

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// HistoryQuery asks for [Flow]s.
type HistoryQuery struct {
	Since time.Time     // from the span in which this is
	Step  time.Duration // the length of a span: a multiple of [HistoryStep]
	Queue string        // of this queue only
	Kind  string        // of this kind only
}

// Flow is how many jobs were added, started and ended in a span of time, as counted when it happened.
type Flow struct {
	Time      time.Time `json:"time"` // the begin of the span
	Added     int64     `json:"added"`
	Started   int64     `json:"started"` // runs, retries included
	Succeeded int64     `json:"succeeded"`
	Failed    int64     `json:"failed"`
	Cancelled int64     `json:"cancelled"`

	// Waited is how long those that were started had waited in all since they were due; each in whole milliseconds.
	Waited time.Duration `json:"-"`
}

// Wait returns how long those that were started had waited on average.
func (f Flow) Wait() time.Duration {
	if f.Started == 0 {
		return 0
	}
	return f.Waited / time.Duration(f.Started)
}

// How stores keep the history: in spans of HistoryStep, of which those older than HistoryFine are merged into spans of
// HistoryCoarse, and those older than HistoryKept are dropped.
const (
	HistoryStep   = 10 * time.Second
	HistoryFine   = 2 * time.Hour
	HistoryCoarse = 5 * time.Minute
	HistoryKept   = 8 * 24 * time.Hour
)

// Flow counts, by their place in a [FlowCounts].
const (
	FlowAdded = iota
	FlowStarted
	FlowSucceeded
	FlowFailed
	FlowCancelled
	FlowWaited // a sum of milliseconds, see [WaitOf]
)

// FlowCounts are the counts of one span.
type FlowCounts [6]int64

// FlowSums are the counts of spans, by the Unix seconds of their begin: for stores to gather a history in.
type FlowSums map[int64]*FlowCounts

// Add adds to one count of a span.
func (s FlowSums) Add(span int64, what int, n int64) {
	if s[span] == nil {
		s[span] = &FlowCounts{}
	}
	s[span][what] += n
}

// Flows returns the spans, the oldest first.
func (s FlowSums) Flows() []Flow {
	var out []Flow
	for _, at := range slices.Sorted(maps.Keys(s)) {
		c := s[at]
		out = append(out, Flow{time.Unix(at, 0).UTC(), c[FlowAdded], c[FlowStarted], c[FlowSucceeded], c[FlowFailed], c[FlowCancelled], time.Duration(c[FlowWaited]) * time.Millisecond})
	}
	return out
}

// FlowOf returns what a move from one state to another counts as; "" stands for a job that was not there. It is false if it does not count.
func FlowOf(from, to State) (int, bool) {
	switch {
	case from == to:
		return 0, false
	case to == Succeeded:
		return FlowSucceeded, true
	case to == Failed:
		return FlowFailed, true
	case to == Cancelled:
		return FlowCancelled, true
	case from == "":
		return FlowAdded, true
	case to == Running:
		return FlowStarted, true
	}
	return 0, false
}

// WaitOf returns how many milliseconds a job waited that was due and then claimed.
func WaitOf(due, claimed time.Time) int64 {
	return max(0, claimed.Sub(due).Round(time.Millisecond).Milliseconds())
}

// History returns how many jobs were added, started and ended, span by span, the oldest first; spans in which nothing happened are left out. What has just
// happened may be missing for some seconds.
func (e *Engine) History(ctx context.Context, q HistoryQuery) ([]Flow, error) {
	if q.Step < HistoryStep || q.Step%HistoryStep != 0 {
		return nil, fmt.Errorf("%w step %s: use a multiple of %s", ErrInvalid, q.Step, HistoryStep)
	}
	return e.store.History(ctx, q)
}

// history is what the memory store counts.
type history struct {
	spans map[int64]map[laneKey]*FlowCounts // by the Unix seconds of their begin
	last  int64
}

func (h *history) count(l laneKey, from State, j *Job, now time.Time) {
	what, ok := FlowOf(from, j.State)
	if !ok {
		return
	}
	at := now.Truncate(HistoryStep).Unix()
	if at != h.last {
		h.last = at
		h.fold(now)
	}
	counts := h.at(at, l)
	counts[what]++
	if what == FlowStarted {
		counts[FlowWaited] += WaitOf(j.Due, now)
	}
}

func (h *history) at(at int64, l laneKey) *FlowCounts {
	if h.spans == nil {
		h.spans = map[int64]map[laneKey]*FlowCounts{}
	}
	span := h.spans[at]
	if span == nil {
		span = map[laneKey]*FlowCounts{}
		h.spans[at] = span
	}
	if span[l] == nil {
		span[l] = &FlowCounts{}
	}
	return span[l]
}

// fold merges old spans, and drops the oldest.
func (h *history) fold(now time.Time) {
	fine, kept := now.Add(-HistoryFine).Unix(), now.Add(-HistoryKept).Unix()
	coarse := int64(HistoryCoarse / time.Second)
	for at, span := range h.spans {
		switch {
		case at < kept:
			delete(h.spans, at)
		case at < fine && at%coarse != 0:
			delete(h.spans, at)
			for l, counts := range span {
				to := h.at(at-at%coarse, l)
				for i := range counts {
					to[i] += counts[i]
				}
			}
		}
	}
}

func (m *memory) History(ctx context.Context, q HistoryQuery) ([]Flow, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	step := int64(q.Step / time.Second)
	since := q.Since.Unix()
	since -= since % step
	sums := FlowSums{}
	for at, span := range m.history.spans {
		if at < since {
			continue
		}
		for l, counts := range span {
			if q.Queue != "" && q.Queue != l.queue || q.Kind != "" && q.Kind != l.kind {
				continue
			}
			for what, n := range counts {
				sums.Add(at-at%step, what, n)
			}
		}
	}
	return sums.Flows(), nil
}
