package storetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/storetest"
)

func aJob() []errand.Job {
	return []errand.Job{{ID: uuid.New(), Kind: "k", Queue: "q", State: errand.Ready, Version: 1}}
}

// A faulty store without faults is the store: all its methods reach the right one.
func TestFaultyPasses(t *testing.T) {
	storetest.Run(t, func(t *testing.T) errand.Store { return storetest.Faulty(openMemory(t), 1) })
}

func TestFaultyBeforeAndAfter(t *testing.T) {
	s := storetest.Faulty(openMemory(t), 1)
	for _, committed := range []bool{false, true} {
		jobs := aJob()
		s.Set(storetest.Faults{Before: 1})
		if committed {
			s.Set(storetest.Faults{After: 1})
		}
		there, err := s.Insert(t.Context(), jobs)
		var fault *storetest.Fault
		if !errors.As(err, &fault) || fault.Method != "Insert" || fault.Committed != committed || there != nil {
			t.Fatalf("Insert: %v, %v, want a fault, committed %v", there, err, committed)
		}
		s.Set(storetest.Faults{})
		got, err := s.Get(t.Context(), []errand.ID{jobs[0].ID})
		if err != nil || len(got) == 1 != committed {
			t.Errorf("after the fault %v: %d jobs, %v", fault, len(got), err)
		}
	}
	if c := s.Counts(); c.Calls != 4 || c.Before != 1 || c.After != 1 || c.Struck["Insert"] != 2 {
		t.Errorf("Counts = %+v", c)
	}
}

func TestFaultyIsSeeded(t *testing.T) {
	run := func(seed uint64) (struck string) {
		s := storetest.Faulty(openMemory(t), seed)
		s.Set(storetest.Faults{Before: 0.2, After: 0.3, Methods: []string{"Stats", "Insert"}})
		for range 100 {
			if _, err := s.Sessions(t.Context()); err != nil {
				t.Fatalf("Sessions, which is not to be struck: %v", err)
			}
			switch _, err := s.Stats(t.Context()); {
			case err == nil:
				struck += "."
			case err.(*storetest.Fault).Committed:
				struck += "a"
			default:
				struck += "b"
			}
		}
		if c := s.Counts(); c.Calls != 200 || c.Before < 5 || c.After < 10 || c.Before+c.After > 80 {
			t.Errorf("Counts = %+v", c)
		}
		return struck
	}
	first, again, other := run(7), run(7), run(8)
	if first != again || first == other {
		t.Error("the faults do not follow the seed")
	}
}

func TestFaultyDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Faulty(openMemory(t), 3)
		s.Set(storetest.Faults{Delay: 1, MaxDelay: time.Minute})
		begin := time.Now()
		for range 20 {
			if _, err := s.Insert(t.Context(), aJob()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took < 2*time.Minute || took > 20*time.Minute || s.Counts().Delayed != 20 {
			t.Errorf("20 delayed calls took %v, counts %+v", took, s.Counts())
		}
		// Whoever does not wait for the delay never learns whether the call was done.
		s.Set(storetest.Faults{Delay: 1, MaxDelay: 1000 * time.Hour})
		done := 0
		for range 20 {
			jobs := aJob()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := s.Insert(ctx, jobs); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Insert: %v", err)
			}
			cancel()
			s.Set(storetest.Faults{})
			got, _ := s.Get(t.Context(), []errand.ID{jobs[0].ID})
			done += len(got)
			s.Set(storetest.Faults{Delay: 1, MaxDelay: 1000 * time.Hour})
		}
		if done == 0 || done == 20 {
			t.Errorf("%d of 20 late calls were carried out, want some", done)
		}
	})
}
