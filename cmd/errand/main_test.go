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
)

// binary is the program under test, as users run it.
var binary string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == superviseVerb { // the executor starts this very program
		syscall.Exit(supervise(os.Args[2:])) // os.Exit would sleep a second under the race detector
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	for _, v := range os.Environ() { // no setting of the caller's may leak in
		if name, _, _ := strings.Cut(v, "="); len(name) > 7 && name[:7] == "ERRAND_" {
			os.Unsetenv(name)
		}
	}
	dir, err := os.MkdirTemp("", "errand-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "errand")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
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
