package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand/server"
)

func runCommand() *cobra.Command {
	var f jobFlags
	var format, patience string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "run KIND [ARGS]",
		Short: "Create a job, show its log and progress, and wait for its end",
		Long: `Run creates a job and waits for its end. It shows the job's log and progress on stderr, prints its result
on stdout, and exits with 0 if it succeeded, 3 if it failed, 4 if it was cancelled.
Ctrl-C leaves the job running.

` + argsHelp,
		Example: `  errand run backup -a target=/srv
  errand run convert '{"src": "a.mov"}' --timeout 10m > result.json
  errand run report -a month=2026-01 --quiet -o json`,
		Args: wants(1, 2, "KIND", "ARGS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			job, err := f.enqueue(cmd, c, args)
			if err != nil {
				return err
			}
			c.say("job %s", job.ID)
			return runToEnd(cmd, c, job, quiet, printer{cmd.OutOrStdout(), format})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show neither log nor progress")
	patienceFlag(cmd, &patience)
	addFormat(cmd, &format, "result", "json", "jsonl", "id")
	return cmd
}

func patienceFlag(cmd *cobra.Command, patience *string) {
	cmd.Flags().StringVar(patience, "patience", "5m", "how long (`DURATION`) to try again when the server goes away meanwhile")
}

// runToEnd follows a job that was enqueued, and prints its result.
func runToEnd(cmd *cobra.Command, c *client, job server.Job, quiet bool, p printer) error {
	id := job.ID
	var err error
	if quiet {
		err = c.watch(cmd.Context(), id, func(server.Job) {})
		if err == nil {
			job, err = c.job(cmd.Context(), id)
		}
	} else {
		v := newView(cmd, c, false)
		job, err = follow(cmd.Context(), c, v, id, true, nil)
		v.close()
	}
	if errors.Is(err, context.Canceled) {
		c.say("job %s goes on; see it with: errand watch %s", id, id)
		return err
	}
	if err != nil {
		return naming(id, err)
	}
	if p.format != "result" {
		if err := p.print(job, nil); err != nil {
			return err
		}
	} else if len(job.Result) > 0 {
		fmt.Fprintf(p.w, "%s\n", job.Result)
	}
	return ended(&job)
}
