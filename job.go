package errand

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// ID identifies a job: a UUID, of version 7 unless the [WithID] option gave another.
type ID = uuid.UUID

// ParseID reads the usual text form of an [ID].
func ParseID(s string) (ID, error) { return uuid.Parse(s) }

// State is what a job is. What somebody asked of it while it runs is its Want.
type State string

// The eight states. The first five are alive, the last three are ends.
const (
	Scheduled State = "scheduled" // waits for its due time: a first start, a retry or a snooze
	Waiting   State = "waiting"   // waits for other jobs to end
	Ready     State = "ready"     // may be claimed by any worker
	Running   State = "running"   // claimed by a worker session
	Paused    State = "paused"    // waits for Resume
	Succeeded State = "succeeded" // its handler returned no error
	Failed    State = "failed"    // gave up: the dead letters are the list of these
	Cancelled State = "cancelled" // ended by Cancel or Terminate
)

// States lists every state, in the order of a job's life.
var States = []State{Scheduled, Waiting, Ready, Running, Paused, Succeeded, Failed, Cancelled}

// Ended reports whether a job in this state is over. Only Retry brings it back.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Scope says how long a job holds its unique key.
type Scope string

// The scopes of a unique key.
const (
	UntilEnded   Scope = "ended"   // until the job ends
	UntilStarted Scope = "started" // until the job is first claimed
	UntilTime    Scope = "time"    // until Job.UniqueUntil, whatever the job's state
)

// OnFailure says what becomes of a waiting job when a job it waits for fails, is
// cancelled or is deleted.
type OnFailure string

// The choices of [AfterOutcome].
const (
	CancelAfter OnFailure = "cancel" // cancel this one too (the default)
	RunAfter    OnFailure = "run"    // run all the same: the other job is over, that is enough
	PauseAfter  OnFailure = "pause"  // pause it, so that a person decides
)

// CleanUp tells whether a job has a clean-up hook that must run when it is cancelled.
type CleanUp int8

// The steps of a clean-up.
const (
	CleanUpNone  CleanUp = iota // never started by a worker whose kind has a hook
	CleanUpArmed                // was started: Cancel and Terminate will run the hook
	CleanUpDue                  // cancelled: the next run is the hook, and then the job is over
)

// Progress is how far a run has come. Total 0 means unknown.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitempty"`
	Text  string `json:"text,omitempty"`
}

// Job is one unit of work and all that is known of it, but for its log ([Entry]).
//
// A Job is a plain value: stores keep it and compute nothing. The fields of the first
// group are set when it is created, those of the second by the state machine only.
// Times are UTC, in whole microseconds; a zero time means "not yet".
type Job struct {
	ID          ID
	Kind        string            // selects the handler
	Queue       string            // "default" unless said otherwise
	Args        json.RawMessage   // what the handler gets, at most [MaxArgs] bytes of JSON
	Priority    int               // higher first; from -32768 to 32767
	MaxAttempts int               // fails for good when so many attempts failed
	MaxCrashes  int               // fails as poison when so many workers died of it in a row
	Timeout     time.Duration     // how long one run may take; 0: no limit
	Retention   time.Duration     // how long it is kept once it ended; 0: the engine's default; <0: for ever
	Unique      string            // at most one job holds this key at a time; "": not unique
	UniqueScope Scope             // how long it holds the key
	UniqueUntil time.Time         // with UntilTime: when the key is free again
	After       []ID              // the jobs it waits for before it starts
	OnFailure   OnFailure         // what to do when one of these fails
	Tags        []string          // free labels, to search by
	Metadata    map[string]string // free values, kept but never read by errand
	Created     time.Time

	State      State
	Version    int64           // grows by one with every change of the row
	Due        time.Time       // not before this time; orders jobs of one priority
	Want       State           // asked of a running job: Paused, Cancelled or ""
	Actor      string          // who last acted on it (pause, resume, cancel, terminate, retry)
	Reason     string          // and why
	Attempt    int             // runs so far that count; the one under way included
	Crashes    int             // workers that died under it since it last came to an orderly stop
	Blocked    int             // how many of After it still waits for
	CleanUp    CleanUp         // whether a clean-up hook must run
	Worker     uuid.UUID       // the worker session that runs it, or ran it last
	Token      int64           // fencing token: grows with every claim, never falls
	Started    time.Time       // start of the latest run
	Ended      time.Time       // when it succeeded, failed or was cancelled
	Expires    time.Time       // when it may be pruned; zero: never, or not ended
	Checkpoint json.RawMessage // where the next run goes on
	Progress   Progress        // how far it has come
	Result     json.RawMessage // what the handler returned, at most [MaxResult] bytes of JSON
	Error      string          // the latest error, at most [MaxError] bytes
	Entries    int64           // entries written to its log so far

	// Duplicate is set on what Enqueue returns when no job was created because this one
	// was already there, with the same unique key or ID. It is not stored.
	Duplicate bool
}

