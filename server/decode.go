package server

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var (
	errDuration = errors.New("expected a duration such as 1m30s")
	errID       = errors.New("expected a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057")
	errTime     = errors.New("expected a time such as 2006-01-02T15:04:05Z, by RFC 3339")
)

// maxFields bounds how many wrong fields one problem names.
const maxFields = 10

// readBody reads the body of the request under way, and returns it as it came too.
func readBody[T any](ctx context.Context, limit int64, required bool) (v T, raw []byte, err error) {
	r := requestOf(ctx)
	raw, err = io.ReadAll(http.MaxBytesReader(r.w, r.body, limit))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return v, nil, problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", limit))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return v, nil, problem(http.StatusRequestTimeout, "the body came too slowly")
	case err != nil:
		return v, nil, problem(http.StatusBadRequest, "the body could not be read")
	case len(raw) == 0 && required:
		return v, nil, problem(http.StatusBadRequest, "a body is required")
	case len(raw) == 0:
		return v, raw, nil
	}
	return v, raw, decode(raw, &v)
}

// decode reads a JSON body strictly: unknown fields are errors, and every error names its
// field and not its value. Raw messages keep their bytes.
func decode(body []byte, v any) error {
	if !utf8.Valid(body) {
		return problem(http.StatusBadRequest, "the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
	}
	if !json.Valid(body) {
		return problem(http.StatusBadRequest, fmt.Sprintf("the body is not JSON: see byte %d", offset(body)))
	}
	if fields := locate("body", body, reflect.TypeOf(v).Elem()); len(fields) > 0 {
		return invalid(fields[:min(len(fields), maxFields)]...)
	}
	return invalid(ProblemField{"body", "not as described in openapi.json"})
}

// offset is where a body stops being JSON.
func offset(body []byte) int64 {
	var raw json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(body, &raw), &syntax) {
		return syntax.Offset
	}
	return int64(len(body))
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// locate finds the fields in valid JSON that do not fit a type.
func locate(at string, raw json.RawMessage, t reflect.Type) []ProblemField {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if string(raw) == "null" || t == reflect.TypeFor[json.RawMessage]() {
		return nil
	}
	switch {
	case reflect.PointerTo(t).Implements(textType):
	case t.Kind() == reflect.Struct:
		return locateFields(at, raw, t)
	case t.Kind() == reflect.Map:
		var values map[string]json.RawMessage
		if json.Unmarshal(raw, &values) != nil {
			return []ProblemField{{at, "expected an object"}}
		}
		for _, v := range values { // keys can be anything: they are not named
			if wrong := locate(at, v, t.Elem()); wrong != nil {
				return wrong
			}
		}
		return nil
	case t.Kind() == reflect.Slice:
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return []ProblemField{{at, "expected an array"}}
		}
		var wrong []ProblemField
		for i := 0; i < len(items) && len(wrong) < maxFields; i++ {
			wrong = append(wrong, locate(at+"["+strconv.Itoa(i)+"]", items[i], t.Elem())...)
		}
		return wrong
	}
	if json.Unmarshal(raw, reflect.New(t).Interface()) != nil {
		return []ProblemField{{at, expected(t)}}
	}
	return nil
}

func locateFields(at string, raw json.RawMessage, t reflect.Type) []ProblemField {
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) != nil {
		return []ProblemField{{at, "expected an object"}}
	}
	fields := map[string]reflect.Type{}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue // its fields are seen
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f.Type
		names = append(names, name)
	}
	var wrong []ProblemField
	for key, v := range values {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, key) })
		if i < 0 {
			if len(key) > 100 {
				key = key[:100]
			}
			wrong = append(wrong, ProblemField{at + "." + strings.ToValidUTF8(key, ""), "unknown field; expected one of " + strings.Join(names, ", ")})
			continue
		}
		wrong = append(wrong, locate(at+"."+names[i], v, fields[names[i]])...)
	}
	slices.SortFunc(wrong, func(a, b ProblemField) int { return strings.Compare(a.Location, b.Location) })
	return wrong
}

// expected says what a field of a type takes.
func expected(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Duration]():
		return errDuration.Error()
	case t == reflect.TypeFor[uuid.UUID]():
		return errID.Error()
	case t == reflect.TypeFor[time.Time]():
		return errTime.Error()
	case t.Kind() == reflect.String:
		return "expected a string"
	case t.Kind() == reflect.Bool:
		return "expected true or false"
	}
	return "expected a whole number of at most " + strconv.Itoa(t.Bits()) + " bits"
}

// waitParam is how long a request waits.
type waitParam struct{ time.Duration }

// UnmarshalText reads the duration.
func (p *waitParam) UnmarshalText(text []byte) (err error) {
	if p.Duration, err = time.ParseDuration(string(text)); err != nil {
		return errDuration
	}
	return nil
}

// Schema describes the type in OpenAPI.
func (*waitParam) Schema(r huma.Registry) *huma.Schema { return new(Duration).Schema(r) }

// idParam is an ID in a path or query, in its usual form only.
type idParam errand.ID

// UnmarshalText reads the ID.
func (p *idParam) UnmarshalText(text []byte) error {
	id, err := uuid.ParseBytes(text)
	if err != nil || len(text) != 36 {
		return errID
	}
	*p = idParam(id)
	return nil
}

// Schema describes the type in OpenAPI.
func (*idParam) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "uuid"}
}
