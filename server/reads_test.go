package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

func TestList(t *testing.T) {
	r := newRig(t, nil)
	for i := range 5 {
		r.create(fmt.Sprintf(`{"kind":"k%d","queue":"q%d","in":"1h","tags":["t%d"]}`, i, i%2, i))
	}
	r.create(`{"kind":"none","args":"` + strings.Repeat("x", BriefLimit) + `"}`)
	for query, want := range map[string]string{
		"":                                   "[none k4 k3 k2 k1 k0]",
		"?state=ready":                       "[none]",
		"?state=ready&state=scheduled":       "[none k4 k3 k2 k1 k0]",
		"?kind=k1&kind=k3":                   "[k3 k1]",
		"?queue=q1":                          "[k3 k1]",
		"?queue=q1&queue=q0&kind=k0&kind=k1": "[k1 k0]",
		"?tag=t2":                            "[k2]",
		"?tag=t2&tag=t3":                     "[]",
		"?filter=queue:q1+kind:k*":           "[k3 k1]",
		"?filter=queue:q1&kind=k3":           "[k3]",
		"?filter=args.none=1":                "[]",
		"?worker=" + uuid.NewString():        "[]",
		"?limit=2":                           "[none k4]",
		"?kind=a,b":                          "[]",
	} {
		var p Page
		a := r.do("GET", "/api/v1/jobs"+query, "").want(200)
		a.decode(&p)
		kinds := []string{}
		for _, j := range p.Jobs {
			kinds = append(kinds, j.Kind)
		}
		if fmt.Sprint(kinds) != want || (p.Next != "") != (query == "?limit=2") {
			t.Errorf("%s: %v next %q, want %s", query, kinds, p.Next, want)
		}
		if strings.Contains(a.body, "xxx") {
			t.Errorf("%s: long args in a list", query)
		}
	}
	seen, cursor, pages := 0, "", 0
	for {
		var p Page
		r.do("GET", "/api/v1/jobs?limit=4&cursor="+cursor, "").want(200).decode(&p)
		seen, cursor, pages = seen+len(p.Jobs), p.Next, pages+1
		if cursor == "" {
			break
		}
	}
	if seen != 6 || pages != 2 {
		t.Error(seen, pages)
	}
	for query, location := range map[string]string{
		"?state=s3cr3t": "query.state[0]", "?limit=0": "query.limit", "?limit=1001": "query.limit", "?limit=s3cr3t": "query.limit",
		"?worker=s3cr3t": "query.worker", "?filter=state:s3cr3t": "query.filter", "?filter=s3cr3t": "query.filter", "?filter=age%3Es3cr3t": "query.filter", "?stat=ready": "query.stat", "?cursor=!s3cr3t!": "",
	} {
		a := r.do("GET", "/api/v1/jobs"+query, "").want(422)
		if p := a.problem(); location != "" && (len(p.Errors) != 1 || p.Errors[0].Location != location) || strings.Contains(a.body, "s3cr3t") {
			t.Errorf("%s: %s", query, a.body)
		}
	}
}

func TestETag(t *testing.T) {
	r := newRig(t, nil)
	j, path := r.create(`{"kind":"echo","in":"1h"}`)
	tag := r.do("GET", path, "").want(200).header.Get("ETag")
	if tag != `"`+j.ID.String()+`.1"` {
		t.Fatal(tag)
	}
	for _, match := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		a := r.do("GET", path, "", "If-None-Match: "+match).want(304)
		if a.body != "" || a.header.Get("ETag") != tag {
			t.Error(match, a.header, a.body)
		}
	}
	r.do("POST", path+"/pause", "").want(200)
	a := r.do("GET", path, "", "If-None-Match: "+tag).want(200)
	if a.header.Get("ETag") == tag {
		t.Error("the same ETag")
	}
	r.do("HEAD", path, "").want(200)
}

func TestWait(t *testing.T) {
	r := newRig(t, nil)
	_, path := r.create(`{"kind":"slow"}`)
	r.await(path, errand.Running)
	start := time.Now()
	if j := r.do("GET", path+"?wait=100ms", "").want(200).job(); j.State != errand.Running || time.Since(start) < 100*time.Millisecond {
		t.Fatal(j.State, time.Since(start))
	}
	time.AfterFunc(50*time.Millisecond, func() { r.do("POST", path+"/cancel", "").want(200) })
	start = time.Now()
	if j := r.do("GET", path+"?wait=1m", "").want(200).job(); j.State != errand.Cancelled || time.Since(start) > 3*time.Second {
		t.Fatal(j.State, time.Since(start))
	}
	for _, bad := range []string{"61s", "forever", "-1s", "soon", "5"} {
		p := r.do("GET", path+"?wait="+bad, "").want(422).problem()
		if p.Errors[0].Location != "query.wait" || strings.Contains(p.Errors[0].Message, bad+" ") {
			t.Errorf("%+v", p)
		}
	}
	r.do("GET", "/api/v1/jobs/"+uuid.NewString()+"?wait=5s", "").want(404)
	r.do("GET", "/api/v1/jobs/{"+uuid.NewString()+"}", "").want(422)
	r.do("GET", "/api/v1/jobs/urn:uuid:"+uuid.NewString(), "").want(422)
}

