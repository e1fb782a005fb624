package testserver

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("TESTSERVER_PARENT") != "" {
		parentMain()
		return
	}
	Main(m)
}

// parentMain starts servers, prints their directories and waits to be killed.
func parentMain() {
	p, err := StartPostgres(noContext, nil)
	if err != nil {
		panic(err)
	}
	r, err := StartRedis(noContext, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Dir)
	fmt.Println(r.Dir)
	select {}
}

// A parent that is killed takes its servers along, and what it leaves in the file system is removed later.
func TestParentKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that its parent is gone")
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TESTSERVER_PARENT=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var dirs []string
	for lines := bufio.NewScanner(out); len(dirs) < 2 && lines.Scan(); {
		dirs = append(dirs, lines.Text())
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if len(dirs) != 2 {
		t.Fatal("the parent did not start its servers")
	}
	waitUntil(t, func() error {
		if pids := runningIn(dirs); len(pids) > 0 {
			return fmt.Errorf("still running: %q", pids)
		}
		return nil
	})
	for _, dir := range dirs {
		old := time.Now().Add(-time.Hour)
		must(t, os.Chtimes(dir, old, old))
	}
	sweep()
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
}

// runningIn returns the processes whose current directory is in one of the directories.
func runningIn(dirs []string) (pids []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		cwd, _ := os.Readlink(link)
		for _, dir := range dirs {
			if strings.HasPrefix(cwd, dir) {
				pids = append(pids, link)
			}
		}
	}
	return pids
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	r, err := StartRedis(noContext, &RedisOptions{MaxMemory: "64mb"})
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	expect := func(want string, args ...string) {
		t.Helper()
		if got, err := r.CLI(args...); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", args, got, err, want)
		}
	}
	expect("OK", "SET", "a", "1\r\n2")
	expect("1\r\n2", "GET", "a")
	expect("", "GET", "b")
	expect("1", "DEL", "a")
	expect("maxmemory\n67108864", "CONFIG", "GET", "maxmemory")
	if _, err := r.CLI("GET"); err == nil || !strings.Contains(err.Error(), "wrong number") {
		t.Error("GET without a key:", err)
	}
	must(t, r.Kill())
	if _, err := r.CLI("PING"); err == nil {
		t.Error("killed Redis answers")
	}
	must(t, r.Kill())
	must(t, r.Start())
	expect("PONG", "PING")
	if err := r.Start(); err == nil {
		t.Error("Start of a running server succeeds")
	}
}

// What the server says before it fails to start is in the error.
func TestStartFails(t *testing.T) {
	t.Parallel()
	_, err := StartRedis(noContext, &RedisOptions{MaxMemory: "plenty"})
	if err == nil || !strings.Contains(err.Error(), "argument must be a memory value") {
		t.Error(err)
	}
	_, err = StartPostgres(noContext, &PostgresOptions{Settings: map[string]string{"shared_buffers": "it's"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers": "it's"`) {
		t.Error(err)
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", "")
	_, err := StartRedis(noContext, nil)
	if err == nil || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Error(err)
	}
}
