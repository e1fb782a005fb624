package errand

import (
	"context"
	"slices"
	"sync"
	"time"
)

// writer stores what runs have to say: outcomes and checkpoints as soon as the write
// before has returned, progress and log lines every reportEvery. One swap takes all there is.
// Each write names the version that the run knows; one that meets another version reads the job
// again, and either goes on (somebody asked for a pause, say) or learns that the lease is lost.
type writer struct {
	w      *worker
	signal chan struct{} // holds one

	mu       sync.Mutex
	space    sync.Cond // of mu: the queue has shrunk
	queue    []*Run    // each once, see Run.queued
	reports  []*Run    // have progress or log lines to write
	stopping bool

	// Of the loop, to be used again and again.
	writings []writing
	changes  []Change
}

const (
	reportEvery = 200 * time.Millisecond
	// maxUnwritten bounds how many finished runs may wait for their write: when so many do, slots
	// wait too. At a crash at most about so many jobs run again.
	maxUnwritten = 2000
	writeBatch   = 1000
)

func (wr *writer) init(w *worker) {
	wr.w = w
	wr.signal = make(chan struct{}, 1)
	wr.space.L = &wr.mu
	wr.writings = make([]writing, 0, writeBatch)
	wr.changes = make([]Change, writeBatch)
}

// write has what r has to say written at once.
func (w *worker) write(r *Run) {
	wr := &w.writer
	wr.mu.Lock()
	if !r.queued {
		r.queued = true
		wr.queue = append(wr.queue, r)
	}
	wr.mu.Unlock()
	select {
	case wr.signal <- struct{}{}:
	default:
	}
}

// report has what r has to say written within reportEvery.
func (w *worker) report(r *Run) {
	wr := &w.writer
	wr.mu.Lock()
	defer wr.mu.Unlock()
	if wr.reports = append(wr.reports, r); len(wr.reports) == 1 {
		time.AfterFunc(reportEvery, wr.flushReports)
	}
}

func (wr *writer) flushReports() {
	wr.mu.Lock()
	due := wr.reports
	wr.reports = nil
	wr.mu.Unlock()
	for _, r := range due {
		wr.w.write(r)
	}
}

// room waits until the queue is short enough for one more.
func (wr *writer) room() {
	wr.mu.Lock()
	for len(wr.queue) >= maxUnwritten && !wr.stopping {
		wr.space.Wait()
	}
	wr.mu.Unlock()
}

func (wr *writer) loop(ctx context.Context) {
	defer func() {
		wr.mu.Lock()
		wr.stopping = true
		wr.mu.Unlock()
		wr.space.Broadcast()
	}()
	failures := 0 // in a row
	single := 0   // so many runs are to be written alone
	for {
		select {
		case <-ctx.Done():
			return
		case <-wr.signal:
		}
		for batch := wr.take(single > 0); len(batch) > 0; batch = wr.take(single > 0) {
			single = max(single-1, 0)
			err := wr.flush(ctx, batch)
			if err == nil {
				failures = 0
				continue
			}
			if failures++; failures%3 == 0 { // perhaps one of them cannot be stored: it must not hold up the others
				single = wr.waiting()
			}
			wr.w.warn(ctx, "cannot store what became of jobs; trying again", err)
			if !sleep(ctx, jitter(min(20*time.Millisecond<<min(failures, 8), 2*time.Second))) {
				return
			}
		}
	}
}

func (wr *writer) waiting() int {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	return len(wr.queue)
}

// take takes the next batch from the queue, or the next single run.
func (wr *writer) take(single bool) []*Run {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	n := min(len(wr.queue), writeBatch)
	if single {
		n = min(n, 1)
	}
	batch := slices.Clone(wr.queue[:n])
	rest := copy(wr.queue, wr.queue[n:])
	clear(wr.queue[rest:])
	wr.queue = wr.queue[:rest]
	for _, r := range batch {
		r.queued = false
	}
	wr.space.Broadcast()
	return batch
}

// writing is what a flush writes of one run.
type writing struct {
	run     *Run
	change  *Change // in writer.changes
	report  report
	saves   []chan error
	arming  chan error
	settled bool
}

// flush writes a batch in one swap. After an error everything is queued again.
func (wr *writer) flush(ctx context.Context, batch []*Run) (err error) {
	e := wr.w.e
	writings, changes := wr.writings[:0], wr.changes[:len(batch)]
	now := e.Now()
	for _, r := range batch {
		if wg, ok := r.prepare(&changes[len(writings)], now); ok {
			writings = append(writings, wg)
		}
	}
	changes = changes[:len(writings)]
	defer clear(changes)
	defer clear(writings)
	if len(changes) == 0 {
		return nil
	}
	done, err := e.swapQuietly(ctx, changes)
	if err != nil {
		for i := range writings {
			writings[i].redo()
		}
		return err
	}
	var stale []writing
	ended := false
	for i := range writings {
		if done[i] != Written {
			stale = append(stale, writings[i])
			continue
		}
		writings[i].written()
		ended = ended || changes[i].Job.State.Ended()
	}
	wr.w.mu.Lock()
	for i := range writings {
		switch c := &changes[i]; {
		case done[i] != Written:
		case writings[i].settled:
			wr.w.remove(writings[i].run, c.Job.State)
		case !c.Job.suspected(): // it got further than the last time
			wr.w.cleared(c.Job.ID)
		}
	}
	wr.w.mu.Unlock()
	for i := range writings {
		if done[i] == Written {
			e.announce(&changes[i])
		}
	}
	if ended {
		wr.w.care()
	}
	return wr.resolve(ctx, stale)
}

