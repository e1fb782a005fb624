package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/errandhq/errand"
)

// Limits of what a command may print.
const (
	maxLogPart   = 8 << 10  // bytes of one log entry; longer lines are split
	maxLogParts  = 8        // entries of one line; the rest is dropped, and counted
	maxDirective = 2 << 20  // bytes of a line that begins with "::"
	tailLines    = 5        // lines of stderr that go into the error
	tailBytes    = 2 << 10  // and their bytes
	maxCheckEnv  = 64 << 10 // bytes of a ::checkpoint, which must fit into the environment
)

// output reads what a process prints and hands it to the run of its job: log lines, and the
// directives ::progress, ::result and ::checkpoint on stdout. While the process is parked there is
// no run; lines that are still under way then wait for the next one.
type output struct {
	files  [2]*os.File // stdout, stderr
	pumps  sync.WaitGroup
	mu     sync.Mutex
	change sync.Cond       // of mu: run or discard has changed
	run    context.Context // of the run; nil while parked
	closed bool            // discard everything from now on
	busy   int             // pumps that work on what they read
	tail   []string
	result json.RawMessage
	bad    string // why the latest ::result is none
}

func newOutput(run context.Context, stdout, stderr *os.File) *output {
	o := &output{run: run, files: [2]*os.File{stdout, stderr}}
	o.change.L = &o.mu
	for i, f := range o.files {
		o.pumps.Go(func() { o.pump(f, i == 1) })
	}
	return o
}

// wait waits until all output is read.
func (o *output) wait() { o.pumps.Wait() }

// hurry ends reading after d, for outputs that somebody keeps open.
func (o *output) hurry(d time.Duration) {
	for _, f := range o.files {
		_ = f.SetReadDeadline(time.Now().Add(d))
	}
}

// attach gives the output to a run.
func (o *output) attach(run context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.run = run
	o.change.Broadcast()
}

// detach takes the output from its run, once what a stopped process has printed is read.
func (o *output) detach() {
	deadline := time.Now().Add(2 * time.Second) // should it not be quite stopped
	for quiet := 0; quiet < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if quiet++; !o.idle() {
			quiet = 0
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.run = nil
}

// discard lets the output of a process that no run will ever take run dry.
func (o *output) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.change.Broadcast()
}

// idle reports whether the pipes are empty and everything that was in them is dealt with.
func (o *output) idle() bool {
	for _, f := range o.files {
		if unread(f) > 0 {
			return false
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.busy == 0
}

// pump reads one stream to its end.
func (o *output) pump(f *os.File, isErr bool) {
	defer f.Close()
	l := liner{emit: func(line string) { o.line(line, isErr) }}
	buf := make([]byte, 32<<10)
	for {
		n, err := f.Read(buf)
		o.work(1)
		l.write(buf[:n])
		if err != nil {
			l.flush()
		}
		o.work(-1)
		if err != nil {
			return
		}
	}
}

func (o *output) work(n int) {
	o.mu.Lock()
	o.busy += n
	o.mu.Unlock()
}

// liner cuts a stream into lines and long lines into parts, at bounded memory.
type liner struct {
	emit    func(string)
	buf     []byte
	parts   int // of the present line that were emitted
	dropped int // bytes of the present line that were not kept
}

func (l *liner) write(data []byte) {
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			l.add(data)
			return
		}
		l.add(data[:i])
		l.flushLine()
		data = data[i+1:]
	}
}

// add adds to the present line.
func (l *liner) add(data []byte) {
	if l.parts >= maxLogParts {
		l.dropped += len(data)
		return
	}
	l.buf = append(l.buf, data...)
	if bytes.HasPrefix(l.buf, []byte("::")) && l.parts == 0 && len(l.buf) <= maxDirective {
		return
	}
	for len(l.buf) > maxLogPart && l.parts < maxLogParts {
		n := runeEnd(l.buf[:maxLogPart])
		l.emit(string(l.buf[:n]))
		l.buf = append(l.buf[:0], l.buf[n:]...)
		l.parts++
	}
	if l.parts >= maxLogParts {
		l.dropped += len(l.buf)
		l.buf = l.buf[:0]
	}
}

