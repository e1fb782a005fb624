package testserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var errNoPostgres = errors.New("PostgreSQL is missing: apt-get install postgresql, or set ERRAND_TEST_POSTGRES")

// Postgres is a PostgreSQL cluster of its own. Its files are in Dir, with the server's output in Dir/log; it
// listens on Port of 127.0.0.1.
type Postgres struct {
	*server
	options PostgresOptions
	bin     string // directory of PostgreSQL's programs
}

// PostgresOptions are the options of [StartPostgres].
type PostgresOptions struct {
	// Fsync makes what was committed survive a loss of power, which no test can see. Without it the
	// tests are faster; a SIGKILL of PostgreSQL loses nothing either way.
	Fsync bool

	// Settings are further settings for postgresql.conf: name and value, without quotes.
	Settings map[string]string

	// Port of 127.0.0.1. Default: a free one.
	Port int
}

// StartPostgres makes a cluster and starts it. Its only user is postgres, who needs no password. Programs are
// those on PATH, or else the newest below /usr/lib/postgresql; called by root, they
// run as the user postgres. The context is for the start only. Opts may be nil.
func StartPostgres(ctx context.Context, opts *PostgresOptions) (*Postgres, error) {
	p, err := newPostgres(opts)
	if err != nil {
		return nil, err
	}
	err = p.run(ctx, "initdb", "-D", p.data(), "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8")
	if err == nil {
		err = p.configure()
	}
	if err == nil {
		err = p.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func newPostgres(opts *PostgresOptions) (*Postgres, error) {
	p := &Postgres{}
	if opts != nil {
		p.options = *opts
	}
	var err error
	if p.bin, err = postgresBin(); err != nil {
		return nil, err
	}
	account, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	if p.server, err = newServer("PostgreSQL", p.options.Port, account); err != nil {
		return nil, err
	}
	p.command = []string{p.program("postgres"), "-D", p.data()}
	p.orphan = syscall.SIGQUIT // "immediate": it takes its children and its shared memory along
	p.ready, p.tidy = p.accepts, p.removePID
	return p, nil
}

// postgresBin returns the directory of PostgreSQL's programs, of which Debian has only those for clients on PATH.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	newest, bin := 0, ""
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	for _, path := range paths {
		dir := filepath.Dir(path)
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && v > newest {
			newest, bin = v, dir
		}
	}
	if bin == "" {
		return "", errNoPostgres
	}
	return bin, nil
}

func (p *Postgres) program(name string) string {
	return filepath.Join(p.bin, name)
}

// run runs one of PostgreSQL's programs to its end, as the user of the server.
func (p *Postgres) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, p.program(name), args...)
	cmd.Dir = p.Dir
	cmd.SysProcAttr = sysProcAttr(p.account, 0)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s: %w\n%s", name, err, out)
}

func (p *Postgres) data() string {
	return filepath.Join(p.Dir, "data")
}

// configure appends to postgresql.conf, in which the last line wins.
func (p *Postgres) configure() error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(p.Port),
		"unix_socket_directories": "", // their paths could be too long
		"max_connections":         "300",
	}
	if !p.options.Fsync {
		settings["fsync"], settings["full_page_writes"] = "off", "off"
	}
	maps.Copy(settings, p.options.Settings)
	f, err := os.OpenFile(filepath.Join(p.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if _, err := fmt.Fprintf(f, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''")); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}

// accepts reads the state that the server notes in its PID file.
func (p *Postgres) accepts(pid int) bool {
	data, err := os.ReadFile(p.pidFile())
	lines := strings.Split(string(data), "\n")
	return err == nil && len(lines) >= 8 && lines[0] == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

func (p *Postgres) pidFile() string {
	return filepath.Join(p.data(), "postmaster.pid")
}

// removePID removes a stale PID file: by now the PID may be that of another process, for which PostgreSQL would not start.
func (p *Postgres) removePID() {
	_ = os.Remove(p.pidFile())
}

// Stop stops the server and returns when all its processes are gone. The mode is "fast", which ends
// connections and leaves a clean state, or "immediate", which is like a crash. If it does not run, Stop does nothing.
func (p *Postgres) Stop(mode string) error {
	sig, ok := map[string]syscall.Signal{"fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}[mode]
	if !ok {
		return fmt.Errorf("stop PostgreSQL: unknown mode %q", mode)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end(sig, stopTimeout)
}

// Close stops the server and removes its directory. A second call does nothing.
func (p *Postgres) Close() error {
	if _, err := os.Stat(p.pidFile()); err == nil && !p.Running() {
		// It was killed. Only PostgreSQL itself finds the shared memory that is left, when it starts.
		ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		_ = p.start(ctx)
	}
	return errors.Join(p.Stop("immediate"), p.server.Close())
}

// URL returns the connection string of a database of the cluster; "postgres" is always there.
func (p *Postgres) URL(database string) string {
	return postgresURL(p.address(), database)
}

func postgresURL(host, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: host, Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// CreateDatabase creates an empty database.
func (p *Postgres) CreateDatabase(name string) error {
	_, err := p.SQL("postgres", "create database "+quote(name))
	return err
}

// SQL runs statements in a database and returns the rows of the last one: a line each, columns separated by |.
func (p *Postgres) SQL(database, statements string) (string, error) {
	return psql(p.program("psql"), p.URL(database), statements)
}

func psql(program, url, statements string) (string, error) {
	cmd := exec.Command(program, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statements)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("psql: %w\n%s", err, errs.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

func quote(identifier string) string {
	return `"` + strings.ReplaceAll(identifier, `"`, `""`) + `"`
}

// Standby makes a copy of p and starts it as a hot standby. It returns when WAL is streamed to it. What p commits
// arrives a moment later, unless p's setting synchronous_standby_names is changed. Opts may be nil, for those of p on another port.
func (p *Postgres) Standby(ctx context.Context, opts *PostgresOptions) (*Postgres, error) {
	if opts == nil {
		opts = &PostgresOptions{Fsync: p.options.Fsync, Settings: p.options.Settings}
	}
	s, err := newPostgres(opts)
	if err != nil {
		return nil, err
	}
	err = s.run(ctx, "pg_basebackup", "-D", s.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", p.URL(""))
	if err == nil {
		err = s.configure()
	}
	if err == nil {
		err = s.start(ctx)
	}
	if err == nil {
		err = s.waitStreaming(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (p *Postgres) waitStreaming(ctx context.Context) error {
	for {
		status, err := p.SQL("postgres", "select status from pg_stat_wal_receiver")
		if err != nil || status == "streaming" {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("standby: not streaming: %w\n%s", ctx.Err(), p.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Promote ends a standby's recovery: from now on it is a server of its own. It returns when it accepts writes.
func (p *Postgres) Promote() error {
	done, err := p.SQL("postgres", "select pg_promote(true, 60)")
	if err == nil && done != "t" {
		err = errors.New("promote: the standby is not ready after 60 s")
	}
	return err
}
