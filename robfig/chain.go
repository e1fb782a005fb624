package cron

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// JobWrapper puts something around a job.
type JobWrapper func(Job) Job

// Chain is a sequence of wrappers.
type Chain struct{ wrappers []JobWrapper }

// NewChain returns a chain of wrappers.
func NewChain(c ...JobWrapper) Chain { return Chain{c} }

// Then puts all the wrappers around a job, the first outermost.
func (c Chain) Then(j Job) Job {
	for _, wrap := range slices.Backward(c.wrappers) {
		j = wrap(j)
	}
	return j
}

// Recover logs panics, with the stack, and has the job return.
func Recover(logger Logger) JobWrapper {
	return func(j Job) Job {
		return FuncJob(func() {
			defer func() {
				if r := recover(); r != nil {
					err, ok := r.(error)
					if !ok {
						err = fmt.Errorf("%v", r)
					}
					logger.Error(err, "panic", "stack", "...\n"+string(debug.Stack()))
				}
			}()
			j.Run()
		})
	}
}

// DelayIfStillRunning has a run wait until the one before has ended. A delay of more than a minute is logged.
func DelayIfStillRunning(logger Logger) JobWrapper {
	return func(j Job) Job {
		turn := make(chan struct{}, 1) // unlike a mutex it does not hinder testing/synctest
		return FuncJob(func() {
			start := time.Now()
			turn <- struct{}{}
			defer func() { <-turn }()
			if d := time.Since(start); d > time.Minute {
				logger.Info("delay", "duration", d)
			}
			j.Run()
		})
	}
}

// SkipIfStillRunning leaves out a run, and logs that, if the one before has not ended.
func SkipIfStillRunning(logger Logger) JobWrapper {
	return func(j Job) Job {
		var mu sync.Mutex
		return FuncJob(func() {
			if !mu.TryLock() {
				logger.Info("skip")
				return
			}
			defer mu.Unlock()
			j.Run()
		})
	}
}
