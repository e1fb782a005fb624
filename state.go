package errand

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
)

// This file is the state machine: every change of a job but a claim and a wake (which
// only a store can do atomically, see claim and wake below) is one of the verbs here.
// They are pure: they read the Change and its now, and write the Change. A verb that has
// nothing to do leaves Job.Version as it was; one that does not apply returns a *StateError.

// By says who acts on a job, and why. Both are kept with the job.
type By struct {
	Actor  string
	Reason string
}

// The limits of a job whose options do not say otherwise.
const (
	DefaultMaxAttempts = 20 // about two days with the default retry policy
	DefaultMaxCrashes  = 3
	cleanUpAttempts    = 10 // tries of a clean-up, at least
)

// Retention says how long ended jobs are kept that do not say so themselves. Zero means
// the default, negative for ever.
type Retention struct {
	Succeeded time.Duration // default 24 hours
	Failed    time.Duration // default 30 days
	Cancelled time.Duration // default 7 days
}

// begin makes c a change of j as of now, which is cut to the precision of stored times.
func (c *Change) begin(j *Job, now time.Time, r Retention) {
	c.Job, c.Was, c.From, c.now, c.retention = *j, j.Version, j.State, timestamp(now), r
}

// timestamp is t as stores keep it.
func timestamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// touch marks the job as changed.
func (c *Change) touch() { c.Job.Version = c.Was + 1 }

func (c *Change) changed() bool { return c.Delete || c.Job.Version != c.Was }

// entry adds one entry to the job's log.
func (c *Change) entry(t EntryType, level slog.Level, text string, attrs any) {
	c.touch()
	c.Job.Entries++
	e := Entry{Seq: c.Job.Entries, Time: c.now, Type: t, Level: int(level), Attempt: c.Job.Attempt, Text: cut(text, MaxError)}
	if attrs != nil {
		e.Attrs, _ = json.Marshal(attrs)
	}
	c.Entries = append(c.Entries, e)
}

// act records who did what to the job.
func (c *Change) act(verb string, by By) {
	c.Job.Actor, c.Job.Reason = cut(by.Actor, MaxName), cut(by.Reason, MaxReason)
	text := verb
	if c.Job.Actor != "" {
		text += " by " + c.Job.Actor
	}
	if c.Job.Reason != "" {
		text += ": " + c.Job.Reason
	}
	c.entry(EntryAction, slog.LevelInfo, text, map[string]string{"verb": verb, "actor": c.Job.Actor, "reason": c.Job.Reason})
}

func (c *Change) refuse(verb, hint string) error {
	return &StateError{ID: c.Job.ID, Verb: verb, State: c.Job.State, Hint: hint}
}

// cancelling reports whether the job is on its way to Cancelled.
func (c *Change) cancelling() bool { return c.Job.Want == Cancelled }

// pause stops the job until resume. A running one is asked to stop; it keeps its attempt.
func (c *Change) pause(by By) error {
	switch {
	case c.Job.State.Ended():
		return c.refuse("pause", "it is over; retry runs it again")
	case c.cancelling():
		return c.refuse("pause", "it is being cancelled")
	case c.Job.State == Paused || c.Job.Want == Paused:
		return nil
	case c.Job.State == Running:
		c.Job.Want = Paused
	default:
		c.Job.State = Paused
	}
	c.act("pause", by)
	return nil
}

// resume lets a paused job go on: it waits for what it still has to wait for.
func (c *Change) resume(by By) error {
	switch {
	case c.Job.State.Ended():
		return c.refuse("resume", "it is over; retry runs it again")
	case c.cancelling():
		return c.refuse("resume", "it is being cancelled")
	case c.Job.State == Running && c.Job.Want == Paused:
		c.Job.Want = ""
	case c.Job.State == Paused:
		c.enter()
	default:
		return nil
	}
	c.act("resume", by)
	return nil
}

// enter puts a job that has no reason to be paused or running where it belongs.
func (c *Change) enter() {
	c.Job.enter(c.now)
	c.touch()
}

func (j *Job) enter(now time.Time) {
	switch {
	case j.Blocked > 0:
		j.State = Waiting
	case j.Due.After(now):
		j.State = Scheduled
	default:
		j.State = Ready
	}
}

// cancel asks a running job to stop for good, and ends any other.
func (c *Change) cancel(by By) error {
	switch {
	case c.Job.State == Cancelled || c.cancelling():
		return nil
	case c.Job.State.Ended() && !c.leftovers():
		return c.refuse("cancel", "it is over")
	}
	c.act("cancel", by)
	c.Job.Want = Cancelled
	if c.Job.State != Running {
		c.endCancelled()
	}
	return nil
}

// terminate ends the job now: a run under way is disowned, and whatever it writes later
// is refused because the version has moved on.
func (c *Change) terminate(by By) error {
	switch {
	case c.Job.State == Cancelled || c.cancelling() && c.Job.CleanUp == CleanUpDue:
		return nil
	case c.Job.State.Ended() && !c.leftovers():
		return c.refuse("terminate", "it is over")
	}
	c.act("terminate", by)
	c.Job.Want = Cancelled
	c.endCancelled()
	return nil
}

