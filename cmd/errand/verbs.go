package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// verbCommands are the commands that change what becomes of jobs.
func verbCommands() []*cobra.Command {
	verbs := []struct{ name, short, long string }{
		{
			"pause", "Stop jobs until resume",
			"Pause keeps jobs from starting; running ones save a checkpoint and stop. A command's processes are\nstopped where they are (SIGSTOP), and use no CPU.",
		},
		{"resume", "Let paused jobs go on", "Resume lets paused jobs go on from where they were."},
		{
			"cancel", "End jobs for good, giving running ones time to stop",
			"Cancel ends jobs for good. A running one is asked to stop first: a command gets SIGTERM and, after its\ngrace, SIGKILL. Then its clean-up runs, if its kind has one.",
		},
		{
			"terminate", "End jobs at once",
			"Terminate ends jobs at once: a command gets SIGKILL; whatever a run writes later is refused.",
		},
		{
			"retry", "Run ended jobs again",
			"Retry runs failed, cancelled or succeeded jobs again, with all their attempts and from their\ncheckpoint; and those that wait for their next attempt, now.",
		},
	}
	var cmds []*cobra.Command
	for _, v := range verbs {
		cmds = append(cmds, verbCommand(v.name, v.short, v.long))
	}
	return cmds
}

func verbCommand(verb, short, long string) *cobra.Command {
	var reason, format string
	cmd := &cobra.Command{
		Use:   verb + " ID…",
		Short: short,
		Long:  long + "\nIt prints the jobs as they are now. Ids can come from stdin: -",
		Example: "  errand " + verb + " 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77 --reason \"maintenance\"\n" +
			"  errand list --kind backup --state " + exampleState(verb) + " -o id --all | errand " + verb + " -",
		Args: wants(1, -1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var jobs []server.Job
			err := eachID(cmd, args, func(c *client, id errand.ID) error {
				var job server.Job
				err := c.do(cmd.Context(), http.MethodPost, jobPath(id, "/"+verb), nil, server.Action{Reason: reason}, &job)
				if err == nil {
					jobs = append(jobs, job)
				}
				return err
			})
			if len(jobs) > 0 {
				p := printer{cmd.OutOrStdout(), format}
				if perr := p.print(jobs, func() *table { return verbTable(jobs) }); err == nil {
					err = perr
				}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "why (`TEXT`): kept with the job")
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeIDs
	return cmd
}

func exampleState(verb string) string {
	switch verb {
	case "resume":
		return "paused"
	case "retry":
		return "failed"
	}
	return "running"
}

// verbTable is the jobs that a verb was done to.
func verbTable(jobs []server.Job) *table {
	t := &table{}
	t.head("id", "kind", "state")
	for i := range jobs {
		t.row(jobs[i].ID.String(), jobs[i].Kind, stateText(&jobs[i]))
	}
	return t
}
