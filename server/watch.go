package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/errandhq/errand"
)

const (
	maxWait    = time.Minute
	beatEvery  = 15 * time.Second      // see Server.beat
	watchGap   = 20 * time.Millisecond // at least, between two states sent
	watchWrite = 30 * time.Second      // a watcher that reads slower is cut
)

// hold takes a place among the requests that wait. The caller gives it back.
func (s *Server) hold() (release func(), err error) {
	select {
	case s.waits <- struct{}{}:
		return func() { <-s.waits }, nil
	default:
		return nil, problem(http.StatusServiceUnavailable, "too many requests wait here").retryAfter(1)
	}
}

// await returns the job once until holds for it, the time is over, or the server stops.
func (s *Server) await(ctx context.Context, id idParam, wait time.Duration, until func(*errand.Job) bool) (*errand.Job, error) {
	if wait == 0 {
		return s.engine.Get(ctx, errand.ID(id))
	}
	if wait < 0 || wait > maxWait {
		return nil, invalid(ProblemField{"query.wait", "expected a duration of at most " + maxWait.String()})
	}
	release, err := s.hold()
	if err != nil {
		return nil, err
	}
	defer release()
	end, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	rc := requestOf(ctx).rc
	_ = rc.SetReadDeadline(time.Time{}) // not all writers can; their timeouts are not ours
	_ = rc.SetWriteDeadline(time.Now().Add(wait + requestTime))
	job, _, err := s.until(ctx, end, errand.ID(id), until)
	return job, err
}

const watchJobPath = Prefix + "/jobs/{id}/watch"

type watchInput struct {
	ID   idParam `path:"id"`
	Last int64   `header:"Last-Event-ID" minimum:"0" doc:"The version of the job that the client has seen"`
}

type watchOutput struct{ Body func(huma.Context) }

func (s *Server) registerWatch() {
	op := huma.Operation{
		OperationID: "watch-job", Method: http.MethodGet, Path: watchJobPath,
		Summary: "Watch a job until it has ended",
		Description: "Server-Sent Events. Each event named job has the job as it is now as data (long fields left out) and its version as id; " +
			"the last one has the ended job. An event named gone says that the job was deleted. A stream that ends otherwise was cut: " +
			"connect again, with Last-Event-ID. Answers 204 if the client has seen the end.",
		Responses: map[string]*huma.Response{
			"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}},
			"204": {Description: "The client has seen the end"},
		},
	}
	handle(s, op, s.watch)
}

// watch streams what becomes of one job. It sends the present state first, and then the
// present state whenever it has changed: what comes too fast for the client, or for 20 ms, is
// skipped, never queued. Comments every 15 s keep the connection alive.
func (s *Server) watch(ctx context.Context, in *watchInput) (*watchOutput, error) {
	release, err := s.hold()
	if err != nil {
		return nil, err
	}
	job, err := s.engine.Get(ctx, errand.ID(in.ID))
	if err != nil {
		release()
		return nil, err
	}
	return &watchOutput{func(hc huma.Context) {
		defer release()
		r, rw := humago.Unwrap(hc)
		if job.State.Ended() && job.Version == in.Last {
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.Header().Set("X-Accel-Buffering", "no") // of proxies
		rw.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return
		}
		life, cancel := s.lifetime(r, "GET "+watchJobPath)
		defer cancel()
		s.stream(life, &stream{rw, requestOf(ctx).rc}, job, in.Last)
	}}, nil
}

// stream sends until the job or life has ended.
func (s *Server) stream(life context.Context, out *stream, job *errand.Job, seen int64) {
	_ = out.rc.SetReadDeadline(time.Time{})
	if out.send("retry: 1000\n\n") != nil {
		return
	}
	for {
		if job.Version != seen {
			seen = job.Version
			if out.job(job) != nil || job.State.Ended() {
				return
			}
			select {
			case <-time.After(watchGap):
			case <-life.Done():
				return
			}
		}
		beat, stop := context.WithTimeout(life, s.beat)
		next, changed, err := s.until(life, beat, job.ID, func(j *errand.Job) bool { return j.Version != seen })
		stop()
		switch {
		case isNotFound(err):
			_ = out.send("event: gone\ndata: {}\n\n")
			return
		case err != nil || life.Err() != nil:
			return // the client connects again
		case !changed && out.send(": ping\n\n") != nil:
			return
		}
		job = next
	}
}

// until returns the job once cond holds for it (true), or as it is when end is over (false).
func (s *Server) until(ctx, end context.Context, id errand.ID, cond func(*errand.Job) bool) (*errand.Job, bool, error) {
	job, err := s.engine.WaitFor(end, id, cond)
	if err == nil || end.Err() == nil {
		return job, err == nil, err
	}
	job, err = s.engine.Get(ctx, id)
	return job, false, err
}

// stream writes Server-Sent Events.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *stream) send(text string) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(watchWrite)) // not all writers can
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (s *stream) job(j *errand.Job) error {
	var data bytes.Buffer
	if err := marshal(&data, brief(j)); err != nil { // one line, with its end
		return err
	}
	return s.send(fmt.Sprintf("event: job\nid: %s\ndata: %s\n", strconv.FormatInt(j.Version, 10), data.Bytes()))
}
