package main

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// tally counts the distinct jobs that have run: a job that runs twice counts
// once, so that a count of n means that each of n jobs has run.
type tally struct {
	seen []atomic.Bool
	n    atomic.Int64
}

func newTally(jobs int) *tally { return &tally{seen: make([]atomic.Bool, jobs)} }

func (t *tally) handle(args Args) { t.first(args) }

// first counts the job and says whether it had not been seen.
func (t *tally) first(args Args) bool {
	if t.seen[args.ID-firstID].Swap(true) {
		return false
	}
	t.n.Add(1)
	return true
}

// wait returns when n jobs have run or the time is up, and says which.
func (t *tally) wait(n int, until time.Time) bool {
	for t.n.Load() < int64(n) {
		if time.Now().After(until) {
			return false
		}
		time.Sleep(100 * time.Microsecond)
	}
	return true
}

// production is what came of enqueuing.
type production struct {
	accepted int
	left     []Job // what the limit left over
	failed   int
	err      error // the first failure
	elapsed  time.Duration
}

// produce enqueues jobs from a number of goroutines, one by one or, if batch
// is above 1, in batches. It stops at the limit.
func produce(ctx context.Context, inst Instance, jobs []Job, producers, batch int, limit time.Duration) production {
	var (
		done production
		mu   sync.Mutex
		up   atomic.Bool
		all  sync.WaitGroup
	)
	timer := time.AfterFunc(limit, func() { up.Store(true) })
	defer timer.Stop()
	start := time.Now()
	for p := range producers {
		mine := jobs[p*len(jobs)/producers : (p+1)*len(jobs)/producers]
		all.Go(func() {
			var own production
			for len(mine) > 0 && !up.Load() {
				n := min(batch, len(mine))
				own.count(n, enqueue(ctx, inst, mine[:n], batch))
				mine = mine[n:]
			}
			mu.Lock()
			defer mu.Unlock()
			done.add(own, mine)
		})
	}
	all.Wait()
	done.elapsed = time.Since(start)
	return done
}

func enqueue(ctx context.Context, inst Instance, jobs []Job, batch int) error {
	if batch == 1 {
		return inst.Enqueue(ctx, jobs[0])
	}
	return inst.EnqueueMany(ctx, jobs)
}

func (p *production) count(n int, err error) {
	if err == nil {
		p.accepted += n
		return
	}
	p.failed += n
	if p.err == nil {
		p.err = err
	}
}

func (p *production) add(other production, left []Job) {
	p.accepted += other.accepted
	p.failed += other.failed
	p.left = append(p.left, left...)
	if p.err == nil {
		p.err = other.err
	}
}

// sample is the production as a rate.
func (p *production) sample() sample {
	return sample{value: perSecond(p.accepted, p.elapsed), cut: len(p.left) > 0, failed: p.failed, err: p.err}
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// heapInUse collects the garbage and answers the bytes that live.
func heapInUse() float64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held during the first
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// allocated is all that was ever allocated.
func allocated() float64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.TotalAlloc)
}
