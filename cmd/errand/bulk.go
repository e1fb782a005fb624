package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

var bulkVerbs = []string{"pause", "resume", "cancel", "terminate", "retry", "delete"}

func bulkCommand() *cobra.Command {
	var reason, format, patience string
	var yes, dry, detach bool
	cmd := &cobra.Command{
		Use:   "bulk VERB FILTER…",
		Short: "Pause, resume, cancel, terminate, retry or delete all jobs that match",
		Long: `Bulk does one verb to all jobs that match all terms of a filter. It counts them first and asks. The work is done by a job of its own,
on any worker, however many there are: with --detach it is not waited for; watch, pause or cancel it like any other.
Jobs that come to match later are left alone.

` + filterHelp,
		Example: `  errand bulk retry state:failed 'kind:mail*' 'ended<1d' --reason "the relay is back"
  errand bulk cancel queue:media state:scheduled --dry-run
  errand bulk delete state:failed 'age>30d' --yes`,
		Args: wants(2, -1, "VERB", "FILTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			verb, filter := args[0], strings.Join(args[1:], " ")
			if !slices.Contains(bulkVerbs, verb) {
				return &usageError{fmt.Errorf("%q: use %s", verb, strings.Join(bulkVerbs, ", "))}
			}
			if _, err := errand.ParseQuery(filter, time.Now()); err != nil {
				return &usageError{err}
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			b := server.NewBulk{Verb: verb, Filter: filter, Reason: reason, DryRun: true}
			var counted, started server.Bulk
			if err := c.do(cmd.Context(), http.MethodPost, "/bulk", nil, b, &counted); err != nil {
				return err
			}
			text := plural(counted.Count, "job")
			if counted.More {
				text += " or more"
			}
			if dry {
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s: would %s\n", text, matching(counted), verb)
				return nil
			}
			if counted.Count == 0 {
				c.say("no jobs match %s", counted.Filter)
				return nil
			}
			question := fmt.Sprintf("%s%s %s %s?", strings.ToUpper(verb[:1]), verb[1:], text, matching(counted))
			if err := ask(cmd, question, "nothing was done: add --yes to go ahead without being asked, or --dry-run to see how many match", yes); err != nil {
				return err
			}
			b.DryRun, b.Expect = false, counted.Count
			if err := c.do(cmd.Context(), http.MethodPost, "/bulk", nil, b, &started); err != nil {
				return err
			}
			p := printer{cmd.OutOrStdout(), format}
			if detach {
				return p.print(*started.Job, func() *table { return jobTable([]server.Job{*started.Job}) })
			}
			v := newView(cmd, c, false)
			job, err := follow(cmd.Context(), c, v, started.Job.ID, false, nil)
			v.close()
			if err != nil {
				return err
			}
			return errors.Join(printBulk(p, &job), ended(&job))
		},
	}
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "why (`TEXT`): kept with the jobs")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only count the jobs that match")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "print the job that does it, and do not wait for its end")
	clientFlags(cmd)
	patienceFlag(cmd, &patience)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = cobra.FixedCompletions(bulkVerbs, cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

func matching(b server.Bulk) string {
	if b.Filter == "" {
		return "(all there are)"
	}
	return "that match " + b.Filter
}

// printBulk prints what a bulk has done.
func printBulk(p printer, job *server.Job) error {
	if p.format != "table" {
		return p.print(*job, nil)
	}
	var r errand.BulkResult
	if len(job.Result) == 0 || json.Unmarshal(job.Result, &r) != nil {
		return nil
	}
	_, err := fmt.Fprintf(p.w, "%s matched, %d changed, %d refused\n", plural(r.Matched, "job"), r.Changed, r.Refused)
	for id, why := range r.Why {
		if err == nil {
			_, err = fmt.Fprintf(p.w, "  %s: %s\n", id, harmlessLines(why))
		}
	}
	if n := r.Refused - len(r.Why); n > 0 && err == nil {
		_, err = fmt.Fprintf(p.w, "  and %d more\n", n)
	}
	return err
}
