package server

import (
	"flag"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/errandhq/errand"
)

var update = flag.Bool("update", false, "write openapi.json")

// TestOpenAPI: what is committed is what is served. After a change of the API run
// go test ./server -run OpenAPI -update, and look at the difference.
func TestOpenAPI(t *testing.T) {
	s, err := New(errand.New(errand.Memory(nil), nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	served, err := s.openAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", served, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(committed) != string(served) {
		t.Error("openapi.json is not what is served: run go test ./server -run OpenAPI -update")
	}
}

func TestEveryRouteHasAPolicy(t *testing.T) {
	s, err := New(errand.New(errand.Memory(nil), nil), &Config{Console: fstest.MapFS{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range s.routes.patterns {
		if _, ok := policy[pattern]; !ok {
			t.Errorf("%s: no policy", pattern)
		}
	}
	for pattern := range policy {
		if !slices.Contains(s.routes.patterns, pattern) {
			t.Errorf("%s: a policy without a route", pattern)
		}
	}
}
