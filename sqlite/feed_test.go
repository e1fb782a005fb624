package sqlite_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/sqlite"
)

// A process that stood still for longer than changes are noted for it is told that it has lost some.
func TestFeedAfterPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "jobs.db")
		here, err := sqlite.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		there, err := sqlite.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer there.Close()
		mark := ""
		next := func() errand.Changed {
			t.Helper()
			c, err := here.Changed(t.Context(), mark)
			if err != nil {
				t.Fatal(err)
			}
			mark = c.Mark
			return c
		}
		if c := next(); c.Lost {
			t.Error("the first call has lost changes")
		}
		for _, pause := range []time.Duration{40 * time.Second, 2 * time.Minute, 0} {
			time.Sleep(pause)
			_, err := there.Insert(t.Context(), []errand.Job{{ID: uuid.Must(uuid.NewV7()), Kind: "a", Queue: "default", State: errand.Ready, Version: 1, Created: time.Now(), Due: time.Now()}})
			if err != nil {
				t.Fatal(err)
			}
			c := next()
			if lost := pause > time.Minute; c.Lost != lost || len(c.Jobs) == 1 == lost {
				t.Errorf("after %s: %d changes, lost: %t", pause, len(c.Jobs), c.Lost)
			}
		}
	})
}
