package errand

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Option edits a job before it is enqueued. Options given to [Define] apply to every job
// of the kind; those given to Enqueue come after them and win.
type Option func(*Job)

// Queue puts the job into a queue other than "default". Each worker runs a bounded
// number of jobs of a queue at a time, see [Config].Queues.
func Queue(name string) Option { return func(j *Job) { j.Queue = name } }

// Priority lets the job start before those of lower priority in its queue. Default 0.
func Priority(p int) Option { return func(j *Job) { j.Priority = p } }

// MaxAttempts limits how many runs of the job may fail before it fails for good. Default
// [DefaultMaxAttempts].
func MaxAttempts(n int) Option { return func(j *Job) { j.MaxAttempts = n } }

// MaxCrashes limits how many workers in a row may die while they run the job before it
// fails as poison. Default [DefaultMaxCrashes].
func MaxCrashes(n int) Option { return func(j *Job) { j.MaxCrashes = n } }

// Timeout limits how long one run may take; the run's context then ends with
// [ErrTimeout] and the attempt has failed. Default 0: no limit.
func Timeout(d time.Duration) Option { return func(j *Job) { j.Timeout = d } }

// Retain keeps the job for d after it ended, instead of [Config].Retention. Negative
// means for ever.
func Retain(d time.Duration) Option { return func(j *Job) { j.Retention = d } }

// At schedules the job: it starts at t or soon after, never before.
func At(t time.Time) Option { return func(j *Job) { j.Due = t } }

// In is [At] with a delay from now, by the store's clock.
func In(d time.Duration) Option {
	return func(j *Job) { j.Due = j.Created.Add(d) }
}

// WithID gives the job an ID of the caller's. Enqueuing the same ID again creates no
// second job and returns the first one, as a duplicate.
func WithID(id ID) Option { return func(j *Job) { j.ID = id } }

// Unique creates no second job of this kind and key until the first one has ended: Enqueue then
// returns the one that is there, with Duplicate set. An empty key means the job's args.
func Unique(key string) Option { return unique(key, UntilEnded, 0) }

// UniqueUntilStarted is [Unique] until the first job is claimed by a worker.
func UniqueUntilStarted(key string) Option { return unique(key, UntilStarted, 0) }

// UniqueFor is [Unique] for a time from the first job's creation, whatever becomes of it.
func UniqueFor(key string, window time.Duration) Option { return unique(key, UntilTime, window) }

func unique(key string, scope Scope, window time.Duration) Option {
	return func(j *Job) {
		k := key
		if k == "" {
			sum := sha256.Sum256(j.Args)
			k = hex.EncodeToString(sum[:])
		}
		j.Unique, j.UniqueScope, j.UniqueUntil = j.Kind+":"+k, scope, time.Time{}
		if scope == UntilTime {
			j.UniqueUntil = timestamp(j.Created.Add(window))
		}
	}
}

// After makes the job wait until all these jobs have succeeded. If one of them fails or
// is cancelled, so is this one, unless [AfterOutcome] says otherwise.
func After(ids ...ID) Option {
	return func(j *Job) { j.After = append(j.After, ids...) }
}

// AfterOutcome says what becomes of a job when one it waits for does not succeed.
func AfterOutcome(o OnFailure) Option { return func(j *Job) { j.OnFailure = o } }

// Tags adds labels to search by.
func Tags(tags ...string) Option {
	return func(j *Job) { j.Tags = append(j.Tags, tags...) }
}

// Meta adds a value to the job's metadata.
func Meta(key, value string) Option {
	return func(j *Job) {
		m := map[string]string{key: value}
		for k, v := range j.Metadata {
			if k != key {
				m[k] = v
			}
		}
		j.Metadata = m
	}
}
