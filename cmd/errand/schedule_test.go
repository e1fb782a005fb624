package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// scheduleSettingsText is added to testSettings.
const scheduleSettingsText = `
[command.tell]
argv = ["sh", "-c", 'echo "$ERRAND_SCHEDULE for $ERRAND_NOMINAL"']
[cron]
often = "@every 1s"
[schedule."of the file"]
spec = "cron.often"
kind = "tell"
args = { name = "Ada" }
`

func newScheduleSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.stop(syscall.SIGTERM)
	s.settings(scheduleSettingsText)
	s.start()
	return s
}

// settings sets what the settings file says besides testSettings.
func (s *site) settings(more string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "errand.toml"), []byte(testSettings+more), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *site) schedule(name string) (x server.Schedule) {
	s.Helper()
	if err := json.Unmarshal([]byte(s.must("schedule", "show", name, "-o", "json")), &x); err != nil {
		s.Fatal(err)
	}
	return x
}

func TestScheduleSet(t *testing.T) {
	s := newSite(t)
	s.errand("schedule").check(t, 0, ``, `errand: there are no schedules: make one with errand schedule set\n`)
	s.errand("schedule", "ls", "-o", "json").check(t, 0, `\{\n  "schedules": \[\]\n\}\n`, ``)
	s.errand("schedule", "set", "a/b ü", "@every 2h", "greet", `{"name": "Ada"}`, "-a", "n:=12345678901234567890", "--start", "2099-01-31 08:00", "--end", "2099-12-31T00:00:00Z",
		"--jitter", "30s", "--overlap", "queue_one", "--misfire", "catch_up", "--catch-up", "3", "--window", "2d", "--grace", "90s", "--queue", "q", "--priority", "4",
		"--max-attempts", "2", "--timeout", "1m", "--tag", "t", "--meta", "k=v", "--retention", "forever", "--reason", "asked for").
		check(t, 0, `name +a/b ü\nwhen +Every 2h\nspec +@every 2h\nnext +\w+ 2099-01-31 .*\noverlap +queue_one\nmisfire +catch_up, 3 at most, none older than 2d\n.*by anonymous: asked for\nmade +0; skipped 0, missed 0\n`, ``)
	x := s.schedule("a/b ü")
	j := x.Job
	if x.Start.In(time.Local).Format("2006-01-02 15:04") != "2099-01-31 08:00" || durationOf(x.Window) != 48*time.Hour || durationOf(x.Grace) != 90*time.Second || j.Queue != "q" ||
		*j.Priority != 4 || j.MaxAttempts != 2 || *j.Timeout != server.Duration(time.Minute) || j.Tags[0] != "t" || j.Metadata["k"] != "v" || j.Retention >= 0 ||
		!strings.Contains(string(j.Args), "12345678901234567890") {
		t.Errorf("%+v", x)
	}
	s.errand("schedule", "set", "a/b ü", "@every 3h", "no-kind", "-o", "id").check(t, 0, "a/b ü\n", `errand: warning: no worker .*\n`)
	if x := s.schedule("a/b ü"); x.Spec != "@every 3h" || x.Overlap != errand.OverlapSkip || x.Window != 0 || x.Job.Queue != "default" {
		t.Errorf("set does not replace: %+v", x)
	}
	s.errand("schedule", "set", "a/b ü", "@every 1h", "greet", "--new").check(t, 8, ``, `errand: schedule a/b ü: there is a schedule of this name already\n`)
	for _, name := range []string{"%2F", "a?b#c"} {
		s.must("schedule", "set", name, "@after 10m", "greet")
		s.must("schedule", "show", name)
	}
	s.errand("schedule", "ls").check(t, 0, `NAME +WHEN +NEXT +OVERLAP\n.*\na/b ü +Every 3h +in \d.*skip\n.*`, ``)
	s.errand("schedule", "ls", "--search", "3H", "-o", "id").check(t, 0, "a/b ü\n", ``)
	s.errand("schedule", "ls", "--search", "3h", "--only", "paused").check(t, 0, ``, `errand: no schedule matches\n`)
	s.errand("schedule", "ls", "--only", "x").check(t, 2, ``, `errand: .*paused.*late.*\n`)
	s.errand("schedule", "delete", "a/b ü").check(t, 2, ``, `errand: nothing was deleted: add --yes.*`)
	s.errand("schedule", "delete", "a/b ü", "a?b#c", "-y").check(t, 0, ``, `errand: schedule a/b ü: deleted\nerrand: schedule a\?b#c: deleted\n`)
	s.errand("schedule", "ls", "-o", "id").check(t, 0, "%2F\n", ``)
	for _, args := range [][]string{{"show", "a/b ü"}, {"history", "a/b ü"}, {"pause", "a/b ü"}, {"run", "a/b ü"}, {"delete", "-y", "a/b ü"}} {
		s.errand(append([]string{"schedule"}, args...)...).check(t, 5, ``, `errand: schedule a/b ü: no schedule has this name\n`)
	}
}

