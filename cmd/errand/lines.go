package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// The size of one batch of jobs from lines.
const (
	linesBatch = 1000
	linesBytes = 8 << 20
)

// linesJob creates jobs from lines of args, batch by batch.
type linesJob struct {
	*client
	printer
	ctx     context.Context
	batch   server.Batch
	size    int
	created int
}

// enqueueLines creates one job for each line of ARGS.
func enqueueLines(cmd *cobra.Command, c *client, p printer, f *jobFlags, args []string) error {
	if len(args) < 2 || f.id != "" || f.unique != "" {
		return &usageError{errors.New("--lines needs ARGS as @FILE or -, and goes with neither --id nor --unique")}
	}
	in := cmd.InOrStdin()
	if name, ok := strings.CutPrefix(args[1], "@"); ok {
		file, err := os.Open(name)
		if err != nil {
			return &usageError{err}
		}
		defer file.Close()
		in = file
	} else if args[1] != "-" {
		in = strings.NewReader(args[1])
	}
	l := &linesJob{client: c, printer: p, ctx: cmd.Context()}
	err := l.read(in, func(line []byte) (n server.NewJob, err error) {
		if n, err = f.options(cmd, args[0]); err == nil {
			n.Args, err = withPairs(line, f.pairs)
		}
		return n, err
	})
	c.say("%s created", plural(l.created, "job"))
	return err
}

func (l *linesJob) read(in io.Reader, job func(line []byte) (server.NewJob, error)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, errand.MaxArgs+1)
	for number := 1; lines.Scan(); number++ {
		line := bytes.Clone(bytes.TrimSpace(lines.Bytes()))
		if len(line) == 0 {
			continue
		}
		if !json.Valid(line) {
			return &usageError{fmt.Errorf("line %d is not JSON", number)}
		}
		n, err := job(line)
		if err != nil {
			return &usageError{fmt.Errorf("line %d: %w", number, err)}
		}
		l.batch.Jobs = append(l.batch.Jobs, n)
		if l.size += len(line); len(l.batch.Jobs) == linesBatch || l.size > linesBytes {
			if err := l.flush(); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read lines: %w", err)
	}
	return l.flush()
}

// flush creates the jobs gathered so far.
func (l *linesJob) flush() error {
	if len(l.batch.Jobs) == 0 {
		return nil
	}
	var out server.Created
	if err := l.do(l.ctx, http.MethodPost, "/jobs/batch", nil, l.batch, &out); err != nil {
		return err
	}
	for _, w := range out.Warnings {
		l.say("warning: %s", w)
	}
	l.created += len(out.Jobs)
	l.batch.Jobs, l.size = nil, 0
	if l.format == "table" {
		return nil
	}
	return l.print(out.Jobs, nil)
}
