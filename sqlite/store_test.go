package sqlite_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/sqlite"
	"github.com/errandhq/errand/storetest"
)

func open(t *testing.T) errand.Store {
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "jobs.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) { storetest.Run(t, open) }

func TestCompare(t *testing.T) { storetest.Compare(t, open) }

func TestScenarios(t *testing.T) { storetest.Scenarios(t, synctest.Test, open) }

func TestFeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	open := func() *sqlite.Store {
		s, err := sqlite.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("changes", func(t *testing.T) { storetest.Feed(t, open(), open()) })
	t.Run("watch", func(t *testing.T) { storetest.Watch(t, open(), open()) })
}
