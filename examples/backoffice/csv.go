package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/errandhq/errand"
)

// maxRecord bounds one record, so that a quote that is never closed does not read the
// whole file into memory.
const maxRecord = 1 << 20

// csvFile is the rows of a CSV file with a header: each a JSON object of texts.
type csvFile struct {
	*csv.Reader
	file  *os.File
	bound *bound
	keys  []string // of the header, as JSON
	base  mark     // where Reader begins
	place mark
}

var errRecord = fmt.Errorf("the record is longer than %d bytes: is a quote never closed?", maxRecord)

// openCSV opens a file at a place to which it was read before, or at its begin.
func openCSV(dir *os.Root, name string, from mark) (source, error) {
	f, err := dir.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errand.Permanent(fmt.Errorf("the uploaded file is gone: %w", err))
	}
	if err != nil {
		return nil, err
	}
	c := &csvFile{file: f}
	if err := c.header(); err != nil {
		_ = f.Close()
		return nil, err
	}
	if from.Row > 0 {
		if err := c.seek(from); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *csvFile) Close() error { return c.file.Close() }

func (c *csvFile) at() mark { return c.place }

// seek goes to a place in the file.
func (c *csvFile) seek(to mark) error {
	if _, err := c.file.Seek(to.Offset, io.SeekStart); err != nil {
		return err
	}
	c.bound = &bound{Reader: c.file, left: maxRecord}
	c.Reader = csv.NewReader(c.bound)
	c.ReuseRecord = true
	c.FieldsPerRecord = len(c.keys)
	c.base, c.place = to, to
	return nil
}

// header reads the header, after a byte order mark if there is one.
func (c *csvFile) header() error {
	const bom = "\uFEFF"
	var start mark
	head := make([]byte, len(bom))
	if n, _ := io.ReadFull(c.file, head); string(head[:n]) == bom {
		start.Offset = int64(n)
	}
	if err := c.seek(start); err != nil {
		return err
	}
	names, err := c.record()
	if err == io.EOF {
		return errand.Permanent(errors.New("line 1: there is no header"))
	}
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for i, name := range names {
		name = strings.TrimSpace(name)
		for n := i + 1; name == "" || taken[name]; n++ { // any header is good
			name = fmt.Sprintf("column_%d", n)
		}
		taken[name] = true
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		c.keys = append(c.keys, string(key))
	}
	c.place.Row = 0
	return nil
}

// next returns the next row.
func (c *csvFile) next() (string, error) {
	fields, err := c.record()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, f := range fields {
		value, err := json.Marshal(f)
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.keys[i])
		b.WriteByte(':')
		b.Write(value)
	}
	return "{" + b.String() + "}", nil
}

// record reads one record. Errors that lie in the file are permanent, and name the line.
func (c *csvFile) record() ([]string, error) {
	fields, err := c.Read()
	var bad *csv.ParseError
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		return nil, c.bad(c.lineOf(0), fmt.Errorf("%d fields, where the header has %d", len(fields), len(c.keys)))
	case errors.As(err, &bad):
		return nil, c.bad(c.base.Line+bad.StartLine, explain(bad))
	case errors.Is(err, errRecord):
		return nil, c.bad(c.place.Line+1, err)
	case err != nil:
		return nil, err
	}
	line := c.lineOf(0)
	for i, f := range fields {
		if !utf8.ValidString(f) {
			return nil, c.bad(c.lineOf(i), fmt.Errorf("field %d is not UTF-8", i+1))
		}
		if strings.IndexByte(f, 0) >= 0 {
			return nil, c.bad(c.lineOf(i), fmt.Errorf("field %d contains a NUL", i+1))
		}
		line += strings.Count(f, "\n")
	}
	c.place = mark{Row: c.place.Row + 1, Offset: c.base.Offset + c.InputOffset(), Line: line}
	c.bound.left = maxRecord
	return fields, nil
}

// lineOf returns the line on which a field of the latest record begins.
func (c *csvFile) lineOf(field int) int {
	line, _ := c.FieldPos(field)
	return c.base.Line + line
}

func (c *csvFile) bad(line int, err error) error {
	return errand.Permanent(fmt.Errorf("line %d: %w", line, err))
}

func explain(err *csv.ParseError) error {
	if errors.Is(err, csv.ErrQuote) {
		return errors.New("a quote is never closed, or something follows the closing one")
	}
	return err.Err
}

// bound fails when too much is read at once.
type bound struct {
	io.Reader
	left int
}

func (b *bound) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errRecord
	}
	n, err := b.Reader.Read(p)
	b.left -= n
	return n, err
}

// rowCounter counts the rows of a CSV file that is written to it, without its header.
type rowCounter struct {
	lines        int64
	quoted, text bool
}

func (c *rowCounter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\"\n")
		if i < 0 {
			c.text = true
			break
		}
		if c.text = c.text || i > 0 || rest[0] == '"'; rest[i] == '"' {
			c.quoted = !c.quoted
		} else if c.text && !c.quoted {
			c.lines++
			c.text = false
		}
		rest = rest[i+1:]
	}
	return len(p), nil
}

func (c *rowCounter) rows() int64 {
	n := c.lines
	if c.text {
		n++
	}
	return max(n-1, 0)
}
