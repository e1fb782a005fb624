// Command webapp is a small web application with recurring and one-off jobs, as a web framework's jobs module has them.
//
//	GET /            counts the visit, and shows how many there were
//	POST /remind     writes a reminder in a minute
//	GET /@jobs       the status of the jobs; as JSON with Accept: application/json, and at /@jobs.json
//	POST /@jobs/run  runs the scheduled job of the form field "name" now
//
// The settings are in a file, see app.conf. The schedules, and what they have done, survive a restart: they are kept in -data.
package main

import (
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
	"sync"
	"syscall"
	"time"

	"github.com/errandhq/errand/sqlite"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "`address` to listen on")
	data := flag.String("data", "webapp-data", "`directory` of the jobs and of what they write")
	config := flag.String("config", "", "settings `file`; without one the settings are those of app.conf")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	if err := run(ctx, *addr, *data, *config); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. Then it finishes open requests, and gives running jobs some seconds to end.
func run(ctx context.Context, addr, data, config string) error {
	settings, err := readSettings(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr) // before anything is done that a second copy should not do
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := os.MkdirAll(data, 0o750); err != nil {
		return err
	}
	store, err := sqlite.Open(filepath.Join(data, "jobs.db"), nil)
	if err != nil {
		return err
	}
	defer store.Close()
	jobs := newJobs(store, settings)
	app := newApp(jobs, data)
	if err := jobs.start(ctx, app.onStart); err != nil {
		return err
	}
	mux := http.NewServeMux()
	app.routes(mux)
	(&page{jobs: jobs, settings: settings}).routes(mux)
	server := &http.Server{
		Handler:           http.NewCrossOriginProtection().Handler(mux), // what changes something is not to be asked for by other sites
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var served, worked error
	wg.Go(func() { defer cancel(); served = server.Serve(listener) })
	wg.Go(func() { defer cancel(); worked = jobs.run(ctx) })
	slog.Info("listening", "url", "http://"+listener.Addr().String(), "data", data)
	<-ctx.Done()
	patience, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	err = server.Shutdown(patience)
	wg.Wait()
	if errors.Is(served, http.ErrServerClosed) {
		served = nil
	}
	return errors.Join(err, served, worked)
}
