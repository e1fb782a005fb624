package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// wholeLog calls see with each entry that a job's log has now, after one.
func (c *client) wholeLog(ctx context.Context, id errand.ID, after int64, see func(server.Entry)) error {
	for {
		log, err := c.entries(ctx, id, after, 1000, 0)
		if err != nil {
			return err
		}
		for _, e := range log.Entries {
			see(e)
		}
		if after = log.After; len(log.Entries) == 0 {
			return nil
		}
	}
}

func logsCommand() *cobra.Command {
	var format, patience string
	var followIt bool
	var tail int
	cmd := &cobra.Command{
		Use:     "logs ID",
		Aliases: []string{"log"},
		Short:   "Print a job's log",
		Long: `Logs prints what a job has logged, the errors of its attempts, and who did what to it and why.
The server keeps the newest 1,000 lines.`,
		Example: `  errand logs 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77
  errand logs -f "$ID"
  errand logs "$ID" -o jsonl | jq -r 'select(.level == "ERROR") | .text'`,
		Args: wants(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return &usageError{err}
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			job, err := c.job(cmd.Context(), id)
			if err != nil {
				return naming(id, err)
			}
			p := printer{cmd.OutOrStdout(), format}
			print := func(e server.Entry) {
				if format == "text" {
					fmt.Fprintln(p.w, logLine(&e))
				} else {
					_ = p.json(e, "")
				}
			}
			after := int64(0)
			if tail >= 0 {
				after = max(job.Entries-int64(tail), 0)
			}
			if followIt {
				return c.followLog(cmd.Context(), id, after, print)
			}
			return c.wholeLog(cmd.Context(), id, after, print)
		},
	}
	cmd.Flags().BoolVarP(&followIt, "follow", "f", false, "go on until the job has ended")
	cmd.Flags().IntVarP(&tail, "tail", "n", -1, "only the last `NUMBER` of entries (-1: all)")
	clientFlags(cmd)
	patienceFlag(cmd, &patience)
	addFormat(cmd, &format, "text", "jsonl")
	cmd.ValidArgsFunction = completeIDs
	return cmd
}
