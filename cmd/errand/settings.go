package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/joho/godotenv"
	"github.com/spf13/pflag"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// settings are everything that can be set, with the place where each value came from.
type settings struct {
	Listen         string
	InsecureListen bool
	APIOnly        bool
	ReadOnly       bool
	NoConsole      bool
	Data           string
	Database       string
	Schema         string
	Connections    int
	Pooler         bool
	NoMigrate      bool
	Redis          string
	RedisPassword  string
	Lease          time.Duration
	Poll           time.Duration
	ShutdownGrace  time.Duration
	Concurrency    int
	Queues         map[string]int
	Prefetch       int
	MaxParked      int
	Retention      errand.Retention
	LogLevel       slog.Level
	LogFormat      string
	AllowedHosts   []string
	AllowedOrigins []string

	Server   string
	Token    string
	User     string
	Password string

	Users     map[string]account
	Tokens    map[string]account
	Commands  map[string]*commandSettings
	Cron      map[string]string // specs by name
	Schedules map[string]*scheduleSettings

	sources  map[string]string // by key; none means the default
	warnings []string
}

// account is a [user.NAME] or a [token.NAME].
type account struct {
	PasswordHash string      `toml:"password_hash"`
	Hash         string      `toml:"hash"`
	Role         server.Role `toml:"role"`
}

// side says for which commands a setting is meant.
type side int

const (
	apiSide    side = iota // who serves the HTTP API
	storeSide              // who opens the store
	engineSide             // who enqueues jobs, or works on them
	workSide               // who works on jobs
	clientSide             // who talks to a server
)

// setting is one value that flags, the environment and files can set.
type setting struct {
	key    string // in the TOML file; a dot separates a table from a key in it
	side   side
	preset string // the default
	secret bool   // never shown
	usage  string
	value  func(*settings) pflag.Value
}

// flag is the setting's flag, without dashes.
func (s *setting) flag() string {
	return strings.NewReplacer("client.", "", ".", "-", "_", "-").Replace(s.key)
}

// env is the setting's environment variable.
func (s *setting) env() string {
	return "ERRAND_" + strings.ToUpper(strings.ReplaceAll(s.flag(), "-", "_"))
}

// shown is a text of the setting, wrong ones included, without secrets.
func (s *setting) shown(text string) string {
	_, isDatabase := s.value(&settings{}).(*databaseValue)
	switch {
	case text == "":
	case s.secret:
		return "…"
	case isDatabase:
		return scrubDatabase(text)
	}
	return text
}

