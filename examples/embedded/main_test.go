package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDefault runs the program as it is by default, in virtual time: 20 jobs of 5 s on 10
// workers take 10 s, in order of priority.
func TestDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		if err := run(t.Context(), &out, 10, 20, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		defer func() {
			if t.Failed() {
				t.Log("\n" + text)
			}
		}()
		for _, want := range []string{
			" 10.0s  Finished  20 jobs started, 20 ended, at most 10 at the same time\n",
			"paused    A at step 2 of 8: let others go first\n",
			"end       B cancelled after",
			"status    A: succeeded, result \"A is done\", error <nil>\n",
			"cancelled: not needed\n",
			"scheduled C, to start in 2.0s\n",
			"end       one-off succeeded",
			"Finished  the workers have quit\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the output lacks %q", want)
			}
		}
		var order []string
		for _, m := range regexp.MustCompile(`start +job (\d+),`).FindAllStringSubmatch(text, -1) {
			order = append(order, m[1])
		}
		var want []string
		for i := 20; i > 0; i-- {
			want = append(want, fmt.Sprint(i))
		}
		if !slices.Equal(order, want) {
			t.Errorf("jobs started in the order %v, want %v", order, want)
		}
	})
}

func TestWorkersMustBePositive(t *testing.T) {
	for _, n := range []int{0, -1} {
		if err := run(context.Background(), &strings.Builder{}, n, 20, time.Second); err == nil {
			t.Errorf("%d workers: no error", n)
		}
	}
}

// TestQuit tells the workers to quit in the middle of the work.
func TestQuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		var out strings.Builder
		begin := time.Now()
		if err := run(ctx, &out, 2, 20, 5*time.Second); err == nil {
			t.Error("no error")
		}
		if took := time.Since(begin); took > 8*time.Second {
			t.Errorf("quitting took until %s", took)
		}
	})
}
