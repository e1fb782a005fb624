package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/errandhq/errand"
)

// policy says which role each route needs at least. A route that is not here is refused to
// everybody.
var policy = map[string]Role{
	"GET /{path...}": anyone, // the console's page, which says nothing yet

	"GET /healthz": anyone,
	"GET /readyz":  anyone,
	"GET /metrics": Viewer,

	"GET " + Prefix + "/openapi.json": anyone,
	"GET " + Prefix + "/openapi.yaml": anyone,

	"GET " + Prefix + "/jobs":            Viewer,
	"GET " + Prefix + "/jobs/{id}":       Viewer,
	"GET " + Prefix + "/jobs/{id}/log":   Viewer,
	"GET " + Prefix + "/jobs/{id}/why":   Viewer,
	"GET " + Prefix + "/queues":          Viewer,
	"GET " + Prefix + "/jobs/{id}/watch": Viewer,
	"GET " + Prefix + "/watch":           Viewer,
	"GET " + Prefix + "/watch.js":        anyone,
	"GET " + Prefix + "/me":              Viewer,
	"GET " + Prefix + "/history":         Viewer,
	"GET " + Prefix + "/stats":           Viewer,
	"GET " + Prefix + "/workers":         Viewer,
	"GET " + Prefix + "/kinds":           Viewer,

	"GET " + Prefix + "/schedules":                Viewer,
	"GET " + Prefix + "/schedules/{name}":         Viewer,
	"GET " + Prefix + "/schedules/{name}/firings": Viewer,
	"GET " + Prefix + "/specs":                    Viewer,
	"POST " + Prefix + "/schedules/preview":       Viewer, // it changes nothing

	"POST " + Prefix + "/jobs":                Operator,
	"POST " + Prefix + "/jobs/batch":          Operator,
	"POST " + Prefix + "/jobs/{id}/pause":     Operator,
	"POST " + Prefix + "/jobs/{id}/resume":    Operator,
	"POST " + Prefix + "/jobs/{id}/cancel":    Operator,
	"POST " + Prefix + "/jobs/{id}/terminate": Operator,
	"POST " + Prefix + "/jobs/{id}/retry":     Operator,

	"POST " + Prefix + "/bulk":                  Operator, // and Admin to delete
	"POST " + Prefix + "/queues/{queue}/pause":  Operator,
	"POST " + Prefix + "/queues/{queue}/resume": Operator,
	"POST " + Prefix + "/workers/{id}/drain":    Operator,
	"POST " + Prefix + "/workers/{id}/undrain":  Operator,

	"PUT " + Prefix + "/schedules/{name}":           Operator,
	"POST " + Prefix + "/schedules/{name}/pause":    Operator,
	"POST " + Prefix + "/schedules/{name}/resume":   Operator,
	"POST " + Prefix + "/schedules/{name}/run":      Operator,
	"POST " + Prefix + "/schedules/{name}/backfill": Operator,

	"DELETE " + Prefix + "/jobs/{id}":        Admin,
	"DELETE " + Prefix + "/schedules/{name}": Admin,
}

// routes is the mux, with authorization around every handler that is registered.
type routes struct {
	s        *Server
	mux      *http.ServeMux
	patterns []string
}

// HandleFunc registers a route.
func (rs *routes) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	rs.patterns = append(rs.patterns, pattern)
	rs.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r, p := rs.s.authorize(r, pattern)
		if p == nil {
			p = checkBody(r)
		}
		if p != nil {
			p.write(w)
			return
		}
		handler(w, r)
	})
}

// ServeHTTP serves one request.
func (rs *routes) ServeHTTP(w http.ResponseWriter, r *http.Request) { rs.mux.ServeHTTP(w, r) }

func forbidden(need, is Role) *Problem {
	return problem(http.StatusForbidden, "this needs the role "+string(need)+"; yours is "+string(is))
}

