package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-co-op/gocron/v2"
	robfig "github.com/robfig/cron/v3"

	"github.com/errandhq/errand"
)

// scheduler is what fires schedules, each once a minute at a second of its own: n of them spread evenly.
type scheduler struct {
	name string
	// open adds n schedules that call fired with their second of the minute, and starts. Idle ones fire on 1 January only.
	open func(ctx context.Context, dir string, n int, idle bool, fired func(second int)) (stop func() error, err error)
	// server is the process ID of the database server; nil without one.
	server func() (int, error)
}

// specOf is the spec of the i-th schedule, with its second.
func specOf(i int, idle bool) (spec string, second int) {
	if idle {
		return "0 0 0 1 1 *", 0
	}
	return fmt.Sprintf("%d * * * * *", i%60), i % 60
}

// schedulers are those of the chosen systems that are errand's, and the peers, which keep nothing.
func schedulers(s settings, systems []System) []scheduler {
	var all []scheduler
	for _, system := range systems {
		if system.Role != Ours || system.Name == "errand PG+Redis" {
			continue
		}
		x := scheduler{name: system.Name, open: errandSchedules(system)}
		if system.Group == postgresGroup {
			x.server = func() (int, error) { return system.Home.(*pgHome).pid() }
		}
		all = append(all, x)
	}
	for name, open := range map[string]func(context.Context, string, int, bool, func(int)) (func() error, error){"robfig/cron": robfigSchedules, "gocron": gocronSchedules} {
		if s.systems.MatchString(name) {
			all = append(all, scheduler{name: name, open: open})
		}
	}
	return all
}

func errandSchedules(system System) func(context.Context, string, int, bool, func(int)) (func() error, error) {
	return func(ctx context.Context, dir string, n int, idle bool, fired func(int)) (func() error, error) {
		inst, err := system.Open(dir, 100)
		if err != nil {
			return nil, err
		}
		b := inst.(*errandBench)
		for i := range n {
			spec, second := specOf(i, idle)
			args := sampleArgs
			args.ID += second
			if _, err := b.engine.Schedule(ctx, fmt.Sprintf("s%05d", i), spec, mail.New(args), &errand.Plan{Overlap: errand.OverlapAllow}); err != nil {
				return nil, err
			}
		}
		if err := b.Start(ctx, func(args Args) { fired(args.ID - firstID) }); err != nil {
			return nil, err
		}
		return b.Close, nil
	}
}

func robfigSchedules(_ context.Context, _ string, n int, idle bool, fired func(int)) (func() error, error) {
	c := robfig.New(robfig.WithSeconds(), robfig.WithLocation(time.UTC))
	for i := range n {
		spec, second := specOf(i, idle)
		if _, err := c.AddFunc(spec, func() { fired(second) }); err != nil {
			return nil, err
		}
	}
	c.Start()
	return func() error { <-c.Stop().Done(); return nil }, nil
}

func gocronSchedules(_ context.Context, _ string, n int, idle bool, fired func(int)) (func() error, error) {
	c, err := gocron.NewScheduler(gocron.WithLocation(time.UTC))
	if err != nil {
		return nil, err
	}
	for i := range n {
		spec, second := specOf(i, idle)
		if _, err := c.NewJob(gocron.CronJob(spec, true), gocron.NewTask(func() { fired(second) })); err != nil {
			return nil, err
		}
	}
	c.Start()
	return c.Shutdown, nil
}

// tick runs each scheduler for a while, idle and firing.
func tick(ctx context.Context, w io.Writer, s settings, all []scheduler) error {
	root, err := os.MkdirTemp(s.dir, "errand-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	table := [][]string{{fmt.Sprintf("%d schedules, %v", s.schedules, scheduleTime), "core, idle", "fired", "core", "server's", "late p50, ms", "late p99, ms"}}
	for _, x := range all {
		line := []string{x.name}
		for _, idle := range []bool{true, false} {
			m, err := x.measure(ctx, filepath.Join(root, strings.ReplaceAll(x.name, "/", "")+strconv.FormatBool(idle)), s.schedules, idle)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			if line = append(line, ofCore(m.core+m.server)); idle {
				continue
			}
			p50, p99 := middleAndWorst(m.late)
			line = append(line[:2], count(len(m.late)), ofCore(m.core), ofCore(m.server), latency.format(p50), latency.format(p99))
		}
		table = append(table, line)
	}
	align(w, table)
	return nil
}

// scheduleTime is how long a scheduler is measured: every schedule fires twice.
const scheduleTime = 2 * time.Minute

func ofCore(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// ticking is what was measured of a scheduler.
type ticking struct {
	core, server float64   // of one CPU
	late         []float64 // from the second to the first line of the handler, in ms
}

func (x *scheduler) measure(ctx context.Context, dir string, n int, idle bool) (m ticking, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return m, err
	}
	var mu sync.Mutex
	on := false
	stop, err := x.open(ctx, dir, n, idle, func(second int) {
		now := time.Now()
		due := now.Truncate(time.Minute).Add(time.Duration(second) * time.Second)
		if due.After(now) {
			due = due.Add(-time.Minute)
		}
		mu.Lock()
		defer mu.Unlock()
		if on {
			m.late = append(m.late, float64(now.Sub(due).Microseconds())/1e3)
		}
	})
	if err != nil {
		return m, err
	}
	time.Sleep(5 * time.Second) // past what opening has left to do
	span := scheduleTime
	if idle {
		span /= 4
	}
	mu.Lock()
	on = true
	mu.Unlock()
	begin, own, theirs := time.Now(), cpuTime(), x.serverTime()
	time.Sleep(span)
	took := time.Since(begin)
	m.core, m.server = float64(cpuTime()-own)/float64(took), float64(x.serverTime()-theirs)/float64(took)
	mu.Lock()
	on = false
	mu.Unlock()
	return m, stop()
}

// serverTime is the CPU time of the database server and its processes, ended ones too. Linux only, else 0.
func (x *scheduler) serverTime() (sum time.Duration) {
	if x.server == nil {
		return 0
	}
	pid, err := x.server()
	if err != nil {
		return 0
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		_, text, _ := strings.Cut(string(raw), ") ") // state, parent, …; 11: utime, stime, and those of ended children
		fields := strings.Fields(text)
		own := strings.HasPrefix(file, fmt.Sprintf("/proc/%d/", pid))
		if len(fields) < 15 || !own && fields[1] != strconv.Itoa(pid) {
			continue
		}
		last := 13
		if own {
			last = 15
		}
		for _, f := range fields[11:last] {
			ticks, _ := strconv.Atoi(f)
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
