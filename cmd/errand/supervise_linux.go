package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file is the supervisor: a process of its own between the server and one external
// command, so that nothing of the command outlives the server, however the server dies.
//
//	server ──(control pipe, status pipe)── supervisor ── command (a process group) ── …
//
// It is this same binary, started as "errand __supervise ARGV…" in a session of its own: no
// signal meant for the server's terminal or for the command's group reaches it, so it is never
// stopped. As a subreaper it inherits every descendant whose parent has died, also
// those that left the group. It does what the bytes on its control pipe say (see
// order); the pipe's end means that the server is gone, and then everything is killed. Should the
// supervisor itself be killed, the command gets SIGKILL as its parent-death signal.

// canSupervise says whether commands work on this system.
const canSupervise = true

// supervisor is the state of one supervisor process.
type supervisor struct {
	statusMu sync.Mutex
	status   *json.Encoder

	mu     sync.Mutex
	leader int  // pid and process group of the command; 0 once it is reaped
	told   bool // a signal that ends it was sent while the command lived
}

// supervise runs argv under supervision and returns the exit code of the supervisor.
func supervise(argv []string) int {
	runtime.LockOSThread() // the parent-death signal of the command is tied to this thread
	catchAll()
	control, statusFile := os.NewFile(controlFD, "control"), os.NewFile(statusFD, "status")
	unix.CloseOnExec(controlFD)
	unix.CloseOnExec(statusFD)
	s := &supervisor{status: json.NewEncoder(statusFile)}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		s.report(status{Error: "become a subreaper: " + err.Error()})
		return 1
	}
	if err := s.start(argv); err != nil {
		s.report(status{Error: err.Error()})
		return 1
	}
	s.report(status{PID: s.leader})
	go s.obey(control)
	last := s.await()
	s.killRest()
	s.report(last)
	return 0
}

// catchAll keeps signals from ending the supervisor. They are caught, not ignored, because the
// command would inherit an ignored one.
func catchAll() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	go func() {
		for range signals { //nolint:revive // there is nothing to do
		}
	}()
}

func (s *supervisor) report(st status) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	_ = s.status.Encode(st) // nobody may listen any more
}

// start starts the command and lets go of its input and outputs, so that they end with it.
func (s *supervisor) start(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	s.leader, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for fd := range 3 {
		_ = unix.Dup2(int(null.Fd()), fd)
	}
	return nil
}

// obey follows the server's orders until the server is gone.
func (s *supervisor) obey(control *os.File) {
	buf := make([]byte, 1)
	for {
		if _, err := control.Read(buf); err != nil {
			s.signal(unix.SIGKILL)
			return
		}
		switch order(buf[0]) {
		case orderStop:
			s.stop()
			s.report(status{Stopped: true})
		case orderContinue:
			s.signal(unix.SIGCONT)
		case orderTerminate:
			s.signal(unix.SIGTERM)
			s.signal(unix.SIGCONT) // a stopped process would never see it
		case orderKill:
			s.signal(unix.SIGKILL)
		}
	}
}

// signal sends sig to the command's group and to every descendant outside of it. It reports
// false if the command has ended.
func (s *supervisor) signal(sig syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == 0 {
		return false
	}
	if sig == unix.SIGTERM || sig == unix.SIGKILL {
		s.told = true
	}
	_ = unix.Kill(-s.leader, sig)
	for _, p := range descendants() {
		if p.group != s.leader {
			_ = unix.Kill(p.pid, sig)
		}
	}
	return true
}

// stop stops all processes, those too that are born meanwhile. One in an uninterruptible wait
// counts as stopped, since the signal gets it before it runs any further: a shell whose
// child was stopped between vfork and exec stays so.
func (s *supervisor) stop() {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if !s.signal(unix.SIGSTOP) {
			return
		}
		if !slices.ContainsFunc(descendants(), func(p proc) bool { return !strings.ContainsAny(p.state, "TtZXD") }) {
			return
		}
	}
}

// await waits for the command's own process to end, and reaps what else ends meanwhile. The
// command's process group is signalled only while its number cannot be another's, hence the lock.
func (s *supervisor) await() status {
	for {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			if err == unix.EINTR {
				continue
			}
			return status{Error: "wait for the command: " + err.Error()}
		}
		var ws syscall.WaitStatus
		s.mu.Lock()
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == nil && pid == s.leader {
			_ = unix.Kill(-s.leader, unix.SIGKILL) // what it left in its group
			s.leader = 0
			s.mu.Unlock()
			return endStatus(ws, s.told)
		}
		s.mu.Unlock()
	}
}

func endStatus(ws syscall.WaitStatus, told bool) status {
	st := status{Ended: true, Told: told, Code: ws.ExitStatus()}
	if ws.Signaled() {
		st.Signal = unix.SignalName(ws.Signal())
	}
	return st
}

// killRest kills and reaps whatever the command left behind, until nothing is left.
func (s *supervisor) killRest() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case err == syscall.ECHILD:
			return
		case pid > 0:
			continue
		}
		for _, p := range descendants() {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// proc is one line of /proc.
type proc struct {
	pid, parent, group int
	state              string
}

// descendants lists the processes below this one.
func descendants() []proc {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]proc{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	found := children[os.Getpid()]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

func readProc(pid int) (proc, bool) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, false
	}
	// The name, in brackets, may hold anything.
	i := strings.LastIndexByte(string(raw), ')')
	f := strings.Fields(string(raw[i+1:]))
	if i < 0 || len(f) < 3 {
		return proc{}, false
	}
	p := proc{pid: pid, state: f[0]}
	p.parent, _ = strconv.Atoi(f[1])
	p.group, _ = strconv.Atoi(f[2])
	return p, true
}

// detached has the supervisor live in a session of its own.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// killGroup kills a command whose supervisor was killed.
func killGroup(leader int) { _ = unix.Kill(-leader, unix.SIGKILL) }

// unread is how many bytes wait in a pipe.
func unread(f *os.File) (n int) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}
