package cron

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/errandhq/errand/sqlite"
)

// TestMain is a program of its own where a test has started it as a process.
func TestMain(m *testing.M) {
	switch os.Getenv("ROBFIG_PROCESS") {
	case "":
		os.Exit(m.Run())
	case "zone":
		fmt.Println(zoneName(time.Local))
	case "cron":
		store, err := sqlite.Open(os.Args[1], nil)
		if err != nil {
			panic(err)
		}
		c := New(WithSeconds(), WithStore(store))
		for _, e := range c.Entries() {
			fmt.Println(e)
		}
		_, err = c.AddFunc("@every 2s", func() { fmt.Println("run", time.Now().UnixMilli()) })
		if err != nil {
			panic(err)
		}
		c.Start()
		fmt.Println("prev", !c.Entries()[0].Prev.IsZero())
		select {}
	}
}

// start runs this test binary as another program, and returns what it prints.
func start(t *testing.T, env []string, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// A process that was killed is followed by one that keeps its rhythm.
func TestKill(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cron.db")
	var phase int64
	for n := range 3 {
		cmd, lines := start(t, []string{"ROBFIG_PROCESS=cron"}, file)
		var began time.Time
		runs := 0
		for runs < 2 && lines.Scan() {
			var at int64
			switch text := lines.Text(); {
			case strings.HasPrefix(text, "prev"):
				if began = time.Now(); text != fmt.Sprint("prev ", n > 0) {
					t.Errorf("process %d says %s", n, text)
				}
			case strings.HasPrefix(text, "run"):
				if _, err := fmt.Sscanf(text, "run %d", &at); err != nil {
					t.Fatal(err)
				}
				if at < began.UnixMilli()+1000 {
					continue // it is late: it was due while no process was there
				}
				runs++
				if phase == 0 {
					phase = at % 2000
				}
				if off := (at - phase + 3000) % 2000; off < 500 || off > 1500 {
					t.Errorf("process %d ran %d ms from the rhythm", n, off-1000)
				}
			default:
				t.Errorf("it says %s", text)
			}
		}
		if runs < 2 {
			t.Fatal("it did not run")
		}
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		time.Sleep(700 * time.Millisecond)
	}
}

// The system's time zone has a name, however it is set.
func TestZoneName(t *testing.T) {
	for tz, want := range map[string]string{
		"Europe/Berlin":                      "Europe/Berlin true",
		":America/New_York":                  "America/New_York true",
		"/usr/share/zoneinfo/Asia/Kathmandu": "Asia/Kathmandu true",
		"":                                   "UTC true",
		"UTC":                                "UTC true",
	} {
		_, lines := start(t, []string{"ROBFIG_PROCESS=zone", "TZ=" + tz})
		if lines.Scan(); lines.Text() != want {
			t.Errorf("with TZ=%s it is %s, want %s", tz, lines.Text(), want)
		}
	}
	link, _ := os.Readlink("/etc/localtime")
	if _, ok := zoneName(time.Local); !ok && strings.Contains(link, "zoneinfo/") {
		t.Errorf("the name of the system's time zone, which is %s, was not found", link)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for zone, want := range map[*time.Location]string{
		berlin:                             "Europe/Berlin true",
		time.UTC:                           "UTC true",
		time.FixedZone("", 3600):           " false",
		time.FixedZone("UTC+2", 7200):      " false",
		time.FixedZone("Europe/Berlin", 0): " false", // a name that is not its own
	} {
		name, ok := zoneName(zone)
		if got := fmt.Sprint(name, " ", ok); got != want {
			t.Errorf("zone %s: %s, want %s", zone, got, want)
		}
	}
}
