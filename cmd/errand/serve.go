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
	"github.com/errandhq/errand/console"
	"github.com/errandhq/errand/server"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the API and the console, and workers in the same process unless --api-only",
		Long: `Serve runs the HTTP API, the console (a page for operators, at /) and the workers in one process, and keeps the jobs in one SQLite file, or in
PostgreSQL if --database says so. On PostgreSQL any number of servers and workers, on any machines, work
together; with --api-only this one leaves the jobs to them (see errand worker).

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

An --api-only server should have these tables too: a new job gets its queue, priority, timeout and
attempts from there.

Its settings file can also hold schedules, which make jobs of these or other kinds, and names for when:

  [cron]
  nightly = "0 3 * * *"
  [schedule.backup]
  spec = "cron.nightly"  # or a cron expression, "@every 90m", "@after 10m", "@reboot"
  zone = "Europe/Berlin"
  kind = "backup"
  args = { target = "/srv" }
  overlap = "skip"       # or queue_one, queue_all, cancel, allow: when the last job has not ended
  misfire = "once"       # or skip, catch_up: of times at which nobody was there
                         # also: start, end, jitter, grace, catch_up, window, queue, priority, max_attempts,
                         # max_crashes, timeout, retention, tags, metadata

They are registered at each start: what an operator has paused or edited since stays so, until the table says
something else. One that is taken out of the file goes on: see errand schedule delete. A command gets the schedule's name
as ERRAND_SCHEDULE, and the time that its job is for, whenever it runs, as ERRAND_NOMINAL.

SIGINT and SIGTERM shut down in order; a second one ends the server at once.`,
		Example: `  errand serve
  errand serve --listen 127.0.0.1:0 --data /var/lib/errand/ --config /etc/errand.toml
  ERRAND_DATABASE=postgres://errand:secret@db/errand errand serve --api-only
  ERRAND_QUEUES=default=10,media=2 errand serve`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := loadService(cmd)
			if err != nil {
				return err
			}
			return serve(cmd, s, log)
		},
	}
	addSettings(cmd.Flags(), apiSide, storeSide, engineSide, workSide)
	return cmd
}

func workerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run workers without an API",
		Long: `Worker runs the jobs that servers and other programs enqueue into the same store, and has no HTTP API.
Any number of workers on any machines share one PostgreSQL database (--database); those on one machine
can share a SQLite file. It also looks after jobs that other workers left behind.

The kinds of jobs that it can run are the [command.NAME] tables of its settings file, see errand serve --help. Give
the same file to the servers: a new job gets its queue, priority, timeout and attempts from there. The schedules of its [schedule.NAME]
tables are registered at start, by whichever process; each nominal time makes one job, however many processes there are.

SIGINT and SIGTERM shut down in order: jobs have --shutdown-grace to end, are interrupted then, and go on
elsewhere from their checkpoint. A second signal ends the worker at once.`,
		Example: `  ERRAND_DATABASE=postgres://errand:secret@db/errand errand worker
  errand worker --database 'postgres://errand@db1,db2/errand?target_session_attrs=read-write'
  errand worker --queues media=2 --shutdown-grace 1m --config /etc/errand.toml`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := loadService(cmd)
			if err != nil {
				return err
			}
			return work(cmd, s, log)
		},
	}
	addSettings(cmd.Flags(), storeSide, engineSide, workSide)
	return cmd
}

// loadService loads the settings of a process that is about to serve or work, and logs what is odd about them.
func loadService(cmd *cobra.Command) (*settings, *slog.Logger, error) {
	s, err := loadSettings(cmd.Flags())
	if err == nil {
		err = s.checkStore()
	}
	if err != nil {
		return nil, nil, err
	}
	log := newLogger(s)
	for _, w := range s.warnings {
		log.Warn(w)
	}
	return s, log, nil
}

