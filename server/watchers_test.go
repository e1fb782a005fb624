package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var (
	watchersFlag = flag.Int("watchers", 200, "connections of TestManyWatchers")
	watchedFlag  = flag.Int("watched", 2000, "jobs that they watch")
)

// TestMain is a server of its own where TestManyWatchers has started it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("ERRAND_TEST_SERVER") != "" {
		serveAlone()
		return
	}
	os.Exit(m.Run())
}

// serveAlone serves jobs in memory until it is killed.
func serveAlone() {
	engine := errand.New(errand.Memory(&errand.MemoryOptions{Keep: -1}), nil)
	s, err := New(engine, nil)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() { _ = engine.Run(context.Background()) }()
	_ = s.Serve(context.Background(), l)
}

// Many watchers on one server, each with its share of the jobs, hear of all ends. One of them never reads. With
// -watchers 10000 -watched 100000 -v it tells what that costs.
func TestManyWatchers(t *testing.T) {
	watchers, watched := *watchersFlag, *watchedFlag
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ERRAND_TEST_SERVER=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, url: "http://" + strings.TrimSpace(line)}
	ids := make([]uuid.UUID, watched)
	for from := 0; from < watched; from += 1000 {
		var b Batch
		for i := from; i < min(from+1000, watched); i++ {
			ids[i] = uuid.Must(uuid.NewV7())
			b.Jobs = append(b.Jobs, NewJob{Kind: "watched", ID: ids[i], In: Duration(time.Hour)})
		}
		raw, _ := json.Marshal(b)
		r.do("POST", "/api/v1/jobs/batch", string(raw)).want(201)
	}
	empty := memoryOf(t, cmd.Process.Pid)

	mute := r.live() // it never reads, and wants to hear of everything
	mute.send(`{"type":"watch","sub":"all","filter":"kind:watched state:scheduled"}`)
	share := watched / watchers
	delays := make([][]time.Duration, watchers)
	var connected, heard sync.WaitGroup
	gate := make(chan struct{}, 100) // connections being made at a time
	for i := range watchers {
		connected.Add(1)
		gate <- struct{}{}
		heard.Go(func() {
			c, err := dialWatch(t.Context(), r.url, ids[i*share:(i+1)*share])
			<-gate
			connected.Done()
			if err == nil {
				delays[i], err = readEnds(t.Context(), c, share)
				_ = c.CloseNow()
			}
			if err != nil {
				t.Errorf("watcher %d: %v", i, err)
			}
		})
	}
	connected.Wait()
	busy := memoryOf(t, cmd.Process.Pid)
	began := time.Now()
	r.do("POST", "/api/v1/bulk", `{"verb":"cancel","filter":"kind:watched"}`).want(202)
	heard.Wait()
	took := time.Since(began)
	after := memoryOf(t, cmd.Process.Pid)
	all := slices.Concat(delays...)
	slices.Sort(all)
	if len(all) != watchers*share {
		t.Fatalf("%d ends were heard of, want %d", len(all), watchers*share)
	}
	t.Logf("%d watchers, %d jobs: all ends heard within %v; delay p50 %v, p99 %v, max %v; server's memory: %d MB with the jobs, %d MB with the watchers, %d MB after the ends",
		watchers, watched, took.Round(time.Millisecond), all[len(all)/2].Round(time.Millisecond/10), all[len(all)*99/100].Round(time.Millisecond/10), all[len(all)-1].Round(time.Millisecond/10),
		empty>>10, busy>>10, after>>10)
}

func dialWatch(ctx context.Context, url string, ids []uuid.UUID) (*websocket.Conn, error) {
	c, _, err := websocket.Dial(ctx, url+"/api/v1/watch", nil)
	if err != nil {
		return nil, err
	}
	req := WatchRequest{Type: "watch"}
	for _, id := range ids {
		req.Jobs = append(req.Jobs, SeenJob{ID: id, Version: 1})
	}
	raw, _ := json.Marshal(req)
	if err := c.Write(ctx, websocket.MessageText, raw); err != nil {
		return nil, err
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"ping"}`)); err != nil {
		return nil, err
	}
	_, _, err = c.Read(ctx) // the pong: the request was heeded
	return c, err
}

// readEnds reads the ends of n jobs, and returns how long after each it came.
func readEnds(ctx context.Context, c *websocket.Conn, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var delays []time.Duration
	seen := map[errand.ID]bool{}
	for len(seen) < n {
		_, text, err := c.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("%d of %d ends: %w", len(seen), n, err)
		}
		var notice WatchNotice
		if err := json.Unmarshal(text, &notice); err != nil {
			return nil, err
		}
		if notice.Type != "job" || !notice.Job.State.Ended() || seen[notice.Job.ID] {
			return nil, errors.New("told " + string(text))
		}
		seen[notice.Job.ID] = true
		delays = append(delays, time.Since(notice.Job.Ended))
	}
	return delays, nil
}

// memoryOf is the resident memory of a process, in kB; 0 where /proc does not tell.
func memoryOf(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return n
}
