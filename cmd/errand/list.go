package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// listFlags are the filters of a list.
type listFlags struct {
	states, kinds, queues []string
	tags                  []string
	filter                string
	worker, cursor        string
	limit                 int
	all                   bool
}

func listCommand() *cobra.Command {
	var f listFlags
	var format string
	cmd := &cobra.Command{
		Use:     "list [FILTER…]",
		Aliases: []string{"ls"},
		Short:   "List jobs, the newest first",
		Long: `List shows the jobs that match all terms of the filter:

` + filterHelp,
		Example: `  errand list
  errand list --state running,paused --kind backup
  errand list state:failed 'kind:mail*' 'error:"no route"' 'age<1d'
  errand list --state failed -o id --all | errand retry -
  errand list --all -o jsonl | jq -r 'select(.error) | .error'`,
		RunE: func(cmd *cobra.Command, terms []string) error {
			f.filter = strings.Join(terms, " ")
			q, err := f.query()
			if err != nil {
				return &usageError{err}
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			return f.list(cmd, c, q, printer{cmd.OutOrStdout(), format})
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVarP(&f.states, "state", "s", nil, "in any of these `STATES`: "+statesText())
	fs.StringSliceVarP(&f.kinds, "kind", "k", nil, "of any of these `KINDS`")
	fs.StringSliceVar(&f.queues, "queue", nil, "in any of these `QUEUES`")
	fs.StringSliceVar(&f.tags, "tag", nil, "with all these `TAGS`")
	fs.StringVar(&f.worker, "worker", "", "that this worker `SESSION` runs, or ran last")
	fs.IntVarP(&f.limit, "limit", "n", 20, "how many (`NUMBER`) at most, up to 1000")
	fs.BoolVar(&f.all, "all", false, "all that match, however many")
	fs.StringVar(&f.cursor, "cursor", "", "go on where a list ended: `CURSOR` is what -o json gave as next")
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(strings.Split(statesText(), ", "), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("kind", completeKinds)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

// filterHelp describes filters.
const filterHelp = `  state:failed,cancelled   in one of these states
  kind:mail  'kind:mail*'  of one of these kinds; * at the end stands for anything
  queue:media              in one of these queues
  tag:blue                 with this tag; several tags: with each of them
  worker:UUID              that this worker session runs, or ran last
  unique:KIND:KEY          that holds this unique key
  'error:"no route"'       whose latest error has this text in it
  args.customer.id=42      whose args have this value there
  'age>1h'  'age<7d'       created longer ago, or less long
  'ended<10m'              ended less long ago`

func statesText() string {
	var names []string
	for _, s := range errand.States {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

func (f *listFlags) query() (url.Values, error) {
	for _, s := range f.states {
		if !slices.Contains(errand.States, errand.State(s)) {
			return nil, fmt.Errorf("--state %q: use %s", s, statesText())
		}
	}
	if f.limit < 1 || f.limit > errand.MaxPage {
		return nil, fmt.Errorf("--limit %d: use 1 to %d, or --all", f.limit, errand.MaxPage)
	}
	if _, err := errand.ParseQuery(f.filter, time.Now()); err != nil {
		return nil, err
	}
	q := url.Values{"state": f.states, "kind": f.kinds, "queue": f.queues, "tag": f.tags}
	for name, value := range map[string]string{"filter": f.filter, "cursor": f.cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.worker != "" {
		id, err := parseID(f.worker)
		if err != nil {
			return nil, fmt.Errorf("--worker: %w", err)
		}
		q.Set("worker", id.String())
	}
	q.Set("limit", strconv.Itoa(f.limit))
	if f.all {
		q.Set("limit", strconv.Itoa(errand.MaxPage))
	}
	return q, nil
}

// list goes on where the server has looked long enough for one answer, until there are as many as asked for.
func (f *listFlags) list(cmd *cobra.Command, c *client, q url.Values, p printer) error {
	var all []server.Job
	for {
		page, err := c.page(cmd.Context(), q)
		if err != nil {
			return err
		}
		if f.all && (p.format == "jsonl" || p.format == "id") { // however many: not kept here
			if err := p.print(page.Jobs, nil); err != nil {
				return err
			}
		} else {
			all = append(all, page.Jobs...)
		}
		if page.Next == "" || !f.all && len(all) >= f.limit {
			return printPage(cmd, p, server.Page{Jobs: all, Next: page.Next}, f.all)
		}
		q.Set("cursor", page.Next)
		if !f.all {
			q.Set("limit", strconv.Itoa(f.limit-len(all)))
		}
	}
}

func printPage(cmd *cobra.Command, p printer, page server.Page, all bool) error {
	switch {
	case p.format == "json":
		if page.Jobs == nil {
			page.Jobs = []server.Job{}
		}
		return p.json(page, "  ")
	case len(page.Jobs) == 0:
		if p.format == "table" {
			fmt.Fprintln(cmd.ErrOrStderr(), "errand: no jobs match")
		}
		return nil
	}
	if err := p.print(page.Jobs, func() *table { return jobTable(page.Jobs) }); err != nil {
		return err
	}
	if page.Next != "" && !all {
		fmt.Fprintln(cmd.ErrOrStderr(), "errand: there are more: --limit 1000, --all, or --cursor", page.Next)
	}
	return nil
}

func (c *client) page(ctx context.Context, q url.Values) (page server.Page, err error) {
	return page, c.do(ctx, http.MethodGet, "/jobs", q, nil, &page)
}
