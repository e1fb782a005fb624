package sqlite

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the file to this package's schema, one transaction a step. It may be
// called by several processes at once: the write lock makes them take turns, and each
// looks again at the version when it is its turn.
func (c *conn) migrate(begin func() error) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for {
		version, err := c.schemaVersion()
		switch {
		case err != nil:
			return err
		case version == len(names):
			return nil
		case version > len(names):
			return fmt.Errorf("the file has schema version %d, this program knows versions up to %d: use a newer errand", version, len(names))
		}
		if err := begin(); err != nil {
			return err
		}
		if err := errors.Join(c.step(names), c.script("commit")); err != nil {
			_ = c.script("rollback")
			return err
		}
	}
}

// step applies the next migration, if there still is one.
func (c *conn) step(names []string) error {
	version, err := c.schemaVersion()
	if err != nil || version >= len(names) {
		return err
	}
	text, err := migrations.ReadFile(names[version])
	if err != nil {
		return err
	}
	if err := c.script(string(text)); err != nil {
		return fmt.Errorf("%s: %w", names[version], err)
	}
	_, err = c.exec("insert into errand_schema (version, applied) values (?, datetime('now'))", int64(version+1))
	return err
}

// schemaVersion returns how many migrations the file has seen. They are noted in a table
// and not in user_version, which belongs to the application that shares the file.
func (c *conn) schemaVersion() (int, error) {
	const exists = "select count(*) from sqlite_schema where name = 'errand_schema'"
	if n, _, err := c.number(exists); err != nil || n == 0 {
		return 0, err
	}
	n, _, err := c.number("select max(version) from errand_schema")
	return int(n), err
}
