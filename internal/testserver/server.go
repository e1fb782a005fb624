// Package testserver starts real servers for tests, chaos runs and benchmarks: PostgreSQL, Redis and
// PgBouncer, each on a port of its own of 127.0.0.1, with its files in a temporary directory.
//
// In a test, [PostgresURL] and [RedisAddr] give a server that is shared by the whole test
// binary, whose TestMain calls [Main]. Who kills servers starts his own: [StartPostgres], [StartRedis].
//
// On Linux the servers end with the process that started them, however it ends; elsewhere they stay if
// it is killed. The directories that a killed process leaves behind are removed by the next one that starts a server.
package testserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	dirPrefix = "errand-testserver-"

	startTimeout = 2 * time.Minute // recovery included
	stopTimeout  = time.Minute
	killTimeout  = 10 * time.Second
)

// server is what all servers share: a directory, a port and the process of the moment.
type server struct {
	Dir  string // belongs to the server; Close removes it
	Port int    // of 127.0.0.1; stays the same over Kill and Start

	name    string
	command []string
	account *account       // under which the process runs; nil: the caller's
	orphan  syscall.Signal // that the process gets when its parent is gone
	ready   func(pid int) bool
	tidy    func() // removes what a killed process has left in the way of the next one

	lock *os.File // on Dir, until Close
	mu   sync.Mutex
	proc *process // nil when stopped
}

// newServer makes the directory and chooses a port when none is given.
func newServer(name string, port int, account *account) (*server, error) {
	sweep()
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return nil, err
	}
	s := &server{Dir: dir, Port: port, name: name, account: account, orphan: syscall.SIGKILL, tidy: func() {}}
	if s.lock, err = lockDir(dir); err == nil && account != nil {
		err = os.Chown(dir, account.uid, account.gid)
	}
	if err == nil && port == 0 {
		s.Port, err = freePort()
	}
	if err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// Start starts the server again after Stop or Kill, on the same port and with the same files, and
// returns when it accepts connections. It fails when the server runs already.
func (s *server) Start() error {
	return s.start(context.Background())
}

func (s *server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc.running() {
		return fmt.Errorf("%s runs already", s.name)
	}
	if err := s.end(syscall.SIGKILL, killTimeout); err != nil { // others may have killed it
		return err
	}
	s.tidy()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	if s.proc, err = s.spawn(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	for err == nil && !s.ready(s.proc.pid()) {
		select {
		case <-s.proc.exited:
			err = errors.New("it ended")
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("start %s: %w; its log ends with:\n%s", s.name, err, s.logTail())
	return errors.Join(err, s.end(syscall.SIGKILL, killTimeout))
}

func (s *server) spawn() (*process, error) {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	cmd.SysProcAttr = sysProcAttr(s.account, s.orphan)
	return startProcess(cmd)
}

// Kill ends the server with SIGKILL and returns when all its processes are gone, so that Start works; those of
// PostgreSQL go by themselves when they see that their parent is gone. It fails if some stay for 10 s, as one amid a long
// computation may. If the server does not run, Kill does nothing.
func (s *server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGKILL, killTimeout)
}

// end sends the signal and waits until all processes of the server are gone.
func (s *server) end(sig syscall.Signal, timeout time.Duration) error {
	if s.proc == nil {
		return nil
	}
	if s.proc.running() {
		if err := s.proc.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop %s: %w", s.name, err)
		}
	}
	select {
	case <-s.proc.gone:
	case <-time.After(timeout):
		return fmt.Errorf("stop %s: after %s and %s some of its processes still run", s.name, sig, timeout)
	}
	s.proc = nil
	return nil
}

// Running tells whether the server runs. It may have ended by itself, or others may have killed it.
func (s *server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.running()
}

// Close kills the server and removes its directory. A second call does nothing.
func (s *server) Close() error {
	return errors.Join(s.Kill(), s.remove())
}

func (s *server) remove() error {
	err := os.RemoveAll(s.Dir)
	if s.lock != nil {
		_ = s.lock.Close() // a second time after the first Close, which does no harm
	}
	return err
}

func (s *server) address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
}

func (s *server) logFile() string {
	return filepath.Join(s.Dir, "log")
}

func (s *server) logTail() string {
	const lines, most = 20, 8 << 10
	data, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	tail := strings.Split(strings.TrimSpace(string(data[max(0, len(data)-most):])), "\n")
	return strings.Join(tail[max(0, len(tail)-lines):], "\n")
}

// process is a started program with all processes that it has forked.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the program itself has ended
	gone   chan struct{} // closed when all its descendants have, too
}

// startProcess starts cmd from a thread that lives as long as the process does: what the kernel
// takes for the parent, whose death it reports, is the thread.
func startProcess(cmd *exec.Cmd) (*process, error) {
	// All descendants inherit the pipe's end and hold it until they are gone.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	p := &process{cmd: cmd, exited: make(chan struct{}), gone: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		w.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(p.exited)
	}()
	if err := <-started; err != nil {
		r.Close()
		return nil, err
	}
	go func() {
		_, _ = io.Copy(io.Discard, r)
		r.Close()
		<-p.exited
		close(p.gone)
	}()
	return p, nil
}

func (p *process) pid() int {
	return p.cmd.Process.Pid
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// freePort returns a port on which nobody listens. It is below the range from which systems take the
// ports of outgoing connections, so that it stays free while its server is down.
func freePort() (int, error) {
	const from, to, tries = 15000, 32000, 100
	var err error
	for range tries {
		port := from + rand.IntN(to-from)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("found no free port: %w", err)
}

// sweep removes the directories of processes that were killed.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		// A new one may not be locked yet.
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if lock, err := lockDir(dir); err == nil && lock != nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
}
