package server

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

func schedulePath(name string, more ...string) string {
	return "/api/v1/schedules/" + url.PathEscape(name) + strings.Join(more, "")
}

func (a answer) schedule() (x Schedule) { a.decode(&x); return x }

// put makes or edits a schedule.
func (r *rig) put(name, body string, headers ...string) answer {
	r.t.Helper()
	return r.do("PUT", schedulePath(name), body, headers...)
}

func TestPutSchedule(t *testing.T) {
	r := newRig(t, nil)
	a := r.put("nightly", `{"spec":"@every 1h","start":"2099-01-02T03:04:05+01:00","end":"2099-02-01T00:00:00Z","jitter":"30s","overlap":"queue_one",
		"misfire":"catch_up","catch_up":7,"window":"48h","grace":"2m","reason":"asked for",
		"job":{"kind":"echo","args":{"n": 12345678901234567890},"queue":"q","priority":-3,"max_attempts":4,"max_crashes":2,"timeout":"90s",
		"retention":"forever","tags":["a"],"metadata":{"k":"v"}}}`).want(201)
	if a.header.Get("Location") != "/api/v1/schedules/nightly" || !strings.Contains(a.body, `"args":{"n":12345678901234567890}`) {
		t.Error(a.header, a.body)
	}
	x := a.schedule()
	j := x.Job
	if x.Name != "nightly" || x.Spec != "@every 1h" || x.Start.Hour() != 2 || x.Jitter != Duration(30*time.Second) || x.Overlap != errand.OverlapQueueOne ||
		x.Misfire != errand.MisfireCatchUp || x.CatchUp != 7 || x.Window != Duration(48*time.Hour) || x.Grace != Duration(2*time.Minute) ||
		x.Actor != "anonymous" || x.Reason != "asked for" || x.Registered || x.Describe == "" || !x.Next.Equal(x.Start) || len(x.Upcoming) != 5 ||
		j.Kind != "echo" || j.Queue != "q" || *j.Priority != -3 || j.MaxAttempts != 4 || j.MaxCrashes != 2 || *j.Timeout != Duration(90*time.Second) ||
		j.Retention >= 0 || len(j.Tags) != 1 || j.Metadata["k"] != "v" {
		t.Errorf("%+v", x)
	}
	got := r.do("GET", schedulePath("nightly"), "").want(200)
	if again := got.schedule(); !reflect.DeepEqual(again, x) {
		t.Errorf("GET\n%+v\nPUT\n%+v", again, x)
	}
	if got.header.Get("ETag") != a.header.Get("ETag") || a.header.Get("ETag") == "" {
		t.Error(got.header, a.header)
	}
	x = r.put("nightly", `{"spec":"@every 2h","job":{"kind":"nobody's"}}`).want(200).schedule() // replaced, not changed
	if x.Overlap != errand.OverlapSkip || x.Misfire != errand.MisfireOnce || x.Jitter != 0 || !x.Start.IsZero() || x.Job.Queue != "default" || x.Reason != "" || x.Warning == "" {
		t.Errorf("%+v", x)
	}
}

func TestPutScheduleConditions(t *testing.T) {
	r := newRig(t, nil)
	body := func(spec string) string { return `{"spec":"` + spec + `","job":{"kind":"echo"}}` }
	if p := r.put("s", body("@every 1h"), `If-Match: "x"`).want(412).problem(); !strings.Contains(p.Detail, "there is no schedule") {
		t.Error(p.Detail)
	}
	tag := r.put("s", body("@every 1h"), "If-None-Match: *").want(201).header.Get("ETag")
	r.put("s", body("@every 1h"), "If-None-Match: *").want(412)
	r.put("s", body("@every 1h"), "If-None-Match: *", "If-Match: "+tag).want(422)
	r.put("s", body("@every 1h"), `If-None-Match: "x"`).want(422)

	r.do("POST", schedulePath("s", "/run"), "").want(201) // a job changes no plan
	if now := r.do("GET", schedulePath("s"), "").header.Get("ETag"); now != tag {
		t.Errorf("a run made the ETag %s of %s", now, tag)
	}
	newer := r.put("s", body("@every 2h"), `If-Match: "x", `+tag).want(200).header.Get("ETag")
	p := r.put("s", body("@every 3h"), "If-Match: "+tag).want(412).problem()
	if p.Detail != "the schedule was changed meanwhile by anonymous" || p.Hint == "" || newer == tag {
		t.Errorf("%+v", p)
	}
	if tag = r.do("POST", schedulePath("s", "/pause"), "").want(200).header.Get("ETag"); tag == newer {
		t.Error("a pause leaves the ETag")
	}
	r.put("s", body("@every 3h"), "If-Match: "+newer).want(412)
	if x := r.put("s", body("@every 3h"), "If-Match: *").want(200).schedule(); x.Paused.IsZero() || !x.Next.IsZero() {
		t.Errorf("an edit resumes: %+v", x)
	}
	if x := r.do("GET", schedulePath("s"), "").schedule(); x.Spec != "@every 3h" {
		t.Error(x.Spec)
	}
}