func TestScheduleWork(t *testing.T) {
	s := newScheduleSite(t)
	name := "of the file"
	eventually(t, "it has made jobs", func() bool { return s.schedule(name).Made >= 2 })
	x := s.schedule(name)
	if !x.Registered || x.Spec != "cron.often" || x.Resolved != "@every 1s" || compact(x.Job.Args) != `{"name":"Ada"}` {
		t.Errorf("%+v", x)
	}
	s.await(x.Last.ID.String(), "succeeded")
	if log := s.must("logs", x.Last.ID.String()); !strings.Contains(log, name+" for 20") {
		t.Errorf("the job of the schedule prints %s", log)
	}
	s.errand("schedule").check(t, 0, `NAME +WHEN +NEXT +LAST +OVERLAP\nof the file +Every 1s \(cron\.often\) +.*skip\n`, ``)
	s.errand("schedule", "history", name, "-n", "1").check(t, 0, `NOMINAL +OUTCOME .*\n\d{4}-.* made .*`, ``)
	s.errand("schedule", "history", name, "-n", "2", "-o", "id").check(t, 0, `(`+anyID+`\n){2}`, ``)

	s.errand("schedule", "pause", name, "nothing", "-r", "month end").check(t, 5, `NAME .*\nof the file .* now by anonymous: month end\n`, `errand: schedule nothing: no schedule has this name\n`)
	s.errand("schedule", "run", name, "--wait").check(t, 0, ``, `errand: job `+anyID+`\n.*of the file for .*errand: succeeded in .*\n`)
	s.errand("schedule", "history", name, "-n", "1", "-o", "jsonl").check(t, 0, `\{.*"outcome":"manual".*\}\n`, ``)
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Error(code)
	}
	s.start() // the settings say the same as before
	if x := s.schedule(name); x.Paused.IsZero() || x.Reason != "month end" {
		t.Errorf("it is no longer paused: %+v", x)
	}
	s.errand("schedule", "resume", name, "-o", "id").check(t, 0, name+"\n", ``)
	from := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	now := time.Now().UTC().Format(time.RFC3339)
	s.errand("schedule", "backfill", name, "--from", from, "--to", now).check(t, 2, ``, `errand: nothing was made: add --yes.*`)
	s.errand("schedule", "backfill", name, "--from", from, "--to", now, "--dry-run").check(t, 0, `\d+ nominal times?: would make the jobs that are not there\n`, ``)
	s.errand("schedule", "backfill", name, "--from", from, "--to", now, "-y").check(t, 0, `\d+ nominal times?, \d+ jobs? made\n`, ``)
	s.errand("schedule", "backfill", name, "--from", from, "--to", from).check(t, 2, ``, `errand: schedule of the file: the request is not valid: body.to: expected a time after from\n.*`)
}

