package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

// inherited are the variables of the server's environment that every command gets. All else may
// be a secret, and is passed on only if the command's pass_env says so.
var inherited = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE"}

// maxEnv is the longest variable, name included, that Linux lets a program have.
const maxEnv = 128<<10 - 1

var argName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// environ is the environment of one run: what is inherited, the settings' env, and the job. The
// job's variables all begin with ERRAND_, so that args can set no other, such as PATH.
func environ(c *commandSettings, job *errand.Job) ([]string, error) {
	var env []string
	for _, name := range slices.Concat(inherited, c.PassEnv) {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for name, v := range c.Env {
		env = append(env, name+"="+v)
	}
	env = append(env,
		"ERRAND_JOB_ID="+job.ID.String(),
		"ERRAND_KIND="+job.Kind,
		"ERRAND_QUEUE="+job.Queue,
		"ERRAND_ATTEMPT="+strconv.Itoa(job.Attempt),
		"ERRAND_MAX_ATTEMPTS="+strconv.Itoa(job.MaxAttempts),
		"ERRAND_FENCING_TOKEN="+strconv.FormatInt(job.Token, 10),
	)
	if nominal := job.Nominal(); !nominal.IsZero() {
		env = append(env, "ERRAND_SCHEDULE="+job.Metadata[errand.MetaSchedule], "ERRAND_NOMINAL="+nominal.Format(time.RFC3339Nano))
	}
	if len(job.Checkpoint) > 0 {
		env = append(env, "ERRAND_CHECKPOINT="+string(job.Checkpoint))
	}
	if c.Stdin != "args" {
		env = append(env, "ERRAND_ARGS="+string(job.Args))
	}
	args, err := argVars(job.Args)
	if err != nil {
		return nil, errand.Permanent(err)
	}
	env = append(env, args...)
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if len(v) > maxEnv {
			return nil, errand.Permanent(fmt.Errorf(
				"%s is %d bytes long: a program's environment takes at most %d; use stdin = \"args\" for long args", name, len(v), maxEnv))
		}
		if strings.IndexByte(v, 0) >= 0 {
			return nil, errand.Permanent(fmt.Errorf("%s holds a NUL byte, which no environment can: use stdin = \"args\"", name))
		}
	}
	return env, nil
}

// argVars gives each top-level scalar of the args a variable ERRAND_ARG_NAME. Keys that are no
// names of variables, nulls, lists and objects are in ERRAND_ARGS only.
func argVars(args json.RawMessage) ([]string, error) {
	var m map[string]json.RawMessage
	if json.Unmarshal(args, &m) != nil {
		return nil, nil // not an object
	}
	keys := map[string]string{}
	var env []string
	for key, raw := range m {
		if !argName.MatchString(key) {
			continue
		}
		value, ok := scalar(raw)
		if !ok {
			continue
		}
		name := "ERRAND_ARG_" + strings.ToUpper(key)
		if other, taken := keys[name]; taken {
			pair := []string{key, other}
			slices.Sort(pair)
			return nil, fmt.Errorf("args %q and %q would both become %s: rename one", pair[0], pair[1], name)
		}
		keys[name] = key
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, nil
}

// scalar is the text of a JSON string, number or boolean.
func scalar(raw json.RawMessage) (string, bool) {
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case '{', '[', 'n':
		return "", false
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	}
	return string(raw), true // a number as it was written, or true or false
}
