package main

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/errandhq/errand"
)

// worker works until ctx ends. Then it finishes what is soon done, and hands back the rest.
func (a *app) worker(ctx context.Context) error {
	following, stop := context.WithCancel(context.Background())
	defer stop()
	a.refresh(following, unfinished) // while nothing is pruned yet
	events := a.jobs.Events(following, errand.Query{Kinds: []string{picture.Name()}})
	var follower sync.WaitGroup
	follower.Go(func() { a.follow(following, events) })
	err := a.jobs.Run(ctx)
	a.refresh(following, unfinished) // what the shutdown has handed back
	stop()
	follower.Wait()
	return err
}

// follow keeps the table of jobs up to date: at once with what happens in this process, and within seconds with
// what happens elsewhere, or was not written because a worker died.
func (a *app) follow(ctx context.Context, events iter.Seq[errand.Event]) {
	changed := make(chan errand.ID, 1000)
	go func() {
		for event := range events {
			changed <- event.Job.ID
		}
		close(changed)
	}()
	every := time.NewTicker(5 * time.Second)
	defer every.Stop()
	for {
		select {
		case id, ok := <-changed:
			if !ok {
				return
			}
			ids := []errand.ID{id}
			for range len(changed) { // what has gathered is written together
				ids = append(ids, <-changed)
			}
			a.refresh(ctx, "j.errand_id = any($1)", ids)
		case <-every.C:
			a.refresh(ctx, unfinished)
		}
	}
}