// allSettings lists the settings in the order in which errand config prints them.
var allSettings = []setting{
	{"listen", apiSide, "127.0.0.1:8642", false, "address to listen on; port 0 takes a free one", func(s *settings) pflag.Value { return (*textValue)(&s.Listen) }},
	{"insecure_listen", apiSide, "false", false, "listen on other than loopback addresses without authentication", func(s *settings) pflag.Value { return (*boolValue)(&s.InsecureListen) }},
	{"allowed_hosts", apiSide, "", false, "names by which browsers may address the server, besides localhost", func(s *settings) pflag.Value { return (*listValue)(&s.AllowedHosts) }},
	{"allowed_origins", apiSide, "", false, "origins (https://host:port) whose pages may use the API, besides its own", func(s *settings) pflag.Value { return (*listValue)(&s.AllowedOrigins) }},
	{"read_only", apiSide, "false", false, "refuse what would change anything, whoever asks", func(s *settings) pflag.Value { return (*boolValue)(&s.ReadOnly) }},
	{"no_console", apiSide, "false", false, "do not serve the console, the page for operators", func(s *settings) pflag.Value { return (*boolValue)(&s.NoConsole) }},
	{"api_only", apiSide, "false", false, "serve the API without workers: errand worker is for these", func(s *settings) pflag.Value { return (*boolValue)(&s.APIOnly) }},
	{"data", storeSide, "errand.db", false, "SQLite file that keeps the jobs, or a directory for it; unless database is set", func(s *settings) pflag.Value { return (*textValue)(&s.Data) }},
	{"database", storeSide, "", false, "PostgreSQL that keeps the jobs: postgres://user@host/name or key=value pairs (with a password rather set ERRAND_DATABASE)", func(s *settings) pflag.Value { return (*databaseValue)(&s.Database) }},
	{"database_schema", storeSide, "errand", false, "schema of the database that holds the tables", func(s *settings) pflag.Value { return (*textValue)(&s.Schema) }},
	{"database_connections", storeSide, "10", false, "connections for enqueues, reads and verbs; up to 5 more are for work and hints", func(s *settings) pflag.Value { return &intValue{&s.Connections, 1, 1000} }},
	{"database_pooler", storeSide, "false", false, "there is a pooler in transaction mode before the database", func(s *settings) pflag.Value { return (*boolValue)(&s.Pooler) }},
	{"no_migrate", engineSide, "false", false, "fail at the start if the database needs errand migrate, rather than migrate it", func(s *settings) pflag.Value { return (*boolValue)(&s.NoMigrate) }},
	{"redis", storeSide, "", false, "Redis that hands out jobs in front of the database, for many idle workers", func(s *settings) pflag.Value { return (*addressValue)(&s.Redis) }},
	{"redis_password", storeSide, "", true, "password of Redis (rather set ERRAND_REDIS_PASSWORD)", func(s *settings) pflag.Value { return (*textValue)(&s.RedisPassword) }},
	{"concurrency", workSide, "100", false, "jobs of one queue that run at once, of each queue there is", func(s *settings) pflag.Value { return &intValue{&s.Concurrency, 1, 10_000} }},
	{"queues", workSide, "", false, "work on these queues only, each with its concurrency: default=10,media=2", func(s *settings) pflag.Value { return (*queuesValue)(&s.Queues) }},
	{"prefetch", workSide, "0", false, "jobs claimed ahead of free slots; 0: by itself, -1: none", func(s *settings) pflag.Value { return &intValue{&s.Prefetch, -1, 1000} }},
	{"max_parked", workSide, "64", false, "stopped processes kept for paused jobs; beyond it a paused command is ended", func(s *settings) pflag.Value { return &intValue{&s.MaxParked, 0, 10_000} }},
	{"lease", workSide, "30s", false, "how long a worker may be silent before others take its jobs", func(s *settings) pflag.Value { return &durationValue{&s.Lease, time.Second, time.Hour} }},
	{"poll", workSide, "1s", false, "how often to look for work when nothing hints at any", func(s *settings) pflag.Value { return &durationValue{&s.Poll, 10 * time.Millisecond, time.Hour} }},
	{"shutdown_grace", workSide, "5s", false, "how long running jobs may go on at shutdown before they are interrupted", func(s *settings) pflag.Value { return &durationValue{&s.ShutdownGrace, 0, 24 * time.Hour} }},
	{"retention.succeeded", engineSide, "24h", false, "how long succeeded jobs are kept, or forever", func(s *settings) pflag.Value { return &keepValue{&s.Retention.Succeeded} }},
	{"retention.failed", engineSide, "30d", false, "how long failed jobs are kept, or forever", func(s *settings) pflag.Value { return &keepValue{&s.Retention.Failed} }},
	{"retention.cancelled", engineSide, "7d", false, "how long cancelled jobs are kept, or forever", func(s *settings) pflag.Value { return &keepValue{&s.Retention.Cancelled} }},
	{"log.level", engineSide, "info", false, "debug, info, warn or error", func(s *settings) pflag.Value { return (*levelValue)(&s.LogLevel) }},
	{"log.format", engineSide, "text", false, "text or json", func(s *settings) pflag.Value { return &choiceValue{&s.LogFormat, []string{"text", "json"}} }},
	{"client.server", clientSide, "http://127.0.0.1:8642", false, "address of the server to talk to", func(s *settings) pflag.Value { return (*urlValue)(&s.Server) }},
	{"client.token", clientSide, "", true, "bearer token (rather set ERRAND_TOKEN: a flag shows in process lists)", func(s *settings) pflag.Value { return (*textValue)(&s.Token) }},
	{"client.user", clientSide, "", false, "name for Basic authentication", func(s *settings) pflag.Value { return (*textValue)(&s.User) }},
	{"client.password", clientSide, "", true, "password for Basic authentication (rather set ERRAND_PASSWORD)", func(s *settings) pflag.Value { return (*textValue)(&s.Password) }},
}

// configFile is the TOML file that is read if it is there.
const configFile = "errand.toml"

// addSettings adds a flag for each setting of some sides, and --config.
func addSettings(flags *pflag.FlagSet, sides ...side) {
	for i := range allSettings {
		s := &allSettings[i]
		if !slices.Contains(sides, s.side) {
			continue
		}
		usage := fmt.Sprintf("%s [%s", s.usage, s.env())
		if s.preset != "" {
			usage += ", default " + s.preset
		}
		f := &flagValue{setting: s, Value: s.value(&settings{})}
		flags.Var(f, s.flag(), usage+"]")
		if f.Type() == "bool" {
			flags.Lookup(s.flag()).NoOptDefVal = "true"
		}
	}
	flags.String("config", "", "settings `FILE` [ERRAND_CONFIG, default "+configFile+" if it is there]")
}

