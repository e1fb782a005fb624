package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// The types of this file are what goes over the wire, for the server and for its clients.
// Fields that have nothing to say are left out. Times are RFC 3339 in UTC.

// Prefix begins the path of every route of this version of the API.
const Prefix = "/api/v1"

// Job is one job. Args, checkpoint and result are JSON values, passed on as they are.
type Job struct {
	ID           errand.ID         `json:"id" format:"uuid"`
	Kind         string            `json:"kind"`
	Queue        string            `json:"queue"`
	Args         json.RawMessage   `json:"args,omitempty" doc:"What the handler gets: any JSON value"`
	Priority     int               `json:"priority" doc:"Higher first"`
	MaxAttempts  int               `json:"max_attempts"`
	MaxCrashes   int               `json:"max_crashes" doc:"Fails as poison when so many workers died of it in a row"`
	Timeout      Duration          `json:"timeout,omitzero" doc:"How long one run may take"`
	Retention    Duration          `json:"retention,omitzero" doc:"How long it is kept once it ended; left out: the server's default"`
	Unique       *Unique           `json:"unique,omitempty"`
	After        []errand.ID       `json:"after,omitempty" doc:"The jobs it waits for before it starts"`
	AfterOutcome errand.OnFailure  `json:"after_outcome,omitempty" enum:"cancel,run,pause" doc:"What to do when one of these does not succeed"`
	Tags         []string          `json:"tags,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Created      time.Time         `json:"created"`
	Schedule     string            `json:"schedule,omitempty" doc:"The schedule that made it"`
	Nominal      time.Time         `json:"nominal,omitzero" doc:"And the nominal time it was made for"`

	State      errand.State     `json:"state" enum:"scheduled,waiting,ready,running,paused,succeeded,failed,cancelled"`
	Version    int64            `json:"version" doc:"Grows by one with every change of the job"`
	Due        time.Time        `json:"due,omitzero" doc:"Does not start before"`
	Want       errand.State     `json:"want,omitempty" enum:"paused,cancelled" doc:"What was asked of a running job"`
	Actor      string           `json:"actor,omitempty" doc:"Who last acted on it"`
	Reason     string           `json:"reason,omitempty" doc:"And why"`
	Attempt    int              `json:"attempt"`
	Crashes    int              `json:"crashes,omitempty"`
	Blocked    int              `json:"blocked,omitempty" doc:"How many jobs it still waits for"`
	CleanUp    string           `json:"clean_up,omitempty" enum:"armed,due" doc:"armed: cancelling it will run its clean-up; due: the clean-up runs or is about to"`
	Worker     uuid.UUID        `json:"worker,omitzero" format:"uuid" doc:"The worker session that runs it, or ran it last"`
	Token      int64            `json:"token,omitempty" doc:"Fencing token: grows with every claim"`
	Started    time.Time        `json:"started,omitzero" doc:"Start of the latest run"`
	Ended      time.Time        `json:"ended,omitzero"`
	Expires    time.Time        `json:"expires,omitzero" doc:"When it may be removed"`
	Checkpoint json.RawMessage  `json:"checkpoint,omitempty"`
	Progress   *errand.Progress `json:"progress,omitempty"`
	Result     json.RawMessage  `json:"result,omitempty"`
	Error      string           `json:"error,omitempty" doc:"The latest error"`
	Entries    int64            `json:"entries" doc:"Entries written to its log so far"`

	// Omitted names the fields that were left out of this answer because they are long (over
	// BriefLimit bytes in JSON): in lists, batches and watches. GET the job to see them.
	Omitted []string `json:"omitted,omitempty" doc:"Fields left out here because they are long; GET the job for them"`
	// Duplicate says that no job was created because this one was there.
	Duplicate bool `json:"duplicate,omitempty" doc:"No job was created because this one was already there"`
	// Warning says what may be wrong with the job that was created.
	Warning string `json:"warning,omitempty" doc:"What may be wrong with the job that was created"`
}

// BriefLimit is how many bytes of JSON each of args, checkpoint, result, metadata, error and
// after may have in lists, batches and watches. What is longer is left out there.
const BriefLimit = 4 << 10

// Unique is the unique key of a job: no second one of its kind and key is created.
type Unique struct {
	Key    string       `json:"key,omitempty" maxLength:"255" doc:"Empty: a digest of the args"`
	Scope  errand.Scope `json:"scope,omitempty" enum:"ended,started,time" doc:"Held until the job has ended, has started, or for the window whatever becomes of it; default ended, with a window time"`
	Window Duration     `json:"window,omitzero" doc:"With scope time: for how long, from the job's creation"`
	Until  time.Time    `json:"until,omitzero" readOnly:"true" doc:"With scope time: when the key is free again"`
}

// NewJob is a job to be created. Only Kind is required. What is left out is as the kind's
// own options say in the server's process, or else the defaults.
type NewJob struct {
	Kind         string            `json:"kind" minLength:"1" maxLength:"255" doc:"Selects the handler"`
	Args         json.RawMessage   `json:"args,omitempty" doc:"Any JSON value, 1 MiB at most; default null"`
	ID           errand.ID         `json:"id,omitzero" format:"uuid" doc:"Creating it again answers the first one"`
	Queue        string            `json:"queue,omitempty" maxLength:"255" doc:"Default: default"`
	Priority     *int              `json:"priority,omitempty" minimum:"-32768" maximum:"32767" doc:"Higher first; default 0"`
	MaxAttempts  int               `json:"max_attempts,omitempty" minimum:"1" maximum:"32767" doc:"Default 20"`
	MaxCrashes   int               `json:"max_crashes,omitempty" minimum:"1" maximum:"32767" doc:"Default 3"`
	Timeout      *Duration         `json:"timeout,omitempty" doc:"How long one run may take; 0s: no limit"`
	At           time.Time         `json:"at,omitzero" doc:"Does not start before; not together with in"`
	In           Duration          `json:"in,omitzero" doc:"Starts so much later; not together with at"`
	Unique       *Unique           `json:"unique,omitempty"`
	After        []errand.ID       `json:"after,omitempty" maxItems:"1000" doc:"The jobs it waits for before it starts"`
	AfterOutcome errand.OnFailure  `json:"after_outcome,omitempty" enum:"cancel,run,pause" doc:"What to do when one of these does not succeed; default cancel"`
	Tags         []string          `json:"tags,omitempty" maxItems:"32"`
	Metadata     map[string]string `json:"metadata,omitempty" doc:"64 KiB at most; keys must not begin with errand."`
	Retention    Duration          `json:"retention,omitzero" doc:"How long it is kept once it ended; forever, or a duration"`
}

// Batch creates jobs, all or none. A job may wait for those before it.
type Batch struct {
	Jobs []NewJob `json:"jobs" minItems:"1" maxItems:"10000"`
}

// Created is the answer to a [Batch], in its order. The jobs are brief, see [Job].Omitted.
type Created struct {
	Jobs     []Job    `json:"jobs"`
	Warnings []string `json:"warnings,omitempty"`
}

// Action is the body of the verbs pause, resume, cancel, terminate and retry.
type Action struct {
	Reason string `json:"reason,omitempty" maxLength:"4096" doc:"Kept with the job"`
}

// Page is one page of a list, the newest job first. The jobs are brief, see [Job].Omitted.
type Page struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next,omitempty" doc:"The cursor of the following page; left out on the last one. A page may hold fewer jobs than asked for, even none, and yet have a next: then no more were found among those looked through so far"`
}

