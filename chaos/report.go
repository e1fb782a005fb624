package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

// counts are what a run prints at its end.
type counts struct {
	faults     map[string]int
	dropped    int64 // replies
	cuts       int64 // connections
	probes     int
	acked      int
	states     map[errand.State]int
	starts     int
	done       int
	refused    int
	duplicates int // enqueues answered by the holder of their unique key
	repeats    int // enqueues whose first try had been committed
	again      int // enqueues of an ID that was enqueued before
	dealt      int // jobs of committed transactions
	undone     int // jobs of transactions that were rolled back
	retries    int
	timeouts   int
	cleanUps   int
	pruned     int
	takes      int // calls by which tickets were taken from Redis
	lateStarts int
	pauses     int
	poison     int
	neighbours int // failed as poison because another job killed their workers
	torn       int
	lost       int
	doubled    int // jobs that ended more than once
	notes      int
	versions   int
	drain      time.Duration
}

// tally counts what the inquest has loaded.
func (q *inquest) tally() {
	c := &q.counts
	c.notes, c.states = len(q.notes), map[errand.State]int{}
	for _, st := range q.stories {
		c.versions += len(st.history)
		if st.row.state != "" {
			c.states[st.row.state]++
		}
		if slices.ContainsFunc(st.notes, func(n *note) bool { return n.What == acked }) {
			c.acked++
		}
	}
	for i := range q.notes {
		switch q.notes[i].What {
		case began:
			c.starts++
		case done:
			c.done++
		case refused:
			c.refused++
		}
	}
}

// missed names what a run of some length should have come across, and has not.
func (s *stage) missed() (names []string) {
	c := &s.counts
	for name, n := range map[string]int{
		"retries": c.retries, "timeouts": c.timeouts, "clean-ups": c.cleanUps, "pruned jobs": c.pruned,
		"committed jobs": c.dealt, "jobs rolled back": c.undone, "IDs enqueued again": c.again,
	} {
		if n == 0 {
			names = append(names, name)
		}
	}
	if s.redis != nil && c.takes == 0 {
		names = append(names, "tickets taken from Redis")
	}
	return names
}

// report returns the table of counts.
func (s *stage) report() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.counts
	var b strings.Builder
	line := func(what string, n any) { fmt.Fprintf(&b, "%-45s %10v\n", what, n) }
	line("seed", s.seed)
	line("seconds", int(time.Since(s.began).Seconds()))
	line("seconds of them to drain", int(c.drain.Seconds()))
	line("jobs acknowledged", c.acked)
	for _, state := range errand.States {
		if n := c.states[state]; n > 0 || state == errand.Succeeded {
			line("jobs "+string(state), n)
		}
	}
	line("of these failed as poison", c.poison)
	line("of these beside a job that kills", c.neighbours)
	line("runs started", c.starts)
	line("runs that did all their work", c.done)
	line("pauses seen", c.pauses)
	line("ended jobs retried", c.retries)
	line("runs stopped by their timeout", c.timeouts)
	line("clean-ups that ran to their end", c.cleanUps)
	line("jobs pruned", c.pruned)
	line("jobs committed in a transaction", c.dealt)
	line("jobs rolled back with one", c.undone)
	for _, what := range allFaults {
		if n := c.faults[what]; n > 0 {
			line(what, n)
		}
	}
	if s.redis != nil {
		line("takes of tickets from Redis", c.takes)
	}
	line("replies lost", c.dropped)
	line("connections cut", c.cuts)
	line("enqueues whose first try had been stored", c.repeats)
	line("enqueues of an ID again", c.again)
	line("enqueues answered by a unique job", c.duplicates)
	line("jobs with a late start of a zombie", c.lateStarts)
	line("writes refused", c.refused)
	line("versions and notes compared", fmt.Sprintf("%d/%d", c.versions, c.notes))
	line("looks at the whole store", c.probes)
	line("jobs lost", c.lost)
	line("jobs ended twice", c.doubled)
	line("findings", len(s.findings))
	return b.String()
}

// tell writes a job's story to a file: its row, its log, its history and its lines of the ledger.
func (q *inquest) tell(st *story, name string) error {
	var b strings.Builder
	stored := "not stored"
	_ = q.db.QueryRow(context.Background(), "select row_to_json(j)::text from errand.jobs j where id = $1", st.row.id).Scan(&stored)
	fmt.Fprintf(&b, "%s\n\nhistory:\n", stored)
	for _, v := range st.history {
		fmt.Fprintf(&b, "%s version %d %s %s token %d worker %s\n", v.at.UTC().Format("15:04:05.000000"), v.version, v.state, v.want, v.token, v.worker)
	}
	fmt.Fprintf(&b, "\nledger:\n")
	for _, n := range st.notes {
		fmt.Fprintf(&b, "%d %s %s %s token %d session %s version %d %s step %d dup %t %s\n", n.line, time.UnixMicro(n.At).UTC().Format("15:04:05.000000"),
			n.By, n.What, n.Token, n.Session, n.Version, n.State, n.Step, n.Dup, n.Text)
	}
	fmt.Fprintf(&b, "\nlog:\n")
	entries, err := q.engine.Log(context.Background(), st.row.id, 0, 1000)
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s %s\n", e.Time.Format("15:04:05.000000"), e.Type, e.Text)
	}
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	return os.WriteFile(q.path(name), []byte(b.String()), 0o600)
}
