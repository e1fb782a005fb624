package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand/postgres"
)

func migrateCommand() *cobra.Command {
	var show, status bool
	var format string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the schema of the database up to date",
		Long: `Migrate applies the steps that the schema of the database lacks, all of them or none. Servers and workers do
so by themselves when they start, unless no_migrate is set. Each step is such that the version of errand before it
goes on working: migrate first, then replace the processes one by one.

With --print it applies nothing and prints the SQL of these steps, for somebody who applies it by other
means: each is one transaction. Without a database it prints the SQL of all steps for PostgreSQL.

A SQLite file is migrated whenever it is opened, by this command too.`,
		Example: `  errand migrate --database postgres://owner@db/errand
  errand migrate --print | psql -v ON_ERROR_STOP=1 postgres://owner@db/errand
  errand migrate --status -o json`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadStore(cmd)
			if err != nil {
				return err
			}
			switch p := (printer{cmd.OutOrStdout(), format}); {
			case show && status:
				return &usageError{errors.New("--print and --status: use one of them")}
			case show:
				return printSteps(cmd, s)
			case s.Database == "":
				return migrateFile(cmd, s)
			case status:
				return migrationStatus(cmd, s, p)
			}
			return migrate(cmd, s)
		},
	}
	cmd.Flags().BoolVar(&show, "print", false, "only print the SQL that would be applied")
	cmd.Flags().BoolVar(&status, "status", false, "only list the steps, and which are applied")
	addSettings(cmd.Flags(), storeSide)
	addFormat(cmd, &format, "table", "json", "jsonl")
	cmd.Flags().Lookup("output").Usage = "format of --status: table, json or jsonl"
	return cmd
}

// loadStore loads the settings of a command that opens the store for a moment, and tells what is odd about them.
func loadStore(cmd *cobra.Command) (*settings, error) {
	s, err := loadSettings(cmd.Flags())
	if err == nil {
		err = s.checkStore()
	}
	if err != nil {
		return nil, err
	}
	for _, w := range s.warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "errand: warning:", w)
	}
	return s, nil
}

// steps returns all steps of the schema, and how many of them the database has.
func (s *settings) steps(cmd *cobra.Command) (all []postgres.Migration, applied int, err error) {
	all, err = postgres.Migrations(s.Schema)
	if err != nil {
		return nil, 0, &usageError{err}
	}
	if s.Database == "" {
		return all, 0, nil
	}
	applied, err = postgres.Version(cmd.Context(), s.Database, s.postgresOptions(nil))
	if err != nil {
		return nil, 0, s.databaseError(err)
	}
	if applied > len(all) {
		return nil, 0, fmt.Errorf("%s: the schema has version %d, this program knows versions up to %d: use a newer errand", s.place(), applied, len(all))
	}
	return all, applied, nil
}

func migrate(cmd *cobra.Command, s *settings) error {
	all, before, err := s.steps(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if before == len(all) {
		fmt.Fprintf(out, "nothing to do: version %d is the newest (%s)\n", before, s.place())
		return nil
	}
	s.NoMigrate = false
	store, err := openStore(cmd.Context(), s, discard)
	if err != nil {
		return err
	}
	for _, step := range all[before:] {
		fmt.Fprintf(out, "applied %s\n", step.Name)
	}
	fmt.Fprintf(out, "the schema has version %d now (%s)\n", len(all), s.place())
	return store.Close()
}

func migrateFile(cmd *cobra.Command, s *settings) error {
	store, err := openStore(cmd.Context(), s, discard)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is up to date (a SQLite file is migrated whenever it is opened)\n", s.place())
	return store.Close()
}

// printSteps prints the SQL of the pending steps, or of all where no database is set.
func printSteps(cmd *cobra.Command, s *settings) error {
	all, applied, err := s.steps(cmd)
	if err != nil {
		return err
	}
	say := func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "errand:", text) }
	switch {
	case s.Database == "":
		say("no database is set: this is the SQL of all steps for PostgreSQL (a SQLite file is migrated whenever it is opened)")
	case applied == len(all):
		say(fmt.Sprintf("nothing to do: version %d is the newest", applied))
	}
	for _, step := range all[applied:] {
		if err := printStep(cmd.OutOrStdout(), s.Schema, step, len(all)); err != nil {
			return err
		}
	}
	return nil
}

func printStep(w io.Writer, schema string, step postgres.Migration, last int) error {
	_, err := fmt.Fprintf(w, "-- errand, schema %q: version %d of %d (%s)\nbegin;\n\n%s\ncommit;\n\n",
		schema, step.Version, last, step.Name, strings.TrimSpace(step.SQL)+"\n")
	return err
}

// stepLine is a step of the schema as errand migrate --status shows it.
type stepLine struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

func migrationStatus(cmd *cobra.Command, s *settings, p printer) error {
	all, applied, err := s.steps(cmd)
	if err != nil {
		return err
	}
	var lines []stepLine
	for _, step := range all {
		lines = append(lines, stepLine{step.Version, step.Name, step.Version <= applied})
	}
	return p.print(lines, func() *table {
		t := &table{}
		t.head("version", "name", "state")
		for _, l := range lines {
			state := "pending"
			if l.Applied {
				state = "applied"
			}
			t.row(strconv.Itoa(l.Version), l.Name, state)
		}
		return t
	})
}
