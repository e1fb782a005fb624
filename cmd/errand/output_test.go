package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/errandhq/errand"
)

func TestCommandOutput(t *testing.T) {
	b := newBench(t, map[string]string{
		"big":    `head -c 30000000 /dev/zero | tr '\0' x; echo; seq 1 20000; echo end`,
		"binary": `printf 'a\377b\000c\r\nno newline'`,
		"odd":    "echo '::progress ten'; echo '::unknown x'; echo '::checkpoint nope'; echo ::progress 50%; echo",
		"utf8":   `for i in $(seq 1 3000); do printf 'äöü'; done; echo`,
	}, func(c *commandSettings) { c.Concurrency = 4 })
	big, binary, odd, wide := b.enqueue("big", "null"), b.enqueue("binary", "null"), b.enqueue("odd", "null"), b.enqueue("utf8", "null")

	b.wait(binary)
	if got := texts(b.log(binary)); got != "a\uFFFDb\uFFFDc\nno newline" {
		t.Errorf("binary: %q", got)
	}
	if j := b.wait(odd); j.Progress.Done != 50 || j.Progress.Total != 100 {
		t.Errorf("odd: progress %v", j.Progress)
	}
	if got, want := texts(b.log(odd)), "::progress wants DONE/TOTAL TEXT, PERCENT% TEXT or DONE TEXT in whole numbers\n::unknown x\n::checkpoint is not JSON\n"; got != want {
		t.Errorf("odd: %q, want %q", got, want)
	}
	b.wait(wide)
	if got := strings.ReplaceAll(texts(b.log(wide)), "\n", ""); got != strings.Repeat("äöü", 3000) {
		t.Errorf("a long line does not come back whole: %d bytes", len(got))
	}
	if j := b.wait(big); j.State != errand.Succeeded {
		t.Errorf("big: %s %s", j.State, j.Error)
	}
	log := b.log(big)
	if len(log) > errand.MaxLogLines || log[len(log)-1].Text != "end" {
		t.Errorf("big: %d entries, the last %q", len(log), log[len(log)-1].Text)
	}
}

func TestCommandEnvironment(t *testing.T) {
	t.Setenv("SECRET", "s3cret")
	t.Setenv("PASSED", "yes")
	b := newBench(t, map[string]string{"env": "env; pwd"}, func(c *commandSettings) {
		c.Env, c.PassEnv = map[string]string{"MINE": "1"}, []string{"PASSED"}
	})
	id := b.enqueue("env", `{"s":"a b","n":1.50,"big":123456789012345678901,"t":true,"z":null,"l":[1],"PATH":"/evil","a-b":1,"LD_PRELOAD":"x"}`)
	b.wait(id)
	log := strings.Split(texts(b.log(id)), "\n")
	for _, want := range []string{
		"ERRAND_ARG_S=a b", "ERRAND_ARG_N=1.50", "ERRAND_ARG_BIG=123456789012345678901", "ERRAND_ARG_T=true",
		"ERRAND_ARG_PATH=/evil", "ERRAND_ARG_LD_PRELOAD=x", "ERRAND_JOB_ID=" + id.String(), "ERRAND_KIND=env", "ERRAND_QUEUE=default",
		"ERRAND_FENCING_TOKEN=1", "MINE=1", "PASSED=yes", "PATH=" + os.Getenv("PATH"), b.dir,
	} {
		if !slices.Contains(log, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, line := range log {
		for _, bad := range []string{"SECRET=", "LD_PRELOAD=", "ERRAND_ARG_Z", "ERRAND_ARG_L=", "ERRAND_ARG_A"} {
			if strings.HasPrefix(line, bad) {
				t.Errorf("the environment holds %s", line)
			}
		}
	}
}

func TestCommandArgs(t *testing.T) {
	big := `{"x":"` + strings.Repeat("y", 200_000) + `"}`
	for name, c := range map[string]struct{ args, stdin, error string }{
		"too long":       {big, "", "ERRAND_ARGS is 200020 bytes long: a program's environment takes at most 131071; use stdin = \"args\" for long args"},
		"NUL":            {`{"x":"a\u0000b"}`, "", "ERRAND_ARG_X holds a NUL byte, which no environment can: use stdin = \"args\""},
		"same name":      {`{"x":1,"X":2}`, "", `args "X" and "x" would both become ERRAND_ARG_X: rename one`},
		"stdin":          {`{"x":{"y":[1,2]}}`, "args", ""},
		"stdin too long": {`[` + big + `]`, "args", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{"x": "cat > stdin"}, func(s *commandSettings) { s.Stdin, s.MaxAttempts = c.stdin, 3 })
			j := b.wait(b.enqueue("x", c.args))
			if j.Error != c.error {
				t.Errorf("error %q, want %q", j.Error, c.error)
			}
			if got, _ := os.ReadFile(filepath.Join(b.dir, "stdin")); c.stdin == "args" && string(got) != c.args {
				t.Errorf("stdin held %d bytes, want %d", len(got), len(c.args))
			}
		})
	}
}

// TestCommandStdinUnread: a command that does not read its stdin hangs nobody.
func TestCommandStdinUnread(t *testing.T) {
	b := newBench(t, map[string]string{"x": "exit 0"}, func(s *commandSettings) { s.Stdin = "args" })
	if j := b.wait(b.enqueue("x", `"`+strings.Repeat("y", 500_000)+`"`)); j.State != errand.Succeeded {
		t.Errorf("job is %s: %s", j.State, j.Error)
	}
}
