// Package same checks that a program behaves the same with github.com/robfig/cron/v3 and with errand in its place. It is a module of its own
// so that nobody else depends on robfig/cron.
package same

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	ours "github.com/errandhq/errand/robfig/same/ours"
	theirs "github.com/errandhq/errand/robfig/same/theirs"
)

const (
	theirImport = `"github.com/robfig/cron/v3"`
	ourImport   = `"github.com/errandhq/errand/robfig"`
)

func TestSameSource(t *testing.T) {
	a, err := os.ReadFile("theirs/program.go")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("ours/program.go")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Replace(string(a), theirImport, ourImport, 1) != string(b) {
		t.Errorf("ours/program.go is not theirs/program.go with %s instead of %s", ourImport, theirImport)
	}
}

func TestSame(t *testing.T) {
	var want, got string
	synctest.Test(t, func(*testing.T) { want = theirs.Run() })
	synctest.Test(t, func(*testing.T) { got = ours.Run() })
	t.Log(got)
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		if i == len(a) || i == len(b) || a[i] != b[i] {
			t.Fatalf("from line %d on robfig/cron does\n%s\nand we do\n%s", i+1, rest(a, i), rest(b, i))
		}
	}
}

func rest(lines []string, from int) string {
	return strings.Join(lines[from:min(from+5, len(lines))], "\n")
}

// TestTheirTests runs the tests of robfig/cron on our package.
func TestTheirTests(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/robfig/cron/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	add := func(name, text string) {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, "robfig", name)] = file
	}
	for _, name := range []string{"cron_test.go", "chain_test.go"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), name))
		if err != nil {
			t.Fatal(err)
		}
		// A spec that never comes is an error here.
		s := strings.Replace(string(text), `cron.AddJob("0 0 0 30 Feb ?", testJob{wg, "job0"})`, "", 1)
		add("their_"+name, strings.Replace(s, `"job3", "job0"}`, `"job3"}`, 1))
	}
	add("their_parser_test.go", "package cron\nvar secondParser = NewParser(Second | Minute | Hour | Dom | Month | DowOptional | Descriptor)\n")
	raw, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-vet=off", "-timeout=120s", "-overlay", file, "./robfig")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
