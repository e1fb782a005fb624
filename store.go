package errand

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Store keeps jobs. It is the seam between the engine, which decides, and a database,
// which remembers: apart from Claim, a store computes nothing and never changes a job of
// its own accord. Package storetest holds the contract as a test suite.
//
// Every method that writes takes a batch and is atomic: it is done whole or not at all.
// An error means "unknown": the write may have been committed. The engine then asks
// again, and each write is safe to repeat: Insert by the job's ID, Swap by its version,
// Claim because whatever was claimed for a session without its knowledge is found by
// List and handed back.
//
// Times come from the store's clock, see Pulse.Now. Times given to a store are UTC in
// whole microseconds, and come back so; durations are exact. The methods are called by any
// number of goroutines. A batch belongs to its caller once the call has returned, who may
// use the slice again; what its elements point to (args, tags, results, entries) is
// changed by nobody from then on, neither in what a store was given nor in what it returned.
//
// The elements of a batch take effect in their order: one may use a unique key that an earlier
// one has freed. A call whose context has ended writes nothing and returns an error.
type Store interface {
	// Insert adds jobs. The answer has one element per job: nil where it was inserted, else
	// the job that was already there: one with the same ID, or else the holder of its
	// unique key, in the store or earlier in the same call. A key whose holder's
	// UniqueUntil has passed (by the store's clock) is taken from that holder; a job whose own UniqueUntil has
	// passed, because the call was slow, is kept out by a holder all the same. For each ID
	// in Job.After it keeps a link, marked at once if that job has ended or is not there (yet).
	Insert(ctx context.Context, jobs []Job) ([]*Job, error)

	// Get returns those of the jobs that are there, in the order of ids.
	Get(ctx context.Context, ids []ID) ([]Job, error)

	// List returns one page of the jobs that match, the last inserted first, without
	// counting the others.
	List(ctx context.Context, q Query) (Page, error)

	// Entries returns up to limit entries of a job's log with Seq > after, oldest first.
	Entries(ctx context.Context, id ID, after int64, limit int) ([]Entry, error)

	// Swap writes changes: each only if the stored version is still Change.Was. The answer
	// has one element per change. One call names a job at most once. With a change
	// it stores the entries, of which it keeps the newest [MaxLogLines] of type EntryLog
	// and the newest [MaxEntries] of all, drops the links that Change.Unblocks
	// names, and marks the links to a job that it moves to an ended state or deletes.
	// A deleted job's log and its own links go with it.
	Swap(ctx context.Context, changes []Change) ([]Swapped, error)

	// Claim is the one transition inside a store. First it wakes jobs: up to MaxWake
	// scheduled ones whose Due has come become Ready (version+1), the earliest first. Then,
	// lane after lane, it takes up to Lane.Limit ready jobs, whatever their Due, of the lane's queue and kinds, in
	// the order of priority (higher first), Due (earlier first), insertion; and makes each
	// Running for the session: Worker and Started set, Token, Attempt and Version one
	// up. Two calls at the same time never take the same job.
	Claim(ctx context.Context, c Claim) (Claimed, error)

	// PauseQueue stores the pause of a queue, unless it is paused already, and ResumeQueue removes it.
	// A Claim that begins while a queue is paused takes none of its jobs; it wakes them nevertheless.
	PauseQueue(ctx context.Context, p QueuePause) error
	ResumeQueue(ctx context.Context, queue string) error

	// PausedQueues returns the pauses, sorted by queue (byte by byte).
	PausedQueues(ctx context.Context) ([]QueuePause, error)

	// Ahead returns how many ready jobs of j's queue and of some kinds, each named once, a claim would take before j, if j were
	// ready and of one of these kinds; at most limit. A job that is not there comes after those of the same priority and Due.
	Ahead(ctx context.Context, j *Job, kinds []string, limit int) (int, error)

	// Unblocked returns up to limit jobs with marked links, each with the jobs behind these
	// links, in whatever state they are. A link whose job is there and has not ended (it was
	// retried) is left out, and so is a job without others.
	Unblocked(ctx context.Context, limit int) ([]Unblocked, error)

	// Orphans returns up to limit running jobs whose session has lapsed or is not there.
	Orphans(ctx context.Context, limit int) ([]Job, error)

	// Beat writes the session but for its Draining, alive for another Session.Lease from now by the store's
	// clock, or removes it if Lease is 0; and answers what has become of its runs.
	// Sessions that lapsed more than an hour ago are removed on the way.
	Beat(ctx context.Context, s Session, runs []Lease) (Pulse, error)

	// Drain tells a session to claim no more jobs, or again. It reports whether the session is there.
	Drain(ctx context.Context, session uuid.UUID, drain bool) (bool, error)

	// Sessions returns the worker sessions, the newest first, lapsed ones included.
	Sessions(ctx context.Context) ([]Session, error)

	// Prune removes up to limit ended jobs whose Expires has passed by the store's clock,
	// with their logs; a store may keep them for a thirtieth of their retention longer. Jobs with a link to them stay. It
	// returns how many it removed.
	Prune(ctx context.Context, limit int) (int, error)

	// Stats counts jobs by queue, kind and state, without scanning them where it can.
	// The counts come sorted by queue, kind and state (as in States); none is zero.
	Stats(ctx context.Context) ([]Count, error)

	// History returns how many jobs were added, started and ended in each span of time, see [HistoryStep], the oldest first, without those in which
	// none were. It may lag by some seconds.
	History(ctx context.Context, q HistoryQuery) ([]Flow, error)

	// SwapSchedules writes schedules: each only if the stored version is still ScheduleChange.Was, and all of them together or none. With each it inserts the
	// jobs, as Insert does, and keeps the firings, of which it keeps the newest [MaxFirings] of a schedule. One call names a schedule at most once. A
	// store may answer Stale, too, for a schedule that another call is writing at the same time.
	SwapSchedules(ctx context.Context, changes []ScheduleChange) ([]Swapped, error)

	// Schedules returns up to Limit schedules, sorted by name (byte by byte).
	Schedules(ctx context.Context, q ScheduleQuery) ([]Schedule, error)

	// DueSchedules returns up to limit schedules whose Wake has come by the store's clock, the earliest first.
	DueSchedules(ctx context.Context, limit int) (DueSchedules, error)

	// Firings returns up to limit firings of each of the schedules, each named once: by schedule, in the order of names, the newest first.
	Firings(ctx context.Context, names []string, limit int) ([]Firing, error)

	// Close releases what the store holds. Calls under way may fail.
	Close() error
}

