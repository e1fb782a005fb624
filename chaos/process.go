package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one process of a run: this program, started again to play a part.
type process struct {
	part
	proxy  *proxy
	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{}

	mu      sync.Mutex
	on      bool   // it has said so
	addr    string // of an API server
	stopped bool   // by SIGSTOP
	ending  bool   // it was killed, or asked to end
	dying   bool   // it is about to kill itself, as a job has told it to
}

// start starts a process. It does not wait until the process is on: the database may be away.
func (s *stage) start(p part) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	x := &process{part: p, exited: make(chan struct{})}
	s.mu.Lock()
	s.started[p.Role]++
	x.Name = fmt.Sprintf("%s-%d", p.Role, s.started[p.Role])
	x.Seed, x.Ledger, x.Lease, x.Pooler = s.seed+uint64(s.started[p.Role]), s.path("ledger"), s.lease, s.pooler
	x.Redis = s.front()
	s.mu.Unlock()
	if x.URL, err = s.through(x); err != nil {
		return err
	}
	raw, err := json.Marshal(x.part)
	if err != nil {
		return err
	}
	log, err := os.Create(s.path(x.Name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	x.cmd = exec.Command(self)
	x.cmd.Env = append(os.Environ(), partEnv+"="+string(raw))
	x.cmd.Stderr = log
	if x.stdin, err = x.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := x.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := x.cmd.Start(); err != nil {
		return err
	}
	s.note("%s started, PID %d", x.Name, x.cmd.Process.Pid)
	s.mu.Lock()
	s.processes = append(s.processes, x)
	s.mu.Unlock()
	s.watchers.Go(func() { s.watch(x, out) })
	return nil
}

// through returns the URL by which the process reaches the database: by way of a proxy, if the run has them.
func (s *stage) through(x *process) (string, error) {
	if !s.proxied {
		return s.url, nil
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return "", err
	}
	if x.proxy, err = startProxy(u.Host); err != nil {
		return "", err
	}
	u.Host = x.proxy.addr()
	return u.String(), nil
}

// watch reads what the process says until it ends. One that nobody has ended is started again if
// the database or a job that kills was to blame, and else it is a finding.
func (s *stage) watch(x *process, out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		x.said(strings.Fields(lines.Text()))
	}
	err := x.cmd.Wait()
	s.mu.Lock()
	for i, p := range s.processes {
		if p == x {
			s.processes = append(s.processes[:i:i], s.processes[i+1:]...)
			break
		}
	}
	if x.proxy != nil {
		s.counts.dropped += x.proxy.dropped.Load()
		s.counts.cuts += x.proxy.cuts.Load()
	}
	s.mu.Unlock()
	if x.proxy != nil {
		x.proxy.close()
	}
	x.mu.Lock()
	ending, dying := x.ending, x.dying
	x.mu.Unlock()
	s.note("%s ended: %v", x.Name, x.cmd.ProcessState)
	close(x.exited)
	code := x.cmd.ProcessState.ExitCode()
	switch {
	case ending && (err == nil || code == exitEnd || code == exitStart || killed(err)):
	case !ending && (code == exitStart || dying && killed(err)):
		if dying {
			s.count(jobKills, 1)
		} else {
			s.count("could not start", 1)
		}
		if err := s.start(x.part); err != nil {
			s.find("%s could not be started again: %v", x.Name, err)
		}
	default:
		s.find("%s ended by itself: %v, see %s", x.Name, x.cmd.ProcessState, filepath.Base(s.path(x.Name+".log")))
	}
}

// said takes what the process says.
func (x *process) said(words []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case len(words) == 0:
	case words[0] == "dying":
		x.dying = true
	case words[0] == "on":
		x.on = true
		if len(words) > 1 {
			x.addr = words[1]
		}
	}
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// signal sends a signal. Whoever ends a process says so by ending.
func (x *process) signal(sig syscall.Signal, ending bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ending = x.ending || ending
	x.stopped = sig == syscall.SIGSTOP || x.stopped && sig != syscall.SIGCONT
	_ = x.cmd.Process.Signal(sig) // it may have ended
}

// usable reports whether the process is on, not stopped, and stays.
func (x *process) usable() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.on && !x.stopped && !x.ending
}

// wait waits until the process has ended, and kills it when it takes too long.
func (s *stage) wait(x *process, patience time.Duration) {
	select {
	case <-x.exited:
	case <-time.After(patience):
		s.find("%s did not end within %s", x.Name, patience)
		x.signal(syscall.SIGKILL, true)
		<-x.exited
	}
}

// pick returns a usable process of the role at random, nil if there is none.
func (s *stage) pick(r role, intn func(int) int) *process {
	var found []*process
	for _, x := range s.living(r) {
		if x.usable() {
			found = append(found, x)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[intn(len(found))]
}

// living returns the processes of the role, of all roles if it is empty.
func (s *stage) living(r role) (found []*process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.processes {
		if r == "" || x.Role == r {
			found = append(found, x)
		}
	}
	return found
}
