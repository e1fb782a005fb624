package main

import (
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

// commandSettings are a [command.NAME]: a kind of job that runs an external program.
type commandSettings struct {
	Argv               []string          `toml:"argv"`                 // the program and its arguments; required
	Env                map[string]string `toml:"env"`                  // variables it gets
	PassEnv            []string          `toml:"pass_env"`             // variables of the server's environment it gets
	Dir                string            `toml:"dir"`                  // where it runs; default: where the server does
	Stdin              string            `toml:"stdin"`                // "args": the job's args as JSON; default: nothing
	Queue              string            `toml:"queue"`                // of its jobs; default "default"
	Priority           int               `toml:"priority"`             // of its jobs
	Timeout            duration          `toml:"timeout"`              // of one run; default: none
	Concurrency        int               `toml:"concurrency"`          // jobs at once; default: the number of CPUs
	MaxAttempts        int               `toml:"max_attempts"`         // default 20
	RetryDelay         duration          `toml:"retry_delay"`          // before the first retry, doubled for each next; default 2s
	RetryLimit         duration          `toml:"retry_limit"`          // the longest delay; default 6h
	Snooze             duration          `toml:"snooze"`               // delay after exit code 75; default 1m
	Grace              duration          `toml:"grace"`                // between SIGTERM and SIGKILL; default 5s
	PermanentExitCodes []int             `toml:"permanent_exit_codes"` // fail the job at once; default [65]
}

// duration is a time.Duration in the settings file.
type duration struct{ d time.Duration }

// UnmarshalText reads a duration.
func (d *duration) UnmarshalText(text []byte) (err error) {
	d.d, err = errand.ParseDuration(string(text))
	if err == nil && d.d < 0 {
		err = errors.New("use a duration of 0 or more")
	}
	return err
}

// check completes the settings by their defaults, and says what is wrong with them.
func (c *commandSettings) check(name string) error {
	c.Concurrency = cmp.Or(c.Concurrency, runtime.NumCPU())
	c.MaxAttempts = cmp.Or(c.MaxAttempts, errand.DefaultMaxAttempts)
	c.RetryDelay.d = cmp.Or(c.RetryDelay.d, 2*time.Second)
	c.RetryLimit.d = max(cmp.Or(c.RetryLimit.d, 6*time.Hour), c.RetryDelay.d)
	c.Snooze.d = cmp.Or(c.Snooze.d, time.Minute)
	c.Grace.d = cmp.Or(c.Grace.d, 5*time.Second)
	if c.PermanentExitCodes == nil {
		c.PermanentExitCodes = []int{65}
	}
	switch {
	case !canSupervise:
		return errors.New("commands work on Linux only")
	case len(name) > errand.MaxName:
		return fmt.Errorf("name of %d bytes: at most %d", len(name), errand.MaxName)
	case len(c.Argv) == 0 || c.Argv[0] == "":
		return errors.New("argv is missing: use a list such as [\"backup.sh\", \"--all\"]")
	case c.Stdin != "" && c.Stdin != "args":
		return fmt.Errorf("stdin = %q: use \"args\" to pass the job's args, or leave it out", c.Stdin)
	case c.Concurrency < 1 || c.Concurrency > 10_000:
		return fmt.Errorf("concurrency = %d: use 1 to 10000", c.Concurrency)
	case c.MaxAttempts < 1 || c.MaxAttempts > 32767:
		return fmt.Errorf("max_attempts = %d: use 1 to 32767", c.MaxAttempts)
	case c.Priority < -32768 || c.Priority > 32767:
		return fmt.Errorf("priority = %d: use -32768 to 32767", c.Priority)
	}
	for _, code := range c.PermanentExitCodes {
		if code < 1 || code > 255 || code == exitTempFail {
			return fmt.Errorf("permanent_exit_codes holds %d: use codes from 1 to 255 other than 75", code)
		}
	}
	for v := range c.Env {
		if !argName.MatchString(v) || strings.HasPrefix(v, "ERRAND_") {
			return fmt.Errorf("env %q: use a name of letters, digits and _ that does not begin with ERRAND_", v)
		}
	}
	return nil
}

// missing says what keeps the program from being started as things are, "" if nothing does.
func (c *commandSettings) missing() string {
	program := c.Argv[0]
	if strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) {
		program = filepath.Join(c.Dir, program)
	}
	if path, ok := c.Env["PATH"]; ok && program == c.Argv[0] && path != "" {
		return "" // looked for where the server does not
	}
	if _, err := exec.LookPath(program); err != nil {
		return err.Error()
	}
	return ""
}

// options are those that jobs of this kind begin with.
func (c *commandSettings) options() []errand.Option {
	options := []errand.Option{
		errand.MaxAttempts(c.MaxAttempts), errand.Timeout(c.Timeout.d), errand.Priority(c.Priority),
	}
	if c.Queue != "" {
		options = append(options, errand.Queue(c.Queue))
	}
	return options
}
