package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	modernc "modernc.org/sqlite"
)

// conn is one connection with its prepared statements. It speaks to the driver without
// [database/sql] in between, whose locks and conversions cost as much as SQLite itself
// on statements as small as these. It is not safe for concurrent use.
type conn struct {
	driver driver.Conn
	stmts  map[string]*stmt
}

// dial opens the file and runs the pragmas.
func dial(path string, pragmas ...string) (*conn, error) {
	uri := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	c, err := new(modernc.Driver).Open(uri.String())
	if err != nil {
		return nil, err
	}
	db := &conn{driver: c, stmts: map[string]*stmt{}}
	for _, p := range pragmas {
		if err := db.script("pragma " + p); err != nil {
			_ = db.close()
			return nil, fmt.Errorf("pragma %s: %w", p, err)
		}
	}
	return db, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		_ = s.driver.Close()
	}
	return c.driver.Close()
}

// maxStmts bounds the prepared statements of a connection: lists and claims of several
// kinds are written as they come.
const maxStmts = 128

// tidy forgets the prepared statements if there are too many. None may be in use.
func (c *conn) tidy() {
	if len(c.stmts) <= maxStmts {
		return
	}
	for _, s := range c.stmts {
		_ = s.driver.Close()
	}
	clear(c.stmts)
}

// script runs any number of statements that need no arguments.
func (c *conn) script(text string) error {
	_, err := c.driver.(driver.ExecerContext).ExecContext(context.Background(), text, nil)
	return err
}

// prepare returns the statement, which is compiled only once.
func (c *conn) prepare(text string) (*stmt, error) {
	if s := c.stmts[text]; s != nil {
		return s, nil
	}
	d, err := c.driver.Prepare(text)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", text, err)
	}
	s := &stmt{driver: d, execer: d.(driver.StmtExecContext), queryer: d.(driver.StmtQueryContext)}
	c.stmts[text] = s
	return s, nil
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(text string, args ...driver.Value) (int64, error) {
	s, err := c.prepare(text)
	if err != nil {
		return 0, err
	}
	return s.exec(args...)
}

// query runs a statement and calls each with every row until it returns an error. The
// row is valid during the call only.
func (c *conn) query(ctx context.Context, text string, each func(row []driver.Value) error, args ...driver.Value) error {
	s, err := c.prepare(text)
	if err != nil {
		return err
	}
	return s.query(ctx, each, args...)
}

// number returns the one integer that a query yields; false if it is null or there is no row.
func (c *conn) number(text string, args ...driver.Value) (n int64, ok bool, err error) {
	err = c.query(context.Background(), text, func(row []driver.Value) error {
		n, ok = row[0].(int64)
		return nil
	}, args...)
	return n, ok, err
}

// stmt is a prepared statement of one connection. Where a limit is a parameter the text
// says "limit ? + 0": SQLite plans for the very number of a plain "limit ?", which means that
// it compiles the statement again each time that one is bound.
type stmt struct {
	driver  driver.Stmt
	execer  driver.StmtExecContext
	queryer driver.StmtQueryContext
	args    []driver.NamedValue
	row     []driver.Value
}

func (s *stmt) bind(args []driver.Value) []driver.NamedValue {
	for len(s.args) < len(args) {
		s.args = append(s.args, driver.NamedValue{Ordinal: len(s.args) + 1})
	}
	for i, a := range args {
		s.args[i].Value = a
	}
	return s.args[:len(args)]
}

// exec is never interrupted: what writes is short, and a transaction that is cut off
// halfway is of no use. Without a context the driver also starts no goroutine.
func (s *stmt) exec(args ...driver.Value) (int64, error) {
	r, err := s.execer.ExecContext(context.Background(), s.bind(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (s *stmt) query(ctx context.Context, each func(row []driver.Value) error, args ...driver.Value) (err error) {
	rows, err := s.queryer.QueryContext(ctx, s.bind(args))
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	for {
		if err := rows.Next(s.row); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := each(s.row); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// SQLite's result codes that this package looks for.
const (
	codeBusy       = 5
	codeNotADB     = 26
	codeUnique     = 2067 // SQLITE_CONSTRAINT_UNIQUE
	codePrimaryKey = 1555 // SQLITE_CONSTRAINT_PRIMARYKEY
)

func isBusy(err error) bool { return code(err)&0xff == codeBusy }

func isTaken(err error) bool { return code(err) == codeUnique || code(err) == codePrimaryKey }

// code returns the extended result code of an error of SQLite, else 0.
func code(err error) int {
	var e *modernc.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
