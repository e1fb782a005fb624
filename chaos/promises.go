package main

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// This file checks what the kinds promise, each its own.

// checkEnd: the end is one that the job's work and the driver's verbs explain.
func (q *inquest) checkEnd(st *story) {
	r := &st.row
	end, ok := st.last()
	if !ok {
		return
	}
	switch end.state {
	case errand.Succeeded:
		q.checkSuccess(st, &end)
	case errand.Failed:
		q.checkFailure(st, &end)
	case errand.Cancelled:
		if !st.asked("cancel", end.at) && !st.asked("terminate", end.at) && (r.actor != "errand" || !q.parentEnded(r)) {
			q.bad(st, "cancelled, and nobody has asked for it")
		}
	}
	for _, n := range st.notes {
		cleanUpDied := r.kind == hooked && end.state == errand.Failed
		if n.What == obeyed && n.Text == "terminate" && n.Version > 0 && end.state != errand.Cancelled && !cleanUpDied {
			q.bad(st, "line %d: terminated, but %s", n.line, end.state)
		}
	}
}

// checkSuccess: the run that succeeded has done its work, and the job is of a kind that can succeed.
func (q *inquest) checkSuccess(st *story, end *version) {
	r := &st.row
	if !st.has(func(n *note) bool { return n.What == done && n.Token == end.token && n.Session == end.worker }) {
		q.bad(st, "succeeded with token %d, but that run has not done its work", end.token)
	}
	if res := r.outputs(); r.state != "" && (res.Token != end.token || res.Session != end.worker) {
		q.bad(st, "succeeded with token %d, but its result is of another run", end.token)
	}
	switch {
	case r.kind == hopeless || r.kind == killer || r.kind == flaky && r.attempt != 3:
		q.bad(st, "succeeded at attempt %d", r.attempt)
	case r.kind == stubborn && !st.asked("retry", end.at):
		q.bad(st, "succeeded, and nobody has retried it")
	}
}

// checkFailure: a job fails as poison, or if it is of a kind that fails once its attempts are used up.
func (q *inquest) checkFailure(st *story, end *version) {
	r := &st.row
	gone := r.state == "" // its kind fails as poison only
	if strings.HasPrefix(r.error, "poison") || gone {
		q.counts.poison++
		if r.kind != killer && q.neighbour(st) {
			q.counts.neighbours++
		}
		if end.crashes < errand.DefaultMaxCrashes {
			q.bad(st, "failed after %d crashes of %d: %s", end.crashes, errand.DefaultMaxCrashes, r.error)
		}
		return
	}
	timedOut := (r.kind == late || r.kind == stuck) && strings.HasPrefix(r.error, "timeout")
	if r.kind != hopeless && r.kind != stubborn && !timedOut || r.attempt != r.maxAttempts {
		q.bad(st, "failed at attempt %d of %d, %d crashes: %s", r.attempt, r.maxAttempts, end.crashes, r.error)
	}
	if r.kind == stubborn && st.retried {
		q.bad(st, "failed after it was retried")
	}
}

// neighbour reports whether the job has run on two workers or more that a killer has killed.
func (q *inquest) neighbour(st *story) bool {
	shared := map[uuid.UUID]bool{}
	for _, v := range st.history {
		if v.state == errand.Running && q.victims[v.worker] {
			shared[v.worker] = true
		}
	}
	return len(shared) > 1
}

// mayReturn reports whether somebody has asked for an ended job to come back to life.
func (st *story) mayReturn(was, v version) bool {
	return st.asked("retry", v.at) ||
		st.row.kind == hooked && was.state == errand.Failed && (st.asked("terminate", v.at) || st.asked("cancel", v.at))
}

// checkTimeouts: no run of a job does more of its work than its timeout allows.
func (q *inquest) checkTimeouts(st *story) {
	for i, n := range st.notes {
		if n.What == stopping && n.Text == errand.ErrTimeout.Error() {
			q.counts.timeouts++
		}
		if n.What == done && st.row.kind == late && slices.ContainsFunc(st.notes[:i], func(b *note) bool {
			return b.What == began && b.Token == n.Token && b.Step == 0
		}) {
			q.bad(st, "line %d: one run has done all steps, in spite of its timeout", n.line)
		}
	}
}

// checkCleanUp: a job whose handler has ever started is cancelled only by the end of its clean-up hook, after
// which no handler starts.
func (q *inquest) checkCleanUp(st *story) {
	var first *note // start of the hook
	started := false
	for _, n := range st.notes {
		switch n.What {
		case began:
			started = true
		case cleaning:
			if st.row.kind != hooked {
				q.bad(st, "line %d: a clean-up", n.line)
			}
			if first == nil || n.Token < first.Token {
				first = n
			}
		case cleaned:
			q.counts.cleanUps++
		}
	}
	if st.row.kind != hooked {
		return
	}
	for _, n := range st.notes {
		if n.What == began && first != nil && n.Token > first.Token {
			q.bad(st, "line %d: started after its clean-up, line %d", n.line, first.line)
		}
	}
	end, ok := st.last()
	if ok && end.state == errand.Cancelled && started && !st.has(func(n *note) bool {
		return n.What == cleaned && n.Token == end.token && n.Session == end.worker && n.At <= end.at.UnixMicro()
	}) {
		q.bad(st, "cancelled with token %d, and its clean-up has not run to its end", end.token)
	}
}

// checkPoison: a job that kills its workers fails, and not before it has killed.
func (q *inquest) checkPoison(st *story) {
	if st.row.kind != killer {
		return
	}
	deaths := 0
	for _, n := range st.notes {
		if n.What == dying {
			deaths++
		}
	}
	if r := &st.row; r.state != errand.Failed || !strings.HasPrefix(r.error, "poison") || deaths == 0 {
		q.bad(st, "it killed %d workers and is %s: %s", deaths, r.state, r.error)
	}
}