// TestScheduleDowntime: what was missed is in the history and the log.
func TestScheduleDowntime(t *testing.T) {
	s := newSite(t)
	s.must("schedule", "set", "s", "@every 1s", "greet", "--misfire", "skip", "--grace", "1s")
	eventually(t, "it has made a job", func() bool { return s.schedule("s").Made > 0 })
	s.stop(syscall.SIGKILL)
	time.Sleep(4 * time.Second)
	s.start()
	eventually(t, "it has noticed", func() bool { return s.schedule("s").Missed > 0 })
	s.errand("schedule", "history", "s").check(t, 0, `.*missed.*`, ``)
	if log := s.log(); !strings.Contains(log, `level=WARN msg="schedule fired" schedule=s outcome=missed`) {
		t.Errorf("the log says\n%s", log)
	}
}

func TestScheduleErrors(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"shw"}, `errand: "shw": errand schedule has no such command; did you mean show\?\nSee "errand schedule --help".\n`},
		{[]string{"set", "x", "0", "7", "*", "*", "*"}, `errand: "\*" is too much: .*an expression with spaces needs quotes: '0 7 \* \* \*'.*`},
		{[]string{"set", "x", "@every 1h"}, `errand: KIND is missing\n.*`},
		{[]string{"set", "x", "@every 1ms", "greet"}, `errand: schedule x: the request is not valid: body.spec: .*use a duration.*`},
		{[]string{"set", "x", "@every 1h", "greet", "--overlap", "x"}, `errand: invalid argument "x" for "--overlap" flag: use skip, queue_one, queue_all, cancel or allow\n.*`},
		{[]string{"set", "x", "@every 1h", "greet", "--catch-up", "3"}, `errand: schedule x: .*body.catch_up: .*`},
		{[]string{"set", "x", "@every 1h", "greet", "--zone", "Mars"}, `errand: --zone "Mars": use a name such as UTC or Europe/Berlin\n.*`},
		{[]string{"set", "x", "@every 1h", "greet", "--start", "soon"}, `errand: --start "soon": use a time such as .*`},
		{[]string{"set", "x", "@every 1h", "greet", "--jitter", "much"}, `errand: --jitter "much": use a duration such as .*`},
		{[]string{"set", "x", "@every 1h", "greet", "nope"}, `errand: ARGS is not JSON: .*`},
		{[]string{"set", "x", "0 61 * * *", "greet"}, `errand: schedule x: .*body.spec: hour, column 3: .*`},
		{[]string{"history", "x", "-n", "101"}, `errand: --limit 101: use 1 to 100\n.*`},
		{[]string{"preview", "@every x"}, `errand: spec: .*use a duration.*`},
		{[]string{"preview", "@every 1h", "-n", "0"}, `errand: --number 0: use 1 to 100\n.*`},
		{[]string{"preview", "cron.none"}, `errand: .*no spec has this name.*`},
		{[]string{"backfill", "x"}, `errand: --(from|to) "": use a time such as .*`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			s.T = t
			s.errand(append([]string{"schedule"}, c.args...)...).check(t, 2, ``, c.want)
		})
	}
}

