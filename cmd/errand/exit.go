package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// The exit codes, see the help of exit-codes.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitFailed      = 3
	exitCancelled   = 4
	exitNotFound    = 5
	exitUnreachable = 6
	exitRefused     = 7
	exitConflict    = 8
	exitInterrupted = 130
)

const exitHelp = `Exit codes of errand:

    0   done; of run and watch: the job succeeded
    1   something went wrong, see the message
    2   the command line or a setting is wrong: nothing was done
    3   run, watch: the job failed
    4   run, watch: the job was cancelled
    5   there is no job with this id, or no schedule of this name
    6   the server cannot be reached, or does not answer
    7   the server asks for other credentials, or a higher role
    8   the verb does not apply to the job in its state; the schedule was changed meanwhile, or is there already
  130   interrupted by Ctrl-C (a job that was enqueued goes on)

With several ids or jobs the code is that of the first error.

Exit codes of a command ([command.NAME] in the settings) mean for its job:

    0   succeeded
   65   failed for good, no retry (EX_DATAERR; setting permanent_exit_codes)
   75   not now: tried again after the setting snooze, costs no attempt (EX_TEMPFAIL)
other   a failed attempt: retried while the job has attempts left`

func exitCodesHelp() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitHelp}
}

// usageError is a mistake of who called us.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// codeError is an error with an exit code of its own.
type codeError struct {
	error
	code int
}

func (e *codeError) Unwrap() error { return e.error }

// exitCode is the code for what a command returned.
func exitCode(err error) int {
	var usage *usageError
	var coded *codeError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitError
}
