// Command errand runs background jobs: servers and workers on one SQLite file or on PostgreSQL, and the
// client that enqueues, watches and controls jobs over the HTTP API. See "errand help".
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == superviseVerb {
		os.Exit(supervise(os.Args[2:]))
	}
	os.Exit(run(os.Args[1:]))
}

// run executes one command line and returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go insist(ctx)
	root := rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") {
		err = &usageError{errors.New(strings.Split(err.Error(), "\n")[0] + suggestCommand(root, args))}
	}
	code := exitCode(err)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		code, err = exitInterrupted, nil
	}
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, "errand:", err)
		if code == exitUsage {
			fmt.Fprintf(os.Stderr, "See \"%s --help\".\n", cmd.CommandPath())
		}
	}
	return code
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "errand",
		Short: "Background jobs that you can pause, resume and trust",
		Long: `errand runs background jobs: pause, resume, cancel or terminate them while they run;
what was acknowledged survives a kill -9, and goes on where it was.

Start a server with its workers, then enqueue jobs and control them from another terminal.
Without writing Go, a [command.NAME] in the server's settings makes any program a kind of job.`,
		Example: `  errand serve                          # API and workers, on ./errand.db
  errand worker --database postgres://… # one of many workers on PostgreSQL
  errand run backup -a target=/srv      # enqueue a job, show its progress, wait for it
  errand list --state failed            # what went wrong
  errand schedule set nightly '0 3 * * *' backup -a target=/srv
  errand list --state failed -o id --all | errand retry -`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: "server", Title: "Server:"},
		&cobra.Group{ID: "jobs", Title: "Jobs:"},
		&cobra.Group{ID: "control", Title: "Control:"},
		&cobra.Group{ID: "schedules", Title: "Schedules:"},
		&cobra.Group{ID: "see", Title: "Overview:"},
	)
	group := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("server", serveCommand(), workerCommand(), migrateCommand(), doctorCommand(), healthCommand(), configCommand(), tokenCommand())
	group("jobs", runCommand(), enqueueCommand(), listCommand(), showCommand(), whyCommand(), watchCommand(), logsCommand())
	group("control", verbCommands()...)
	group("control", deleteCommand(), bulkCommand(), queueCommand(), drainCommand("drain"), drainCommand("undrain"))
	group("schedules", scheduleCommand())
	group("see", statsCommand(), historyCommand(), queuesCommand(), workersCommand(), kindsCommand())
	root.AddCommand(versionCommand(), exitCodesHelp())
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Example = "  source <(errand completion bash)\n  errand completion zsh > \"${fpath[1]}/_errand\""
		}
	}
	return root
}

// suggestCommand is a hint for a command that does not exist.
func suggestCommand(root *cobra.Command, args []string) string {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	i := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") })
	if i < 0 {
		return ""
	}
	return suggest(args[i], names)
}

// wants checks the number of arguments and says what they should be.
func wants(from, to int, what ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < from:
			return &usageError{fmt.Errorf("%s is missing", what[len(args)])}
		case to == 0 && len(args) > 0:
			return &usageError{fmt.Errorf("%q: this command takes no arguments", args[0])}
		case to > 0 && len(args) > to:
			return &usageError{fmt.Errorf("%q is too much: this command takes %s", args[to], strings.Join(what, " and "))}
		}
		return nil
	}
}