func TestSchedulePreview(t *testing.T) {
	s := newScheduleSite(t)
	line := `\w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d \S+ +in \d.*\n`
	s.errand("schedule", "preview", "@every 90m", "-n", "3").check(t, 0, `Every 1h30m\n(`+line+`){3}`, ``)
	s.errand("schedule", "preview", "@reboot").check(t, 0, `Each time a worker starts\n`, ``)
	s.errand("schedule", "preview", "@after 10m", "-o", "jsonl").check(t, 0, `\{"spec":"@after 10m","describe":"[^"]*","next":\[\]\}\n`, ``)
	// By the settings here, and without them by the server; otherwise no server is asked.
	s.errand("schedule", "preview", "cron.often", "-n", "1", "--server", "127.0.0.1:1").check(t, 0, `Every 1s\n.*\n`, ``)
	os.WriteFile(filepath.Join(s.dir, "other.toml"), nil, 0o600)
	s.errand("schedule", "preview", "cron.often", "-n", "1", "--config", "other.toml").check(t, 0, `Every 1s\n.*\n`, ``)
	s.errand("schedule", "preview", "cron.often", "--config", "other.toml", "--server", "127.0.0.1:1").check(t, 6, ``, `errand: cannot reach .*`)
	// Daylight saving.
	s.errand("schedule", "preview", "0 7 * * *", "--zone", "Europe/Berlin", "--start", "2040-03-24", "-n", "2", "-o", "json").
		check(t, 0, `.*"next": \[\n    "2040-03-24T06:00:00Z",\n    "2040-03-25T05:00:00Z"\n  \]\n.*`, ``)
	s.errand("schedule", "preview", "0 7 * * *", "--zone", "Europe/Berlin", "--start", "2040-03-24", "-n", "2").
		check(t, 0, `.*\nSat 2040-03-24 07:00:00 \+01:00 CET .*\nSun 2040-03-25 07:00:00 \+02:00 CEST .*\n`, ``)
}

func TestScheduleCompletion(t *testing.T) {
	s := newScheduleSite(t)
	for args, want := range map[string]string{
		"show ":         "of the file\tEvery 1s",
		"set x ":        "cron.often\tEvery 1s",
		"set x @daily ": "greet",
		"preview ":      "cron.often\tEvery 1s",
		"set --overlap": "--overlap",
	} {
		words := strings.Split(args, " ")
		out := s.must(append([]string{"__complete", "schedule"}, words...)...)
		if !slices.Contains(strings.Split(strings.ReplaceAll(out, "--overlap\t", "--overlap\n"), "\n"), want) {
			t.Errorf("%q is completed by\n%s", args, out)
		}
	}
}

func TestSettingsSchedules(t *testing.T) {
	inDir(t, map[string]string{"errand.toml": `
cron.often = "@every 10s"
[command.x]
argv = ["a"]
queue = "of the command"
[schedule.a]
spec = "cron.often"
kind = "x"
args = {n = 1, d = 2026-01-02, t = 2026-01-02T03:04:05Z, deep = {list = [1.5, "<", {b = true}]}}
start = 2026-01-31
end = "2027-01-31 08:30"
catch_up = 3
misfire = "catch_up"
window = "2d"
grace = "2m"
priority = 3
timeout = "1m"
retention = "forever"
tags = ["t"]
metadata = {k = "v"}
[schedule."b c"]
spec = "@after 1h"
kind = "elsewhere"
args = [1, 2]
`})
	s, err := load()
	if err != nil {
		t.Fatal(err)
	}
	a := s.Schedules["a"]
	if want := `{"d":"2026-01-02","deep":{"list":[1.5,"<",{"b":true}]},"n":1,"t":"2026-01-02T03:04:05Z"}`; string(a.job.Args) != want {
		t.Errorf("args %s, want %s", a.job.Args, want)
	}
	if p := a.plan; !p.Start.Equal(time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)) || !p.End.Equal(time.Date(2027, 1, 31, 8, 30, 0, 0, time.UTC)) || p.CatchUp != 3 || p.Window != 48*time.Hour {
		t.Errorf("plan %+v", p)
	}
	n := newNode(errand.Memory(nil), s, slog.New(slog.DiscardHandler), false)
	if err := n.register(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	x, err := n.engine.GetSchedule(t.Context(), "a")
	if j := x.Job; err != nil || j.Queue != "of the command" || j.Priority != 3 || j.Timeout != time.Minute || j.Retention >= 0 || len(j.Tags) != 1 || j.Metadata["k"] != "v" || x.Resolved != "@every 10s" {
		t.Errorf("%+v, %v", x, err)
	}
	if x, err := n.engine.GetSchedule(t.Context(), "b c"); err != nil || string(x.Job.Args) != "[1,2]" || x.Job.Kind != "elsewhere" {
		t.Errorf("%+v, %v", x, err)
	}
	var shown []string
	for _, l := range s.lines() {
		if strings.HasPrefix(l.Key, "cron.") || strings.HasPrefix(l.Key, "schedule.") {
			shown = append(shown, l.Key+" = "+l.Value+" from "+l.Source)
		}
	}
	want := []string{"cron.often = @every 10s from errand.toml:2", "schedule.a = cron.often: x from errand.toml:6", "schedule.b c = @after 1h: elsewhere from errand.toml:21"}
	if !slices.Equal(shown, want) {
		t.Errorf("errand config shows\n%s\nwant\n%s", strings.Join(shown, "\n"), strings.Join(want, "\n"))
	}
}

