package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

func statsCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count the jobs by queue, kind and state",
		Example: `  errand stats
  errand stats -o jsonl | jq 'select(.state == "failed")'`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var stats server.Stats
			if err := c.do(cmd.Context(), http.MethodGet, "/stats", nil, nil, &stats); err != nil {
				return err
			}
			p := printer{cmd.OutOrStdout(), format}
			switch {
			case format == "json":
				return p.json(stats, "  ")
			case format == "table" && len(stats.Counts) == 0:
				c.say("there are no jobs")
				return nil
			}
			return p.print(stats.Counts, func() *table { return statsTable(stats.Counts) })
		},
	}
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl")
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
