package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand/server"
)

func workersCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "workers",
		Short:   "List the worker sessions, the newest first",
		Example: "  errand workers\n  errand workers -o json",
		Args:    wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var out server.Workers
			if err := c.do(cmd.Context(), http.MethodGet, "/workers", nil, nil, &out); err != nil {
				return err
			}
			p := printer{cmd.OutOrStdout(), format}
			switch {
			case format == "json":
				return p.json(out, "  ")
			case format == "table" && len(out.Workers) == 0:
				c.say("no worker has run of late: start one with errand worker or errand serve")
				return nil
			}
			return p.print(out.Workers, func() *table { return workersTable(out.Workers) })
		},
	}
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl")
	return cmd
}

func workersTable(workers []server.Session) *table {
	t := &table{}
	t.head("session", "host", "pid", "state", "started", "running", "refused", "queues", "kinds")
	for i := range workers {
		w := &workers[i]
		state := "alive"
		switch {
		case !w.Alive:
			state = "lost " + ago(w.Expires)
		case w.Draining && w.Running > 0:
			state = "draining"
		case w.Draining:
			state = "drained"
		}
		queues := "all"
		if len(w.Queues) > 0 {
			queues = (*queuesValue)(&w.Queues).String()
		}
		t.row(w.ID.String(), w.Host, fmt.Sprint(w.PID), state, ago(w.Started), fmt.Sprint(w.Running), fmt.Sprint(w.Refused),
			queues, shorten(strings.Join(w.Kinds, " "), 60))
	}
	return t
}

func kindsCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "kinds",
		Short:   "List the kinds of jobs that workers handle",
		Example: "  errand kinds\n  errand kinds -o json",
		Args:    wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var out server.Kinds
			if err := c.do(cmd.Context(), http.MethodGet, "/kinds", nil, nil, &out); err != nil {
				return err
			}
			p := printer{cmd.OutOrStdout(), format}
			switch {
			case format == "json":
				return p.json(out, "  ")
			case format == "table" && len(out.Kinds) == 0:
				c.say("no worker handles any kind: define a [command.NAME] in the server's settings, see errand serve --help")
				return nil
			}
			return p.print(out.Kinds, func() *table {
				t := &table{}
				t.head("kind", "workers")
				for _, k := range out.Kinds {
					t.row(k.Name, fmt.Sprint(k.Workers))
				}
				return t
			})
		},
	}
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl")
	return cmd
}
