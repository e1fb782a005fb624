package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

func queuesCommand() *cobra.Command {
	return overviewCommand("queues", "List the queues", "there are no queues yet: a queue comes with its first job", nil,
		func(q *server.Queues) []server.QueueInfo { return q.Queues }, queuesTable)
}

func queuesTable(queues []server.QueueInfo) *table {
	t := &table{}
	t.head("queue", "ready", "oldest", "running", "slots", "scheduled", "waiting", "paused", "failed", "workers", "")
	for i := range queues {
		q := &queues[i]
		n := func(s errand.State) string { return fmt.Sprint(q.Jobs[s]) }
		oldest, pause := "", ""
		if !q.OldestReady.IsZero() {
			oldest = ago(q.OldestReady)
		}
		if p := q.Paused; p != nil {
			pause = "paused " + ago(p.Since)
			if p.Actor != "" {
				pause += " by " + p.Actor
			}
			if p.Reason != "" {
				pause += ": " + shorten(p.Reason, 60)
			}
		}
		t.row(q.Name, n(errand.Ready), oldest, n(errand.Running), fmt.Sprint(q.Slots), n(errand.Scheduled), n(errand.Waiting), n(errand.Paused),
			n(errand.Failed), fmt.Sprint(q.Workers), pause)
	}
	return t
}

func queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "queue",
		Short:   "Pause and resume queues",
		Example: "  errand queue pause media --reason \"maintenance\"\n  errand queue resume media",
		Args:    wants(1, -1, "pause or resume"),
		RunE: func(_ *cobra.Command, args []string) error {
			return &usageError{fmt.Errorf("%q: use errand queue pause or errand queue resume", args[0])}
		},
	}
	for _, v := range []struct{ verb, short, long string }{
		{
			"pause", "Keep the jobs of queues from starting until resume",
			"Pause keeps the jobs of queues from starting, in all workers. Those that run go on, and more can be enqueued.",
		},
		{"resume", "Let the jobs of paused queues start again", "Resume lets the jobs of paused queues start again."},
	} {
		var reason string
		sub := &cobra.Command{
			Use: v.verb + " QUEUE…", Short: v.short, Long: v.long,
			Example: "  errand queue " + v.verb + " default media --reason \"maintenance\"",
			Args:    wants(1, -1, "QUEUE"),
			RunE: func(cmd *cobra.Command, queues []string) error {
				c, err := newClient(cmd)
				for i := 0; i < len(queues) && err == nil; i++ {
					path := "/queues/" + url.PathEscape(queues[i]) + "/" + v.verb
					if err = c.do(cmd.Context(), http.MethodPost, path, nil, server.Action{Reason: reason}, nil); err == nil {
						c.say("queue %s: %sd", queues[i], v.verb)
					}
				}
				return err
			},
		}
		sub.Flags().StringVarP(&reason, "reason", "r", "", "why (`TEXT`): kept with the pause, and logged")
		clientFlags(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

func drainCommand(verb string) *cobra.Command {
	short, long := "Tell worker sessions to claim no more jobs", "Drain tells worker sessions to claim no more jobs; those that they run go on. A worker that runs none any more can be\nstopped without interrupting anything."
	if verb == "undrain" {
		short, long = "Let drained worker sessions claim jobs again", "Undrain lets drained worker sessions claim jobs again."
	}
	cmd := &cobra.Command{
		Use: verb + " SESSION…", Short: short, Long: long,
		Example: "  errand workers\n  errand " + verb + " 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77",
		Args:    wants(1, -1, "SESSION"),
		RunE: func(cmd *cobra.Command, sessions []string) error {
			ids := make([]uuid.UUID, len(sessions))
			for i, text := range sessions {
				id, err := parseID(text)
				if err != nil {
					return &usageError{err}
				}
				ids[i] = id
			}
			c, err := newClient(cmd)
			for i := 0; i < len(ids) && err == nil; i++ {
				err = c.do(cmd.Context(), http.MethodPost, "/workers/"+ids[i].String()+"/"+verb, nil, nil, nil)
			}
			return err
		},
	}
	clientFlags(cmd)
	return cmd
}

func whyCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "why ID…",
		Short: "Tell what keeps jobs from running",
		Long: `Why tells what keeps a job from running, by the gates that a worker goes by when it claims jobs: the first line is
what holds it now, the others would hold it next.`,
		Example: "  errand why 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77",
		Args:    wants(1, -1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachID(cmd, args, func(c *client, id errand.ID) error {
				var why server.Why
				if err := c.do(cmd.Context(), http.MethodGet, jobPath(id, "/why"), nil, nil, &why); err != nil {
					return err
				}
				p := printer{cmd.OutOrStdout(), format}
				if format != "text" {
					return p.print(why, nil)
				}
				_, err := fmt.Fprint(cmd.OutOrStdout(), whyText(&why))
				return err
			})
		},
	}
	clientFlags(cmd)
	addFormat(cmd, &format, "text", "json", "jsonl")
	cmd.ValidArgsFunction = completeIDs
	return cmd
}

func whyText(w *server.Why) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s.\n", w.ID, w.State)
	if len(w.Obstacles) == 0 {
		b.WriteString("  Nothing: it is about to start.\n")
	}
	for _, o := range w.Obstacles {
		fmt.Fprintf(&b, "  %s", o.Text)
		if !o.Until.IsZero() {
			fmt.Fprintf(&b, " Until %s.", when(o.Until))
		}
		if o.Reason != "" {
			fmt.Fprintf(&b, " Reason: %s.", strings.TrimSuffix(o.Reason, "."))
		}
		b.WriteByte('\n')
		for _, id := range o.Jobs {
			fmt.Fprintf(&b, "    %s\n", id)
		}
		if n := o.Count - len(o.Jobs); n > 0 && len(o.Jobs) > 0 {
			fmt.Fprintf(&b, "    and %d more\n", n)
		}
	}
	return b.String()
}