// runeEnd is the length of b without a rune that is cut at its end.
func runeEnd(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

func (l *liner) flushLine() {
	switch {
	case l.dropped > 0:
		l.emit(fmt.Sprintf("… %d more bytes of this line were dropped", l.dropped))
	case l.parts == 0 || len(l.buf) > 0:
		l.emit(strings.TrimSuffix(string(l.buf), "\r"))
	}
	if cap(l.buf) > 4*maxLogPart {
		l.buf = nil
	}
	l.buf, l.parts, l.dropped = l.buf[:0], 0, 0
}

// flush emits a last line without an end.
func (l *liner) flush() {
	if len(l.buf) > 0 || l.parts > 0 {
		l.flushLine()
	}
}

// line deals with one line, once there is a run for it.
func (o *output) line(text string, isErr bool) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	o.mu.Lock()
	for o.run == nil && !o.closed {
		o.change.Wait()
	}
	if o.closed {
		o.mu.Unlock()
		return
	}
	run := o.run
	if isErr {
		o.remember(text)
	}
	o.mu.Unlock()
	log := errand.Logger(run)
	if isErr {
		log.Warn(text)
		return
	}
	directive, rest, _ := strings.Cut(text, " ")
	var problem string
	switch directive {
	case "::progress":
		problem = progress(errand.Current(run), rest)
	case "::checkpoint":
		problem = checkpoint(errand.Current(run), rest)
	case "::result":
		problem = o.setResult(rest)
	default:
		log.Info(text)
		return
	}
	if problem != "" {
		log.Log(run, slog.LevelWarn, problem, "line", shorten(text, 200))
	}
}

// remember keeps the last lines of stderr for the error. The caller holds o.mu.
func (o *output) remember(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	o.tail = append(o.tail, shorten(text, tailBytes/tailLines))
	if len(o.tail) > tailLines {
		o.tail = append(o.tail[:0], o.tail[1:]...)
	}
}

// lastErrors returns the last lines of stderr.
func (o *output) lastErrors() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.tail, "\n")
}

// progress reads "3/10 text", "30% text" or "3 text".
func progress(run *errand.Run, s string) (problem string) {
	first, text, _ := strings.Cut(strings.TrimSpace(s), " ")
	done, total, slash := strings.Cut(first, "/")
	switch percent, ok := strings.CutSuffix(first, "%"); {
	case ok:
		done, total = percent, "100"
	case !slash:
		total = "0"
	}
	d, err1 := strconv.ParseInt(done, 10, 64)
	t, err2 := strconv.ParseInt(total, 10, 64)
	if err1 != nil || err2 != nil || d < 0 || t < 0 {
		return "::progress wants DONE/TOTAL TEXT, PERCENT% TEXT or DONE TEXT in whole numbers"
	}
	run.Progress(d, t, strings.TrimSpace(text))
	return ""
}

func checkpoint(run *errand.Run, s string) (problem string) {
	switch {
	case len(s) > maxCheckEnv:
		return fmt.Sprintf("::checkpoint of %d bytes: at most %d", len(s), maxCheckEnv)
	case !json.Valid([]byte(s)):
		return "::checkpoint is not JSON"
	}
	if err := run.Save(json.RawMessage(s)); err != nil {
		return "::checkpoint was not saved: " + err.Error()
	}
	return ""
}

func (o *output) setResult(s string) (problem string) {
	switch {
	case len(s) > errand.MaxResult:
		problem = fmt.Sprintf("::result of %d bytes: at most %d", len(s), errand.MaxResult)
	case !json.Valid([]byte(s)):
		problem = "::result is not JSON"
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.result, o.bad = json.RawMessage(s), problem
	return problem
}

// finalResult is what the last ::result line said. A bad one fails the job for good: running
// it again would not mend the program.
func (o *output) finalResult() (json.RawMessage, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bad != "" {
		return nil, errand.Permanent(fmt.Errorf("the command succeeded, but its %s", o.bad))
	}
	return o.result, nil
}

// shorten cuts s to n bytes at a rune, and says so by an ellipsis.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:runeEnd([]byte(s[:n]))] + "…"
}
