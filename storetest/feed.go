package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// Feed checks that an [errand.Feed] tells of every change that another process makes: of what a store on the same database
// writes, in whatever way.
func Feed(t *testing.T, watcher errand.Feed, other errand.Store) {
	f := &fixture{tb: t, store: other}
	mark := ""
	// told returns what the feed tells by now, once it has told of n changes.
	told := func(n int) map[string]int {
		t.Helper()
		got := map[string]int{}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			c, err := watcher.Changed(t.Context(), mark)
			if err != nil {
				t.Fatal(err)
			}
			if c.Lost {
				t.Fatal("the feed says that it has lost changes")
			}
			mark = c.Mark
			for _, x := range c.Jobs {
				for _, id := range x.IDs {
					got[fmt.Sprintf("%s/%s %s %s", x.Queue, x.Kind, id, x.State)]++
					n--
				}
			}
			if n <= 0 || time.Now().After(deadline) {
				return got
			}
		}
	}
	expect := func(what string, j errand.Job, states ...errand.State) {
		t.Helper()
		want := map[string]int{}
		for _, s := range states {
			want[fmt.Sprintf("%s/%s %s %s", j.Queue, j.Kind, j.ID, s)]++
		}
		f.equal("what the feed tells of "+what, want, told(len(states)))
	}
	first, err := watcher.Changed(t.Context(), "")
	if err != nil || len(first.Jobs) > 0 || first.Lost {
		t.Fatalf("the first call: %d changes, lost: %t, error: %v", len(first.Jobs), first.Lost, err)
	}
	mark = first.Mark

	j := f.insert(newJob(func(j *errand.Job) { j.ID = uuid.Must(uuid.NewV7()) }))
	expect("a plain job that was inserted", j, errand.Ready)
	j = f.claim(uuid.New(), 1)[0]
	expect("a claim", j, errand.Running)
	j = f.write(change(j, func(j *errand.Job) { j.Progress.Done = 3 }))
	expect("progress", j, errand.Running)
	j = f.write(change(j, ended(errand.Succeeded)))
	expect("a plain end", j, errand.Succeeded)

	plain := f.running(uuid.New(), func(j *errand.Job) { j.ID = uuid.Must(uuid.NewV7()) })
	expect("an insert and a claim", plain, errand.Ready, errand.Running)
	plain = f.write(change(plain, expired))
	expect("an end that expires", plain, errand.Succeeded)
	f.prune(10)
	expect("a job that was pruned", plain, "")

	odd := f.insert(newJob(unique("k", errand.UntilEnded), inQueue("odd"), func(j *errand.Job) { j.Tags = []string{"a"} }))
	expect("an unusual job that was inserted", odd, errand.Ready)
	odd = f.write(change(odd, ended(errand.Failed)))
	expect("a failure", odd, errand.Failed)
	f.write(remove(odd))
	expect("a job that was deleted", odd, "")

	late := f.insert(newJob(scheduled(base)))
	expect("a scheduled job", late, errand.Scheduled)
	f.claims(uuid.New())
	expect("a job that was woken", late, errand.Ready)

	stale := change(late, ended(errand.Failed))
	stale.Was = 77
	f.outcomes(f.swap(stale), errand.Stale)
	expect("a change that was refused", late)
}

// Watch checks that an engine on one store hears of what an engine on another one, on the same database, does to jobs.
func Watch(t *testing.T, here, there errand.Store) {
	quiet := slog.New(slog.DiscardHandler)
	watching := errand.New(here, &errand.Config{Log: quiet})
	working := errand.New(there, &errand.Config{Log: quiet, ShutdownGrace: -1})
	working.Handle("mail", errand.Handling{Handler: func(ctx context.Context, run *errand.Run) (json.RawMessage, error) {
		return run.Job().Args, nil
	}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- working.Run(ctx) }()
	defer func() {
		stop()
		<-done
	}()
	enqueue := func(kind string) errand.ID {
		t.Helper()
		jobs, err := working.Enqueue(t.Context(), errand.NewJob{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		return jobs[0].ID
	}
	w := watching.Watch(0)
	defer w.Close()
	// ended waits for the ends of jobs.
	ended := func(ids ...errand.ID) {
		t.Helper()
		waiting := map[errand.ID]bool{}
		for _, id := range ids {
			waiting[id] = true
		}
		patience, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for len(waiting) > 0 {
			notices, err := w.Next(patience)
			if err != nil {
				t.Fatalf("%d of %d ends were not told: %v", len(waiting), len(ids), err)
			}
			for _, n := range notices {
				switch {
				case n.Err != nil:
					t.Fatal(n.Err)
				case n.Job != nil && n.Job.State.Ended():
					delete(waiting, n.Job.ID)
				case n.Gone != uuid.Nil:
					delete(waiting, n.Gone)
				}
			}
		}
	}
	if err := w.Match("mails", errand.Query{Kinds: []string{"ma*"}}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	var ids []errand.ID
	for range 20 {
		ids = append(ids, enqueue("mail"))
	}
	ended(ids...) // which nobody had named before
	w.Unmatch("mails")
	other := enqueue("other")
	if err := w.Follow(errand.Seen{ID: other}); err != nil {
		t.Fatal(err)
	}
	if _, err := working.Cancel(t.Context(), other, ""); err != nil {
		t.Fatal(err)
	}
	ended(other)
	gone := enqueue("other")
	if err := w.Follow(errand.Seen{ID: gone, Version: 1}); err != nil {
		t.Fatal(err)
	}
	if err := working.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	ended(gone)
}