// leftovers reports whether the job failed with work done that its clean-up hook can roll back.
func (c *Change) leftovers() bool {
	return c.Job.State == Failed && c.Job.CleanUp == CleanUpArmed
}

// endCancelled ends a job whose cancellation was asked for, by way of its clean-up hook
// if one is armed: that is a run of its own, with its own attempts.
func (c *Change) endCancelled() {
	if c.Job.CleanUp == CleanUpArmed {
		c.Job.CleanUp = CleanUpDue
		c.Job.Attempt, c.Job.Crashes, c.Job.Blocked = 0, 0, 0
		c.Job.Ended, c.Job.Expires = time.Time{}, time.Time{}
		c.Job.Due = c.now
		c.Job.State = Ready
		c.touch()
		return
	}
	c.end(Cancelled)
}

// end ends the job.
func (c *Change) end(s State) {
	c.Job.State, c.Job.Want = s, ""
	c.Job.Ended = c.now
	if c.now.Before(c.Job.Started) { // by the clock of another process
		c.Job.Ended = c.Job.Started
	}
	if keep := c.keep(s); keep > 0 {
		c.Job.Expires = timestamp(c.now.Add(keep))
		if c.Job.UniqueScope == UntilTime && c.Job.Expires.Before(c.Job.UniqueUntil) {
			c.Job.Expires = c.Job.UniqueUntil // without the job its key would be free
		}
	}
	c.touch()
}

// keep returns how long the job is kept after its end s, negative for ever.
func (c *Change) keep(s State) time.Duration {
	switch r := c.retention; s {
	case Succeeded:
		return cmp.Or(c.Job.Retention, r.Succeeded, 24*time.Hour)
	case Failed:
		return cmp.Or(c.Job.Retention, r.Failed, 30*24*time.Hour)
	default:
		return cmp.Or(c.Job.Retention, r.Cancelled, 7*24*time.Hour)
	}
}

// retry runs an ended job again with a fresh budget of attempts, from its checkpoint; and
// one that waits for its next attempt, now.
func (c *Change) retry(by By) error {
	switch c.Job.State {
	case Running, Ready:
		return nil
	case Paused:
		return c.refuse("retry", "resume it")
	case Waiting:
		return c.refuse("retry", "it waits for other jobs")
	case Scheduled:
	default:
		c.Job.Attempt, c.Job.Crashes, c.Job.Blocked = 0, 0, 0
		c.Job.Error, c.Job.Result = "", nil
		c.Job.Ended, c.Job.Expires = time.Time{}, time.Time{}
		if c.Job.CleanUp == CleanUpDue {
			c.Job.Want = Cancelled
		}
	}
	c.Job.Due = c.now
	c.enter()
	c.act("retry", by)
	return nil
}

// remove deletes the job, unless work would go on or be left behind without it.
func (c *Change) remove() error {
	if c.Job.State == Running || !c.Job.State.Ended() && c.Job.CleanUp != CleanUpNone {
		return c.refuse("delete", "cancel or terminate it first")
	}
	c.Delete = true
	return nil
}

// arm notes, before the handler of a kind with a clean-up hook starts, that the hook
// must run if the job is cancelled from now on.
func (c *Change) arm() {
	if c.Job.CleanUp == CleanUpNone {
		c.Job.CleanUp = CleanUpArmed
		c.touch()
	}
}

// report is what a run says of itself while it goes on.
type report struct {
	progress   *Progress
	checkpoint *json.RawMessage
	lines      []line
}

// line is one log line of a run.
type line struct {
	time  time.Time
	level slog.Level
	text  string
	attrs json.RawMessage
}

func (c *Change) report(r report) {
	if r.progress != nil {
		c.Job.Progress = *r.progress
		c.touch()
	}
	if r.checkpoint != nil {
		if string(c.Job.Checkpoint) != string(*r.checkpoint) {
			c.Job.Crashes = 0 // it got further than the last time: not poison
		}
		c.Job.Checkpoint = *r.checkpoint
		c.touch()
	}
	for _, l := range r.lines {
		c.entry(EntryLog, l.level, l.text, nil)
		e := &c.Entries[len(c.Entries)-1]
		e.Time, e.Attrs = timestamp(l.time), l.attrs
	}
}

// outcome is how a run came back.
type outcome struct {
	result json.RawMessage
	err    error         // what the handler returned; nil is success
	cause  error         // why its context was ended, or nil if it was not
	delay  time.Duration // until the next attempt, by the retry policy
}

// settle decides what becomes of a job whose run came back. The job must be running.
func (c *Change) settle(o outcome) {
	c.touch()
	c.Job.Crashes = 0
	if o.err == nil {
		c.succeed(o.result)
		return
	}
	c.unsuccessful(o)
}

