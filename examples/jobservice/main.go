// Command jobservice is an API server and a worker that are deployed and scaled independently. The server
// takes jobs, the workers draw a picture for each; PostgreSQL keeps both.
//
//	jobservice serve
//	jobservice worker
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/postgres"
	"github.com/errandhq/errand/redis"
	"github.com/jackc/pgx/v5/pgxpool"
)

// app is what both commands share.
type app struct {
	settings
	db    *pgxpool.Pool
	store errand.Store
	jobs  *errand.Engine
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "jobservice:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	commands := map[string]func(*app, context.Context) error{"serve": (*app).serve, "worker": (*app).worker}
	if len(args) != 1 || commands[args[0]] == nil {
		return errors.New("use: jobservice serve, or: jobservice worker")
	}
	s, err := readSettings()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	a, err := open(ctx, s)
	if err != nil {
		return err
	}
	return errors.Join(commands[args[0]](a, ctx), a.close())
}

// open connects to the database and makes the tables that are missing.
func open(ctx context.Context, s settings) (*app, error) {
	a := &app{settings: s}
	var err error
	if a.db, err = openDatabase(ctx, s.sql.String()); err != nil {
		return nil, err
	}
	if a.store, err = openStore(ctx, s); err != nil {
		a.db.Close()
		return nil, err
	}
	a.jobs = errand.New(a.store, &errand.Config{
		Queues:   map[string]int{"default": s.concurrency},
		Prefetch: s.prefetch,
		Lease:    s.lease,
	})
	picture.Do(a.jobs, a.draw)
	return a, nil
}

// openStore opens the store of errand's jobs, with a Redis in front of it if there is one.
func openStore(ctx context.Context, s settings) (errand.Store, error) {
	var options postgres.Options
	if s.redis != "" {
		dispatcher, err := redis.Open(s.redis, &redis.Options{Password: s.redisPassword, Prefix: "jobservice"})
		if err != nil {
			return nil, err
		}
		options.Dispatcher = dispatcher
	}
	return postgres.Open(ctx, s.sql.String(), &options)
}

func (a *app) close() error {
	a.db.Close()
	return a.store.Close()
}

// serve serves the API until ctx ends. Then it stops accepting and finishes open requests.
func (a *app) serve(ctx context.Context) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(a.host, strconv.Itoa(a.port)))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           a.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	slog.Info("listening", "url", "http://"+listener.Addr().String())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	slog.Info("stopping")
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(patience)
}
