package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

func showCommand() *cobra.Command {
	var format string
	var tail int
	cmd := &cobra.Command{
		Use:   "show ID…",
		Short: "Show all that is known of a job, and the end of its log",
		Example: `  errand show 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77
  errand show "$ID" -o json | jq .result`,
		Args: wants(1, -1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachID(cmd, args, func(c *client, id errand.ID) error {
				job, err := c.job(cmd.Context(), id)
				if err != nil {
					return err
				}
				p := printer{cmd.OutOrStdout(), format}
				if format != "table" {
					return p.print(job, nil)
				}
				log, err := c.entries(cmd.Context(), id, max(job.Entries-int64(tail), 0), min(max(tail, 1), 1000), 0)
				if err != nil {
					return err
				}
				return showJob(p.w, &job, log.Entries[:min(tail, len(log.Entries))])
			})
		},
	}
	cmd.Flags().IntVarP(&tail, "tail", "n", 10, "`NUMBER` of lines of the log to show")
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeIDs
	return cmd
}

// showJob prints one job for people. What is as usual is left out.
func showJob(w io.Writer, j *server.Job, log []server.Entry) error {
	t := &table{}
	add := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	add("id", j.ID.String())
	add("kind", j.Kind)
	add("state", stateText(j)+whyState(j))
	add("progress", progressText(j))
	add("queue", fmt.Sprintf("%s, priority %d", j.Queue, j.Priority))
	add("attempt", attemptText(j))
	add("created", when(j.Created))
	if j.State == errand.Scheduled {
		add("due", when(j.Due))
	}
	add("started", when(j.Started))
	add("ended", when(j.Ended))
	add("took", runTime(j))
	add("kept until", when(j.Expires))
	if j.Timeout > 0 {
		add("timeout", rough(durationOf(j.Timeout)))
	}
	if u := j.Unique; u != nil {
		add("unique", fmt.Sprintf("%s, until %s", u.Key, uniqueEnd(u)))
	}
	if len(j.After) > 0 {
		add("after", fmt.Sprintf("%s, waits for %d of them; if one fails: %s", plural(len(j.After), "job"), j.Blocked, j.AfterOutcome))
	}
	add("tags", strings.Join(j.Tags, " "))
	for _, k := range slices.Sorted(maps.Keys(j.Metadata)) {
		add("meta "+k, j.Metadata[k])
	}
	if j.Worker != (errand.ID{}) {
		add("worker", fmt.Sprintf("%s, token %d", j.Worker, j.Token))
	}
	add("args", compact(j.Args))
	add("checkpoint", compact(j.Checkpoint))
	add("result", compact(j.Result))
	if err := t.write(w); err != nil {
		return err
	}
	showStory(w, j, log)
	return nil
}

// showStory prints a job's error and the end of its log.
func showStory(w io.Writer, j *server.Job, log []server.Entry) {
	if j.Error != "" {
		fmt.Fprintf(w, "\nerror\n  %s\n", strings.ReplaceAll(harmlessLines(j.Error), "\n", "\n  "))
	}
	if len(log) > 0 {
		fmt.Fprintf(w, "\nlog (the last %d of %d)\n", len(log), j.Entries)
	}
	for i := range log {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(logLine(&log[i]), "\n", "\n  "))
	}
}

// whyState says why the job is as it is.
func whyState(j *server.Job) string {
	switch {
	case j.State == errand.Ready:
		return ": waits for a free worker that knows its kind"
	case j.State == errand.Waiting:
		return ": waits for " + plural(j.Blocked, "other job")
	case j.State == errand.Scheduled:
		return ": starts " + ago(j.Due)
	case j.State == errand.Paused || j.State == errand.Cancelled || j.Want != "":
		s := ""
		if j.Actor != "" {
			s = " by " + j.Actor
		}
		if j.Reason != "" {
			s += ": " + j.Reason
		}
		return s
	}
	return ""
}

func attemptText(j *server.Job) string {
	s := fmt.Sprintf("%d of %d", j.Attempt, j.MaxAttempts)
	if j.Crashes > 0 {
		s += fmt.Sprintf(", lost %s (%d make it fail)", plural(j.Crashes, "worker"), j.MaxCrashes)
	}
	return s
}

func uniqueEnd(u *server.Unique) string {
	switch u.Scope {
	case errand.UntilTime:
		return when(u.Until)
	case errand.UntilStarted:
		return "it starts"
	}
	return "it ends"
}

// compact is JSON on one line, shortened.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || string(raw) == "null" || json.Compact(&b, raw) != nil {
		return ""
	}
	if b.Len() > 1000 {
		return shorten(b.String(), 1000) + fmt.Sprintf(" (%d bytes; see all with -o json)", b.Len())
	}
	return b.String()
}
