package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// control pauses, resumes, cancels and terminates jobs until ctx ends. What it pauses, it resumes.
func (s *stage) control(ctx context.Context, rng *rand.Rand) {
	for sleep(ctx, time.Duration(rng.Int64N(int64(300*time.Millisecond)))) {
		id, ok := s.someKnown(rng.IntN, 10, stoppable)
		if !ok {
			continue
		}
		switch p := rng.IntN(10); {
		case p < 6:
			s.pauseAndResume(id, rng)
		case p < 8:
			s.verb("cancel", id, rng)
		default:
			s.verb("terminate", id, rng)
		}
	}
}

// retry retries jobs that have failed, until ctx ends.
func (s *stage) retry(ctx context.Context, rng *rand.Rand) {
	for sleep(ctx, time.Duration(rng.Int64N(int64(200*time.Millisecond)))) {
		if id, ok := s.someKnown(rng.IntN, 100, retriable); ok {
			s.until(id, 3*time.Second, func(j *errand.Job) bool { return j.State.Ended() })
			s.verb("retry", id, rng)
		}
	}
}

// undo terminates or cancels jobs that run and have a clean-up hook, until ctx ends.
func (s *stage) undo(ctx context.Context, rng *rand.Rand) {
	for sleep(ctx, time.Duration(rng.Int64N(int64(200*time.Millisecond)))) {
		id, ok := s.someKnown(rng.IntN, 10, undoable)
		if !ok {
			continue
		}
		s.until(id, 3*time.Second, func(j *errand.Job) bool { return j.State == errand.Running || j.State.Ended() })
		time.Sleep(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
		verb := "terminate"
		if rng.IntN(3) == 0 {
			verb = "cancel"
		}
		s.verb(verb, id, rng)
	}
}

// until waits for a while until a job is as it should be, and notes it if so.
func (s *stage) until(id errand.ID, d time.Duration, ok func(*errand.Job) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if job, err := s.engine.WaitFor(ctx, id, ok); err == nil {
		s.ledger.put(noteOf(seen, job))
	}
}

// pauseAndResume waits in between until the job has stopped, if it does so soon.
func (s *stage) pauseAndResume(id errand.ID, rng *rand.Rand) {
	s.verb("pause", id, rng)
	s.until(id, 5*time.Second, func(j *errand.Job) bool { return j.State == errand.Paused || j.State.Ended() })
	time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
	s.verb("resume", id, rng)
}

// verb uses a verb, by the library or over HTTP, until its outcome is known.
func (s *stage) verb(name string, id errand.ID, rng *rand.Rand) {
	s.ledger.put(note{What: asking, Job: id, Text: name})
	http := rng.IntN(2) == 0
	job, _ := insist(context.Background(), s.ledger, func(ctx context.Context) (*errand.Job, error) {
		job, err := s.try(ctx, name, id, http)
		if refusal := (*refusalError)(nil); errors.As(err, &refusal) && refusal.status == 409 {
			return nil, nil // the job is not in a state for it
		}
		if refusal := (*errand.StateError)(nil); errors.As(err, &refusal) {
			return nil, nil
		}
		return job, err
	})
	x := note{What: obeyed, Job: id}
	if job != nil {
		x = noteOf(obeyed, job)
	}
	x.Text = name
	s.ledger.put(x)
}

func (s *stage) try(ctx context.Context, name string, id errand.ID, overHTTP bool) (*errand.Job, error) {
	if overHTTP {
		var j server.Job
		err := s.client.call(ctx, http.MethodPost, "/jobs/"+id.String()+"/"+name, "", server.Action{Reason: name}, &j)
		job := fromAPI(&j)
		return &job, err
	}
	ctx = errand.WithActor(ctx, "driver")
	do := map[string]func(context.Context, errand.ID, string) (*errand.Job, error){
		"pause": s.engine.Pause, "resume": s.engine.Resume, "cancel": s.engine.Cancel, "terminate": s.engine.Terminate,
		"retry": s.engine.Retry,
	}[name]
	job, err := do(ctx, id, name)
	if errors.Is(err, errand.ErrNotFound) {
		return nil, &refusalError{http.StatusNotFound, err.Error()}
	}
	return job, err
}

// look waits for jobs to end, by the library and over HTTP, and notes what it is told, until ctx ends.
func (s *stage) look(ctx context.Context, rng *rand.Rand) {
	for sleep(ctx, time.Duration(rng.Int64N(int64(100*time.Millisecond)))) {
		s.mu.Lock()
		var id errand.ID
		if len(s.known) > 0 {
			id = s.known[rng.IntN(len(s.known))].id
		}
		s.mu.Unlock()
		if id == (errand.ID{}) {
			continue
		}
		job, err := s.await(ctx, id, rng.IntN(2) == 0)
		switch refusal := (*refusalError)(nil); {
		case err == nil && job.State != "":
			s.ledger.put(noteOf(seen, job))
		case errors.Is(err, errand.ErrNotFound), errors.As(err, &refusal) && !strings.Contains(refusal.text, "many"):
			s.find("job %s: %v", id, err)
		}
	}
}

func (s *stage) await(ctx context.Context, id errand.ID, overHTTP bool) (*errand.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if overHTTP {
		var j server.Job
		err := s.client.call(ctx, http.MethodGet, "/jobs/"+id.String()+"?wait=3s", "", nil, &j)
		job := fromAPI(&j)
		return &job, err
	}
	job, err := s.engine.Wait(ctx, id)
	if failed := (*errand.FailedError)(nil); errors.As(err, &failed) {
		return job, nil
	}
	return job, err
}
