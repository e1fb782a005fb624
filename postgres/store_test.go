package postgres_test

import (
	"testing"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

func open(t *testing.T) errand.Store { return openWith(t, nil) }

func openWith(t *testing.T, opts *postgres.Options) *postgres.Store {
	s, err := postgres.Open(t.Context(), testserver.PostgresURL(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) { storetest.Run(t, open) }

func TestCompare(t *testing.T) { storetest.Compare(t, open) }

func TestScenarios(t *testing.T) { storetest.Scenarios(t, nil, open) }
