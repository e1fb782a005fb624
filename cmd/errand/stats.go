package main

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

func statsCommand() *cobra.Command {
	cmd := overviewCommand("stats", "Count the jobs by queue, kind and state", "there are no jobs", nil,
		func(s *server.Stats) []server.Count { return s.Counts }, statsTable)
	cmd.Example = `  errand stats
  errand stats -o jsonl | jq 'select(.state == "failed")'`
	return cmd
}

// statsTable has one line per queue and kind, and a column for each state that occurs.
func statsTable(counts []server.Count) *table {
	t := &table{}
	head := []string{"queue", "kind"}
	column := map[errand.State]int{}
	for i, s := range errand.States {
		head = append(head, string(s))
		column[s] = 2 + i
	}
	t.head(append(head, "oldest ready")...)
	var row []string
	for i, c := range counts {
		if i == 0 || c.Queue != counts[i-1].Queue || c.Kind != counts[i-1].Kind {
			row = make([]string, len(head)+1)
			row[0], row[1] = shorten(c.Queue, 30), shorten(c.Kind, 30)
			t.row(row...)
			row = t.rows[len(t.rows)-1]
		}
		row[column[c.State]] = fmt.Sprint(c.Jobs)
		if c.State == errand.Ready && !c.OldestReady.IsZero() {
			row[len(head)] = rough(max(time.Since(c.OldestReady), 0))
		}
	}
	t = slimmed(t)
	for _, row := range t.rows {
		for i := range row {
			if row[i] == "" {
				row[i] = "-"
			}
		}
	}
	return t
}

func historyCommand() *cobra.Command {
	query := url.Values{}
	cmd := overviewCommand("history", "Count how many jobs were added, started and ended, over time", "nothing has happened in this time", query,
		func(h *server.History) []server.Point {
			return slices.DeleteFunc(slices.Clone(h.Points), func(p server.Point) bool { return p.Flow == errand.Flow{Time: p.Time} })
		}, historyTable)
	cmd.Long = `History tells how many jobs were added, started (retries too), and ended, step by step, and how long those that were
started had waited on average since they were due. Steps in which nothing happened are left out; the last is not over.`
	cmd.Example = "  errand history\n  errand history --range 24h --queue media"
	queryFlag(cmd, query, "range", "how far back: `15m`, 1h, 24h or 168h, in steps of 10s, 10s, 5m and 1h (default 1h)")
	queryFlag(cmd, query, "queue", "of this `queue` only")
	queryFlag(cmd, query, "kind", "of this `kind` only")
	return cmd
}

func historyTable(points []server.Point) *table {
	t := &table{}
	t.head("time", "added", "started", "succeeded", "failed", "cancelled", "wait")
	for _, p := range points {
		wait := "-"
		if p.Wait != nil {
			wait = rough(time.Duration(*p.Wait))
		}
		n := func(n int64) string { return fmt.Sprint(n) }
		t.row(p.Time.Local().Format("2006-01-02 15:04:05"), n(p.Added), n(p.Started), n(p.Succeeded), n(p.Failed), n(p.Cancelled), wait)
	}
	return t
}