func TestLog(t *testing.T) {
	r := newRig(t, nil)
	_, path := r.create(`{"kind":"steps"}`)
	var texts []string
	after := int64(0)
	for range 20 {
		var l Log
		r.do("GET", fmt.Sprintf("%s/log?after=%d&wait=2s&limit=2", path, after), "").want(200).decode(&l)
		for _, e := range l.Entries {
			texts = append(texts, fmt.Sprint(e.Text, e.Level, string(e.Attrs)))
		}
		after = l.After
		if l.Ended {
			break
		}
	}
	if fmt.Sprint(texts) != `[stepINFO{"n":0} stepINFO{"n":1} stepINFO{"n":2}]` {
		t.Error(texts)
	}
	_, path = r.create(`{"kind":"fail"}`)
	r.await(path, errand.Failed)
	var l Log
	r.do("GET", path+"/log", "").want(200).decode(&l)
	if len(l.Entries) != 1 || l.Entries[0].Type != errand.EntryAttempt || l.Entries[0].Text != "as asked" || !l.Ended {
		t.Errorf("%+v", l)
	}
	r.do("GET", path+"/log?after=-1", "").want(422)
	r.do("GET", path+"/log?wait=2m", "").want(422)
	r.do("GET", "/api/v1/jobs/"+uuid.NewString()+"/log", "").want(404)
}

func TestStatsWorkersKindsHealth(t *testing.T) {
	r := newRig(t, nil)
	r.create(`{"kind":"none"}`)
	r.create(`{"kind":"none","in":"1h"}`)
	var st Stats
	r.do("GET", "/api/v1/stats", "").want(200).decode(&st)
	if len(st.Counts) != 2 || st.Counts[0].State != errand.Scheduled || st.Counts[1].Jobs != 1 || st.Counts[1].OldestReady.IsZero() {
		t.Errorf("%+v", st)
	}
	var ws Workers
	r.do("GET", "/api/v1/workers", "").want(200).decode(&ws)
	if len(ws.Workers) != 1 || !ws.Workers[0].Alive || ws.Workers[0].PID == 0 || ws.Workers[0].Lease != Duration(time.Second) {
		t.Errorf("%+v", ws)
	}
	var ks Kinds
	r.do("GET", "/api/v1/kinds", "").want(200).decode(&ks)
	if fmt.Sprint(ks.Kinds) != "[{echo true 1} {fail true 1} {slow true 1} {steps true 1}]" {
		t.Errorf("%+v", ks)
	}
	r.do("GET", "/healthz", "", "Host: by.any.name").want(200)
	r.do("GET", "/readyz", "").want(200)
	r.server.stopWaits()
	r.do("GET", "/healthz", "").want(200)
	r.do("GET", "/readyz", "").want(503)
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]Duration{"1m30s": Duration(90 * time.Second), "0s": 0, "forever": -1} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d != want || d.String() != text {
			t.Error(text, d, err)
		}
	}
}

func TestHistory(t *testing.T) {
	r := newRig(t, nil)
	r.create(`{"kind":"none","queue":"other"}`)
	r.create(`{"kind":"echo"}`)
	var h History
	for range 1000 {
		r.do("GET", "/api/v1/history?range=15m&queue=default", "").want(200).decode(&h)
		if slices.ContainsFunc(h.Points, func(p Point) bool { return p.Succeeded > 0 }) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	sum, wait := errand.Flow{}, Duration(-1)
	for i, p := range h.Points {
		if i > 0 && p.Time.Sub(h.Points[i-1].Time) != 10*time.Second {
			t.Errorf("%s comes after %s", p.Time, h.Points[i-1].Time)
		}
		if (p.Wait != nil) != (p.Started > 0) {
			t.Errorf("%+v", p)
		}
		if p.Wait != nil {
			wait = *p.Wait
		}
		sum.Added, sum.Started, sum.Succeeded = sum.Added+p.Added, sum.Started+p.Started, sum.Succeeded+p.Succeeded
	}
	if len(h.Points) != 90 || time.Duration(h.Step) != 10*time.Second || (sum != errand.Flow{Added: 1, Started: 1, Succeeded: 1}) || wait < 0 || time.Duration(wait) > time.Minute {
		t.Errorf("%d points, %+v, wait %s", len(h.Points), sum, wait)
	}
	if p := r.do("GET", "/api/v1/history?range=2h", "").want(422).problem(); p.Errors[0].Message != "expected one of 15m, 1h, 24h, 168h" {
		t.Errorf("%+v", p)
	}
	r.do("GET", "/api/v1/history?rang=1h", "").want(422)
}
