package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/errandhq/errand/internal/testserver"
)

// binary is the program under test, as users run it.
var binary string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == superviseVerb { // the executor starts this very program
		syscall.Exit(supervise(os.Args[2:])) // os.Exit would sleep a second under the race detector
	}
	for _, v := range os.Environ() { // no setting of the caller's may leak in
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "ERRAND_") && !strings.HasPrefix(name, "ERRAND_TEST_") {
			os.Unsetenv(name)
		}
	}
	dir, err := os.MkdirTemp("", "errand-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "errand")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	testserver.Main(m)
	os.RemoveAll(dir)
}

// eventually waits until a condition holds, for 10 seconds at most.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
