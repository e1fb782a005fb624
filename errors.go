package errand

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors to test for with [errors.Is].
var (
	// ErrNotFound: no job has this ID. It may have been deleted, or pruned after its retention.
	ErrNotFound = errors.New("no job with this id")
	// ErrNoHandler: this process has no handler for the kind, or no clean-up hook that the job needs.
	ErrNoHandler = errors.New("no handler for this kind")
	// ErrClosed: the engine has stopped, or was never started where that is needed.
	ErrClosed = errors.New("the engine is not running")
	// ErrInvalid: the job, option or query is not acceptable. The text says what is wrong and what would be right.
	ErrInvalid = errors.New("invalid")
)

// Why a run's context ended, by [context.Cause]. All of them satisfy
// errors.Is(err, context.Canceled), so that code which knows nothing of errand treats
// them as the end of a context.
var (
	ErrPaused     error = &stop{"the job is being paused"}
	ErrCancelled  error = &stop{"the job is being cancelled"}
	ErrTerminated error = &stop{"the job was terminated"}
	ErrShutdown   error = &stop{"the worker is shutting down"}
	ErrTimeout    error = &stop{"the run exceeded its timeout"}
	ErrLeaseLost  error = &stop{"the lease is lost: another worker may run this job"}
)

// stop is a reason for which a run's context ends.
type stop struct{ text string }

func (s *stop) Error() string        { return s.text }
func (s *stop) Is(target error) bool { return target == context.Canceled }

// StateError says that a verb does not apply to a job in its present state.
type StateError struct {
	ID    ID
	Verb  string // "pause", "retry", …
	State State
	Hint  string // what would be possible
}

func (e *StateError) Error() string {
	return fmt.Sprintf("cannot %s job %s: it is %s (%s)", e.Verb, e.ID, e.State, e.Hint)
}

// UniqueError says that a job cannot come back to life because another one holds its unique key by now.
type UniqueError struct {
	ID  ID
	Key string
}

func (e *UniqueError) Error() string {
	return fmt.Sprintf("job %s: another job holds its unique key %q", e.ID, e.Key)
}

// FailedError is what Wait returns for a job that ended without success.
type FailedError struct{ Job Job }

func (e *FailedError) Error() string {
	text := e.Job.Error
	if e.Job.State == Cancelled {
		text = e.Job.Reason
	}
	if text == "" {
		return fmt.Sprintf("job %s %s", e.Job.ID, e.Job.State)
	}
	return fmt.Sprintf("job %s %s: %s", e.Job.ID, e.Job.State, text)
}

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error that no retry can mend: the job fails at once.
// Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

type retryAfterError struct {
	error
	delay time.Duration
}

func (e retryAfterError) Unwrap() error { return e.error }

// RetryAfter marks an error after which the job is retried in d, instead of the delay of
// the kind's retry policy. The attempt counts. RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return retryAfterError{err, max(d, 0)}
}

type snoozeError struct{ delay time.Duration }

func (e snoozeError) Error() string { return "snoozed for " + e.delay.String() }

// Snooze, returned by a handler, runs the job again in d. It is no failure and costs no
// attempt.
func Snooze(d time.Duration) error { return snoozeError{max(d, 0)} }

// panicError is a run that panicked or called runtime.Goexit.
type panicError struct {
	text  string
	stack string
}

func (e *panicError) Error() string { return e.text }
