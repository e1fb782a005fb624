package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// inDir runs the test in a directory with these files.
func inDir(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func load(args ...string) (*settings, error) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addSettings(flags, apiSide, storeSide, engineSide, workSide, clientSide)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return loadSettings(flags)
}

func TestSettingsPrecedence(t *testing.T) {
	inDir(t, map[string]string{
		".env":        "ERRAND_POLL=1s\nERRAND_LEASE=11s\nERRAND_LISTEN=:1\nERRAND_DATA=dotenv.db\n",
		"errand.toml": "poll = \"2s\"\nlease = \"12s\"\nlisten = \":2\"\n[queues]\na = 1\n[client]\ntoken = \"s3cret\"\n",
	})
	t.Setenv("ERRAND_LEASE", "13s")
	t.Setenv("ERRAND_LISTEN", ":3")
	t.Setenv("ERRAND_PREFETCH", "") // as good as not set
	s, err := load("--listen", ":4")
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != ":4" || s.Lease != 13*time.Second || s.Poll != 2*time.Second || s.Data != "dotenv.db" || s.Queues["a"] != 1 || s.Concurrency != 100 {
		t.Errorf("settings are %+v", s)
	}
	got := map[string]string{}
	for _, l := range s.lines() {
		got[l.Key] = l.Value + " from " + l.Source
	}
	for key, want := range map[string]string{
		"listen":           ":4 from flag --listen",
		"lease":            "13s from environment ERRAND_LEASE",
		"poll":             "2s from errand.toml:1",
		"data":             "dotenv.db from .env ERRAND_DATA",
		"queues":           "a=1 from errand.toml:4",
		"client.token":     "(secret) from errand.toml:7",
		"concurrency":      "100 from default",
		"retention.failed": "30d from default",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

func TestSettingsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		toml, dotenv, env string
		args              []string
		want              string
	}{
		"unknown key":        {toml: "\n\nlisen = \":1\"", want: "errand.toml:3: unknown key lisen; did you mean listen?"},
		"unknown in table":   {toml: "[log]\nlevel = \"info\"\ncolour = true", want: "errand.toml:3: unknown key log.colour"},
		"unknown table":      {toml: "[commands.x]\nargv = [\"a\"]", want: "errand.toml:1: unknown key commands"},
		"unknown of command": {toml: "[command.x]\nargv = [\"a\"]\n\ntimout = \"1s\"", want: "errand.toml:4: unknown key command.x.timout; did you mean command.x.timeout?"},
		"wrong value":        {toml: "lease = 5", want: `errand.toml:1: lease = "5": use a duration such as 500ms, 90s, 1h30m or 7d`},
		"wrong type":         {toml: "listen = \":1\"\n[command.x]\nargv = \"ls\"", want: "errand.toml:3: command.x.argv: incompatible types"},
		"wrong duration":     {toml: "[command.x]\nargv = [\"a\"]\ntimeout = 30", want: "errand.toml:3: command.x.timeout: use a duration"},
		"no TOML":            {toml: "listen = \":1\nx", want: "errand.toml:1: "},
		"no argv":            {toml: "[command.x]\nqueue = \"q\"", want: "errand.toml:1: [command.x] argv is missing"},
		"env of ours":        {toml: "[command.x]\nargv = [\"a\"]\nenv = {ERRAND_ARGS = \"1\"}", want: "[command.x] env \"ERRAND_ARGS\": use a name"},
		"exit codes":         {toml: "[command.x]\nargv = [\"a\"]\npermanent_exit_codes = [75]", want: "[command.x] permanent_exit_codes holds 75"},
		"role":               {toml: "[token.x]\nhash = \"1\"\nrole = \"root\"", want: `errand.toml:1: [token.x] role = "root": use viewer, operator or admin`},
		"password":           {toml: "[user.x]\npassword_hash = \"secret\"\nrole = \"admin\"", want: "errand.toml:1: [user.x] password_hash: use what"},
		"queues":             {toml: "[queues]\nmedia = \"many\"", want: `queues = "media=many": use NAME=CONCURRENCY`},
		"dotenv":             {dotenv: "ERRAND_LEASE=never", want: `.env ERRAND_LEASE: lease = "never": use a duration`},
		"environment":        {env: "-7", want: `environment ERRAND_PREFETCH: prefetch = "-7": use a whole number from -1 to 1000`},
		"flag":               {args: []string{"--log-format", "xml"}, want: `"--log-format" flag: use text or json`},
		"no such file":       {args: []string{"--config", "none.toml"}, want: "settings file: open none.toml: no such file or directory"},
		"url":                {args: []string{"--server", "http://a:b@c"}, want: "use an address such as http://127.0.0.1:8642"},
	} {
		t.Run(name, func(t *testing.T) {
			inDir(t, map[string]string{"errand.toml": c.toml, ".env": c.dotenv})
			t.Setenv("ERRAND_PREFETCH", c.env)
			_, err := load(c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant …%s…", err, c.want)
			}
		})
	}
}

func TestSettingsSecretsInErrors(t *testing.T) {
	inDir(t, map[string]string{"errand.toml": "[client]\ntoken = {a = \"s3cret\"}"})
	if s, err := load(); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("settings %v, error %v", s, err)
	}
}

func TestSettingsWarnings(t *testing.T) {
	inDir(t, nil)
	t.Setenv("ERRAND_LISTN", ":1")
	t.Setenv("ERRAND_ARG_X", "of a job")
	t.Setenv("ERRAND_ARGS", "{}")
	s, err := load()
	if err != nil || len(s.warnings) != 1 || s.warnings[0] != "environment: ERRAND_LISTN is no setting; did you mean ERRAND_LISTEN?" {
		t.Errorf("warnings %q, %v", s.warnings, err)
	}
}

func TestSettingsCommand(t *testing.T) {
	inDir(t, map[string]string{"errand.toml": "[command.x]\nargv = [\"a\", \"b\"]\ntimeout = \"1m\"\ngrace = \"2s\"\nenv = {A = \"s3cret\"}\n"})
	s, err := load()
	if err != nil {
		t.Fatal(err)
	}
	x := s.Commands["x"]
	if x.Timeout.d != time.Minute || x.Grace.d != 2*time.Second || x.MaxAttempts != 20 || x.Concurrency < 1 || x.Snooze.d != time.Minute {
		t.Errorf("command is %+v", x)
	}
	for _, l := range s.lines() {
		if strings.Contains(l.Value, "s3cret") {
			t.Errorf("errand config shows %s", l.Value)
		}
	}
}

func TestDataFile(t *testing.T) {
	inDir(t, nil)
	os.Mkdir("dir", 0o700)
	for data, want := range map[string]string{"x.db": "x.db", "dir": "dir/errand.db", "new/": "new/errand.db", "deep/x.db": "deep/x.db"} {
		if got, err := (&settings{Data: data}).dataFile(); got != want || err != nil {
			t.Errorf("data %s is file %s, %v; want %s", data, got, err, want)
		}
	}
}