// Duration is how long the latest run took, or has taken so far as of now while it goes on; 0
// if the job has not started.
func (j *Job) Duration(now time.Time) time.Duration {
	switch {
	case j.Started.IsZero():
		return 0
	case !j.Ended.IsZero():
		return j.Ended.Sub(j.Started)
	case j.State == Running:
		return now.Sub(j.Started)
	}
	return 0
}

// HoldsUnique reports whether the job, as it stands, keeps others with its unique key
// out. A store indexes the key of exactly the jobs for which this is true when they are
// changed, or was true at Job.Created when they are inserted. A key held [UntilTime] is freed by the insert that
// meets it past Job.UniqueUntil.
func (j *Job) HoldsUnique(now time.Time) bool {
	switch {
	case j.Unique == "":
		return false
	case j.UniqueScope == UntilTime:
		return now.Before(j.UniqueUntil)
	case j.UniqueScope == UntilStarted:
		return j.Token == 0 && !j.State.Ended()
	}
	return !j.State.Ended()
}

// EntryType tells the lines of a job's log apart.
type EntryType string

// The types of log entries.
const (
	EntryLog     EntryType = "log"     // written by the handler, through slog
	EntryAttempt EntryType = "attempt" // a run that did not succeed: its error and stack
	EntryAction  EntryType = "action"  // somebody paused, resumed, cancelled, … it
)

// Entry is one line of a job's log, which holds its whole story: the lines its handler
// wrote, the errors of its attempts, and who did what to it and why.
type Entry struct {
	Seq     int64 // 1, 2, 3 … within the job; gaps where old log lines were dropped
	Time    time.Time
	Type    EntryType
	Level   int    // as slog.Level
	Attempt int    // the attempt it belongs to
	Text    string // at most [MaxError] bytes
	// Attrs holds a log line's attributes, an attempt's "stack", an action's "verb",
	// "actor" and "reason", as a JSON object. Nil if there are none.
	Attrs json.RawMessage
}

// Limits. What is longer is refused with an error, except for texts, which are cut.
const (
	MaxArgs       = 1 << 20  // bytes of Job.Args
	MaxResult     = 1 << 20  // bytes of Job.Result
	MaxCheckpoint = 1 << 20  // bytes of Job.Checkpoint
	MaxError      = 64 << 10 // bytes of Job.Error and Entry.Text; longer ones are cut
	MaxName       = 255      // bytes of a kind, queue, tag, actor or unique key
	MaxReason     = 4 << 10  // bytes of a reason; longer ones are cut
	MaxTags       = 32       // tags of one job
	MaxMetadata   = 64 << 10 // bytes of all metadata keys and values of one job
	MaxAfter      = 1000     // jobs that one job may wait for
	MaxLogLines   = 1000     // log entries kept with one job; the newest stay
	MaxEntries    = 2000     // entries of all types kept with one job; the newest stay
	MaxBatch      = 10_000   // jobs in one EnqueueMany or one call of the HTTP API
)
