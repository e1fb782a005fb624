package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// superviseVerb is the hidden subcommand that makes this binary a supervisor.
const superviseVerb = "__supervise"

// The file descriptors of a supervisor, beside the command's own three.
const (
	controlFD = 3 // orders, one byte each; its end means: kill everything
	statusFD  = 4 // statuses, one JSON value a line
)

// order is what the server tells a supervisor.
type order byte

const (
	orderStop      order = 'S' // SIGSTOP; answered by status.Stopped
	orderContinue  order = 'C' // SIGCONT
	orderTerminate order = 'T' // SIGTERM, and SIGCONT so that it is seen
	orderKill      order = 'K' // SIGKILL
)

// status is what a supervisor tells the server.
type status struct {
	PID     int    `json:"pid,omitempty"`     // the command has started
	Stopped bool   `json:"stopped,omitempty"` // as ordered
	Ended   bool   `json:"ended,omitempty"`   // nothing of the command is left
	Code    int    `json:"code,omitempty"`
	Signal  string `json:"signal,omitempty"` // that ended it
	Told    bool   `json:"told,omitempty"`   // it was told to end before it ended
	Error   string `json:"error,omitempty"`  // it could not be started
}

// process is one external command that runs, or is parked, for a job.
type process struct {
	out     *output
	control *os.File
	stopped chan struct{} // holds one
	gone    chan struct{} // closed when no process is left
	done    chan struct{} // closed when its output is read, too
	last    status        // set when gone is closed

	mu  sync.Mutex
	pid int
}

// invocation is all that a process is started with.
type invocation struct {
	argv  []string
	env   []string
	dir   string
	stdin []byte
}

// startProcess starts a command under a supervisor. Its output goes to the run of ctx.
func startProcess(ctx context.Context, in invocation) (*process, error) {
	p := &process{
		stopped: make(chan struct{}, 1),
		gone:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	var pipes [4]pipe // stdout, stderr, control, status
	for i := range pipes {
		if err := pipes[i].open(); err != nil {
			closePipes(pipes[:])
			return nil, err
		}
	}
	stdout, stderr, control, statuses := &pipes[0], &pipes[1], &pipes[2], &pipes[3]
	cmd := exec.Command("/proc/self/exe", append([]string{superviseVerb}, in.argv...)...)
	cmd.Args[0] = "errand" // for ps
	cmd.Env, cmd.Dir, cmd.SysProcAttr = in.env, in.dir, detached()
	cmd.Stdout, cmd.Stderr = stdout.w, stderr.w
	if in.stdin != nil {
		cmd.Stdin = bytes.NewReader(in.stdin)
	}
	cmd.ExtraFiles = []*os.File{control.r, statuses.w}
	if err := cmd.Start(); err != nil {
		closePipes(pipes[:])
		return nil, err
	}
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	stdout.w.Close()
	stderr.w.Close()
	p.control = control.w
	p.out = newOutput(ctx, stdout.r, stderr.r)
	go p.listen(statuses.r, cmd)
	return p, nil
}

// listen follows the supervisor until it has ended.
func (p *process) listen(statuses *os.File, cmd *exec.Cmd) {
	var last status
	for dec := json.NewDecoder(statuses); ; {
		var s status
		if err := dec.Decode(&s); err != nil {
			break
		}
		switch {
		case s.PID != 0:
			p.mu.Lock()
			p.pid = s.PID
			p.mu.Unlock()
		case s.Stopped:
			select {
			case p.stopped <- struct{}{}:
			default:
			}
		default:
			last = s
		}
	}
	err := cmd.Wait()
	if !last.Ended && last.Error == "" {
		p.mu.Lock()
		if p.pid != 0 {
			killGroup(p.pid)
		}
		p.mu.Unlock()
		last.Error = fmt.Sprintf("its supervisor died: %v", err)
		p.out.hurry(time.Second)
	}
	p.last = last
	statuses.Close()
	close(p.gone)
	p.control.Close()
	p.out.wait()
	close(p.done)
}

// tell gives an order. One to a process that is gone is lost.
func (p *process) tell(o order) { _, _ = p.control.Write([]byte{byte(o)}) }

// end has the process end: at once if grace is 0, else by SIGTERM and, when it is still there after
// grace, by SIGKILL. It returns when nothing of it is left.
func (p *process) end(grace time.Duration) {
	if grace > 0 {
		p.tell(orderTerminate)
		select {
		case <-p.gone:
			return
		case <-time.After(grace):
		}
	}
	p.tell(orderKill)
	<-p.gone
}

// stop stops the process and reports whether it did: false means that it has ended.
func (p *process) stop() bool {
	p.tell(orderStop)
	select {
	case <-p.stopped:
		return !p.isGone()
	case <-p.gone:
		return false
	}
}

func (p *process) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// failure is how a command ended other than by exit code 0.
type failure struct {
	what string
	tail string // its last lines on stderr
	code int    // 0 if it did not exit by itself
}

func (f *failure) Error() string {
	if f.tail == "" {
		return f.what
	}
	return f.what + ": " + f.tail
}

// outcome says how the process ended. Call it after done is closed.
func (p *process) outcome() (json.RawMessage, error) {
	s := p.last
	switch {
	case s.Error != "":
		return nil, &failure{what: s.Error}
	case s.Signal != "":
		return nil, &failure{what: "ended by " + s.Signal, tail: p.out.lastErrors()}
	case s.Code != 0:
		return nil, &failure{what: fmt.Sprintf("exit code %d", s.Code), tail: p.out.lastErrors(), code: s.Code}
	}
	return p.out.finalResult()
}

// pipe is the two ends of a pipe.
type pipe struct{ r, w *os.File }

func (p *pipe) open() (err error) {
	p.r, p.w, err = os.Pipe()
	return err
}

func closePipes(pipes []pipe) {
	for _, p := range pipes {
		if p.r != nil {
			p.r.Close()
			p.w.Close()
		}
	}
}
