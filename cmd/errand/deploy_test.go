package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const deployDir = "../../deploy"

func deployFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(deployDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestDeploySettings: what the files in deploy/ set and run is there.
func TestDeploySettings(t *testing.T) {
	known := slices.Clone(jobVars)
	for i := range allSettings {
		known = append(known, allSettings[i].env())
	}
	files, err := filepath.Glob(deployDir + "/*")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	variable := regexp.MustCompile(`\bERRAND_[A-Z0-9_]+`)
	command := regexp.MustCompile("(?m)(?:ExecStart=/usr/local/bin/errand |docker compose run --rm api |`errand |^(?:    )?errand )([a-z][a-z-]*)")
	n := 0
	for _, path := range files {
		text := deployFile(t, filepath.Base(path))
		for _, v := range variable.FindAllString(text, -1) {
			n++
			if !slices.ContainsFunc(known, func(k string) bool { return k == v || strings.HasSuffix(k, "_") && strings.HasPrefix(v, k) }) {
				t.Errorf("%s: %s is no setting", path, v)
			}
		}
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			n++
			if c, _, err := rootCommand().Find([]string{m[1]}); err != nil || c.Name() != m[1] {
				t.Errorf("%s: there is no errand %s", path, m[1])
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d settings and commands were found", n)
	}
}

// TestDeployFile: the settings file in deploy/ is one, with what is commented out too.
func TestDeployFile(t *testing.T) {
	text := deployFile(t, "errand.toml")
	token := strings.NewReplacer("# [token", "[token", "# hash", "hash", "# role", "role", "…", strings.Repeat("0", 64)).Replace(text)
	for _, text := range []string{text, token} {
		inDir(t, map[string]string{"errand.toml": text})
		if s, err := load(); err != nil || s.Commands["hello"] == nil {
			t.Error(err)
		}
	}
}

// TestDeployStop: nobody is killed while it shuts down in order with the settings in deploy/.
func TestDeployStop(t *testing.T) {
	text := deployFile(t, "errand.toml")
	worker, compose := deployFile(t, "errand-worker@.service"), deployFile(t, "compose.yaml")
	inDir(t, map[string]string{"errand.toml": text})
	s, err := load()
	if err != nil {
		t.Fatal(err)
	}
	c := engineConfig(s, discard)
	need := c.ShutdownGrace + c.StopGrace + 10*time.Second // for what is written at the end, see errand.Engine.Run
	for what, m := range map[string][]string{
		"errand-worker@.service": regexp.MustCompile(`(?m)^TimeoutStopSec=(\S+)$`).FindStringSubmatch(worker),
		"compose.yaml":           regexp.MustCompile(`(?ms)^  worker:.*?stop_grace_period: (\S+)`).FindStringSubmatch(compose),
	} {
		if m == nil {
			t.Fatal(what)
		}
		if d, err := time.ParseDuration(m[1]); err != nil || d < need {
			t.Errorf("%s: %s are too short, a stop may take %s", what, m[1], need)
		}
	}
}
