package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migration is one step of the schema.
type Migration struct {
	Version int    // 1, 2, 3 …
	Name    string // of its file
	SQL     string // what it does, the note that it was done included; to be run in one transaction
}

// Migrations returns all steps that make the schema ("errand" if it is "") as this version of errand needs it, for those
// who apply them by their own means. [Open] applies them by itself.
//
// From version 1 on each step is such that the version of errand before it goes on working, so that
// processes can be replaced one by one.
func Migrations(schema string) ([]Migration, error) {
	if schema == "" {
		schema = "errand"
	}
	if !schemaName.MatchString(schema) {
		return nil, fmt.Errorf("postgres: invalid schema %q: use lower-case letters, digits and underscores", schema)
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	steps := make([]Migration, len(names))
	for i, name := range names {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return nil, err
		}
		step := &steps[i]
		*step = Migration{Version: i + 1, Name: name[len("migrations/"):], SQL: inSchema(string(text), schema)}
		if i == 0 {
			step.SQL = fmt.Sprintf("create schema if not exists %s;\n\ncreate table %[1]s.schema_version (\n\tversion integer primary key,\n"+
				"\tapplied timestamptz not null default now()\n);\n\n", schema) + step.SQL
		}
		step.SQL += fmt.Sprintf("\ninsert into %s.schema_version (version) values (%d);\n", schema, step.Version)
	}
	return steps, nil
}

// migrate applies the steps that are missing.
func (s *Store) migrate(ctx context.Context) error {
	steps, err := Migrations(s.options.Schema)
	if err != nil {
		return err
	}
	version, err := s.schemaVersion(ctx, s.general)
	if err != nil {
		return err
	}
	switch {
	case version > len(steps):
		return fmt.Errorf("the schema %q has version %d, this program knows versions up to %d: use a newer errand", s.options.Schema, version, len(steps))
	case version == len(steps):
		return nil // nothing is pending, so nobody is to be waited for
	case s.options.NoMigrate:
		return fmt.Errorf("the schema %q has version %d and this program needs %d: apply the migrations (errand migrate)", s.options.Schema, version, len(steps))
	}
	return pgx.BeginFunc(ctx, s.general, func(tx pgx.Tx) error {
		// Several processes may start at once. A lock of the transaction works behind a pooler too.
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended('errand schema ' || $1, 0))", s.options.Schema); err != nil {
			return err
		}
		version, err := s.schemaVersion(ctx, tx)
		if err != nil {
			return err
		}
		for _, step := range steps[min(version, len(steps)):] {
			if _, err := tx.Exec(ctx, step.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("%s: %w", step.Name, err)
			}
			s.log.Info("schema migrated", "schema", s.options.Schema, "version", step.Version)
		}
		return nil
	})
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var (
	_ querier = (*pgxpool.Pool)(nil)
	_ querier = pgx.Tx(nil)
)

// schemaVersion returns how many steps have been applied.
func (s *Store) schemaVersion(ctx context.Context, q querier) (version int, err error) {
	var there bool
	// Not to_regclass, which knows nothing yet of a table that another process has just made.
	const exists = "select exists (select from pg_catalog.pg_tables where schemaname = $1 and tablename = 'schema_version')"
	err = q.QueryRow(ctx, exists, s.options.Schema).Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	err = q.QueryRow(ctx, s.sql("select coalesce(max(version), 0) from errand.schema_version")).Scan(&version)
	return version, err
}