// MaxWake is how many due jobs one Claim wakes at most.
const MaxWake = 1000

// Change is one job as it should become, beside what it was. The verbs of the state
// machine (state.go) make changes; [Store.Swap] writes them.
type Change struct {
	Job      Job     // with Version one above Was; the fields of Job's first group as they were
	Was      int64   // the version that was read
	From     State   // the state that was read with it
	Entries  []Entry // to append to its log
	Unblocks []ID    // links that this change has used up
	Delete   bool    // remove the job instead

	now       time.Time
	retention Retention
}

// Swapped is the outcome of one change.
type Swapped int8

// The outcomes of a change.
const (
	Written Swapped = iota // the change is stored
	Stale                  // the job has another version by now, or is gone: nothing was written
	Taken                  // another job holds the unique key that this change would take: nothing was written
)

// ScheduleChange is one schedule as it should become, beside what it was.
type ScheduleChange struct {
	Schedule Schedule // with a Version above Was
	Was      int64    // the version that was read; 0: it was not there
	Jobs     []Job    // to insert
	Firings  []Firing // to keep
	Delete   bool     // remove the schedule instead, and all its firings
}

// ScheduleQuery selects schedules.
type ScheduleQuery struct {
	Names []string // these, each named once; nil: all
	After string   // those whose names come after this one
	Limit int      // 1 to MaxPage; 0 means 100; with Names it does not matter

	// Match selects among these. It is for [Engine.Schedules], which reads on until it has found as many as asked for; no store gets to see it.
	Match func(*Schedule) bool
}

// DueSchedules are the schedules to be looked at.
type DueSchedules struct {
	Schedules []Schedule
	Now       time.Time // the store's clock
	Next      time.Time // if there are none: the earliest Wake of all; zero if there is none
}

// Claim asks for work.
type Claim struct {
	Session uuid.UUID
	Lanes   []Lane
}

// Lane is a share of a claim: up to Limit jobs of one queue and of the given kinds.
type Lane struct {
	Queue string
	Kinds []string
	Limit int
}

// Claimed is what a claim got.
type Claimed struct {
	Jobs []Job     // in the order in which they should start
	Next time.Time // earliest Due of all jobs that are still scheduled; zero if there is none
}

