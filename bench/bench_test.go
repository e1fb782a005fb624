package main

import (
	"log"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMain is the worker process, too.
func TestMain(m *testing.M) {
	asked, err := workIfAsked()
	if !asked {
		postgresSettings = map[string]string{"fsync": "off"}
		os.Exit(m.Run())
	}
	if err != nil {
		log.Fatal(err)
	}
}

func TestArgsAre60Bytes(t *testing.T) {
	for _, job := range newJobs(3) {
		if len(job.JSON) != 60 || decode(job.JSON) != job.Args {
			t.Errorf("%s: %d bytes, decodes to %+v", job.JSON, len(job.JSON), decode(job.JSON))
		}
	}
}

// TestEverySystem runs each row on each system with few jobs.
func TestEverySystem(t *testing.T) {
	s := settings{
		n: 100, count: 1, retained: 100, samples: 5, limit: time.Second,
		rows: regexp.MustCompile("."), systems: regexp.MustCompile("."), dir: t.TempDir(),
	}
	var servers servers
	defer servers.close()
	columns := systems(s.n, &servers)
	all, err := run(t.Context(), s, columns)
	if err != nil {
		t.Fatal(err)
	}
	for _, system := range columns {
		for _, key := range system.keys([]row{{key: "life/bulk"}, {key: "drain/16"}, {key: "enqueue/256"}}) {
			if value, ok := all.median(key, system.Name); !ok || value <= 0 {
				t.Errorf("%s: no figure for %s", system.Name, key)
			}
		}
	}
}

func TestPressure(t *testing.T) {
	s := settings{
		retained: 100, pressure: time.Second, rate: 100, dir: t.TempDir(),
		rows: regexp.MustCompile("empty|unworked"),
	}
	var servers servers
	defer servers.close()
	var out strings.Builder
	if err := press(t.Context(), &out, s, systems(0, &servers)); err != nil {
		t.Fatal(err)
	}
	started := regexp.MustCompile(`(?m)^\| (errand PG|river PG best)[^|]*\|[^|]*\| +[1-9]`)
	if found := len(started.FindAllString(out.String(), -1)); found != 4 {
		t.Errorf("two systems started jobs in %d lines of 4:\n%s", found, &out)
	}
}

// TestRatios: with errand in the table every ratio speaks for errand.
func TestRatios(t *testing.T) {
	columns := []System{{Name: "floor", Role: Floor}, {Name: "peer"}, {Name: "errand", Role: Ours}, {Name: "errand slow", Role: Ours}}
	all := results{}
	for name, figures := range map[string][2]float64{"floor": {1000, 10}, "peer": {100, 80}, "errand": {800, 20}, "errand slow": {400, 40}} {
		all.add(name, map[string]sample{"drain": {value: figures[0]}, "latency": {value: figures[1]}})
	}
	for _, test := range []struct {
		row     row
		columns []System
		want    string
	}{
		{row{key: "drain"}, columns, "1,000 (80 %)|100 (8.0×)|800|400 (50 %)"},
		{row{key: "latency", unit: latency}, columns, "10.0 (50 %)|80.0 (4.0×)|20.0|40.0 (50 %)"},
		{row{key: "drain"}, columns[:2], "1,000|100 (10 %)"},
	} {
		line, _ := all.line(test.row, test.columns)
		if got := strings.Join(line[1:], "|"); got != test.want {
			t.Errorf("%s: got %s, want %s", test.row.key, got, test.want)
		}
	}
}
