package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// bulk is the batch in which jobs are enqueued in bulk.
const bulk = 1000

// unit says how a figure is written and whether more of it is better.
type unit int

const (
	rate    unit = iota // jobs a second
	latency             // microseconds
	mega                // million bytes
	seconds
	percent
)

// row is one line of the table.
type row struct {
	key   string // what -run matches
	label string
	unit  unit
	group string // the only group of systems to have it; empty: all
	// A row that is not measured but is one row's share of another's.
	part, whole string
}

// sample is one figure of one repetition.
type sample struct {
	value  float64
	cut    bool // the limit ended it: fewer jobs than asked for, rates hold all the same
	failed int  // jobs that were refused
	err    error
}

// trial is one repetition of a scene on one system.
type trial struct {
	System
	settings
	dir  string
	jobs []Job
}

// scene is work that is done once a repetition and yields one or more rows.
type scene struct {
	rows    []row
	preload string // state of the jobs that are in the store beforehand
	measure func(context.Context, trial) (map[string]sample, error)
}

func scenes(s settings) []scene {
	retained := count(s.retained)
	list := []scene{}
	for _, producers := range []int{1, 16, 256} {
		list = append(list, enqueueScene(producers))
	}
	return append(list,
		drainScene(16,
			row{key: "enqueue/bulk", label: "enqueue in batches of 1,000"},
			row{key: "drain/16", label: "drain, 16 workers"},
			row{key: "heap/ready", label: "heap held by 100,000 ready jobs, MB", unit: mega}),
		drainScene(100, row{key: "drain/100", label: "drain, 100 workers"}),
		drainScene(1000, row{key: "drain/1000", label: "drain, 1,000 workers", group: postgresGroup}),
		lifeScene(1,
			row{key: "life/16", label: "whole life: 16 enqueue one by one, 16 work"},
			row{key: "alloc/life", label: "… heap allocated for 100,000 jobs, MB", unit: mega},
			row{key: "cpu/life", label: "… CPU for 100,000 jobs, s", unit: seconds}),
		lifeScene(bulk, row{key: "life/bulk", label: "whole life: 16 enqueue batches of 1,000, 16 work"}),
		scene{measure: measureLatency, rows: []row{
			{key: "latency/p50", label: "enqueue to start when idle, p50, µs", unit: latency},
			{key: "latency/p99", label: "enqueue to start when idle, p99, µs", unit: latency},
		}},
		processScene(),
		memoryScene(s.n),
		backlogScene(finished, "with "+retained+" finished", ""),
		backlogScene(scheduled, "with "+retained+" scheduled", ""),
		backlogScene(unworked, "with "+retained+" ready in a queue that nobody works", postgresGroup))
}

// enqueueScene enqueues one by one while nobody works.
func enqueueScene(producers int) scene {
	key := fmt.Sprintf("enqueue/%d", producers)
	label := fmt.Sprintf("enqueue one by one, %d goroutines", producers)
	if producers == 1 {
		label = "enqueue one by one, 1 goroutine"
	}
	return scene{
		rows: []row{{key: key, label: label}},
		measure: func(ctx context.Context, t trial) (map[string]sample, error) {
			inst, err := t.Open(t.dir, 16)
			if err != nil {
				return nil, err
			}
			made := produce(ctx, inst, t.jobs, producers, 1, t.limit)
			return map[string]sample{key: made.sample()}, inst.Close()
		},
	}
}

// drainScene enqueues all jobs in bulk from one goroutine, then works them off.
func drainScene(workers int, rows ...row) scene {
	return scene{rows: rows, measure: func(ctx context.Context, t trial) (map[string]sample, error) {
		before := heapInUse()
		inst, err := t.Open(t.dir, workers)
		if err != nil {
			return nil, err
		}
		made := produce(ctx, inst, t.jobs, 1, bulk, t.limit)
		held := heapInUse() - before
		drained, err := drain(ctx, inst, t, made.accepted)
		if err != nil {
			return nil, err
		}
		return map[string]sample{
			"enqueue/bulk":                   made.sample(),
			"heap/ready":                     {value: held * 1e5 / float64(max(made.accepted, 1)), cut: len(made.left) > 0},
			fmt.Sprintf("drain/%d", workers): drained,
		}, inst.Close()
	}}
}

// drain starts the workers and measures until n jobs are recorded as finished
// or the limit has come.
func drain(ctx context.Context, inst Instance, t trial, n int) (sample, error) {
	ran := newTally(len(t.jobs))
	start := time.Now()
	if err := inst.Start(ctx, ran.handle); err != nil {
		return sample{}, err
	}
	all := ran.wait(n, start.Add(t.limit))
	if all {
		if err := inst.Settle(ctx); err != nil {
			return sample{}, err
		}
	}
	return sample{value: perSecond(int(ran.n.Load()), time.Since(start)), cut: !all}, nil
}

