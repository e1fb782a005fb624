package main

import (
	"context"
	"sync"

	"github.com/alitto/pond/v2"
	"github.com/panjf2000/ants/v2"
)

// poolSystems are the goroutine pools. They keep no record of a job: no state,
// no result, no retry, nothing to ask for and nothing to cancel.
func poolSystems() []System {
	return []System{
		{
			Group: "memory", Name: "ants", Skip: antsSkip,
			Note: "NewPool and Submit of a closure",
			Open: func(_ string, workers int) (Instance, error) { return &antsPool{workers: workers}, nil },
		},
		{
			Group: "memory", Name: "ants best", Skip: antsSkip,
			Note: "NewPoolWithFuncGeneric, PreAlloc, DisablePurge: no closure a job",
			Open: func(_ string, workers int) (Instance, error) { return &antsPool{workers: workers, best: true}, nil },
		},
		{
			Group: "memory", Name: "pond",
			Note: "NewPool and Submit, which answers a Task to wait for",
			Open: func(_ string, workers int) (Instance, error) { return openPond(workers, false), nil },
		},
		{
			Group: "memory", Name: "pond best",
			Note: "NewPool WithoutPanicRecovery and Go, which answers nothing",
			Open: func(_ string, workers int) (Instance, error) { return openPond(workers, true), nil },
		},
	}
}

// antsSkip: ants has no queue, Submit blocks while all goroutines are busy, so
// that nothing can be enqueued first and drained later.
const antsSkip = "^(enqueue|drain|heap|finished|scheduled)"

type antsPool struct {
	workers int
	best    bool
	submit  func([]byte) error
	release func()
}

func (a *antsPool) Start(_ context.Context, handle func(Args)) error {
	if a.best {
		pool, err := ants.NewPoolWithFuncGeneric(a.workers, func(data []byte) { handle(decode(data)) },
			ants.WithPreAlloc(true), ants.WithDisablePurge(true))
		if err != nil {
			return err
		}
		a.submit, a.release = pool.Invoke, pool.Release
		return nil
	}
	pool, err := ants.NewPool(a.workers)
	if err != nil {
		return err
	}
	a.submit = func(data []byte) error { return pool.Submit(func() { handle(decode(data)) }) }
	a.release = pool.Release
	return nil
}

func (a *antsPool) Enqueue(_ context.Context, job Job) error { return a.submit(job.JSON) }

func (a *antsPool) EnqueueMany(_ context.Context, jobs []Job) error {
	for _, job := range jobs {
		if err := a.submit(job.JSON); err != nil {
			return err
		}
	}
	return nil
}

func (a *antsPool) Settle(context.Context) error { return nil }

func (a *antsPool) Close() error {
	a.release()
	return nil
}

// pondPool starts with a plug in each worker, so that a backlog can be built
// before Start pulls them.
type pondPool struct {
	pool   pond.Pool
	best   bool
	handle func(Args)
	start  func() // pulls the plugs, once
}

func openPond(workers int, best bool) *pondPool {
	var options []pond.Option
	if best {
		options = append(options, pond.WithoutPanicRecovery())
	}
	gate := make(chan struct{})
	p := &pondPool{
		pool: pond.NewPool(workers, options...), best: best,
		start: sync.OnceFunc(func() { close(gate) }),
	}
	for range workers {
		p.pool.Go(func() { <-gate })
	}
	return p
}

func (p *pondPool) Enqueue(_ context.Context, job Job) error {
	run := func() { p.handle(decode(job.JSON)) }
	if p.best {
		return p.pool.Go(run)
	}
	p.pool.Submit(run)
	return nil
}

func (p *pondPool) EnqueueMany(ctx context.Context, jobs []Job) error {
	for _, job := range jobs {
		if err := p.Enqueue(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

func (p *pondPool) Start(_ context.Context, handle func(Args)) error {
	p.handle = handle
	p.start()
	return nil
}

func (p *pondPool) Settle(context.Context) error { return nil }

func (p *pondPool) Close() error {
	if p.handle == nil {
		p.handle = func(Args) {}
	}
	p.start()
	p.pool.StopAndWait()
	return nil
}
