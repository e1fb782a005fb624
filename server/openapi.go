package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
)

// registerOpenAPI serves the description of the routes registered so far. It is made when it
// is first asked for.
func (s *Server) registerOpenAPI() {
	s.tidySchemas()
	s.openAPI = sync.OnceValues(func() ([]byte, error) {
		raw, err := json.Marshal(s.api.OpenAPI())
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		err = json.Indent(&b, raw, "", "  ")
		b.WriteByte('\n')
		return b.Bytes(), err
	})
	yaml := sync.OnceValues(s.api.OpenAPI().YAML)
	s.routes.HandleFunc("GET "+Prefix+"/openapi.json", s.serveBytes("application/openapi+json", s.openAPI))
	s.routes.HandleFunc("GET "+Prefix+"/openapi.yaml", s.serveBytes("application/openapi+yaml", yaml))
}

// tidySchemas removes what huma describes and is not so: its own errors, arrays that may be null,
// and answers that never get another field.
func (s *Server) tidySchemas() {
	schemas := s.api.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	for name, schema := range schemas {
		switch name {
		case "NewJob", "Batch", "Action", "Unique", "NewSchedule", "NewPreview", "NewBackfill":
		default:
			schema.AdditionalProperties = nil
		}
		for _, p := range schema.Properties {
			p.Nullable = false
		}
	}
}

func (s *Server) serveBytes(contentType string, get func() ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := get()
		if err != nil {
			s.fail(r.Context(), err).write(w)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(b) // on an error the client is gone
	}
}
