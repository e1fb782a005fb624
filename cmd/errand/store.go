package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/redis"
	"github.com/errandhq/errand/sqlite"
)

// openStore opens the store that the settings name, and brings its schema up to date unless no_migrate is set.
func openStore(ctx context.Context, s *settings, log *slog.Logger) (errand.Store, error) {
	if s.Database != "" {
		return s.openDatabase(ctx, s.postgresOptions(log))
	}
	path, err := s.dataFile()
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(path, nil)
	if err != nil {
		return nil, err
	}
	return store, nil
}

// openDatabase opens PostgreSQL, with a Redis in front of it if there is one.
func (s *settings) openDatabase(ctx context.Context, options *postgres.Options) (*postgres.Store, error) {
	if s.Redis != "" {
		dispatcher, err := redis.Open(s.Redis, &redis.Options{Password: s.RedisPassword, Prefix: "errand:" + s.Schema})
		if err != nil {
			return nil, &usageError{err}
		}
		options.Dispatcher = dispatcher
	}
	store, err := postgres.Open(ctx, s.Database, options)
	if err != nil {
		return nil, s.databaseError(err)
	}
	return store, nil
}

// checkStore finds settings of the store that do not go together.
func (s *settings) checkStore() error {
	switch {
	case s.Redis != "" && s.Database == "":
		return &usageError{fmt.Errorf("%s: redis needs database too: Redis only hands them out, PostgreSQL keeps the jobs", s.sources["redis"])}
	case s.Database == "":
		for _, key := range []string{"database_schema", "database_connections", "database_pooler", "no_migrate"} {
			if s.sources[key] != "" {
				s.warn("%s: %s means nothing for an SQLite file", s.sources[key], key)
			}
		}
	case s.sources["data"] != "":
		s.warn("%s: data is not used, because database is set (%s)", s.sources["data"], s.sources["database"])
	}
	return nil
}

func (s *settings) postgresOptions(log *slog.Logger) *postgres.Options {
	return &postgres.Options{Schema: s.Schema, MaxConns: s.Connections, NoMigrate: s.NoMigrate, Pooler: s.Pooler, Log: log}
}

// databaseError says what to do about an error of opening the database.
func (s *settings) databaseError(err error) error {
	if errors.Is(err, errand.ErrInvalid) {
		return &usageError{err}
	}
	return fmt.Errorf("database %s (%s): %w", scrubDatabase(s.Database), s.sources["database"], err)
}

// place is where the jobs are kept, without passwords.
func (s *settings) place() string {
	if s.Database == "" {
		return s.dataPath()
	}
	place := scrubDatabase(s.Database)
	if s.Schema != "errand" {
		place += ", schema " + s.Schema
	}
	return place
}

// databaseValue is the address of a PostgreSQL database. It shows without passwords.
type databaseValue string

func (v *databaseValue) String() string { return scrubDatabase(string(*v)) }
func (v *databaseValue) Type() string   { return "url" }

func (v *databaseValue) Set(s string) error {
	scheme, _, isURL := strings.Cut(s, "://")
	if isURL && scheme != "postgres" && scheme != "postgresql" || !isURL && s != "" && !strings.Contains(s, "=") {
		return errors.New("use postgres://user@host/name, or key=value pairs such as host=db dbname=name")
	}
	*v = databaseValue(s)
	return nil
}

var pairPassword = regexp.MustCompile(`(?i)(\w*password\w*\s*=\s*)('(?:[^'\\]|\\.)*(?:'|$)|(?:[^\s\\]|\\.)*)`)

// scrubDatabase is an address of a database without passwords: of what cannot be told from one, nothing is left.
func scrubDatabase(s string) string {
	scheme, _, isURL := strings.Cut(s, "://")
	if !isURL {
		if !strings.Contains(s, "=") && s != "" {
			return "…"
		}
		return pairPassword.ReplaceAllString(s, "$1…")
	}
	u, err := url.Parse(s)
	if err != nil || u.Fragment != "" || strings.Contains(u.Path+u.RawQuery, "@") {
		return scheme + "://…" // a password may hold any of / ? # unescaped
	}
	var b strings.Builder
	b.WriteString(scheme + "://")
	if u.User != nil {
		b.WriteString(url.User(u.User.Username()).String())
		if _, has := u.User.Password(); has {
			b.WriteString(":…")
		}
		b.WriteString("@")
	}
	b.WriteString(u.Host + u.EscapedPath())
	for i, pair := range strings.Split(u.RawQuery, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(key); err != nil || strings.Contains(strings.ToLower(name), "password") {
			pair = key + "=…"
		}
		if pair != "" {
			b.WriteString([]string{"?", "&"}[min(i, 1)] + pair)
		}
	}
	return b.String()
}

// addressValue is host:port.
type addressValue string

func (v *addressValue) String() string { return string(*v) }
func (v *addressValue) Type() string   { return "host:port" }

func (v *addressValue) Set(s string) error {
	if host, port, err := net.SplitHostPort(s); s != "" && (err != nil || host == "" || port == "" || strings.ContainsAny(s, "/@")) {
		return errors.New("use host:port, such as 127.0.0.1:6379")
	}
	*v = addressValue(s)
	return nil
}
