package main

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

func TestMain(m *testing.M) {
	if code, ok := play(); ok {
		os.Exit(code)
	}
	testserver.Main(m)
}

// TestChaos is a short run: each fault comes once at least.
func TestChaos(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), options{span: 15 * time.Second, every: 600 * time.Millisecond, seed: rand.Uint64(), say: t.Logf}); err != nil {
		t.Fatal(err)
	}
}

// TestSchedules: each nominal time has its one job, whoever is killed.
func TestSchedules(t *testing.T) {
	for name, onPostgres := range map[string]bool{"PostgreSQL": true, "SQLite": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := runTickers(t.Context(), t.TempDir(), onPostgres, 40, 12*time.Second, 700*time.Millisecond, rand.Uint64(), t.Logf); err != nil {
				t.Fatal(err)
			}
		})
	}
}