func TestPutScheduleInvalid(t *testing.T) {
	r := newRig(t, nil)
	secret := "s3cr3tvalue"
	const job = `"job":{"kind":"echo"}`
	for body, locations := range map[string]string{
		`{}`:                      "body.job.kind body.spec",
		`{"job":{"kind":"echo"}}`: "body.spec",
		`{"spec":"@every 1m"}`:    "body.job.kind",
		`{"spec":"@every ` + secret + `",` + job + `}`:                                                               "body.spec",
		`{"spec":"cron.` + secret + `",` + job + `}`:                                                                 "body.spec",
		`{"spec":"@every 1m","zone":"` + secret + `",` + job + `}`:                                                   "body.zone",
		`{"spec":"61 * * * *",` + job + `}`:                                                                          "body.spec",
		`{"spec":"0 7 * * *","zone":"Mars/` + secret + `",` + job + `}`:                                              "body.zone",
		`{"spec":"@every 1m","start":"2030-01-02T00:00:00Z","end":"2030-01-01T00:00:00Z",` + job + `}`:               "body.end",
		`{"spec":"@every 1m","start":"1700-01-01T00:00:00Z","end":"1701-01-01T00:00:00Z",` + job + `}`:               "body.end body.start",
		`{"spec":"@every 1m","overlap":"cancel","misfire":"catch_up",` + job + `}`:                                   "body.overlap",
		`{"spec":"@every 1m","grace":"1ms",` + job + `}`:                                                             "body.grace",
		`{"spec":"@every 1m","start":"` + secret + `",` + job + `}`:                                                  "body.start",
		`{"spec":"@every 1m","jitter":"25h","grace":"25h",` + job + `}`:                                              "body.grace body.jitter",
		`{"spec":"@every 1m","jitter":"` + secret + `",` + job + `}`:                                                 "body.jitter",
		`{"spec":"@every 1m","overlap":"` + secret + `","misfire":"` + secret + `",` + job + `}`:                     "body.misfire body.overlap",
		`{"spec":"@every 1m","catch_up":3,"window":"1h",` + job + `}`:                                                "body.catch_up body.window",
		`{"spec":"@every 1m","misfire":"catch_up","catch_up":101,"window":"forever",` + job + `}`:                    "body.catch_up body.window",
		`{"spec":"@every 1m","every":"1m",` + job + `}`:                                                              "body.every",
		`{"spec":"@every 1m","job":{"kind":"echo","at":"2030-01-01T00:00:00Z"}}`:                                     "body.job.at",
		`{"spec":"@every 1m","job":{"kind":"echo","timeout":"-1s","metadata":{"errand.x":"` + secret + `"}}}`:        "body.job.metadata body.job.timeout",
		`{"spec":"@every 1m","job":{"kind":"echo","priority":40000,"max_attempts":-1,"max_crashes":-1,"tags":[""]}}`: "body.job.max_attempts body.job.max_crashes body.job.priority body.job.tags",
		`{"spec":"@every 1m","job":{"kind":"echo\n","queue":"\u0000"}}`:                                              "body.job.kind body.job.queue",
		`{"spec":"@every 1m","reason":"` + strings.Repeat("x", 5000) + `",` + job + `}`:                              "body.reason",
	} {
		a := r.put("s", body).want(422)
		var got []string
		for _, f := range a.problem().Errors {
			got = append(got, f.Location)
			if f.Message == "" || strings.HasPrefix(f.Message, "schedule") || strings.HasPrefix(f.Message, "invalid") {
				t.Errorf("%s: %q", body, f.Message)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != locations || strings.Contains(a.body, secret) {
			t.Errorf("%s\n%s\nwant %s", body, a.body, locations)
		}
	}
	for name, location := range map[string]string{strings.Repeat("ü", 121): "path.name", "a\nb": "path.name", strings.Repeat("x", 241): "path.name"} {
		if p := r.put(name, `{"spec":"@every 1m",`+job+`}`).want(422).problem(); len(p.Errors) != 1 || p.Errors[0].Location != location {
			t.Errorf("%q: %+v", name, p)
		}
	}
	r.put("s", "").want(400)
	r.put("s", `{"spec":"@every 1m",`+job+`}`, "Content-Type: text/plain").want(415)
	r.do("GET", schedulePath("s"), "").want(404)
}

// TestScheduleNames: any printable name can be addressed.
func TestScheduleNames(t *testing.T) {
	r := newRig(t, nil)
	names := []string{
		"a b", "a/b", "/a/", "a//b/../c", "ä ö/ü", "日本語", "100%", "%2F", "a?b#c", "a+b", "preview", `"quoted"`, "{name}", "a;b=c&d",
		strings.Repeat("x", 240), strings.Repeat("ü", 120), "pause", "run/now",
	}
	for _, name := range names {
		path := strings.ReplaceAll(schedulePath(name), "/..", "/%2E%2E")
		if name == "." {
			path = "/api/v1/schedules/%2E"
		}
		a := r.do("PUT", path, `{"spec":"@every 1h","job":{"kind":"echo"}}`).want(201)
		if x := a.schedule(); x.Name != name {
			t.Errorf("%q became %q", name, x.Name)
		}
		if x := r.do("GET", path, "").want(200).schedule(); x.Name != name {
			t.Errorf("%q is %q", name, x.Name)
		}
		r.do("POST", path+"/pause", "").want(200)
		r.do("GET", path+"/firings", "").want(200)
	}
	var seen []string
	for next, pages := "", 0; ; pages++ {
		var page Schedules
		r.do("GET", "/api/v1/schedules?limit=7&after="+url.QueryEscape(next), "").want(200).decode(&page)
		for i := range page.Schedules {
			seen = append(seen, page.Schedules[i].Name)
		}
		if next = page.Next; next == "" {
			if pages != 2 {
				t.Errorf("%d pages before the last", pages)
			}
			break
		}
	}
	slices.Sort(names)
	if !slices.Equal(seen, names) {
		t.Errorf("%q\nwant %q", seen, names)
	}
	for _, name := range names {
		r.do("DELETE", schedulePath(name), "").want(204)
	}
}

func TestScheduleVerbs(t *testing.T) {
	r := newRig(t, nil)
	for _, p := range []string{"", "/firings"} {
		r.do("GET", schedulePath("s", p), "").want(404)
	}
	for _, p := range []string{"/pause", "/resume", "/run"} {
		r.do("POST", schedulePath("s", p), "").want(404)
	}
	r.do("DELETE", schedulePath("s"), "").want(404)
	r.do("POST", schedulePath("s", "/backfill"), `{"from":"2020-01-01T00:00:00Z","to":"2020-01-02T00:00:00Z"}`).want(404)

	r.put("s", `{"spec":"@every 1h","job":{"kind":"slow","args":[1]}}`).want(201)
	x := r.do("POST", schedulePath("s", "/pause"), `{"reason":"month end"}`).want(200).schedule()
	if x.Paused.IsZero() || x.Reason != "month end" || x.Actor != "anonymous" || !x.Next.IsZero() || x.Upcoming != nil {
		t.Errorf("%+v", x)
	}
	r.do("POST", schedulePath("s", "/pause"), `{"reasons":"x"}`).want(422)
	a := r.do("POST", schedulePath("s", "/run"), "").want(201)
	j := a.job()
	if a.header.Get("Location") != "/api/v1/jobs/"+j.ID.String() || j.Kind != "slow" || string(j.Args) != "[1]" || j.Schedule != "s" || j.Nominal.IsZero() {
		t.Error(a.header, a.body)
	}
	waits := r.do("POST", schedulePath("s", "/run"), "", "Idempotency-Key: again").want(201).job()
	if again := r.do("POST", schedulePath("s", "/run"), "", "Idempotency-Key: again").want(200).job(); again.ID != waits.ID || !again.Duplicate {
		t.Errorf("%+v", again)
	}
	r.do("POST", "/api/v1/jobs", `{"kind":"echo"}`, "Idempotency-Key: taken").want(201)
	if p := r.do("POST", schedulePath("s", "/run"), "", "Idempotency-Key: taken").want(422).problem(); p.Errors[0].Location != "header.Idempotency-Key" {
		t.Errorf("%+v", p)
	}
	if waits.State != errand.Waiting {
		t.Error(waits.State)
	}
	if p := r.do("POST", schedulePath("s", "/run"), "").want(409).problem(); p.State != errand.Waiting || p.Hint == "" {
		t.Errorf("%+v", p)
	}
	x = r.do("POST", schedulePath("s", "/resume"), `{"reason":"over"}`).want(200).schedule()
	if !x.Paused.IsZero() || x.Reason != "over" || x.Next.IsZero() || x.Last.ID != waits.ID || x.Last.State != errand.Waiting {
		t.Errorf("%+v", x)
	}
	var f Firings
	r.do("GET", schedulePath("s", "/firings?limit=1"), "").want(200).decode(&f)
	if len(f.Firings) != 1 || f.Firings[0].Seq != 2 || f.Firings[0].Outcome != errand.OutcomeManual || f.Firings[0].Job != waits.ID || f.Firings[0].State != errand.Waiting {
		t.Errorf("%+v", f)
	}
	r.do("DELETE", schedulePath("s"), "").want(204)
	r.do("GET", "/api/v1/jobs/"+j.ID.String(), "").want(200)
}

func TestBackfill(t *testing.T) {
	r := newRig(t, nil)
	from := time.Now().UTC().Add(-5 * time.Hour).Truncate(time.Hour)
	r.put("s", fmt.Sprintf(`{"spec":"@every 1h","start":%q,"overlap":"allow","job":{"kind":"echo"}}`, from.Format(time.RFC3339))).want(201)
	ask := func(from, to time.Time, dry bool) answer {
		return r.do("POST", schedulePath("s", "/backfill"), fmt.Sprintf(`{"from":%q,"to":%q,"dry_run":%t}`, from.Format(time.RFC3339), to.Format(time.RFC3339), dry))
	}
	for _, c := range []struct {
		to   time.Time
		dry  bool
		want Backfill
	}{
		{from.Add(3 * time.Hour), true, Backfill{3, 0}},
		{from.Add(2 * time.Hour), false, Backfill{2, 2}},
		{from.Add(3 * time.Hour), false, Backfill{3, 1}},
	} {
		var b Backfill
		if ask(from, c.to, c.dry).want(200).decode(&b); b != c.want {
			t.Errorf("%+v, want %+v", b, c.want)
		}
	}
	for _, c := range [][2]time.Time{{from, from}, {from, time.Now().Add(time.Hour)}} {
		if p := ask(c[0], c[1], false).want(422).problem(); p.Errors[0].Location != "body.to" {
			t.Errorf("%+v", p)
		}
	}
	if p := r.do("POST", schedulePath("s", "/backfill"), `{"to":"2020-01-01T00:00:00Z"}`).want(422).problem(); p.Errors[0].Location != "body.from" {
		t.Errorf("%+v", p)
	}
	r.put("often", `{"spec":"@every 1s","start":"2020-01-01T00:00:00Z","job":{"kind":"echo"}}`).want(201)
	a := r.do("POST", schedulePath("often", "/backfill"), `{"from":"2020-01-01T00:00:00Z","to":"2020-01-02T00:00:00Z"}`).want(422)
	if p := a.problem(); p.Errors[0].Location != "body.to" {
		t.Errorf("%+v", p)
	}
}

func TestListSchedules(t *testing.T) {
	r := newRig(t, nil)
	now := time.Now().UTC()
	r.put("busy", fmt.Sprintf(`{"spec":"@every 1s","start":%q,"job":{"kind":"echo"},"overlap":"allow"}`, now.Format(time.RFC3339))).want(201)
	r.put("failing", `{"spec":"@every 1h","job":{"kind":"fail","args":"`+strings.Repeat("x", 5000)+`"}}`).want(201)
	r.do("POST", schedulePath("failing", "/run"), "").want(201)
	r.put("idle", `{"spec":"@after 1h","job":{"kind":"echo"}}`).want(201)
	if _, err := r.engine.Schedule(t.Context(), "of the program", "@reboot", errand.NewJob{Kind: "echo"}, nil); err != nil {
		t.Fatal(err)
	}
	var page Schedules
	for range 500 {
		r.do("GET", "/api/v1/schedules?history=2", "").want(200).decode(&page)
		all := page.Schedules
		if all[0].Made >= 3 && all[1].Last.State == errand.Failed && all[0].History[0].State == errand.Succeeded {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	busy, failing, idle, ours := page.Schedules[0], page.Schedules[1], page.Schedules[2], page.Schedules[3]
	if len(page.Schedules) != 4 || page.Next != "" || busy.Name != "busy" || len(busy.History) != 2 || busy.History[0].Seq != busy.History[1].Seq+1 ||
		busy.History[0].Outcome != errand.OutcomeMade || busy.History[1].State != errand.Succeeded || busy.Last.ID != busy.History[0].Job || busy.Prev.IsZero() || busy.Upcoming != nil {
		t.Errorf("%+v", busy)
	}
	if failing.Last.Error != "as asked" || failing.Last.Ended.IsZero() || failing.Job.Args != nil || !slices.Equal(failing.Omitted, []string{"job.args"}) {
		t.Errorf("%+v %+v", failing, failing.Last)
	}
	if idle.Last != nil || idle.History != nil || idle.Registered || !ours.Registered || ours.Describe == "" {
		t.Errorf("%+v\n%+v", idle, ours)
	}
	r.do("DELETE", "/api/v1/jobs/"+failing.Last.ID.String(), "").want(204)
	if x := r.do("GET", schedulePath("failing"), "").want(200).schedule(); x.Last.ID != failing.Last.ID || x.Last.State != "" || x.History[0].State != "" || x.Job.Args == nil {
		t.Errorf("its job is gone: %+v %+v", x.Last, x.History)
	}
	r.do("POST", schedulePath("failing", "/pause"), "").want(200)
	for q, want := range map[string]string{
		"search=BUS": "busy", "search=%401h": "", "search=+1h&limit=1": "failing …", "search=+1h&limit=1&after=failing": "idle", "search=fail": "failing",
		"search=reboot": "of the program", "only=paused": "failing", "only=paused&search=busy": "", "only=late": "",
	} {
		var page Schedules
		r.do("GET", "/api/v1/schedules?"+q, "").want(200).decode(&page)
		var got []string
		for _, x := range page.Schedules {
			got = append(got, x.Name)
		}
		if page.Next != "" {
			got = append(got, "…")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s finds %q, want %s", q, got, want)
		}
	}
	for _, q := range []string{"limit=0", "limit=201", "history=101", "afte=x", "only=x"} {
		r.do("GET", "/api/v1/schedules?"+q, "").want(422)
	}
	if p := r.do("GET", schedulePath("busy", "/firings?limit=101"), "").want(422).problem(); p.Errors[0].Location != "query.limit" {
		t.Errorf("%+v", p)
	}
}

// TestScheduleLate: nobody is there to fire.
func TestScheduleLate(t *testing.T) {
	e := errand.New(errand.Memory(nil), nil)
	x, err := e.Schedule(t.Context(), "s", "@every 1s", errand.NewJob{Kind: "k"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		paused bool
		after  time.Duration
		want   Duration
	}{{false, 0, 0}, {false, 90 * time.Second, Duration(90 * time.Second)}, {true, 90 * time.Second, 0}} {
		if c.paused {
			x.Paused = x.Created
		}
		if v := fromSchedule(x, x.Next.Add(c.after)); v.LateBy != c.want {
			t.Errorf("late by %s, want %s", v.LateBy, c.want)
		}
	}
}

func TestPreview(t *testing.T) {
	r := newRig(t, &Config{})
	preview := func(body string) answer { return r.do("POST", "/api/v1/schedules/preview", body) }
	var p Preview
	preview(`{"spec":"@every 90m"}`).want(200).decode(&p)
	if p.Describe == "" || len(p.Next) != 5 || p.Next[1].Sub(p.Next[0]) != 90*time.Minute || p.Warning != "" {
		t.Errorf("%+v", p)
	}
	preview(`{"name":"x","spec":"@every 1h","n":2,"start":"2099-01-01T00:00:00Z","end":"2099-01-01T02:00:00Z","job":{"kind":"none"},"reason":"x"}`).want(200).decode(&p)
	if fmt.Sprint(p.Next) != "[2099-01-01 00:00:00 +0000 UTC 2099-01-01 01:00:00 +0000 UTC]" || p.Warning == "" {
		t.Errorf("%+v", p)
	}
	if a := preview(`{"spec":"@reboot"}`).want(200); !strings.Contains(a.body, `"next":[]`) {
		t.Error(a.body)
	}
	x := r.put("x", `{"spec":"@every 1h","job":{"kind":"echo"}}`).want(201).schedule()
	time.Sleep(1100 * time.Millisecond)
	if preview(`{"name":"x","spec":"@every 1h","n":1}`).want(200).decode(&p); !p.Next[0].Equal(x.Next) {
		t.Errorf("the preview of x is %v, and its next %v", p.Next, x.Next)
	}
	for body, locations := range map[string]string{
		`{"spec":"@every 1ms"}`:         "[body.spec]",
		`{}`:                            "[body.spec]",
		`{"spec":"@every 1h","n":101}`:  "[body.n]",
		`{"spec":"@every 1h","job":{}}`: "[body.job.kind]",
		`{"spec":"@every 1h","name":"\t","grace":"25h"}`: "[body.name body.grace]",
		`{"spec":"@every 1h","zone":"UTC"}`:              "[body.zone]",
	} {
		var got []string
		for _, f := range preview(body).want(422).problem().Errors {
			got = append(got, f.Location)
		}
		if fmt.Sprint(got) != locations {
			t.Errorf("%s: %v, want %s", body, got, locations)
		}
	}
	preview("").want(400)
}

// TestPreviewCron is about cron expressions: their zone, daylight saving, names, and what they say.
func TestPreviewCron(t *testing.T) {
	specs := map[string]string{"nightly": "0 3 * * *", "often": "@every 10m"}
	e := errand.New(errand.Memory(nil), &errand.Config{Specs: specs})
	s, err := New(e, &Config{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.specs(t.Context(), nil)
	if err != nil || len(out.Body.Specs) != 2 || out.Body.Specs[0].Name != "cron.nightly" || out.Body.Specs[0].Spec != "0 3 * * *" || out.Body.Specs[0].Describe == "" {
		t.Errorf("%+v, %v", out.Body, err)
	}
	x, err := s.check(&checked{nameAt: "body.name", name: "s", plan: Plan{Spec: "cron.nightly", Zone: "Europe/Berlin"}})
	if err != nil {
		t.Fatal(err)
	}
	times := x.Upcoming(time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC), 3)
	if x.Resolved != "0 3 * * *" || fmt.Sprint(times) != "[2026-03-28 02:00:00 +0000 UTC 2026-03-29 01:00:00 +0000 UTC 2026-03-30 01:00:00 +0000 UTC]" {
		t.Error(x.Resolved, times)
	}
}

// TestScheduleRoles: what a viewer, an operator and an admin may do, and what a read-only server does.
func TestScheduleRoles(t *testing.T) {
	config, tokens := &Config{}, map[Role]string{}
	for _, role := range []Role{Viewer, Operator, Admin} {
		token, hash := NewToken()
		tokens[role] = "Bearer " + token
		config.Tokens = append(config.Tokens, Token{string(role), hash, role})
	}
	r := newRig(t, config)
	const body = `{"spec":"@every 1h","job":{"kind":"echo"}}`
	r.auth = tokens[Viewer]
	r.put("s", body).want(403)
	r.do("POST", "/api/v1/schedules/preview", `{"spec":"@every 1h"}`).want(200)
	r.do("GET", "/api/v1/specs", "").want(200)
	r.auth = tokens[Operator]
	if x := r.put("s", body).want(201).schedule(); x.Actor != "operator" {
		t.Error(x.Actor)
	}
	r.do("POST", schedulePath("s", "/pause"), "").want(200)
	r.do("DELETE", schedulePath("s"), "").want(403)
	r.auth = tokens[Admin]
	r.server.config.ReadOnly = true
	for _, route := range []string{"PUT ", "DELETE ", "POST /pause", "POST /resume", "POST /run", "POST /backfill"} {
		method, path, _ := strings.Cut(route, " ")
		r.do(method, schedulePath("s", path), "").want(403)
	}
	r.do("GET", schedulePath("s"), "").want(200)
	r.do("POST", "/api/v1/schedules/preview", `{"spec":"@every 1h"}`).want(200)
	r.server.config.ReadOnly = false
	r.do("DELETE", schedulePath("s"), "").want(204)
}
