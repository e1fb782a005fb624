package server

import (
	"bytes"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// pagePolicy is what the console's page may do: nothing but run its own script and style, and talk to this server.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// registerConsole serves the files of the console at the root, to anybody: what the page shows it asks the API for.
func (s *Server) registerConsole() {
	if s.config.Console == nil {
		return
	}
	s.routes.HandleFunc("GET /{path...}", s.consoleFile)
}

func (s *Server) consoleFile(rw http.ResponseWriter, r *http.Request) {
	name := r.PathValue("path")
	if name == "" {
		name = "index.html"
	}
	text, err := fs.ReadFile(s.config.Console, name)
	if err != nil || name != path.Clean(name) {
		problem(http.StatusNotFound, "there is nothing at this path; "+Prefix+"/openapi.json lists what there is").write(rw)
		return
	}
	h := rw.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	if strings.HasPrefix(name, "assets/") { // their names change with what is in them
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	http.ServeContent(rw, r, name, time.Time{}, bytes.NewReader(text))
}