// flagValue keeps a flag's text; it is given to the settings after the weaker sources.
type flagValue struct {
	pflag.Value
	setting *setting
	text    string
}

func (f *flagValue) String() string { return f.text }

// Set checks the text, unless it may hold a secret: the error would show it. It is checked when it is given to the settings.
func (f *flagValue) Set(s string) error {
	f.text = s
	if f.setting.shown(s) != s {
		return nil
	}
	return f.Value.Set(s)
}

// loadSettings reads all sources, the weakest first. Each overrides the ones before it.
func loadSettings(flags *pflag.FlagSet) (*settings, error) {
	s := &settings{sources: map[string]string{}}
	for i := range allSettings {
		if def := allSettings[i].preset; def != "" {
			if err := allSettings[i].value(s).Set(def); err != nil {
				return nil, fmt.Errorf("default of %s: %w", allSettings[i].key, err)
			}
		}
	}
	dotenv, err := readDotenv()
	if err != nil {
		return nil, err
	}
	if err := s.fromEnv(dotenv, ".env"); err != nil {
		return nil, err
	}
	if err := s.fromFile(configPath(flags, dotenv)); err != nil {
		return nil, err
	}
	if err := s.fromEnv(environment(), "environment"); err != nil {
		return nil, err
	}
	for i := range allSettings {
		d := &allSettings[i]
		if f := flags.Lookup(d.flag()); f != nil && f.Changed {
			if err := s.set(d, f.Value.String(), "flag --"+d.flag()); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// set sets one value and notes its source.
func (s *settings) set(d *setting, text, source string) error {
	if err := d.value(s).Set(text); err != nil {
		return &usageError{fmt.Errorf("%s: %s = %q: %w", source, d.key, d.shown(text), err)}
	}
	s.sources[d.key] = source
	return nil
}

// configPath says which settings file to read, and whether it must be there.
func configPath(flags *pflag.FlagSet, dotenv map[string]string) (path string, must bool) {
	if f := flags.Lookup("config"); f != nil && f.Changed {
		return f.Value.String(), true
	}
	for _, v := range []string{os.Getenv("ERRAND_CONFIG"), dotenv["ERRAND_CONFIG"]} {
		if v != "" {
			return v, true
		}
	}
	return configFile, false
}

func readDotenv() (map[string]string, error) {
	vars, err := godotenv.Read(".env")
	switch {
	case os.IsNotExist(err):
		return nil, nil
	case err != nil:
		return nil, &usageError{fmt.Errorf(".env: %w", err)}
	}
	return vars, nil
}

func environment() map[string]string {
	vars := map[string]string{}
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	return vars
}

// jobVars begin the names of variables that errand itself sets for commands.
var jobVars = []string{
	"ERRAND_ARG_", "ERRAND_ARGS", "ERRAND_ATTEMPT", "ERRAND_MAX_ATTEMPTS", "ERRAND_CHECKPOINT",
	"ERRAND_FENCING_TOKEN", "ERRAND_JOB_ID", "ERRAND_KIND", "ERRAND_NOMINAL", "ERRAND_QUEUE", "ERRAND_SCHEDULE", "ERRAND_CONFIG", "ERRAND_TEST_",
}

// fromEnv takes the settings among some variables. An empty one counts as not set. One that is
// misspelt cannot be told from another program's, so it is a warning.
func (s *settings) fromEnv(vars map[string]string, source string) error {
	known := map[string]bool{}
	for i := range allSettings {
		d := &allSettings[i]
		known[d.env()] = true
		if text := vars[d.env()]; text != "" {
			if err := s.set(d, text, source+" "+d.env()); err != nil {
				return err
			}
		}
	}
	var names []string
	for name := range vars {
		isJob := slices.ContainsFunc(jobVars, func(p string) bool { return name == p || strings.HasSuffix(p, "_") && strings.HasPrefix(name, p) })
		if strings.HasPrefix(name, "ERRAND_") && !known[name] && !isJob {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		s.warn("%s: %s is no setting%s", source, name, suggest(name, slices.Collect(maps.Keys(known))))
	}
	return nil
}

func (s *settings) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// dataPath is the path of the SQLite file: a directory means errand.db in it.
func (s *settings) dataPath() string {
	info, err := os.Stat(s.Data)
	if err == nil && info.IsDir() || strings.HasSuffix(s.Data, string(filepath.Separator)) {
		return filepath.Join(s.Data, "errand.db")
	}
	return s.Data
}

// dataFile is dataPath, in a directory that is made if it is not there.
func (s *settings) dataFile() (string, error) {
	path := s.dataPath()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if pe, ok := err.(*fs.PathError); ok {
		err = fmt.Errorf("data directory %s: %w", pe.Path, pe.Err)
	}
	return path, err
}
