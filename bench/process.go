package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// workerEnv makes this binary the worker process of the system that it names.
const workerEnv = "ERRAND_BENCH_WORKER"

// workIfAsked is the worker process: it opens the system in the directory and
// writes a line for each job that starts, its ID and the time, until its
// standard input is closed.
func workIfAsked() (asked bool, err error) {
	name := os.Getenv(workerEnv)
	if name == "" {
		return false, nil
	}
	dir, text := os.Args[1], os.Args[2]
	workers, err := strconv.Atoi(text)
	if err != nil {
		return true, err
	}
	columns := systems(0, nil)
	i := slices.IndexFunc(columns, func(c System) bool { return c.Name == name })
	inst, err := columns[i].Open(dir, workers)
	if err != nil {
		return true, err
	}
	err = inst.Start(context.Background(), func(args Args) {
		now := time.Now()
		fmt.Fprintln(os.Stdout, args.ID, now.UnixNano())
	})
	if err == nil {
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	return true, firstOf(err, inst.Close())
}

// worker is a process that works for a system.
type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	read  chan error // the end of its output
}

// startWorker calls started for every job that the worker starts, and ended
// once it will start no more.
func startWorker(t trial, workers int, started func(id int, at time.Time), ended func()) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &worker{cmd: exec.Command(self, t.dir, strconv.Itoa(workers)), read: make(chan error, 1)}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+t.Name)
	w.cmd.Stderr = os.Stderr
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer ended()
		w.read <- readStarts(stdout, started)
	}()
	return w, nil
}

func readStarts(r io.Reader, started func(id int, at time.Time)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var id int
		var at int64
		if _, err := fmt.Sscan(lines.Text(), &id, &at); err != nil {
			return err
		}
		started(id, time.Unix(0, at))
	}
	return lines.Err()
}

// memory is a figure of /proc/<pid>/status in bytes: VmRSS is what the process
// has of the machine's memory, VmHWM the most that it ever had.
func (w *worker) memory(name string) (sample, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		return sample{}, err
	}
	for line := range bytes.Lines(data) {
		if value, ok := strings.CutPrefix(string(line), name+":"); ok {
			kB, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return sample{value: float64(kB) * 1024}, err
		}
	}
	return sample{}, fmt.Errorf("%s is not in /proc/<pid>/status", name)
}

func (w *worker) stop() error {
	return firstOf(w.stdin.Close(), <-w.read, w.cmd.Wait())
}

// processScene enqueues here while another process works.
func processScene() scene {
	return scene{
		rows: []row{
			{key: "process/p50", label: "enqueue to start across processes, p50, µs", unit: latency, group: postgresGroup},
			{key: "process/p99", label: "enqueue to start across processes, p99, µs", unit: latency, group: postgresGroup},
		},
		measure: func(ctx context.Context, t trial) (map[string]sample, error) {
			inst, err := t.Open(t.dir, 16)
			if err != nil {
				return nil, err
			}
			started := make(chan time.Time, 16)
			w, err := startWorker(t, 16, func(_ int, at time.Time) { started <- at }, func() { close(started) })
			if err != nil {
				return nil, err
			}
			samples, err := pickups(ctx, t, inst, started, "process")
			return samples, firstOf(err, w.stop(), inst.Close())
		},
	}
}

// memoryScene looks at the memory of a process that works: when it has had one
// job, and when another one has drained all.
func memoryScene(n int) scene {
	return scene{
		rows: []row{
			{key: "memory/idle", label: "worker process, idle: resident memory, MB", unit: mega, group: postgresGroup},
			{key: "memory/drain", label: "… at most while it drains " + count(n) + " jobs, 100 workers, MB", unit: mega, group: postgresGroup},
		},
		measure: func(ctx context.Context, t trial) (map[string]sample, error) {
			inst, err := t.Open(t.dir, 100)
			if err != nil {
				return nil, err
			}
			idle, err := workerMemory(t, "VmRSS", func() error { return inst.Enqueue(ctx, t.jobs[0]) }, 1, min(time.Second, t.limit/4))
			if err != nil {
				return nil, err
			}
			made := produce(ctx, inst, t.jobs[1:], 1, bulk, t.limit)
			drained, err := workerMemory(t, "VmHWM", func() error { return nil }, made.accepted, 0)
			return map[string]sample{"memory/idle": idle, "memory/drain": drained}, firstOf(err, inst.Close())
		},
	}
}

// workerMemory is a figure of a worker when it has run n jobs and then rested.
func workerMemory(t trial, name string, enqueue func() error, n int, rest time.Duration) (sample, error) {
	ran := newTally(len(t.jobs))
	w, err := startWorker(t, 100, func(id int, _ time.Time) { ran.handle(Args{ID: id}) }, func() {})
	if err != nil {
		return sample{}, err
	}
	err = enqueue()
	all := ran.wait(n, time.Now().Add(t.limit))
	time.Sleep(rest)
	one, readErr := w.memory(name)
	one.cut = !all
	return one, firstOf(err, readErr, w.stop())
}
