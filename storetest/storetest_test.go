package storetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/storetest"
)

func openMemory(*testing.T) errand.Store { return errand.Memory(&errand.MemoryOptions{Keep: -1}) }

func TestMemory(t *testing.T) {
	storetest.Run(t, openMemory)
}

func TestMemoryCompare(t *testing.T) {
	storetest.Compare(t, openMemory)
}

// The one sentence of the contract that takes an hour, in virtual time.
func TestMemoryForgetsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openMemory(t)
		beat := func() (left int) {
			if _, err := s.Beat(t.Context(), errand.Session{ID: uuid.New()}, nil); err != nil {
				t.Fatal(err)
			}
			sessions, err := s.Sessions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return len(sessions)
		}
		if _, err := s.Beat(t.Context(), errand.Session{ID: uuid.New(), Lease: time.Minute}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute + time.Hour - time.Second)
		if n := beat(); n != 1 {
			t.Errorf("%d sessions an hour after one lapsed, want it still there", n)
		}
		time.Sleep(2 * time.Second)
		if n := beat(); n != 0 {
			t.Errorf("%d sessions more than an hour after one lapsed, want none", n)
		}
	})
}
