package errand_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/errandhq/errand"
)

// begin returns an engine that says nothing but what the examples print.
func begin() *errand.Engine {
	return errand.New(errand.Memory(nil), &errand.Config{Log: slog.New(slog.DiscardHandler)})
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	double := errand.Define[int, int]("double")
	e := begin()
	double.Handle(e, func(_ context.Context, n int) (int, error) { return 2 * n, nil })
	go e.Run(ctx)

	job, err := double.Enqueue(ctx, e, 21)
	if err != nil {
		panic(err)
	}
	fmt.Println(job.Wait(ctx))
	// Output: 42 <nil>
}

// A long job saves where it is when it is told to stop, and goes on from there.
func ExampleRun_Stop() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	atThree := make(chan bool)
	count := errand.Define[int, errand.None]("count")
	e := begin()
	count.Do(e, func(ctx context.Context, to int) error {
		run := errand.Current(ctx)
		i, err := errand.Checkpoint[int](run)
		fmt.Println("begin at", i)
		for ; err == nil && i < to; i++ {
			if i == 3 && run.Token() == 1 {
				close(atThree)
				<-ctx.Done()
			}
			if ctx.Err() != nil {
				return run.Stop(i)
			}
		}
		return err
	})
	go e.Run(ctx)

	job, _ := count.Enqueue(ctx, e, 5)
	<-atThree
	_ = job.Pause(ctx, "time for lunch")
	paused, _ := e.WaitFor(ctx, job.ID, func(j *errand.Job) bool { return j.State == errand.Paused })
	fmt.Println(paused.State, "at", string(paused.Checkpoint))
	_ = job.Resume(ctx, "")
	_, err := job.Wait(ctx)
	fmt.Println(err)
	// Output:
	// begin at 0
	// paused at 3
	// begin at 3
	// <nil>
}

// Jobs of one key do not pile up.
func ExampleUnique() {
	ctx := context.Background()
	e := begin()
	reindex := errand.Define[string, errand.None]("reindex")

	first, _ := reindex.Enqueue(ctx, e, "users", errand.Unique("users"))
	again, _ := reindex.Enqueue(ctx, e, "users", errand.Unique("users"), errand.In(time.Hour))
	fmt.Println(again.Duplicate, again.ID == first.ID)
	// Output: true true
}

// Serial work: the second job starts when the first has succeeded.
func ExampleAfter() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	e := begin()
	say := errand.Define[string, errand.None]("say", errand.MaxAttempts(1))
	say.Do(e, func(_ context.Context, text string) error {
		fmt.Println(text)
		if text == "no" {
			return errors.New("refused")
		}
		return nil
	})

	first, _ := say.Enqueue(ctx, e, "yes")
	second, _ := say.Enqueue(ctx, e, "no", errand.After(first.ID))
	third, _ := say.Enqueue(ctx, e, "never", errand.After(second.ID))
	go e.Run(ctx)
	_, err := third.Wait(ctx)
	var failed *errand.FailedError
	fmt.Println(errors.As(err, &failed), failed.Job.State)
	// Output:
	// yes
	// no
	// true cancelled
}
