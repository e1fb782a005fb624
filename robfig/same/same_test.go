// Package same checks that a program behaves the same with github.com/robfig/cron/v3 and with errand in its place. It is a module of its own
// so that nobody else depends on robfig/cron.
package same

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	var tests []string
	for _, name := range []string{"cron_test.go", "chain_test.go"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), name))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range topTest.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, "Test"+found[1])
		}
		// A spec that never comes is an error here.
		s := strings.Replace(string(text), `cron.AddJob("0 0 0 30 Feb ?", testJob{wg, "job0"})`, "", 1)
		add("their_"+name, inBubbles(strings.Replace(s, `"job3", "job0"}`, `"job3"}`, 1)))
	}
	add("their_parser_test.go", "package cron\nvar secondParser = NewParser(Second | Minute | Hour | Dom | Month | DowOptional | Descriptor)\n")
	add("their_bubbles_test.go", bubbles)
	raw, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-v", "-count=1", "-vet=off", "-timeout=120s", "-run", "^("+strings.Join(tests, "|")+")$", "-overlay", file, "./robfig")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if ran := strings.Count(string(out), "\n--- PASS: Test"); err != nil || ran != len(tests) {
		t.Errorf("%d of %d tests passed: %v\n%s", ran, len(tests), err, out)
	}
}

var (
	topTest = regexp.MustCompile(`(?m)^func Test(\w+)\(t \*testing.T\) \{\n`)
	subTest = regexp.MustCompile(`\bt\.Run\(`)
)

// inBubbles has tests run in virtual time: they are patient for milliseconds only, which is not enough on a busy machine.
func inBubbles(text string) string {
	parts := topTest.FindAllStringIndex(text, -1)
	for i := len(parts) - 1; i >= 0; i-- {
		begin, end := parts[i][0], len(text)
		if i+1 < len(parts) {
			end = parts[i+1][0]
		}
		if body := text[begin:end]; subTest.MatchString(body) {
			text = text[:begin] + subTest.ReplaceAllString(body, "run(t, ") + text[end:]
		} else {
			text = text[:begin] + topTest.ReplaceAllString(body, "func Test$1(t *testing.T) { bubble(t, bubble$1) }\nfunc bubble$1(t *testing.T) {\n") + text[end:]
		}
	}
	text = strings.ReplaceAll(text, "sync.WaitGroup", "waitGroup")
	return strings.ReplaceAll(text, "make(chan bool)", "make(chan bool, 1)")
}

// bubbles is what inBubbles needs. A bubble must not end while something waits in it: some tests leave one behind that waits for a job that is not to run.
const bubbles = `package cron

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func bubble(t *testing.T, test func(*testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			for _, wg := range waited {
				wg.Add(-wg.n)
			}
			waited = nil
		}()
		time.Sleep(300 * time.Millisecond) // between two seconds, as a test usually begins
		test(t)
	})
}

func run(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) { bubble(t, test) })
}

// waitGroup is a sync.WaitGroup whose waiters can be let go.
type waitGroup struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n is 0
}

var waited []*waitGroup

func (wg *waitGroup) Add(n int) {
	wg.mu.Lock()
	defer wg.mu.Unlock()
	if wg.n += n; wg.n == 0 && wg.zero != nil {
		close(wg.zero)
		wg.zero = nil
	}
}

func (wg *waitGroup) Done() { wg.Add(-1) }

func (wg *waitGroup) Wait() {
	wg.mu.Lock()
	if wg.n == 0 {
		wg.mu.Unlock()
		return
	}
	if wg.zero == nil {
		wg.zero = make(chan struct{})
		waited = append(waited, wg)
	}
	zero := wg.zero
	wg.mu.Unlock()
	<-zero
}
`