// Lease names one run: what its worker believes to hold.
type Lease struct {
	ID    ID
	Token int64
}

// Session is one start of a worker process. Its JSON form has what it says of itself.
type Session struct {
	ID       uuid.UUID `json:"-"`
	Started  time.Time `json:"-"` // by the store's clock, as far as the worker knows it
	Expires  time.Time `json:"-"` // set by the store
	Draining bool      `json:"-"` // set by Store.Drain: it claims no more jobs

	Host        string         `json:"host"`
	PID         int            `json:"pid"`
	Version     string         `json:"version"`     // of errand
	Lease       time.Duration  `json:"lease"`       // how long it stays alive without a heartbeat
	Queues      map[string]int `json:"queues"`      // how many jobs of each queue it runs at once; nil: Concurrency of any queue
	Concurrency int            `json:"concurrency"` // if Queues is nil
	Kinds       []string       `json:"kinds"`       // the kinds it handles
	Limits      map[string]int `json:"limits"`      // how many jobs of a kind it runs at once, of those that have such a limit
	Running     int            `json:"running"`     // runs under way at the last heartbeat
	Refused     int64          `json:"refused"`     // writes refused so far because the lease was lost
}

// Pulse is the answer to a heartbeat.
type Pulse struct {
	Now      time.Time // the store's clock
	Draining bool      // the session should claim no more jobs
	// Changed holds the job, as stored, behind each lease that needs attention: it is no
	// longer running, runs under another token, or has a Want. Of a job that is
	// gone only the ID is set.
	Changed []Job
}

// Link is one job that another waits for, with its state; "" if it is gone.
type Link struct {
	ID    ID
	State State
}

// Unblocked is a job with those of its links that have ended.
type Unblocked struct {
	Job   Job
	Links []Link
}

// Query selects jobs. Empty fields select all; several values in one field mean "any of
// these". [ParseQuery] reads its text form.
type Query struct {
	States        []State    `json:"states,omitempty"`
	Kinds         []string   `json:"kinds,omitempty"` // one that ends in * stands for all that begin so
	Queues        []string   `json:"queues,omitempty"`
	Tags          []string   `json:"tags,omitempty"`   // all of these
	Worker        uuid.UUID  `json:"worker,omitzero"`  // ran or runs it last
	Unique        string     `json:"unique,omitempty"` // holds this unique key, see Job.HoldsUnique
	Error         string     `json:"error,omitempty"`  // in the latest error, in upper or lower case
	Args          []ArgMatch `json:"args,omitempty"`   // all of these
	CreatedBefore time.Time  `json:"created_before,omitzero"`
	CreatedAfter  time.Time  `json:"created_after,omitzero"` // or at that time
	EndedAfter    time.Time  `json:"ended_after,omitzero"`   // or at that time; jobs that have not ended do not match

	Cursor string `json:"cursor,omitempty"` // Page.Next of the page before
	Limit  int    `json:"limit,omitempty"`  // 1 to MaxPage; 0 means 100
}

// MaxPage is the largest Query.Limit.
const MaxPage = 1000

// Bounds reads Limit and Cursor for a store that numbers jobs in the order of insertion, from 1 on, and whose cursors are made by
// [CursorAt]: a page has up to limit jobs, with numbers below before.
func (q *Query) Bounds() (limit int, before int64, err error) {
	if q.Limit < 0 || q.Limit > MaxPage {
		return 0, 0, fmt.Errorf("%w limit %d: use 1 to %d", ErrInvalid, q.Limit, MaxPage)
	}
	before = math.MaxInt64
	if q.Cursor != "" {
		if before, err = strconv.ParseInt(q.Cursor, 36, 64); err != nil || before < 1 {
			return 0, 0, fmt.Errorf("%w cursor %q: use the next of the page before", ErrInvalid, q.Cursor)
		}
	}
	return cmp.Or(q.Limit, 100), before, nil
}

// CursorAt is the Page.Next of a page whose last job has this number.
func CursorAt(number int64) string { return strconv.FormatInt(number, 36) }

// Page is one page of a list. A store looks through a bounded number of jobs for it: a page may hold fewer jobs than were asked for, even
// none, and yet have a Next.
type Page struct {
	Jobs []Job
	Next string // Query.Cursor of the following page; "" if there is none
}

// Count is a number of jobs. OldestReady is the earliest Due among the ready ones.
type Count struct {
	Queue       string
	Kind        string
	State       State
	Jobs        int64
	OldestReady time.Time
}
