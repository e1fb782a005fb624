package main

import (
	"strings"
	"testing"
)

func TestScrubDatabase(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://host/db":                                     "postgres://host/db",
		"postgres://me@host/db":                                  "postgres://me@host/db",
		"postgres://me:s3cret@host:5433/db":                      "postgres://me:…@host:5433/db",
		"postgresql://me:s3cret@[::1]/db":                        "postgresql://me:…@[::1]/db",
		"postgres://me:s3cret@a:1,b:2/db?x=y":                    "postgres://me:…@a:1,b:2/db?x=y",
		"postgres://me:@host/db":                                 "postgres://me:…@host/db",
		"postgres://me:p@s3cret@host/db":                         "postgres://me:…@host/db",
		"postgres://host/db?sslmode=disable&password=s3cret&a=b": "postgres://host/db?sslmode=disable&password=…&a=b",
		"postgres://host/db?p%61ssword=s3cret":                   "postgres://host/db?p%61ssword=…",
		"postgres://host/db?sslpassword=s3cret":                  "postgres://host/db?sslpassword=…",
		"postgres://me:a#s3cret@host/db":                         "postgres://…",
		"postgres://me:1/s3cret@host/db":                         "postgres://…",
		"postgres://me:1?s3cret@host/db":                         "postgres://…",
		"postgres://me:1#s3cret@host/db":                         "postgres://…",
		"postgres://me:%s3cret@host/db":                          "postgres://…",
		"http://me:s3cret@host/db":                               "http://me:…@host/db",
		"host=db user=me password=s3cret dbname=x":               "host=db user=me password=… dbname=x",
		`host=db password = 's3cret s3cret\' s3cret' dbname=x`:   "host=db password = … dbname=x",
		`password=s3cret\ s3cret dbname=x`:                       "password=… dbname=x",
		"PASSWORD='s3cret":                                       "PASSWORD=…",
		"sslpassword=s3cret":                                     "sslpassword=…",
		"s3cret":                                                 "…",
		"":                                                       "",
	} {
		if got := scrubDatabase(text); got != want || strings.Contains(got, "s3cret") {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}

func TestStoreSettings(t *testing.T) {
	inDir(t, map[string]string{
		".env":        "ERRAND_DATABASE_SCHEMA=jobs\nERRAND_NO_MIGRATE=true\nERRAND_API_ONLY=1\n",
		"errand.toml": "database = \"host=db password=s3cret\"\ndatabase_connections = 20\nredis_password = \"s3cret\"\ndata = \"x.db\"\n",
	})
	t.Setenv("ERRAND_DATABASE", "postgres://me:s3cret@db/jobs")
	t.Setenv("ERRAND_DATABASE_POOLER", "true")
	s, err := load()
	if err != nil {
		t.Fatal(err)
	}
	o := s.postgresOptions(nil)
	if s.Database != "postgres://me:s3cret@db/jobs" || o.Schema != "jobs" || o.MaxConns != 20 || !o.Pooler || !o.NoMigrate || !s.APIOnly {
		t.Errorf("settings are %+v", s)
	}
	if s.place() != "postgres://me:…@db/jobs, schema jobs" {
		t.Errorf("the place is %s", s.place())
	}
	got := map[string]string{}
	for _, l := range s.lines() {
		got[l.Key] = l.Value + " from " + l.Source
	}
	for key, want := range map[string]string{
		"database":             "postgres://me:…@db/jobs from environment ERRAND_DATABASE",
		"database_schema":      "jobs from .env ERRAND_DATABASE_SCHEMA",
		"database_connections": "20 from errand.toml:2",
		"database_pooler":      "true from environment ERRAND_DATABASE_POOLER",
		"no_migrate":           "true from .env ERRAND_NO_MIGRATE",
		"api_only":             "true from .env ERRAND_API_ONLY",
		"redis_password":       "(secret) from errand.toml:3",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if err := s.checkStore(); err != nil || len(s.warnings) != 1 || !strings.Contains(s.warnings[0], "data is not used, because database is set") {
		t.Errorf("%v, warnings %q", err, s.warnings)
	}
}

func TestStoreSettingsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no URL":      {[]string{"--database", "s3cret"}, `flag --database: database = "…": use postgres://`},
		"other URL":   {[]string{"--database", "mysql://me:s3cret@db/x"}, `flag --database: database = "mysql://me:…@db/x": use postgres://`},
		"connections": {[]string{"--database-connections", "0"}, "use a whole number from 1 to 1000"},
		"Redis":       {[]string{"--redis", "redis://me:x@db"}, "use host:port"},
		"Redis alone": {[]string{"--redis", "db:6379"}, "flag --redis: redis needs database too"},
	} {
		t.Run(name, func(t *testing.T) {
			inDir(t, nil)
			s, err := load(c.args...)
			if err == nil {
				err = s.checkStore()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") || exitCode(err) != exitUsage && !strings.HasPrefix(err.Error(), "invalid argument") {
				t.Errorf("error %v\nwant …%s…", err, c.want)
			}
		})
	}
}

// TestStoreSettingsOfFile: what means nothing for a file is said, not ignored.
func TestStoreSettingsOfFile(t *testing.T) {
	inDir(t, nil)
	s, err := load("--no-migrate", "--database-schema", "x", "--database", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.checkStore(); err != nil || len(s.warnings) != 2 || s.warnings[0] != "flag --database-schema: database_schema means nothing for an SQLite file" {
		t.Errorf("%v, warnings %q", err, s.warnings)
	}
}
