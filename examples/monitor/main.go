// Command monitor shows jobs whose end nobody can foresee, watched by clients that come and go.
//
//	GET or POST /createJob   creates a job that takes up to six seconds, and answers its UUID as plain text
//	    ?serial=3            creates so many jobs, each of which starts when the one before has ended; a UUID a line
//	    ?after=UUID          the job (or the first of them) starts when that one has ended
//	/jobMonitor              a WebSocket: send UUIDs, one a message; each comes back when its job is complete
//	GET /                    a page that does all this
//
// Jobs and their ends survive a restart: they are kept in -data. A client that was away sends again the UUIDs that it still waits for.
// To a message that is no UUID of a job the answer is "unknown " and that text.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/sqlite"
)

//go:embed page
var ownPage embed.FS

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	data := flag.String("data", "monitor-data", "`directory` of the jobs")
	page := flag.String("page", "", "`directory` of another page to serve at /")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *data, *page); err != nil {
		log.Fatal("monitor: ", err)
	}
}

func run(ctx context.Context, addr, data, page string) error {
	if err := os.MkdirAll(data, 0o750); err != nil {
		return err
	}
	store, err := sqlite.Open(filepath.Join(data, "monitor.db"), nil)
	if err != nil {
		return err
	}
	defer store.Close()
	// A short lease: what a killed server was doing is taken up again within seconds.
	engine := errand.New(store, &errand.Config{Concurrency: 10_000, Lease: 3 * time.Second, ShutdownGrace: -1})
	remote.Do(engine, work)

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &monitor{engine: engine, life: ctx, page: files(page)}
	server := &http.Server{Handler: m.routes(), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() {
		stopping, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(stopping)
	})()
	var wg sync.WaitGroup
	var served, worked error
	wg.Go(func() { defer cancel(); served = server.Serve(listener) })
	wg.Go(func() { defer cancel(); worked = engine.Run(ctx) })
	fmt.Printf("monitor listens on http://%s, keeps its jobs in %s\n", listener.Addr(), data)
	wg.Wait()
	m.sockets.Wait()
	if errors.Is(served, http.ErrServerClosed) {
		served = nil
	}
	return errors.Join(served, worked)
}

// remote is a job of a remote service, of which nobody knows how long it takes.
var remote = errand.Define[Remote, errand.None]("remote", errand.Retain(30*24*time.Hour))

// Remote says how long the service will take.
type Remote struct {
	Millis int `json:"millis"`
}

// work waits for the service. When it is run again after a crash, the service has gone on meanwhile.
func work(ctx context.Context, r Remote) error {
	run := errand.Current(ctx)
	until, err := errand.Checkpoint[time.Time](run)
	if err != nil {
		return err
	}
	if until.IsZero() {
		until = time.Now().Add(time.Duration(r.Millis) * time.Millisecond)
		if err := run.Save(until); err != nil {
			return err
		}
	}
	select {
	case <-time.After(time.Until(until)):
		return nil
	case <-ctx.Done():
		return run.Stop(until)
	}
}

// files serves the files of a directory; by default those of this program's page.
func files(dir string) http.Handler {
	if dir != "" {
		return http.FileServer(http.Dir(dir))
	}
	own, err := fs.Sub(ownPage, "page")
	if err != nil {
		panic(err) // it is embedded
	}
	return http.FileServerFS(own)
}
