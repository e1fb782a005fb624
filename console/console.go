// Package console is the web page of package server: a page for operators, to see and control jobs.
//
//	api, err := server.New(engine, &server.Config{Console: console.Page()})
//
// serves it at the root. It finds its server by the address that it is loaded from, so that it can be mounted under any prefix of another program, behind
// that program's own authentication:
//
//	mux.Handle("/admin/jobs/", http.StripPrefix("/admin/jobs", api))
//	web.RegisterOnShutdown(api.Stop)
//
// The source is in src; npm run build makes dist, which is committed.
package console

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// Page returns the files of the page, for [server.Config].Console.
func Page() fs.FS {
	page, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // it is embedded
	}
	return page
}
