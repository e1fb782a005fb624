package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

func watchCommand() *cobra.Command {
	var format, patience string
	cmd := &cobra.Command{
		Use:   "watch ID…",
		Short: "Watch jobs until they have ended",
		Long: `Watch shows the state and progress of jobs on stderr until all have ended, and prints them on stdout
then; with -o jsonl each change as it comes. It goes on after a restart of the server.
It exits with 0 if all succeeded, 3 if one failed, 4 if one was cancelled. Ids can come from stdin: -`,
		Example: `  errand watch 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77
  errand list --state running -o id | errand watch -
  errand watch "$ID" -o jsonl | jq .progress`,
		Args: wants(1, -1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			ids, err := readIDs(cmd.InOrStdin(), args)
			if err != nil || len(ids) == 0 {
				return err
			}
			return watchAll(cmd, c, ids, printer{cmd.OutOrStdout(), format})
		},
	}
	clientFlags(cmd)
	patienceFlag(cmd, &patience)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeIDs
	return cmd
}

// maxWatched bounds the connections to the server.
const maxWatched = 100

func watchAll(cmd *cobra.Command, c *client, ids []errand.ID, p printer) error {
	v := newView(cmd, c, len(ids) > 1)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		jobs = make([]server.Job, len(ids))
		errs = make([]error, len(ids))
		slot = make(chan struct{}, maxWatched)
	)
	each := func(j server.Job) {
		if p.format == "jsonl" {
			mu.Lock()
			defer mu.Unlock()
			_ = p.json(j, "")
		}
	}
	for i, id := range ids {
		slot <- struct{}{}
		wg.Go(func() {
			defer func() { <-slot }()
			jobs[i], errs[i] = follow(cmd.Context(), c, v, id, false, each)
		})
	}
	wg.Wait()
	v.close()
	done, first := outcomes(c, ids, jobs, errs)
	if p.format == "jsonl" || len(done) == 0 {
		return first
	}
	var what any = done
	if len(ids) == 1 {
		what = done[0]
	}
	if err := p.print(what, func() *table { return jobTable(done) }); err != nil {
		return err
	}
	return first
}

// outcomes returns the jobs that have ended, and the first error; it tells the others.
func outcomes(c *client, ids []errand.ID, jobs []server.Job, errs []error) (done []server.Job, first error) {
	for i := range ids {
		err := errs[i]
		if err != nil && !isCode(err, exitUnreachable) {
			err = naming(ids[i], err)
		}
		if err == nil {
			done = append(done, jobs[i])
			err = ended(&jobs[i])
		}
		if err == nil {
			continue
		}
		if first != nil && !errors.Is(err, context.Canceled) {
			c.say("%s", err)
			continue
		}
		first = err
	}
	return done, first
}

func durationOf(d server.Duration) time.Duration { return time.Duration(d) }