func TestSettingsZones(t *testing.T) {
	inDir(t, map[string]string{"errand.toml": "[cron]\nnightly = \"0 3 * * *\"\n[schedule.a]\nspec = \"cron.nightly\"\nzone = \"Europe/Berlin\"\nkind = \"x\"\nstart = 2026-07-01T00:00:00\nend = 2026-12-01\n"})
	s, err := load()
	if err != nil {
		t.Fatal(err)
	}
	p := s.Schedules["a"].plan
	if !p.Start.Equal(time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC)) || !p.End.Equal(time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)) {
		t.Errorf("plan %+v", p)
	}
}

func TestSettingsScheduleErrors(t *testing.T) {
	const ok = "[schedule.a]\nkind = \"x\"\nspec = \"@every 1h\"\n"
	for text, want := range map[string]string{
		"[cron]\n\nnightly = \"@every 1ms\"":                  `errand.toml:3: cron.nightly = "@every 1ms": spec: `,
		"cron.nightly = \"0 61 * * *\"":                       `errand.toml:1: cron.nightly = "0 61 * * *": spec: cron: hour, column 3`,
		"[cron]\na = \"@hourly\"\nb = \"cron.a\"":             `errand.toml:3: cron.b = "cron.a": a name cannot stand for another name`,
		"[cron]\n\" a\" = \"@every 1h\"":                      `use a name of 1 to 255 printable bytes`,
		"[cron]\na = 5":                                       "errand.toml:2: cron.a: incompatible types",
		"[schedule.a]\nkind = \"x\"":                          "errand.toml:1: [schedule.a] spec is missing",
		"[schedule.a]\nspec = \"@every 1h\"":                  "errand.toml:1: [schedule.a] kind is missing",
		"[schedule.a]\nkind = \"x\"\nspec = \"cron.nightly\"": "[schedule.a] spec \"cron.nightly\": no spec has this name (there are none)",
		ok + "overlapp = \"skip\"":                            "errand.toml:4: unknown key schedule.a.overlapp; did you mean schedule.a.overlap?",
		ok + "overlap = \"x\"":                                "[schedule.a] overlap \"x\": use skip, queue_one",
		ok + "zone = \"UTC\"":                                 "[schedule.a] zone: @every has none",
		ok + "catch_up = 3":                                   "[schedule.a] catch up and window: they belong to misfire catch_up",
		ok + "start = \"soon\"":                               "errand.toml:4: schedule.a.start: use a time such as",
		ok + "start = 08:00:00":                               "errand.toml:4: schedule.a.start: use a date",
		ok + "start = 5":                                      "errand.toml:4: schedule.a.start: use a time such as",
		ok + "args = {x = inf}":                               "[schedule.a] args: x: nan and inf are no JSON",
		ok + "timeout = 5":                                    "errand.toml:4: schedule.a.timeout: use a duration",
		ok + "retention = \"never\"":                          "errand.toml:4: schedule.a.retention: use a duration above 0",
		ok + "priority = 99999":                               "[schedule.a] priority 99999: use -32768 to 32767",
		"[schedules.a]\nkind = \"x\"":                         "errand.toml:1: unknown key schedules",
	} {
		t.Run(text, func(t *testing.T) {
			inDir(t, map[string]string{"errand.toml": text})
			if _, err := load(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v\nwant …%s…", err, want)
			}
		})
	}
}
