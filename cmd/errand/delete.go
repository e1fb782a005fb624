package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

func deleteCommand() *cobra.Command {
	var yes, dry bool
	var format string
	cmd := &cobra.Command{
		Use:     "delete ID…",
		Aliases: []string{"rm"},
		Short:   "Remove jobs and their logs",
		Long: `Delete removes jobs and their logs. Running ones must be cancelled or terminated first.
It prints the jobs that it removed. Ids can come from stdin: -`,
		Example: `  errand delete 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77
  errand list --state failed --kind old -o id --all | errand delete --dry-run -
  errand list --state failed --kind old -o id --all | errand delete --yes -`,
		Args: wants(1, -1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := printer{cmd.OutOrStdout(), format}
			if dry {
				return dryDelete(cmd, args, p)
			}
			if err := confirm(cmd, args, yes); err != nil {
				return err
			}
			var deleted []server.Job
			err := eachID(cmd, args, func(c *client, id errand.ID) error {
				job, err := c.job(cmd.Context(), id)
				if err == nil {
					err = c.do(cmd.Context(), http.MethodDelete, jobPath(id, ""), nil, nil, nil)
				}
				if err == nil {
					deleted = append(deleted, job)
				}
				return err
			})
			return printDeleted(p, deleted, "deleted", err)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only print what would be deleted")
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeIDs
	return cmd
}

// dryDelete prints the jobs that would be deleted.
func dryDelete(cmd *cobra.Command, args []string, p printer) error {
	var would []server.Job
	err := eachID(cmd, args, func(c *client, id errand.ID) error {
		job, err := c.job(cmd.Context(), id)
		switch {
		case err != nil:
			return err
		case job.State == errand.Running || !job.State.Ended() && job.CleanUp != "":
			return &codeError{fmt.Errorf("cannot delete job %s: it is %s (cancel or terminate it first)", id, job.State), exitConflict}
		}
		would = append(would, job)
		return nil
	})
	return printDeleted(p, would, "would be deleted", err)
}

func printDeleted(p printer, jobs []server.Job, what string, err error) error {
	if len(jobs) == 0 {
		return err
	}
	perr := p.print(jobs, func() *table {
		t := &table{}
		t.head("id", "kind", "was", "")
		for i := range jobs {
			t.row(jobs[i].ID.String(), jobs[i].Kind, string(jobs[i].State), what)
		}
		return t
	})
	return errors.Join(err, perr)
}

// confirm asks on a terminal; elsewhere --yes must say so.
func confirm(cmd *cobra.Command, args []string, yes bool) error {
	const undone = "nothing was deleted: add --yes to delete without being asked, or --dry-run to see what would be"
	if !yes && slices.Contains(args, "-") {
		return &usageError{errors.New(undone)}
	}
	return ask(cmd, fmt.Sprintf("Delete %s for good?", plural(len(args), "job")), undone, yes)
}

// ask asks a question on a terminal. No is an error, as is the lack of a terminal.
func ask(cmd *cobra.Command, question, undone string, yes bool) error {
	if yes {
		return nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return &usageError{errors.New(undone)}
	}
	fmt.Fprint(cmd.ErrOrStderr(), question, " [y/N] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		what, _, _ := strings.Cut(undone, ":")
		return errors.New(what)
	}
	return nil
}