// serve runs the API, and workers unless the settings say otherwise, until the command's context ends.
func serve(cmd *cobra.Command, s *settings, log *slog.Logger) error {
	hasAuth := len(s.Users)+len(s.Tokens) > 0
	if err := server.CheckListen(s.Listen, hasAuth, s.InsecureListen); err != nil {
		return &usageError{fmt.Errorf("%w\n(see \"errand token\" for a [token.NAME] or [user.NAME] in the settings; --insecure-listen insists)", err)}
	}
	store, err := openStore(cmd.Context(), s, log)
	if err != nil {
		return err
	}
	defer store.Close()
	n := newNode(store, s, log, !s.APIOnly)
	if err := n.register(cmd.Context(), s); err != nil {
		return err
	}
	api, err := server.New(n.engine, serverConfig(s, log))
	if err != nil {
		return &usageError{err}
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("%w (choose another address with --listen; port 0 takes a free one)", err)
	}
	role := ""
	if s.APIOnly {
		role = " (API only)"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "errand %s listens on http://%s, keeps its jobs in %s%s\n", version(), listener.Addr(), s.place(), role)
	if !hasAuth {
		log.Warn("no authentication: whoever reaches this address may do everything", "listen", listener.Addr().String())
	}
	return n.run(cmd.Context(), func(ctx context.Context) error { return api.Serve(ctx, listener) })
}

// work runs workers until the command's context ends.
func work(cmd *cobra.Command, s *settings, log *slog.Logger) error {
	store, err := openStore(cmd.Context(), s, log)
	if err != nil {
		return err
	}
	defer store.Close()
	n := newNode(store, s, log, true)
	if err := n.register(cmd.Context(), s); err != nil {
		return err
	}
	if len(s.Commands) == 0 {
		log.Warn("this worker can run no jobs, and only looks after those of others: there is no [command.NAME] in its settings")
	}
	fmt.Fprintf(cmd.OutOrStdout(), "errand %s works on the jobs in %s\n", version(), s.place())
	return n.run(cmd.Context())
}

// node is one process that enqueues jobs or works on them.
type node struct {
	engine *errand.Engine
	exec   *executor // nil: it does not work
	log    *slog.Logger
}

func newNode(store errand.Store, s *settings, log *slog.Logger, works bool) *node {
	n := &node{log: log}
	config := engineConfig(s, log)
	if !works {
		n.engine = errand.New(store, config)
		for name, c := range s.Commands {
			n.engine.Handle(name, errand.Handling{Options: c.options()})
		}
		return n
	}
	for _, name := range slices.Sorted(maps.Keys(s.Commands)) {
		if missing := s.Commands[name].missing(); missing != "" {
			log.Warn("the program of a command is not there yet", "command", name, "error", missing)
		}
	}
	n.exec = newExecutor(s.MaxParked, log)
	config.Observer = n.exec
	n.engine = errand.New(store, config)
	n.exec.register(n.engine, s.Commands)
	return n
}

// run works, if the node does, and runs the parts until ctx ends or one of them does, and then shuts down in order.
func (n *node) run(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { n.log.Info("shutting down (a second signal ends it at once)") })()
	if n.exec != nil {
		parts = append(parts, n.engine.Run, func(ctx context.Context) error { n.exec.watch(ctx); return nil })
	}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() { errs[i] = part(ctx); cancel() })
	}
	wg.Wait()
	if n.exec != nil {
		n.exec.close()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	n.log.Info("stopped")
	return nil
}

// insist has a second signal end the program at once, with the exit code of that signal. What
// commands run ends with it, see supervise.
func insist(ctx context.Context) {
	<-ctx.Done()
	time.Sleep(100 * time.Millisecond) // who signals a process and then its group, as timeout(1) does, means it once
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	<-again
	os.Exit(exitInterrupted)
}

func engineConfig(s *settings, log *slog.Logger) *errand.Config {
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
		Retention: s.Retention, Specs: s.Cron, Log: log, Version: version(),
	}
}

func serverConfig(s *settings, log *slog.Logger) *server.Config {
	c := &server.Config{Hosts: s.AllowedHosts, Origins: s.AllowedOrigins, ReadOnly: s.ReadOnly, Version: version(), Log: log}
	if !s.NoConsole {
		c.Console = console.Page()
	}
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
