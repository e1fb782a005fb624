package errand

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
)

var filterTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// TestParseQuery: what each form of a term selects, and how it is written again.
func TestParseQuery(t *testing.T) {
	worker := uuid.MustParse("01a203b3-27d4-7ca0-9b7d-a7c1874b9b36")
	ago := func(d time.Duration) time.Time { return filterTime.Add(-d) }
	for text, c := range map[string]struct {
		want Query
		text string // "": the same
	}{
		"":                                {Query{}, ""},
		"state:failed,ready state:paused": {Query{States: []State{"failed", "ready", "paused"}}, "state:failed,ready,paused"},
		"kind:mail*  queue:a\tqueue:b":    {Query{Kinds: []string{"mail*"}, Queues: []string{"a", "b"}}, "kind:mail* queue:a,b"},
		`tag:blue,"two words"`:            {Query{Tags: []string{"blue", "two words"}}, ""},
		`tag:"a,b\"c"`:                    {Query{Tags: []string{`a,b"c`}}, ""},
		"worker:" + worker.String():       {Query{Worker: worker}, ""},
		`unique:"mail:ann"`:               {Query{Unique: "mail:ann"}, ""},
		"unique:mail:ann":                 {Query{Unique: "mail:ann"}, `unique:"mail:ann"`},
		`error:"no route" state:failed`:   {Query{States: []State{"failed"}, Error: "no route"}, `state:failed error:"no route"`},
		"args.customer=42":                {Query{Args: []ArgMatch{{Path: []string{"customer"}, Value: "42"}}}, ""},
		`args.a."b.c".0="x y" args.d=`:    {Query{Args: []ArgMatch{{Path: []string{"a", "b.c", "0"}, Value: "x y"}, {Path: []string{"d"}}}}, `args.a."b.c".0="x y" args.d=""`},
		"age>1h":                          {Query{CreatedBefore: ago(time.Hour)}, ""},
		"age<2d12h30m5s":                  {Query{CreatedAfter: ago(60*time.Hour + 30*time.Minute + 5*time.Second)}, ""},
		"age>90m ended<24h":               {Query{CreatedBefore: ago(90 * time.Minute), EndedAfter: ago(24 * time.Hour)}, "age>1h30m ended<24h"},
		"age<10m":                         {Query{CreatedAfter: ago(10 * time.Minute)}, ""},
		"age>0s":                          {Query{CreatedBefore: filterTime}, ""},
	} {
		got, err := ParseQuery(text, filterTime)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, c.want)
			continue
		}
		want := c.text
		if want == "" {
			want = text
		}
		if again := got.text(filterTime); again != want {
			t.Errorf("%s: written as %s, want %s", text, again, want)
		}
	}
}

// TestParseQueryErrors: each says what would be right.
func TestParseQueryErrors(t *testing.T) {
	for text, want := range map[string]string{
		"failed":                 `"failed": use terms such as state:failed, kind:mail* or error:"text"`,
		"state:bad":              `state "bad": use scheduled, waiting, ready, running, paused, succeeded, failed, cancelled`,
		"stat:failed":            `"stat": use state, kind, queue, tag, worker, unique, error, args.NAME=, age or ended`,
		"worker:7":               `worker "7": use the UUID of a worker session`,
		"error:a error:b":        `error: give one value`,
		"error:a,b":              `error: give one value`,
		"age:1h":                 `age: use age>1h, age<30m or ended<10m`,
		"ended>1h":               `ended: use age>1h, age<30m or ended<10m`,
		"age>soon":               `age "soon": use a duration such as 500ms, 90s, 1h30m or 7d`,
		"age>xd":                 `age "xd": use a duration such as 500ms, 90s, 1h30m or 7d`,
		"age>-1h":                `age "-1h": use a duration of 0 or more`,
		"args=1":                 `"args=1": use args.NAME=value`,
		"args.=1":                `"args.=1": use args.NAME=value, and args.NAME.NAME=value for what is inside`,
		"args.a":                 `"args.a": use args.NAME=value`,
		`tag:"open`:              `tag: "open: its quotes do not match`,
		"\x00:" + `"` + "failed": "",
	} {
		_, err := ParseQuery(text, filterTime)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := err.Error(); want != "" && got != "invalid filter: "+want {
			t.Errorf("%q: %s\nwant invalid filter: %s", text, got, want)
		}
	}
}

// FuzzParseQuery: no text panics, and what a query is written as selects the same.
func FuzzParseQuery(f *testing.F) {
	for _, text := range []string{
		`state:failed kind:mail* queue:x tag:y error:"timeout" args.customer=42 age>1h`, `args."a\u0000".1="\xff" tag:"",a`, "ended<1d age>1.5h", `kind:,`, "age>99999999d",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseQuery(text, filterTime)
		if err != nil {
			return
		}
		for _, at := range []*time.Time{&q.CreatedBefore, &q.CreatedAfter, &q.EndedAfter} {
			if *at = at.Round(time.Second); !at.IsZero() && (at.Year() < 1800 || filterTime.Sub(*at) < 0) {
				t.Skip() // farther than a duration reaches
			}
		}
		again, err := ParseQuery(q.text(filterTime), filterTime)
		if err != nil || !reflect.DeepEqual(q, again) {
			t.Fatalf("%q is %+v; written as %s it is %+v, %v", text, q, q.text(filterTime), again, err)
		}
	})
}

// Several queries look into one job: what each finds is the same as if it were alone, and nothing is decoded twice.
func TestTexts(t *testing.T) {
	job := &Job{Error: "No Route", Args: []byte(` {"a":{"b":[1, {"c":"x y"}, null, 1.50], "0":"zero"},"big":12345678901234567890,"s":"a\u0062","t":true,"o":{}} `)}
	queries := map[string]bool{
		"": true, `error:"no route"`: true, "error:ROUTE": true, "error:way": false,
		"args.a.b.0=1": true, `args.a.b.1.c="x y"`: true, "args.a.b.2=null": true, "args.a.b.3=1.50": true, "args.a.b.3=1.5": false, "args.a.b.4=1": false,
		"args.a.b.-1=1": false, "args.a.0=zero": true, "args.a.1=zero": false, "args.big=12345678901234567890": true, "args.s=ab": true, "args.t=true": true,
		`args.o="{}"`: false, `args.o=""`: false, `args.none=""`: false, "args.s.0=a": false, "args.a.b.0=1 args.t=false": false, "args.a.b.0=1 error:x": false,
	}
	look := &texts{job: job}
	for range 2 {
		for text, want := range queries {
			q, err := ParseQuery(text, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := q.matchesIn(job, look); got != want {
				t.Errorf("%s, with others: %t", text, got)
			}
			if got := q.MatchesText(job); got != want {
				t.Errorf("%s: %t", text, got)
			}
		}
	}
	q, _ := ParseQuery(`args.a.b.1.c="x y" args.t=true`, time.Now())
	if n := testing.AllocsPerRun(10, func() { q.matchesIn(job, look) }); n > 0 {
		t.Errorf("looking again takes %v allocations", n)
	}
}