// prepare takes what the run has to say and makes a change of it.
func (r *Run) prepare(c *Change, now time.Time) (wg writing, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return wg, false
	}
	wg = writing{run: r, change: c, report: r.pending, saves: r.saves, arming: r.arming, settled: r.settled}
	r.pending, r.saves, r.arming, r.dirty = report{}, nil, nil, false
	*c = Change{}
	c.begin(r.job, now, r.worker.e.config.Retention)
	if wg.arming != nil {
		c.arm()
	}
	c.report(wg.report)
	if wg.settled {
		c.settle(r.out)
	}
	if !c.changed() {
		wg.answer(nil)
		return wg, false
	}
	return wg, true
}

func (wg *writing) answer(err error) {
	for _, s := range wg.saves {
		s <- err
	}
	if wg.arming != nil {
		wg.arming <- err
	}
}

// written brings the run up to what is stored.
func (wg *writing) written() {
	r := wg.run
	r.mu.Lock()
	if !wg.settled && wg.change.Job.Version > r.job.Version {
		stored := wg.change.Job
		r.job = &stored
	}
	wg.answer(nil)
	if wg.settled {
		r.over = true
		for _, late := range r.saves { // asked for while this was written: the job went on without it
			late <- ErrLeaseLost
		}
		r.saves = nil
	}
	r.mu.Unlock()
}

// redo gives back what could not be written, and queues it again.
func (wg *writing) redo() {
	r := wg.run
	r.mu.Lock()
	if r.over {
		wg.answer(ErrLeaseLost)
		r.mu.Unlock()
		return
	}
	p := &r.pending
	if p.progress == nil {
		p.progress = wg.report.progress
	}
	if p.checkpoint == nil {
		p.checkpoint = wg.report.checkpoint
	}
	p.lines = append(wg.report.lines, p.lines...)
	r.saves = append(wg.saves, r.saves...)
	r.arming = wg.arming
	r.mu.Unlock()
	r.worker.write(r)
}

// resolve reads the jobs again whose version had moved on.
func (wr *writer) resolve(ctx context.Context, stale []writing) error {
	if len(stale) == 0 {
		return nil
	}
	ids := make([]ID, len(stale))
	for i := range stale {
		ids[i] = stale[i].run.id
	}
	jobs, err := wr.w.e.store.Get(ctx, ids)
	if err != nil {
		for i := range stale {
			stale[i].redo()
		}
		return err
	}
	now := make(map[ID]*Job, len(jobs))
	for i := range jobs {
		now[jobs[i].ID] = &jobs[i]
	}
	for i := range stale {
		job := now[stale[i].run.id]
		if job == nil {
			job = &Job{ID: stale[i].run.id}
		}
		stale[i].met(job)
	}
	return nil
}

// met decides about a write that met another version of the job.
func (wg *writing) met(job *Job) {
	r, w := wg.run, wg.run.worker
	want := &wg.change.Job
	switch {
	case job.isAs(want):
		// It is this very write: it was committed and its reply was lost.
		wg.written()
		if wg.settled {
			w.mu.Lock()
			w.remove(r, job.State)
			w.mu.Unlock()
		}
		w.e.announce(wg.change)
	case r.owns(job):
		r.mu.Lock()
		if !r.over {
			r.job = job
			r.tell()
		}
		r.mu.Unlock()
		wg.redo()
	default:
		w.refuse(r)
		wg.answer(ErrLeaseLost)
		w.lost(r, job)
	}
}

// isAs reports whether the state machine has left both in the same way.
func (j *Job) isAs(o *Job) bool {
	return j.Version == o.Version && j.Token == o.Token && j.State == o.State && j.Want == o.Want && j.Worker == o.Worker &&
		j.Actor == o.Actor && j.Reason == o.Reason && j.Attempt == o.Attempt && j.Crashes == o.Crashes && j.Blocked == o.Blocked &&
		j.CleanUp == o.CleanUp && j.Due.Equal(o.Due) && j.Started.Equal(o.Started) && j.Ended.Equal(o.Ended) && j.Expires.Equal(o.Expires) &&
		string(j.Checkpoint) == string(o.Checkpoint) && j.Progress == o.Progress && string(j.Result) == string(o.Result) &&
		j.Error == o.Error && j.Entries == o.Entries
}
