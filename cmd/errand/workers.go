package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand/server"
)

// overviewCommand lists all there is of something: what a GET of its path answers.
// The query is what flags add to the request.
func overviewCommand[Answer, Item any](name, short, none string, query url.Values, items func(*Answer) []Item, show func([]Item) *table) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     name,
		Short:   short,
		Example: "  errand " + name + "\n  errand " + name + " -o json",
		Args:    wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var out Answer
			if err := c.do(cmd.Context(), http.MethodGet, "/"+name, query, nil, &out); err != nil {
				return err
			}
			p, all := printer{cmd.OutOrStdout(), format}, items(&out)
			switch {
			case format == "json":
				return p.json(out, "  ")
			case format == "table" && len(all) == 0:
				c.say("%s", none)
				return nil
			}
			return p.print(all, func() *table { return show(all) })
		},
	}
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl")
	return cmd
}

// queryFlag adds a flag whose value is a parameter of the request.
func queryFlag(cmd *cobra.Command, query url.Values, name, usage string) {
	cmd.Flags().Func(name, usage, func(v string) error {
		query.Set(name, v)
		return nil
	})
}

func workersCommand() *cobra.Command {
	return overviewCommand("workers", "List the worker sessions, the newest first",
		"no worker has run of late: start one with errand worker or errand serve", nil,
		func(w *server.Workers) []server.Session { return w.Workers }, workersTable)
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
	return overviewCommand("kinds", "List the kinds of jobs that workers handle",
		"no worker handles any kind: define a [command.NAME] in the server's settings, see errand serve --help", nil,
		func(k *server.Kinds) []server.Kind { return k.Kinds }, kindsTable)
}

func kindsTable(kinds []server.Kind) *table {
	t := &table{}
	t.head("kind", "workers")
	for _, k := range kinds {
		t.row(k.Name, fmt.Sprint(k.Workers))
	}
	return t
}
