package main

import (
	"context"
	"encoding/json"
	"strconv"
)

// Args are the arguments of the no-op job: 60 bytes as JSON.
type Args struct {
	ID      int    `json:"id"`
	To      string `json:"to"`
	Subject string `json:"subject"`
}

// firstID keeps every ID at six digits, so that all args have one length.
const firstID = 100_000

var sampleArgs = Args{ID: firstID, To: "someone@example.com", Subject: "welcome"}

// Job is one piece of work in both forms: a typed API is given Args and
// encodes them itself, everything else is given the JSON.
type Job struct {
	Args Args
	JSON []byte
}

// newJobs makes n jobs with consecutive IDs.
func newJobs(n int) []Job {
	jobs := make([]Job, n)
	for i := range jobs {
		args := sampleArgs
		args.ID += i
		jobs[i] = Job{args, encode(args)}
	}
	return jobs
}

func encode(args Args) []byte {
	return []byte(`{"id":` + strconv.Itoa(args.ID) + `,"to":"` + args.To + `","subject":"` + args.Subject + `"}`)
}

func decode(data []byte) (args Args) {
	if err := json.Unmarshal(data, &args); err != nil {
		panic(err) // the bench wrote it
	}
	return args
}

// Role says what the other columns of a group are compared with.
type Role int

const (
	Peer  Role = iota // another library
	Floor             // the bare mechanism that no library can beat by much
	Ours              // errand
)

// System is one column of the table: a library at one setting.
type System struct {
	Group   string // "memory", "SQLite" or postgresGroup
	Name    string // the column's head, short
	Role    Role
	Note    string // the setting in a few words, printed below the table
	Skip    string // regular expression of the rows that mean nothing here
	Home    Home   // where the jobs are if not in the directory
	Pressed bool   // takes part in the pressure run
	Open    func(dir string, workers int) (Instance, error)
}

// postgresGroup is all that needs a server; asynq's is Redis.
const postgresGroup = "PostgreSQL"

// Home is a server that keeps the jobs of a directory.
type Home interface {
	// Clear removes them, if there are any.
	Clear(dir string) error
	// Tidy does at once what the server would do by itself, in the midst of a
	// measurement: it follows a Preload and a measurement that is repeated.
	Tidy(dir string) error
}

// Instance is an opened system. Jobs are enqueued before or after Start; a
// system that cannot hold a job before it has started skips those rows.
type Instance interface {
	// Enqueue returns when the job is as safe as the system makes it.
	Enqueue(ctx context.Context, job Job) error
	// EnqueueMany does the same for a batch, in the system's best way.
	EnqueueMany(ctx context.Context, jobs []Job) error
	// Start begins to run jobs: each is decoded and given to handle.
	Start(ctx context.Context, handle func(Args)) error
	// Settle is called when the last handler has returned; it returns when
	// the system has recorded that all of them have finished.
	Settle(ctx context.Context) error
	// Close stops the system, also with jobs left.
	Close() error
}

// Preloader is implemented by instances that can be filled before a
// measurement: with jobs that have succeeded, with jobs that are scheduled
// far in the future, or with jobs that are ready, in a queue that nobody works.
type Preloader interface {
	Preload(ctx context.Context, state string, n int) error
}

const (
	finished  = "finished"
	scheduled = "scheduled"
	unworked  = "unworked" // asked of postgresGroup only
)
