package main

import (
	"context"
	"sync"
)

// channelSystems is the floor in memory: a buffered channel of encoded args
// and goroutines that decode them. All n jobs of a run fit, so that a backlog
// can wait.
func channelSystems(n int) []System {
	return []System{{
		Group: "memory", Name: "channel", Role: Floor,
		Note: "a buffered channel of JSON, N goroutines that decode it",
		Open: func(_ string, workers int) (Instance, error) {
			return &channel{workers: workers, jobs: make(chan []byte, n)}, nil
		},
	}}
}

type channel struct {
	workers int
	jobs    chan []byte
	running sync.WaitGroup
}

func (c *channel) Enqueue(_ context.Context, job Job) error {
	c.jobs <- job.JSON
	return nil
}

func (c *channel) EnqueueMany(_ context.Context, jobs []Job) error {
	for _, job := range jobs {
		c.jobs <- job.JSON
	}
	return nil
}

func (c *channel) Start(_ context.Context, handle func(Args)) error {
	for range c.workers {
		c.running.Go(func() {
			for data := range c.jobs {
				handle(decode(data))
			}
		})
	}
	return nil
}

func (c *channel) Settle(context.Context) error { return nil }

func (c *channel) Close() error {
	close(c.jobs)
	c.running.Wait()
	return nil
}