// Entry is one line of a job's log.
type Entry struct {
	Seq     int64            `json:"seq"`
	Time    time.Time        `json:"time"`
	Type    errand.EntryType `json:"type" enum:"log,attempt,action"`
	Level   slog.Level       `json:"level" doc:"DEBUG, INFO, WARN, ERROR or one between, as INFO+2"`
	Attempt int              `json:"attempt"`
	Text    string           `json:"text"`
	Attrs   json.RawMessage  `json:"attrs,omitempty"`
}

// Log is a part of a job's log, the oldest entry first.
type Log struct {
	Entries []Entry `json:"entries"`
	After   int64   `json:"after" doc:"Ask with this after for what follows"`
	Ended   bool    `json:"ended" doc:"The job has ended, and nothing follows unless it is retried"`
}

// Count is how many jobs of a queue and kind are in a state.
type Count struct {
	Queue       string       `json:"queue"`
	Kind        string       `json:"kind"`
	State       errand.State `json:"state" enum:"scheduled,waiting,ready,running,paused,succeeded,failed,cancelled"`
	Jobs        int64        `json:"jobs"`
	OldestReady time.Time    `json:"oldest_ready,omitzero" doc:"The earliest due time of those that are ready"`
}

// Stats counts all jobs. What is zero is left out.
type Stats struct {
	Counts []Count `json:"counts"`
}

// Why says what keeps a job from running.
type Why struct {
	ID        errand.ID         `json:"id" format:"uuid"`
	State     errand.State      `json:"state" enum:"scheduled,waiting,ready,running,paused,succeeded,failed,cancelled"`
	Obstacles []errand.Obstacle `json:"obstacles" doc:"The first is the one that it meets now, the others it would meet next. Empty: it is about to start"`
}

