package main

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

func TestMain(m *testing.M) {
	if code, ok := playPart(); ok {
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