// unsuccessful decides about a run that came back with an error.
func (c *Change) unsuccessful(o outcome) {
	var (
		permanent permanentError
		snooze    snoozeError
		panicked  *panicError
	)
	j := &c.Job
	isStop := o.cause != nil && o.cause != ErrTimeout && !errors.As(o.err, &panicked) && !errors.As(o.err, &permanent)
	switch {
	case j.Want == Cancelled && j.CleanUp != CleanUpDue:
		if !isStop && !errors.As(o.err, &snooze) {
			c.attemptFailed(o)
		}
		c.endCancelled()
	case isStop: // paused, or shut down: it costs no attempt
		j.Attempt--
		c.handBack()
	case errors.As(o.err, &snooze):
		j.Attempt--
		j.Due = timestamp(c.now.Add(snooze.delay))
		c.handBack()
	default:
		c.fail(o, errors.As(o.err, &permanent))
	}
}

func (c *Change) succeed(result json.RawMessage) {
	c.Job.Checkpoint = nil
	if c.Job.CleanUp == CleanUpDue { // the clean-up is done: nothing is left of the job's work
		c.Job.CleanUp, c.Job.Progress = CleanUpNone, Progress{}
		c.end(Cancelled)
		return
	}
	c.Job.Result, c.Job.Error = result, ""
	c.end(Succeeded)
}

// fail counts a failed attempt: the job is retried while it has attempts left.
func (c *Change) fail(o outcome, permanent bool) {
	j := &c.Job
	budget := j.MaxAttempts
	if j.CleanUp == CleanUpDue {
		budget = max(budget, cleanUpAttempts)
	}
	c.attemptFailed(o)
	if permanent || j.Attempt >= budget {
		c.end(Failed)
		return
	}
	delay := o.delay
	var after retryAfterError
	if errors.As(o.err, &after) {
		delay = after.delay
	}
	j.Due = timestamp(c.now.Add(delay))
	c.handBack()
}

// attemptFailed records the error of a run.
func (c *Change) attemptFailed(o outcome) {
	text := o.err.Error()
	if o.cause == ErrTimeout {
		text = fmt.Sprintf("timeout: the run exceeded %s", c.Job.Timeout)
		if !errors.Is(o.err, ErrTimeout) {
			text += ": " + o.err.Error()
		}
	}
	if c.Job.CleanUp == CleanUpDue {
		text = "clean-up: " + text
	}
	c.Job.Error = cut(text, MaxError)
	var attrs any
	var panicked *panicError
	if errors.As(o.err, &panicked) {
		attrs = map[string]string{"stack": cut(panicked.stack, MaxError)}
	}
	c.entry(EntryAttempt, slog.LevelError, text, attrs)
}

// handBack puts a job that was running where it belongs: paused if that was asked.
func (c *Change) handBack() {
	if c.Job.Want == Paused {
		c.Job.State, c.Job.Want = Paused, ""
		return
	}
	c.enter()
}

// rescue takes the job from a session that has lapsed. That costs no attempt, but a job
// under which worker after worker dies is poison and fails.
func (c *Change) rescue() {
	j := &c.Job
	j.Attempt--
	j.Crashes++
	limit := j.crashLimit()
	text := fmt.Sprintf("the worker was lost: session %s no longer sends heartbeats (%d of %d)", j.Worker, j.Crashes, limit)
	c.entry(EntryAttempt, slog.LevelError, text, nil)
	switch {
	case j.Want == Cancelled && j.CleanUp != CleanUpDue:
		c.endCancelled()
	case j.Crashes >= limit:
		j.Error = fmt.Sprintf("poison: %d workers in a row were lost while they ran this job", j.Crashes)
		c.end(Failed)
	default:
		c.handBack()
	}
}

func (j *Job) crashLimit() int {
	if j.MaxCrashes <= 0 {
		return DefaultMaxCrashes
	}
	return j.MaxCrashes
}

// unblock tells the job that some of those it waits for have ended.
func (c *Change) unblock(links []Link) {
	for _, l := range links {
		c.Unblocks = append(c.Unblocks, l.ID)
		c.touch()
		if c.Job.State.Ended() || c.cancelling() || c.Job.Blocked == 0 {
			continue
		}
		c.Job.Blocked--
		if l.State == Succeeded || c.Job.OnFailure == RunAfter {
			continue
		}
		what := string(l.State)
		if what == "" {
			what = "deleted"
		}
		by := By{Actor: "errand", Reason: fmt.Sprintf("job %s, which it waits for, is %s", l.ID, what)}
		if c.Job.OnFailure == PauseAfter {
			_ = c.pause(by) // a waiting or paused job can be paused
		} else {
			_ = c.cancel(by) // and cancelled
		}
	}
	if c.Job.State == Waiting && c.Job.Blocked == 0 {
		c.enter()
	}
}

// claim is what Store.Claim does to one ready job.
func (j *Job) claim(worker uuid.UUID, now time.Time) {
	j.State = Running
	j.Worker, j.Started = worker, now
	j.Attempt++
	j.Token++
	j.Version++
}

// wake is what Store.Claim does to one scheduled job whose time has come.
func (j *Job) wake() {
	j.State = Ready
	j.Version++
}

// cut makes a text fit to be stored: valid UTF-8 without NUL, at most n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	for len(s) > n { // replacement made it longer
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
