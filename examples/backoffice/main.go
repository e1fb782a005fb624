// Command backoffice is a service with long jobs that can be paused, resumed and terminated by
// a request: imports of CSV files and exports by date. A job goes on from the row where it
// was after a pause, a restart and a kill -9, on any process with the same data directory,
// and no row is ever done twice.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/console"
	"github.com/errandhq/errand/server"
	"github.com/errandhq/errand/sqlite"
	"github.com/joho/godotenv"
)

// settings come from flags, the environment and a .env file, in this order of precedence.
type settings struct {
	addr   string
	data   string
	demo   string        // a CSV file to import at the first start
	public bool          // listen on an address that others can reach
	delay  time.Duration // the work of one row
	user   string        // begins the id of each job
}

// app is the service.
type app struct {
	settings
	jobs     *errand.Engine
	db       *database
	uploads  *os.Root
	exports  *os.Root
	console  *server.Server
	patience time.Duration // how long a worker may take to obey
	close    []func() error
}

func main() {
	s, err := readSettings()
	if err == nil {
		err = serve(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "backoffice:", err)
		os.Exit(1)
	}
}

func readSettings() (settings, error) {
	if err := godotenv.Load(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return settings{}, fmt.Errorf(".env: %w", err)
	}
	var s settings
	flag.StringVar(&s.addr, "addr", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8081"), "address to listen on (environment: ADDR)")
	flag.StringVar(&s.data, "data", cmp.Or(os.Getenv("DATA"), "data-dir"), "directory of the databases and files (environment: DATA)")
	flag.StringVar(&s.demo, "demo", "", "CSV file to import if nothing has been imported yet")
	flag.BoolVar(&s.public, "public", false, "allow an address that other machines can reach: there is no login")
	flag.Parse()
	var err error
	if s.delay, err = time.ParseDuration(cmp.Or(os.Getenv("ROW_DELAY"), "20ms")); err != nil || s.delay < 0 {
		return s, fmt.Errorf("ROW_DELAY=%s: use a duration such as 20ms or 1s", os.Getenv("ROW_DELAY"))
	}
	s.user = cmp.Or(os.Getenv("USER_NAME"), "Jon-Doe")
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`).MatchString(s.user) {
		return s, fmt.Errorf("USER_NAME=%s: use up to 64 letters, digits, - and _", s.user)
	}
	if !s.public && !isLoopback(s.addr) {
		return s, fmt.Errorf("address %s can be reached by other machines, and there is no login: use 127.0.0.1, or insist with -public", s.addr)
	}
	return s, nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// open opens the databases and directories, and makes those that are missing.
func open(s settings) (a *app, err error) {
	a = &app{settings: s, patience: 5 * time.Second}
	defer func() {
		if err != nil {
			_ = a.shut()
		}
	}()
	for dir, root := range map[string]**os.Root{"uploads": &a.uploads, "exports": &a.exports} {
		path := filepath.Join(s.data, dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
		if *root, err = os.OpenRoot(path); err != nil {
			return nil, err
		}
		a.close = append(a.close, (*root).Close)
	}
	if a.db, err = openDatabase(filepath.Join(s.data, "backoffice.db")); err != nil {
		return nil, err
	}
	a.close = append(a.close, a.db.Close)
	store, err := sqlite.Open(filepath.Join(s.data, "errand.db"), nil)
	if err != nil {
		return nil, err
	}
	a.close = append(a.close, store.Close)
	a.jobs = errand.New(store, &errand.Config{
		Lease:         4 * time.Second, // after a kill -9 the work goes on within five
		ShutdownGrace: -1,              // imports take long: at shutdown they stop at once, and go on later
	})
	a.handle()
	a.console, err = server.New(a.jobs, &server.Config{Console: console.Page()})
	return a, err
}

func (a *app) shut() (err error) {
	for _, c := range a.close {
		err = errors.Join(err, c())
	}
	return err
}

// serve serves until SIGINT or SIGTERM. Then it stops accepting, finishes open requests, tells
// the running work to stop, and waits for it.
func serve(s settings) error {
	a, err := open(s)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return errors.Join(err, a.shut())
	}
	working, stopWork := context.WithCancel(context.Background())
	defer stopWork()
	worked := make(chan error, 1)
	go func() { worked <- a.jobs.Run(working) }()
	go a.sweep(working)
	web := a.server()
	web.RegisterOnShutdown(a.console.Stop)
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	slog.Info("listening", "url", "http://"+listener.Addr().String(), "data", s.data, "row delay", s.delay)
	signals, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err = a.demonstrate(listener.Addr().String()); err == nil {
		select {
		case <-signals.Done():
			stop() // a second signal kills
			slog.Info("stopping")
		case err = <-served:
		case err = <-worked:
			worked <- nil
		}
	}
	patience, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if e := web.Shutdown(patience); e != nil {
		_ = web.Close() // whoever is still uploading has had time
	}
	stopWork()
	return errors.Join(err, <-worked, a.shut())
}

func (a *app) server() *http.Server {
	return &http.Server{
		Handler:           a.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Minute, // an upload takes its time
		WriteTimeout:      10 * time.Minute,
		IdleTimeout:       time.Minute,
	}
}