// authorize is the one place that decides who may do what. The request that it returns
// carries the principal, as the actor.
func (s *Server) authorize(r *http.Request, pattern string) (*http.Request, *Problem) {
	need, ok := policy[pattern]
	switch {
	case !ok:
		s.log.ErrorContext(r.Context(), "route without policy", "pattern", pattern)
		return r, problem(http.StatusForbidden, "nobody may do this")
	case need == anyone:
		return r, nil
	}
	who, p := s.auth.identify(r)
	if p != nil {
		return r, p
	}
	if ranks[who.role] < ranks[need] {
		return r, forbidden(need, who.role)
	}
	if s.config.ReadOnly && !safe(r.Method) && need != Viewer {
		return r, problem(http.StatusForbidden, "this server is read-only")
	}
	ctx := context.WithValue(r.Context(), principalKey{}, who)
	return r.WithContext(errand.WithActor(ctx, who.name)), nil
}

func safe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

type principalKey struct{}

func principalOf(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}

// checkBody refuses bodies that are not JSON, or come where none is taken. Huma negotiates by Accept,
// but there is one format.
func checkBody(r *http.Request) *Problem {
	r.Header.Del("Accept")
	if r.ContentLength == 0 || r.Method != http.MethodPost && r.Method != http.MethodPut {
		return nil
	}
	ct := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(cmp.Or(ct, "application/json"))
	if err != nil || media != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "send application/json").with("Accept-Post", "application/json")
	}
	r.Header.Set("Content-Type", media)
	return nil
}

// register makes the routes.
func (s *Server) register() {
	s.routes = &routes{s: s, mux: http.NewServeMux()}
	format := huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}
	s.api = humago.New(s.routes, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "errand", Version: "1",
				Description: "Background jobs: enqueue, watch and control them. Every error is a problem by RFC 9457.",
				License:     &huma.License{Name: "MIT", Identifier: "MIT"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer"},
					"basic":  {Type: "http", Scheme: "basic"},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{s.transform},
	})
	s.registerJobs()
	s.registerReads()
	s.registerQueues()
	s.registerBulk()
	s.registerSchedules()
	s.registerConsole()
	s.registerWatch()
	s.routes.HandleFunc("GET "+Prefix+"/watch", s.live)
	s.routes.HandleFunc("GET "+Prefix+"/watch.js", watchScript)
	s.routes.HandleFunc("GET /metrics", s.metrics)
	s.registerHealth()
	s.registerOpenAPI()
}

// marshal writes JSON, leaving < and > in args as they are.
func marshal(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// handle registers one operation: "GET /path", a summary and its handler.
func handle[I, O any](s *Server, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	role := policy[op.Method+" "+op.Path]
	if role != anyone {
		op.Security = []map[string][]string{{"bearer": {}}, {"basic": {}}}
		op.Description = strings.TrimSpace(op.Description + "\n\nNeeds the role " + string(role) + ".")
	}
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: s.schema(reflect.TypeFor[Problem]())}},
	}
	op.Errors = nil
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return out, nil
	})
}

func (s *Server) schema(t reflect.Type) *huma.Schema {
	return s.api.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

// takes describes the body of an operation, which reads it by readBody: huma would decode it
// twice, once into maps, and lose what is not a number in Go.
func takes[T any](s *Server, path string, required bool) {
	s.operation(path).RequestBody = &huma.RequestBody{
		Required: required,
		Content:  map[string]*huma.MediaType{"application/json": {Schema: s.schema(reflect.TypeFor[T]())}},
	}
}

// also describes a further answer with the same content as another one.
func also(s *Server, path, like, status, description string) {
	rs := s.operation(path).Responses
	rs[status] = &huma.Response{Description: description, Content: rs[like].Content}
}

// operation is the one of a path that takes a body.
func (s *Server) operation(path string) *huma.Operation {
	item := s.api.OpenAPI().Paths[path]
	return cmp.Or(item.Post, item.Put)
}
