package errand

import (
	"context"
	"time"
)

// fetchLoop claims jobs whenever there may be some and there is room for them: on a hint,
// when a scheduled job becomes due, and at each poll.
func (w *worker) fetchLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var deadline time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wakeFetch:
		case <-timer.C:
		}
		all := !time.Now().Before(deadline)
		next := w.fetch(ctx, all)
		if all {
			deadline = time.Now().Add(jitter(w.e.config.Poll))
		}
		if !next.IsZero() && next.Before(deadline) {
			deadline = next
		}
		if due := w.nextDue.Swap(0); due != 0 && time.UnixMicro(due).Before(deadline) {
			deadline = time.UnixMicro(due)
		}
		timer.Reset(time.Until(deadline))
	}
}

// scheduled has the fetcher look when a job becomes due, if that is before the next poll.
func (w *worker) scheduled(due time.Time) {
	at := due.Add(-time.Duration(w.e.clock.offset.Load())).UnixMicro() + 1
	for {
		old := w.nextDue.Load()
		if old != 0 && old <= at {
			return
		}
		if w.nextDue.CompareAndSwap(old, at) {
			w.hint()
			return
		}
	}
}

// ahead is how many jobs of a queue to claim beyond its free slots, at so many runs a second.
func (w *worker) ahead(perSecond float64) int64 {
	switch n := w.e.config.Prefetch; {
	case n < 0:
		return 0
	case n > 0:
		return int64(min(n, maxPrefetch))
	}
	return min(int64(perSecond/20), maxPrefetch)
}

// rate is a moving average of a counter's speed.
type rate struct {
	at    time.Time
	count int64
	value float64
}

// per returns the counter's speed a second, measured over 10 ms at least.
func (r *rate) per(count int64, now time.Time) float64 {
	d := now.Sub(r.at)
	if d < 10*time.Millisecond {
		return r.value
	}
	keep := 0.5
	if d > 200*time.Millisecond {
		keep = 0
	}
	r.value = keep*r.value + (1-keep)*float64(count-r.count)/d.Seconds()
	r.at, r.count = now, count
	return r.value
}

// fetch claims for the pools that have room and may have work, or for all that have room, until one
// of both is used up. It returns when the next scheduled job is due by this process's
// clock; zero if there is none.
func (w *worker) fetch(ctx context.Context, all bool) (next time.Time) {
	for ctx.Err() == nil {
		w.prefetch.Store(w.ahead(w.speed.per(w.finished.Load(), time.Now())))
		lanes, pools := w.lanes(all)
		if len(lanes) == 0 {
			return next
		}
		// The claim is not interrupted by a shutdown: what it gets would be unknown.
		got, err := w.claim(context.WithoutCancel(ctx), lanes)
		if err != nil {
			w.unsure = true
			w.warn(ctx, "cannot claim jobs", err)
			for _, p := range pools {
				p.more.Store(true)
			}
			sleep(ctx, jitter(100*time.Millisecond))
			return next
		}
		next = time.Time{}
		if !got.Next.IsZero() {
			next = got.Next.Add(-time.Duration(w.e.clock.offset.Load()) + time.Microsecond)
		}
		if w.unsure {
			w.handBackStrays(ctx)
		}
		w.dispatch(w.putOffSuspects(context.WithoutCancel(ctx), got.Jobs))
		if !w.refill(lanes, pools, got.Jobs) {
			return next
		}
		all = false
	}
	return next
}

func (w *worker) claim(ctx context.Context, lanes []Lane) (Claimed, error) {
	n := 0
	for _, l := range lanes {
		n += l.Limit
	}
	start := w.e.callStarts()
	got, err := w.e.store.Claim(ctx, Claim{Session: w.session.ID, Lanes: lanes})
	w.e.called("Claim", n, start, err)
	return got, err
}

// lanes says what to claim: for each queue with room one lane, and one more for each kind with a
// limit of its own.
func (w *worker) lanes(all bool) (lanes []Lane, pools []*pool) {
	kinds, limited := w.e.handlings.kinds()
	w.mu.Lock()
	defer w.mu.Unlock()
	add := func(p *pool, kinds []string, n int) {
		lanes = append(lanes, Lane{Queue: p.queue, Kinds: kinds, Limit: min(n, maxPrefetch)})
		pools = append(pools, p)
	}
	for _, v := range w.pools.Range {
		p := v.(*pool)
		if !all && !p.more.Load() || w.holdsBack(p.queue) {
			continue
		}
		room := p.slots + int(w.prefetch.Load()) - int(p.inFlight.Load())
		if room <= 0 {
			continue
		}
		p.more.Store(false) // before the claim: whoever enqueues from now on sets it again
		if p.local {
			if names := w.localKinds(); len(names) > 0 {
				add(p, names, room)
			}
			continue
		}
		for kind, limit := range limited {
			if free := limit - w.perKind[kind]; free > 0 {
				add(p, []string{kind}, min(free, room))
			}
		}
		if len(kinds) > 0 {
			add(p, kinds, room)
		}
	}
	return lanes, pools
}