// lifeScene enqueues from 16 goroutines while 16 workers run.
func lifeScene(batch int, rows ...row) scene {
	return scene{rows: rows, measure: func(ctx context.Context, t trial) (map[string]sample, error) {
		inst, err := t.Open(t.dir, 16)
		if err != nil {
			return nil, err
		}
		ran := newTally(len(t.jobs))
		if err := inst.Start(ctx, ran.handle); err != nil {
			return nil, err
		}
		speed, rest := pilot(ctx, inst, t, ran, batch)
		n := min(len(rest), int(speed*t.limit.Seconds()))
		samples, err := live(ctx, inst, t, ran, rest[:n], batch)
		for key, one := range samples {
			one.cut = n < len(rest)
			samples[key] = one
		}
		samples[rows[0].key] = samples["life"]
		return samples, firstOf(err, inst.Close())
	}}
}

// pilot runs a growing part of the jobs until that takes long enough to tell
// the system's speed, and answers it with the jobs that are left. The limit
// cannot simply cut a whole life: where enqueuing is faster than working, most
// jobs would be unfinished then.
func pilot(ctx context.Context, inst Instance, t trial, ran *tally, batch int) (speed float64, rest []Job) {
	rest = t.jobs
	for n := max(len(rest)/500, 1); ; n *= 4 {
		before, start := int(ran.n.Load()), time.Now()
		produce(ctx, inst, rest[:n], 16, batch, t.limit)
		ran.wait(before+n, start.Add(t.limit))
		took := time.Since(start)
		rest = rest[n:]
		if took > t.limit/20 || len(t.jobs)-len(rest)+4*n > len(t.jobs)/4 {
			return perSecond(n, took), rest
		}
	}
}

// live measures jobs that are enqueued into a system that runs. It may take
// three times as long as the pilot made one expect.
func live(ctx context.Context, inst Instance, t trial, ran *tally, jobs []Job, batch int) (map[string]sample, error) {
	before := int(ran.n.Load())
	cpu, heap, start := cpuTime(), allocated(), time.Now()
	made := produce(ctx, inst, jobs, 16, batch, t.limit)
	var err error
	if ran.wait(before+made.accepted, start.Add(3*t.limit)) {
		err = inst.Settle(ctx)
	}
	elapsed, n := time.Since(start), max(int(ran.n.Load())-before, 1)
	cpu, heap = cpuTime()-cpu, allocated()-heap
	each := 1e5 / float64(n)
	return map[string]sample{
		"life":       {value: perSecond(n, elapsed), failed: made.failed, err: made.err},
		"cpu/life":   {value: cpu.Seconds() * each},
		"alloc/life": {value: heap * each},
	}, err
}

// measureLatency enqueues into the system that works.
func measureLatency(ctx context.Context, t trial) (map[string]sample, error) {
	inst, err := t.Open(t.dir, 16)
	if err != nil {
		return nil, err
	}
	started := make(chan time.Time, 16)
	if err := inst.Start(ctx, func(Args) { started <- time.Now() }); err != nil {
		return nil, err
	}
	samples, err := pickups(ctx, t, inst, started, "latency")
	return samples, firstOf(err, inst.Close())
}

// pickups enqueues a job, waits for its start, leaves the system idle for a
// few milliseconds, and does so again. The clock runs from before the call of
// Enqueue to the first line of the handler.
func pickups(ctx context.Context, t trial, inst Instance, started <-chan time.Time, key string) (map[string]sample, error) {
	const warmup = 5
	end := time.Now().Add(t.limit)
	wanted := min(t.samples+warmup, len(t.jobs))
	var took []float64
	for _, job := range t.jobs[:wanted] {
		time.Sleep(2*time.Millisecond + rand.N(2*time.Millisecond))
		if time.Now().After(end) {
			break
		}
		start := time.Now()
		if err := inst.Enqueue(ctx, job); err != nil {
			return nil, err
		}
		at := <-started
		if at.IsZero() {
			return nil, errors.New("the worker has ended")
		}
		took = append(took, float64(at.Sub(start).Nanoseconds())/1e3)
	}
	cut := len(took) < wanted
	took = took[min(warmup, len(took)-1):]
	p50, p99 := middleAndWorst(took)
	return map[string]sample{
		key + "/p50": {value: p50, cut: cut},
		key + "/p99": {value: p99, cut: cut},
	}, nil
}

// backlogScene enqueues one by one from 16 goroutines and drains all jobs with
// 16 workers, in a store that holds many others.
func backlogScene(state, label, group string) scene {
	return scene{
		preload: state,
		rows: []row{
			{key: state + "/enqueue", label: "enqueue one by one, 16 goroutines, " + label, group: group},
			{key: state + "/drain", label: "drain, 16 workers, " + label, group: group},
			{
				key: state + "/share", label: "… as a share of the drain without them", unit: percent,
				part: state + "/drain", whole: "drain/16", group: group,
			},
		},
		measure: func(ctx context.Context, t trial) (map[string]sample, error) {
			inst, err := t.Open(t.dir, 16)
			if err != nil {
				return nil, err
			}
			made := produce(ctx, inst, t.jobs, 16, 1, t.limit)
			rest := produce(ctx, inst, made.left, 1, bulk, t.limit)
			drained, err := drain(ctx, inst, t, made.accepted+rest.accepted)
			return map[string]sample{
				state + "/enqueue": made.sample(),
				state + "/drain":   drained,
			}, firstOf(err, inst.Close())
		},
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