// QueueInfo is one queue: one that has jobs, that a live worker names, or that is paused.
type QueueInfo struct {
	Name        string                 `json:"name"`
	Paused      *Pause                 `json:"paused,omitempty"`
	Jobs        map[errand.State]int64 `json:"jobs" doc:"How many jobs are in each state; what is zero is left out"`
	OldestReady time.Time              `json:"oldest_ready,omitzero" doc:"The earliest due time of those that are ready"`
	Slots       int                    `json:"slots" doc:"How many of its jobs all live workers together run at once"`
	Workers     int                    `json:"workers" doc:"How many live worker sessions work on it"`
}

// Pause says who paused a queue.
type Pause struct {
	Since  time.Time `json:"since"`
	Actor  string    `json:"actor,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Queues lists the queues, by name.
type Queues struct {
	Queues []QueueInfo `json:"queues"`
}

// Session is one start of a worker process.
type Session struct {
	ID          uuid.UUID      `json:"id" format:"uuid"`
	Alive       bool           `json:"alive" doc:"False: its lease has lapsed, its jobs go to others"`
	Draining    bool           `json:"draining,omitempty" doc:"It was told to claim no more jobs"`
	Host        string         `json:"host"`
	PID         int            `json:"pid"`
	Version     string         `json:"version,omitempty"`
	Started     time.Time      `json:"started"`
	Lease       Duration       `json:"lease"`
	Expires     time.Time      `json:"expires"`
	Queues      map[string]int `json:"queues,omitempty" doc:"How many jobs of each queue it runs at once; left out: concurrency of any queue"`
	Concurrency int            `json:"concurrency,omitempty" doc:"How many jobs of a queue it runs at once, if queues is left out"`
	Limits      map[string]int `json:"limits,omitempty" doc:"How many jobs of a kind it runs at once, of those that have such a limit"`
	Kinds       []string       `json:"kinds,omitempty"`
	Running     int            `json:"running"`
	Refused     int64          `json:"refused" doc:"Writes refused because the lease was lost"`
}

// Workers is the list of worker sessions, the newest first.
type Workers struct {
	Workers []Session `json:"workers"`
}

// Kind is a kind of job that somebody handles.
type Kind struct {
	Name    string `json:"name"`
	Here    bool   `json:"here" doc:"The server's own process handles it"`
	Workers int    `json:"workers" doc:"How many live worker sessions handle it"`
}

// Kinds lists the kinds that the server's process or a live worker session handles, by name.
type Kinds struct {
	Kinds []Kind `json:"kinds"`
}

// History is how many jobs were added, started and ended, step by step. The last point is not over yet.
type History struct {
	Step   Duration `json:"step"`
	Points []Point  `json:"points"`
}

// Point is a step of a history.
type Point struct {
	errand.Flow
	Wait *Duration `json:"wait,omitempty" doc:"How long the jobs that were started had waited on average since they were due"`
}

// Me is who makes the request, and what may be done.
type Me struct {
	Name     string `json:"name"`
	Role     Role   `json:"role" enum:"viewer,operator,admin"`
	ReadOnly bool   `json:"read_only" doc:"Nobody may change anything here"`
	Version  string `json:"version" doc:"Of the server"`
}

// Health is the answer of /healthz and /readyz when all is well.
type Health struct {
	Status string `json:"status" enum:"ok"`
}

// Problem is the body of every error, by RFC 9457. It satisfies error.
type Problem struct {
	Title     string         `json:"title" doc:"The text of the status"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail,omitempty" doc:"What is wrong"`
	Errors    []ProblemField `json:"errors,omitempty" doc:"The fields that are wrong"`
	State     errand.State   `json:"state,omitempty" doc:"Of a conflict: the job's state"`
	Hint      string         `json:"hint,omitempty" doc:"Of a conflict: what would be possible"`
	RequestID string         `json:"request_id,omitempty" doc:"Names the request in the server's log"`

	headers http.Header
}

// ProblemField says what is wrong with one field of a request. It does not hold its value.
type ProblemField struct {
	Location string `json:"location" example:"body.jobs[3].queue"`
	Message  string `json:"message" doc:"What would be right"`
}

// Duration is a time.Duration that is written like "1m30s"; "forever" if negative.
type Duration time.Duration

func (d Duration) String() string {
	if d < 0 {
		return "forever"
	}
	return time.Duration(d).String()
}

