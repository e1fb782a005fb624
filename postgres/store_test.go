package postgres_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// stores returns what opens empty stores: each is a schema of its own in one database, which is made faster than a database.
func stores(t *testing.T) func(*testing.T) errand.Store {
	url, n := testserver.PostgresURL(t), new(atomic.Int32)
	return func(t *testing.T) errand.Store {
		s, err := postgres.Open(t.Context(), url, &postgres.Options{Schema: fmt.Sprintf("errand_%d", n.Add(1)), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func TestContract(t *testing.T) { storetest.Run(t, stores(t)) }

func TestCompare(t *testing.T) { storetest.Compare(t, stores(t)) }

func TestScenarios(t *testing.T) { storetest.Scenarios(t, nil, stores(t)) }

func TestFeed(t *testing.T) {
	url := testserver.PostgresURL(t)
	open := func() *postgres.Store {
		s, err := postgres.Open(t.Context(), url, &postgres.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("changes", func(t *testing.T) { storetest.Feed(t, open(), open()) })
	t.Run("watch", func(t *testing.T) { storetest.Watch(t, open(), open()) })
}
