package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
	"github.com/errandhq/errand/sqlite"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the API and workers in one process, on SQLite",
		Long: `Serve runs the HTTP API and the workers in one process, and keeps the jobs in one SQLite file.

The kinds of jobs that it can run are the [command.NAME] tables of its settings file:

  [command.backup]
  argv = ["sh", "-c", 'tar czf "$ERRAND_ARG_TARGET.tgz" "$ERRAND_ARG_TARGET"']
  timeout = "1h"         # also: env, pass_env, dir, stdin = "args", queue, priority, concurrency,
  max_attempts = 3       # retry_delay, retry_limit, snooze, grace, permanent_exit_codes

A command gets its job's args as variables ERRAND_ARG_NAME and, whole, ERRAND_ARGS (JSON); further
ERRAND_JOB_ID, ERRAND_KIND, ERRAND_QUEUE, ERRAND_ATTEMPT, ERRAND_MAX_ATTEMPTS, ERRAND_FENCING_TOKEN and
ERRAND_CHECKPOINT. What it prints becomes the job's log. These lines on stdout do more:

  ::progress 3/10 text       (or 30% text, or 3 text)
  ::result {"any": "json"}
  ::checkpoint {"row": 42}   given to the next run as ERRAND_CHECKPOINT

Pausing its job stops it with SIGSTOP, resuming lets it go on; cancel, timeout and shutdown send
SIGTERM and, after its grace, SIGKILL; terminate sends SIGKILL: to all its processes each time. What it leaves
running when it exits is killed. See "errand help exit-codes" for what its exit code means.

SIGINT and SIGTERM shut down in order; a second one ends the server at once.`,
		Example: `  errand serve
  errand serve --listen 127.0.0.1:0 --data /var/lib/errand/ --config /etc/errand.toml
  ERRAND_QUEUES=default=10,media=2 errand serve`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			return serve(cmd, s)
		},
	}
	addSettings(cmd.Flags(), serverSide)
	return cmd
}

// serve runs the server until the command's context ends.
func serve(cmd *cobra.Command, s *settings) error {
	log := newLogger(s)
	for _, w := range s.warnings {
		log.Warn(w)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Commands)) {
		if missing := s.Commands[name].missing(); missing != "" {
			log.Warn("the program of a command is not there yet", "command", name, "error", missing)
		}
	}
	hasAuth := len(s.Users)+len(s.Tokens) > 0
	if err := server.CheckListen(s.Listen, hasAuth, s.InsecureListen); err != nil {
		return &usageError{fmt.Errorf("%w\n(see \"errand token\" for a [token.NAME] or [user.NAME] in the settings; --insecure-listen insists)", err)}
	}
	path, err := s.dataFile()
	if err != nil {
		return err
	}
	store, err := sqlite.Open(path, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	x := newExecutor(s.MaxParked, log)
	engine := errand.New(store, engineConfig(s, x, log))
	x.register(engine, s.Commands)
	api, err := server.New(engine, serverConfig(s, log))
	if err != nil {
		return &usageError{err}
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("%w (choose another address with --listen; port 0 takes a free one)", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "errand %s listens on http://%s, keeps its jobs in %s\n", version(), listener.Addr(), path)
	if !hasAuth {
		log.Warn("no authentication: whoever reaches this address may do everything", "listen", listener.Addr().String())
	}
	return serveUntil(cmd.Context(), listener, engine, api, x, log)
}

// serveUntil works and answers until ctx ends, and then shuts down in order.
func serveUntil(ctx context.Context, listener net.Listener, engine *errand.Engine, api *server.Server, x *executor, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { log.Info("shutting down (a second signal ends it at once)") })()
	var (
		wg             sync.WaitGroup
		apiErr, engErr error
	)
	wg.Go(func() { apiErr = api.Serve(ctx, listener); cancel() })
	wg.Go(func() { engErr = engine.Run(ctx); cancel() })
	wg.Go(func() { x.watch(ctx) })
	wg.Wait()
	x.close()
	if err := errors.Join(apiErr, engErr); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// insist has a second signal end the program at once, with the exit code of that signal. What
// commands run ends with it, see supervise.
func insist(ctx context.Context) {
	<-ctx.Done()
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	<-again
	os.Exit(exitInterrupted)
}

func engineConfig(s *settings, x *executor, log *slog.Logger) *errand.Config {
	stop := 5 * time.Second
	for _, c := range s.Commands { // a command's grace must end before the engine abandons its run
		stop = max(stop, c.Grace.d+2*time.Second)
	}
	grace := s.ShutdownGrace
	if grace == 0 {
		grace = -1 // none
	}
	return &errand.Config{
		Queues: s.Queues, Concurrency: s.Concurrency, Prefetch: s.Prefetch,
		Lease: s.Lease, Poll: s.Poll, ShutdownGrace: grace, StopGrace: stop,
		Retention: s.Retention, Observer: x, Log: log, Version: version(),
	}
}

func serverConfig(s *settings, log *slog.Logger) *server.Config {
	c := &server.Config{Hosts: s.AllowedHosts, Origins: s.AllowedOrigins, Log: log}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		u := s.Users[name]
		c.Users = append(c.Users, server.User{Name: name, Hash: u.PasswordHash, Role: u.Role})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tokens)) {
		t := s.Tokens[name]
		c.Tokens = append(c.Tokens, server.Token{Name: name, Hash: t.Hash, Role: t.Role})
	}
	return c
}

func newLogger(s *settings) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