// MarshalText writes the duration as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what [time.ParseDuration] reads, and "forever" as a negative duration.
func (d *Duration) UnmarshalText(text []byte) error {
	if string(text) == "forever" {
		*d = -1
		return nil
	}
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return errDuration
	}
	*d = Duration(v)
	return nil
}

// Schema describes the type in OpenAPI.
func (*Duration) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Examples: []any{"1m30s"}}
}

// reserved begins the metadata keys that are errand's own: never shown, never accepted.
const reserved = "errand."

// FromJob returns the job as the API shows it.
func FromJob(j *errand.Job) Job {
	v := Job{
		ID: j.ID, Kind: j.Kind, Queue: j.Queue, Args: j.Args, Priority: j.Priority,
		MaxAttempts: j.MaxAttempts, MaxCrashes: j.MaxCrashes,
		Timeout: Duration(j.Timeout), Retention: Duration(j.Retention),
		After: j.After, Tags: j.Tags, Metadata: shown(j.Metadata), Created: j.Created, Schedule: j.Metadata[errand.MetaSchedule], Nominal: j.Nominal(),
		State: j.State, Version: j.Version, Due: j.Due, Want: j.Want, Actor: j.Actor, Reason: j.Reason,
		Attempt: j.Attempt, Crashes: j.Crashes, Blocked: j.Blocked,
		Worker: j.Worker, Token: j.Token, Started: j.Started, Ended: j.Ended, Expires: j.Expires,
		Checkpoint: j.Checkpoint, Result: j.Result, Error: j.Error, Entries: j.Entries,
		Duplicate: j.Duplicate,
	}
	if len(j.After) > 0 {
		v.AfterOutcome = j.OnFailure
	}
	if j.Unique != "" {
		v.Unique = &Unique{Key: strings.TrimPrefix(j.Unique, j.Kind+":"), Scope: j.UniqueScope, Until: j.UniqueUntil}
	}
	if j.Progress != (errand.Progress{}) {
		p := j.Progress
		v.Progress = &p
	}
	switch j.CleanUp {
	case errand.CleanUpArmed:
		v.CleanUp = "armed"
	case errand.CleanUpDue:
		v.CleanUp = "due"
	}
	return v
}

// shown is metadata without the keys that are errand's own.
func shown(metadata map[string]string) map[string]string {
	own := 0
	for k := range metadata {
		if strings.HasPrefix(k, reserved) {
			own++
		}
	}
	if own == 0 {
		return metadata
	}
	m := map[string]string{}
	for k, v := range metadata {
		if !strings.HasPrefix(k, reserved) {
			m[k] = v
		}
	}
	return m
}

// brief is [FromJob] without the fields that are long.
func brief(j *errand.Job) Job {
	v := FromJob(j)
	omit := func(name string, size int, clear func()) {
		if size > BriefLimit {
			clear()
			v.Omitted = append(v.Omitted, name)
		}
	}
	omit("args", len(v.Args), func() { v.Args = nil })
	omit("after", len(v.After)*39, func() { v.After = nil })
	omit("metadata", sizeOf(v.Metadata), func() { v.Metadata = nil })
	omit("checkpoint", len(v.Checkpoint), func() { v.Checkpoint = nil })
	omit("result", len(v.Result), func() { v.Result = nil })
	omit("error", len(v.Error), func() { v.Error = "" })
	return v
}

func sizeOf(metadata map[string]string) int {
	n := 0
	for k, v := range metadata {
		n += len(k) + len(v)
	}
	return n
}

func briefs(jobs []errand.Job) []Job {
	out := make([]Job, len(jobs))
	for i := range jobs {
		out[i] = brief(&jobs[i])
	}
	return out
}

func fromEntries(entries []errand.Entry) []Entry {
	out := make([]Entry, len(entries))
	for i, e := range entries {
		out[i] = Entry{
			Seq: e.Seq, Time: e.Time, Type: e.Type, Level: slog.Level(e.Level),
			Attempt: e.Attempt, Text: e.Text, Attrs: e.Attrs,
		}
	}
	return out
}

func fromSession(s *errand.Session, now time.Time) Session {
	return Session{
		ID: s.ID, Alive: s.Expires.After(now), Host: s.Host, PID: s.PID, Version: s.Version,
		Started: s.Started, Lease: Duration(s.Lease), Expires: s.Expires,
		Queues: s.Queues, Concurrency: s.Concurrency, Limits: s.Limits, Kinds: s.Kinds, Running: s.Running, Refused: s.Refused, Draining: s.Draining,
	}
}

func fromCounts(counts []errand.Count) []Count {
	out := make([]Count, len(counts))
	for i, c := range counts {
		out[i] = Count(c)
	}
	return out
}
