package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// note is one line of the ledger: what one process did or saw, in the order in which it was written.
type note struct {
	At   int64  `json:"at"` // Unix microseconds
	By   string `json:"by"` // the process
	What what   `json:"what"`

	Job     errand.ID    `json:"job,omitzero"`
	Token   int64        `json:"token,omitempty"`
	Session uuid.UUID    `json:"session,omitzero"`
	Version int64        `json:"version,omitempty"`
	State   errand.State `json:"state,omitempty"`
	Step    int          `json:"step,omitempty"`    // of a start: the checkpoint; of a saved: the new one
	Attempt int          `json:"attempt,omitempty"` // of a start or fail
	Started int64        `json:"started,omitempty"` // of a start: by the store's clock, Unix microseconds

	Asked errand.ID `json:"asked,omitzero"`  // of an ack: the ID that was to be enqueued
	Key   string    `json:"key,omitempty"`   // of an ack: the unique key
	Since int64     `json:"since,omitempty"` // of an ack: when the call began that succeeded, Unix microseconds
	Dup   bool      `json:"dup,omitempty"`   // of an ack: the job was already there
	Again bool      `json:"again,omitempty"` // of an ack: it had to be, for it was enqueued before
	Text  string    `json:"text,omitempty"`

	line int // in the file; set when it is read
}

// what says what a note is about.
type what string

const (
	acked    what = "ack"     // an enqueue was answered
	began    what = "start"   // a handler was called
	saved    what = "saved"   // a checkpoint was acknowledged
	done     what = "done"    // a handler has done all its work and is about to return
	failing  what = "fail"    // a handler is about to return an error
	stopping what = "stop"    // a handler is about to return because its context has ended
	event    what = "event"   // an engine has published a change
	refused  what = "refused" // an engine was refused a write
	seen     what = "seen"    // somebody has read a job
	asking   what = "ask"     // the driver is about to use a verb; Text names it
	obeyed   what = "obeyed"  // the verb was answered; State is what the job is now
	offered  what = "offered" // a job is about to be enqueued in a transaction
	undone   what = "undone"  // its transaction was rolled back
	cleaning what = "clean"   // a clean-up hook was called
	cleaned  what = "cleaned" // it has done its work and is about to return
	dying    what = "dying"   // a handler is about to kill its process
	wrong    what = "wrong"   // an answer that no fault explains
	fault    what = "fault"   // what the driver did to processes and servers
)

// ledger is the file in which all processes write down what they do: nothing of errand is
// between them and it. Lines are appended whole, so that their order in the file is that of the writes.
type ledger struct {
	by   string
	file *os.File
}

func openLedger(path, by string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &ledger{by, f}, err
}

// put writes a note. A process that cannot must not go on.
func (l *ledger) put(n note) {
	n.At, n.By = time.Now().UnixMicro(), l.by
	raw, err := json.Marshal(n)
	if err == nil {
		// A SIGKILL can cut a write short: what follows begins a line of its own.
		_, err = l.file.Write(append(append([]byte{'\n'}, raw...), '\n'))
	}
	if err != nil {
		panic(err)
	}
}

// Transition implements [errand.Observer].
func (l *ledger) Transition(e errand.Event) { l.put(noteOf(event, &e.Job)) }

// Call implements [errand.Observer].
func (l *ledger) Call(string, int, time.Duration, error) {}

// Fired implements [errand.Observer].
func (l *ledger) Fired(errand.Firing) {}

// Refused implements [errand.Observer].
func (l *ledger) Refused(x errand.Lease) {
	l.put(note{What: refused, Job: x.ID, Token: x.Token})
}

func noteOf(w what, j *errand.Job) note {
	return note{What: w, Job: j.ID, Token: j.Token, Session: j.Worker, Version: j.Version, State: j.State}
}

// readLedger returns all notes in their order, and how many lines were torn by a kill.
func readLedger(path string) (notes []note, torn int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		x := note{}
		if json.Unmarshal(lines.Bytes(), &x) != nil {
			torn++
			continue
		}
		x.line = n
		notes = append(notes, x)
	}
	if err := lines.Err(); err != nil {
		return nil, 0, errors.Join(errors.New("read the ledger"), err)
	}
	return notes, torn, nil
}
