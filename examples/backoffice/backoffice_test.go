package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/errandhq/errand"
)

// service is the service in this process.
func service(t *testing.T, delay time.Duration, edit ...func(*app)) *client {
	t.Helper()
	s := settings{addr: "127.0.0.1:0", data: t.TempDir(), delay: delay, user: "Jon-Doe"}
	a, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	worked := make(chan error)
	go func() { worked <- a.jobs.Run(ctx) }()
	server := httptest.NewServer(a.routes())
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := errors.Join(<-worked, a.shut()); err != nil {
			t.Error(err)
		}
	})
	return &client{t, server.URL, s.data}
}

func TestAnswers(t *testing.T) {
	c := service(t, 0)
	multi := "multipart/form-data; boundary=x"
	for _, q := range []struct{ method, path, kind, body, want string }{
		{"GET", "/updateTask", "", "", `400 {"errorType":"invalid_id"}`},
		{"GET", "/updateTask?action=stop", "", "", `400 {"errorType":"invalid_id"}`},
		{"GET", "/updateTask?id=x", "", "", `400 {"errorType":"invalid_action"}`},
		{"GET", "/updateTask?id=x&action=explode", "", "", `400 {"errorType":"invalid_action"}`},
		{"GET", "/updateTask?id=x&action=start", "", "", `404 {"errorType":"id_doesn't_exist"}`},
		{"GET", "/updateTask?id=Jon-Doe-baselineCSV-1575836394-8469&action=stop", "", "", `404 {"errorType":"id_doesn't_exist"}`},
		{"GET", "/updateTask?id=x&action=terminate", "", "", `404 {"errorType":"id_doesn't_exist"}`},
		{"POST", "/exportData", "application/json", ``, `400 {"errorType":"invalid_json"}`},
		{"POST", "/exportData", "application/json", `{"from":`, `400 {"errorType":"invalid_json"}`},
		{"POST", "/exportData", "application/json", `from=1`, `400 {"errorType":"invalid_json"}`},
		{"POST", "/exportData", "application/json", `{"from":"2018-07-01","to":"2018-08-01"} x`, `400 {"errorType":"invalid_json"}`},
		{"POST", "/exportData", "application/json", `{"to":"2018-08-01"}`, `400 {"errorType":"invalid_from_date"}`},
		{"POST", "/exportData", "application/json", `{"from":"2018-02-30","to":"2018-08-01"}`, `400 {"errorType":"invalid_from_date"}`},
		{"POST", "/exportData", "application/json", `{"from":"2018-07-01","to":"tomorrow"}`, `400 {"errorType":"invalid_to_date"}`},
		{"POST", "/exportData", "application/json", `{"from":"2018-08-01","to":"2018-07-01"}`, `400 {"errorType":"invalid_date_range"}`},
		{"POST", "/uploadCSV", "text/csv", "a\n1\n", `400 {"errorType":"invalid_file"}`},
		{"POST", "/uploadCSV", multi, "", `400 {"errorType":"invalid_file"}`},
		{"POST", "/createBulkTeam", multi, "--x\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n1\r\n--x--\r\n", `400 {"errorType":"invalid_file"}`},
		{"POST", "/createBulkTeam", multi, "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nname\r\n", `400 {"errorType":"invalid_file"}`},
		{"GET", "/jobs", "", "", `200 {"jobs":[]}`},
		{"GET", "/jobs?cursor=-1", "", "", `400 {"errorType":"invalid_cursor"}`},
	} {
		req, err := http.NewRequest(q.method, c.base+q.path, strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", q.kind)
		status, answer := c.do(req)
		if got := fmt.Sprint(status, " ", answer); got != q.want {
			t.Errorf("%s %s %q:\n got %s\nwant %s", q.method, q.path, q.body, got, q.want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(c.data, "uploads")); err != nil || len(left) > 0 {
		t.Errorf("refused uploads leave %v %v", left, err)
	}
}

func TestImportAndControl(t *testing.T) {
	c := service(t, 5*time.Millisecond)
	content := []byte("name,size\n" + strings.Repeat("red,3\n", 100))
	id := c.upload("/createBulkTeam", content)
	c.awaitRow(id, 5)
	c.mustUpdate(id, "start", "running")
	c.mustUpdate(id, "stop", "paused")
	c.mustUpdate(id, "stop", "paused")
	n := c.rows("teams", id)
	time.Sleep(50 * time.Millisecond)
	if now := c.rows("teams", id); now != n || n == 0 || n == 100 {
		t.Errorf("%d rows when it was paused, %d later", n, now)
	}
	c.mustUpdate(id, "start", "running")
	if j := c.awaitState(id, errand.Succeeded); j.Progress.Done != 100 || j.Progress.Total != 100 {
		t.Errorf("progress %+v", j.Progress)
	}
	for _, action := range []string{"start", "stop", "terminate"} {
		c.mustUpdate(id, action, "already succeeded")
	}
	if n := c.rows("teams", id); n != 100 {
		t.Errorf("%d rows", n)
	}
	if got := c.query("select name || data from teams where row = 100"); got != `red{"name":"red","size":"3"}` {
		t.Errorf("row 100 is %s", got)
	}
}

func TestTerminate(t *testing.T) {
	for _, pauseFirst := range []bool{false, true} {
		c := service(t, time.Millisecond)
		keep := c.upload("/uploadCSV", []byte("a\n1\n2\n"))
		id := c.upload("/uploadCSV", []byte("a\n"+strings.Repeat("1\n", 5000)))
		export := c.accepted(c.post("/exportData", "application/json", strings.NewReader(`{"from":"1950-01-01","to":"2018-08-01"}`)))
		c.awaitRow(id, 30)
		c.awaitRow(export, 30)
		for _, job := range []string{id, export} {
			if pauseFirst {
				c.mustUpdate(job, "stop", "paused")
			}
			c.mustUpdate(job, "terminate", "terminated")
			c.mustUpdate(job, "terminate", "terminated")
			c.mustUpdate(job, "start", "terminated")
			c.awaitState(job, errand.Cancelled)
		}
		c.awaitState(keep, errand.Succeeded)
		if n, e, k := c.rows("baseline", id), c.rows("exported", export), c.rows("baseline", keep); n != 0 || e != 0 || k != 2 {
			t.Errorf("the import left %d rows, the export %d, and there are %d of 2 of another job", n, e, k)
		}
		if files, err := os.ReadDir(filepath.Join(c.data, "exports")); err != nil || len(files) > 0 {
			t.Errorf("left: %v %v", files, err)
		}
	}
}

func TestExport(t *testing.T) {
	c := service(t, 0)
	today := time.Now().UTC().Format(time.DateOnly)
	c.awaitState(c.upload("/uploadCSV", []byte("a\n1\n2\n")), errand.Succeeded)
	id := c.accepted(c.post("/exportData", "application/json", strings.NewReader(`{"from":"2018-07-01","to":"2018-08-01"}`)))
	j := c.awaitState(id, errand.Succeeded)
	resp, err := http.Get(c.base + j.Download)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	if len(lines) != 32 || lines[0] != `{"date":"2018-07-01","weekday":"Sunday","baseline_rows":0,"teams":0}` {
		t.Errorf("%d lines, the first is %s", len(lines), lines[0])
	}
	if d, n := resp.Header.Get("Content-Disposition"), resp.Header.Get("X-Content-Type-Options"); d != "attachment; filename="+id+".jsonl" || n != "nosniff" {
		t.Errorf("Content-Disposition %q, X-Content-Type-Options %q", d, n)
	}
	id = c.accepted(c.post("/exportData", "application/json", strings.NewReader(fmt.Sprintf(`{"from":%q,"to":%[1]q}`, today))))
	_, text := c.get(c.awaitState(id, errand.Succeeded).Download)
	if !strings.Contains(text, `"baseline_rows":2,"teams":0}`) {
		t.Errorf("today's line is %s", text)
	}
	for _, path := range []string{"/exports/..%2fbackoffice.db", "/exports/.", "/exports/%2e%2e", "/exports/none", "/exports/"} {
		if status, _ := c.get(path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// TestUnresponsive has a worker that does not obey.
func TestUnresponsive(t *testing.T) {
	t.Parallel()
	release := make(chan bool)
	c := service(t, 0, func(a *app) {
		baselineCSV.Handle(a.jobs, func(context.Context, upload) (done, error) {
			<-release
			return done{}, nil
		})
	})
	defer close(release)
	id := c.upload("/uploadCSV", []byte("a\n1\n"))
	c.awaitState(id, errand.Running)
	begin := time.Now()
	if got := c.update(id, "stop"); got != `500 {"errorType":"worker_unresponsive"}` {
		t.Error(got)
	}
	if took := time.Since(begin); took < 5*time.Second || took > 8*time.Second {
		t.Errorf("answered after %s", took)
	}
}

func TestBadFiles(t *testing.T) {
	c := service(t, 0)
	for _, f := range []struct {
		name, text, want string
		rows             int
	}{
		{"empty", "", "line 1: there is no header", 0},
		{"ragged", "a,b\n1,2\n3\n", "line 3: 1 fields, where the header has 2", 1},
		{"too long a row", "a,b\n1,2\n\n3,4,5\n6,7\n", "line 4: 3 fields, where the header has 2", 1},
		{"open quote", "a,b\n1,2\n3,\"4\n5,6\n", "line 3: a quote is never closed, or something follows the closing one", 1},
		{"open quote, long", "a\n1\n\"" + strings.Repeat("x\n", 1<<20), "line 3: the record is longer than 1048576 bytes: is a quote never closed?", 1},
		{"bare quote", "a\n1\n2\"3\n", "line 3: bare \" in non-quoted-field", 1},
		{"not UTF-8", "a,b\n1,2\n\"x\ny\",\xff\n", "line 4: field 2 is not UTF-8", 1},
		{"NUL", "a\n1\n2\n\x00\n", "line 4: field 1 contains a NUL", 2},
		{"UTF-16", "\xff\xfea\x00\n\x00", "line 1: field 1 is not UTF-8", 0},
		{"late", "a\n" + strings.Repeat("1\n", 1200) + "2,3\n", "line 1202: 2 fields, where the header has 1", 1200},
	} {
		id := c.upload("/uploadCSV", []byte(f.text))
		j := c.awaitState(id, errand.Failed)
		if n := c.rows("baseline", id); j.Error != f.want || j.Attempt != 1 || n != f.rows {
			t.Errorf("%s: %d rows after %d attempts, error %q, want %d, %q", f.name, n, j.Attempt, j.Error, f.rows, f.want)
		}
		c.mustUpdate(id, "start", "already failed")
	}
}

func TestGoodFiles(t *testing.T) {
	c := service(t, 0)
	for _, f := range []struct {
		name, text, last string
		rows             int
	}{
		{"header only", "a,b", "", 0},
		{"no end of line", "a,b\n1,2", `{"a":"1","b":"2"}`, 1},
		{"byte order mark, CRLF", "\uFEFFä,b\r\n1,\"2\r\n3\"\r\n\r\n", `{"ä":"1","b":"2\n3"}`, 1},
		{"odd header", "a,,a,column_2\n1,2,3,4\n", `{"a":"1","column_2":"2","column_3":"3","column_4":"4"}`, 1},
		{"quotes", "a\n\"say \"\"hi\"\", ok\"\n", `{"a":"say \"hi\", ok"}`, 1},
	} {
		id := c.upload("/uploadCSV", []byte(f.text))
		j := c.awaitState(id, errand.Succeeded)
		last := c.query("select coalesce(max(data), '') from baseline where job_id = ?", id)
		if n := c.rows("baseline", id); n != f.rows || last != f.last || j.Progress.Done != j.Progress.Total {
			t.Errorf("%s: %d rows, the last %s, progress %+v", f.name, n, last, j.Progress)
		}
	}
}

// TestResume opens a file at each of its rows.
func TestResume(t *testing.T) {
	text := "\uFEFFa,b\r\n1,\"x\r\ny\"\r\n\r\n2,z\n3,\"\"\"\"\n4,ü\n5\n"
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := dir.WriteFile("f", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(from mark) (rows []string, places []mark) {
		f, err := openCSV(dir, "f", from)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for {
			row, err := f.next()
			if err != nil {
				return append(rows, err.Error()), places
			}
			rows, places = append(rows, row), append(places, f.at())
		}
	}
	all, places := read(mark{})
	if len(places) != 4 || all[4] != "line 8: 1 fields, where the header has 2" {
		t.Fatalf("rows %q, places %v", all, places)
	}
	for i, place := range places {
		if rest, _ := read(place); strings.Join(rest, "|") != strings.Join(all[i+1:], "|") {
			t.Errorf("from %+v: %q, want %q", place, rest, all[i+1:])
		}
	}
}

// TestFence: once a later run has begun, an earlier one can write nothing.
func TestFence(t *testing.T) {
	db, err := openDatabase(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for token := range int64(2) {
		if _, err := db.begin("baseline", "j", token+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.insert("baseline", "j", 1, 0, []string{"{}"}); !errors.Is(err, errand.ErrLeaseLost) {
		t.Errorf("the earlier run writes: %v", err)
	}
	if _, err := db.begin("baseline", "j", 1); !errors.Is(err, errand.ErrLeaseLost) {
		t.Errorf("the earlier run begins again: %v", err)
	}
	if err := db.insert("baseline", "j", 2, 0, []string{"{}"}); err != nil {
		t.Errorf("the later run: %v", err)
	}
}

func TestPage(t *testing.T) {
	c := service(t, 0)
	id := c.upload("/uploadCSV", []byte("a\n1\n2,<script>\n"))
	c.awaitState(id, errand.Failed)
	req, _ := http.NewRequest("GET", c.base+"/jobs", nil)
	req.Header.Set("Accept", "text/html,*/*")
	_, byAccept := c.do(req)
	_, text := c.get("/")
	for _, want := range []string{id, "<td class=\"failed\">failed", "line 3: 2 fields"} {
		if !strings.Contains(text, want) || !strings.Contains(byAccept, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(text, "<script"); n != 1 {
		t.Errorf("%d scripts on the page", n)
	}
	for _, h := range [][2]string{{"Host", "evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		req, _ := http.NewRequest("GET", c.base+"/updateTask?id="+id+"&action=terminate", nil)
		req.Header.Set(h[0], h[1])
		if h[0] == "Host" {
			req.Host = h[1]
		}
		if status, _ := c.do(req); status != http.StatusForbidden {
			t.Errorf("%s: %s is answered %d", h[0], h[1], status)
		}
	}
}

func TestCounter(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "a": 0, "a\n": 0, "a\n1": 1, "a\n\n1\n\n": 1, "a\n\"x\ny\"\n2\n": 2} {
		for _, size := range []int{1, 2, 100} {
			var c rowCounter
			for rest := []byte(text); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				_, _ = c.Write(rest[:min(size, len(rest))])
			}
			if c.rows() != want {
				t.Errorf("%q by %d: %d rows, want %d", text, size, c.rows(), want)
			}
		}
	}
}

func TestListingIsPaged(t *testing.T) {
	c := service(t, 0)
	for range 101 {
		c.upload("/uploadCSV", []byte("a\n"))
	}
	seen := map[string]bool{}
	for cursor := "?"; cursor != ""; {
		var l listing
		_, answer := c.get("/jobs" + cursor)
		if err := json.Unmarshal(bytes.TrimSpace([]byte(answer)), &l); err != nil {
			t.Fatal(err)
		}
		for _, j := range l.Jobs {
			seen[j.ID] = true
		}
		cursor = ""
		if l.Next != "" {
			cursor = "?cursor=" + l.Next
		}
	}
	if len(seen) != 101 {
		t.Errorf("%d jobs are listed", len(seen))
	}
}
