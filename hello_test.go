package errand_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeHello builds and runs the hello world of the README as it stands there.
func TestReadmeHello(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "## Hello, world\n\n```go\n")
	code, _, found := strings.Cut(rest, "```")
	if !found || !strings.Contains(code, "package main") {
		t.Fatal("README.md has no hello world")
	}
	// Inside the module, so that it builds against this code.
	dir, err := os.MkdirTemp(".", "testdata-hello-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(context.Background(), "go", "run", "./"+dir).Output()
	if err != nil || string(out) != "Hello, world <nil>\n" {
		t.Fatalf("it printed %q, %v", out, err)
	}
	body := strings.Split(strings.TrimSpace(code[strings.Index(code, "var Greet"):]), "\n")
	if n := len(body) - 2; n > 12 { // without the blank line and the last brace
		t.Errorf("hello world takes %d lines", n)
	}
}