// refill notes the queues from which a claim got all that it asked for, and reports whether
// there is one.
func (w *worker) refill(lanes []Lane, pools []*pool, got []Job) bool {
	type key struct{ queue, kind string }
	counts := map[key]int{}
	for i := range got {
		counts[key{got[i].Queue, got[i].Kind}]++
	}
	full := false
	for i, l := range lanes {
		n := 0
		for _, kind := range l.Kinds {
			n += counts[key{l.Queue, kind}]
		}
		if n >= l.Limit {
			pools[i].more.Store(true)
			full = true
		}
	}
	return full
}

// dispatch starts runs, or lines them up for the next free slot of their pool.
func (w *worker) dispatch(jobs []Job) {
	runs := make([]*Run, len(jobs))
	for i := range jobs {
		runs[i] = w.newRun(&jobs[i])
	}
	w.mu.Lock()
	for i, r := range runs {
		if old := w.runs[r.id]; old != nil { // it has lost the job, and the news is still on its way
			w.mu.Unlock()
			w.lost(old, &jobs[i])
			w.mu.Lock()
		}
		w.runs[r.id] = r
		w.perKind[r.kind]++
	}
	w.mu.Unlock()
	for i, r := range runs {
		w.e.bus.publish(Ready, &jobs[i])
		r.pool.inFlight.Add(1)
		r.pool.work <- r
		r.pool.spur()
	}
}

// spur starts a goroutine, if there is work for one and none is about to begin. Each that takes work spurs in its turn,
// so that runs which wait for something get a goroutine each at once, while those which
// only compute share a few, whose stacks have grown already.
func (p *pool) spur() {
	if p.idle.Load() > 0 || p.workers.Load() >= int64(p.slots) || !p.starting.CompareAndSwap(false, true) {
		return
	}
	p.workers.Add(1)
	go p.serve()
}

// serve runs jobs until the pool is closed. A handler that ends its goroutine ends this one:
// another takes its place.
func (p *pool) serve() {
	p.starting.Store(false)
	done := false
	defer func() {
		if !done {
			go p.serve()
		}
	}()
	for {
		p.idle.Add(1)
		r, ok := <-p.work
		p.idle.Add(-1)
		if !ok {
			done = true
			return
		}
		if len(p.work) > 0 {
			p.spur()
		}
		if r.worker.holdsBack(p.queue) { // since it was claimed
			r.putBack()
		} else {
			r.execute()
		}
	}
}

func (w *worker) newRun(j *Job) *Run {
	p := w.pool(j.Queue)
	r := &Run{worker: w, id: j.ID, token: j.Token, kind: j.Kind, args: j.Args, timeout: j.Timeout, pool: p, job: j, cleanUp: j.CleanUp == CleanUpDue}
	h := w.e.handlings.forRun(j.Kind)
	r.handler, r.limited = h.Handler, h.Limit > 0
	if r.cleanUp {
		r.handler = h.CleanUp
	}
	if p.local {
		r.handler = w.local(j.ID)
	}
	if r.handler == nil {
		r.handler = noHandler
	}
	r.parent = runContext{context.Background(), r}
	r.ctx, r.cancel = context.WithCancelCause(&r.parent)
	r.tell() // it may be asked to stop already
	return r
}

// handBackStrays returns running jobs of this session that no run here knows of: the
// claim that got them failed after it was committed. No claim may be under way.
func (w *worker) handBackStrays(ctx context.Context) {
	q := Query{States: []State{Running}, Worker: w.session.ID, Limit: MaxPage}
	for {
		page, err := w.e.store.List(ctx, q)
		if err != nil {
			w.warn(ctx, "cannot look for jobs of a failed claim", err)
			return
		}
		var changes []Change
		for i := range page.Jobs {
			j := &page.Jobs[i]
			w.mu.Lock()
			known := w.runs[j.ID] != nil
			w.mu.Unlock()
			if !known {
				c := w.e.change(j)
				c.settle(outcome{err: ErrShutdown, cause: ErrShutdown})
				changes = append(changes, *c)
			}
		}
		if len(changes) > 0 {
			if _, err := w.e.swap(ctx, changes); err != nil {
				w.warn(ctx, "cannot hand back jobs of a failed claim", err)
				return
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			w.unsure = false
			return
		}
	}
}
