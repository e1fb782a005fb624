package errand

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// ParseQuery reads the text form of a [Query]: terms with spaces between them, all of which must hold.
//
//	state:failed,cancelled   in one of these states
//	kind:mail  kind:mail*    of one of these kinds; * at the end stands for anything
//	queue:media              in one of these queues
//	tag:blue                 with this tag; several tags: with each of them
//	worker:UUID              that this worker session runs, or ran last
//	unique:KIND:KEY          that holds this unique key
//	error:"no route"         whose latest error has this text in it, in upper or lower case
//	args.customer.id=42      whose args have this value there: a string without its quotes, a number as it was written, true, false or null
//	age>1h  age<30m          created longer ago, or less long
//	ended<10m                ended less long ago
//
// Several values of one kind, with commas between them or as terms of their own, mean "any of these", but for tags. A value with a space, a comma
// or a quote in it is written as a Go string: "a b". Now is the time by which age is measured.
func ParseQuery(text string, now time.Time) (Query, error) {
	var q Query
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimLeftFunc(rest, unicode.IsSpace) {
		var err error
		if rest, err = q.term(rest, now); err != nil {
			return Query{}, fmt.Errorf("%w filter: %w", ErrInvalid, err)
		}
	}
	return q, nil
}

// ArgMatch is a condition on a job's args.
type ArgMatch struct {
	Path  []string `json:"path"`  // of object keys; an array's elements are named by their number, from 0 on
	Value string   `json:"value"` // of a string, number (as it was written), true, false or null
}

// term reads one term and returns what follows it.
func (q *Query) term(text string, now time.Time) (rest string, err error) {
	end := strings.IndexAny(text, ":=<>\" \t\n")
	if end < 0 {
		end = len(text)
	}
	key := text[:end]
	if strings.HasPrefix(key, "args") {
		return q.argsTerm(text)
	}
	if end == len(text) || text[end] != ':' && key != "age" && key != "ended" {
		return "", fmt.Errorf("%q: use terms such as state:failed, kind:mail* or error:\"text\"", shorten(text))
	}
	if key == "age" || key == "ended" {
		return q.age(key, text[end:], now)
	}
	values, rest, err := readValues(text[end+1:])
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return rest, q.set(key, values)
}

// set adds the values of a term.
func (q *Query) set(key string, values []string) error {
	one := func(to *string) error {
		if len(values) > 1 || *to != "" {
			return fmt.Errorf("%s: give one value", key)
		}
		*to = values[0]
		return nil
	}
	switch key {
	case "state":
		for _, v := range values {
			if !slices.Contains(States, State(v)) {
				return fmt.Errorf("state %q: use %s", shorten(v), joinStates())
			}
			q.States = append(q.States, State(v))
		}
	case "kind":
		q.Kinds = append(q.Kinds, values...)
	case "queue":
		q.Queues = append(q.Queues, values...)
	case "tag":
		q.Tags = append(q.Tags, values...)
	case "error":
		return one(&q.Error)
	case "unique":
		return one(&q.Unique)
	case "worker":
		var text string
		if err := one(&text); err != nil || q.Worker != uuid.Nil {
			return fmt.Errorf("worker: give one value")
		}
		id, err := uuid.Parse(text)
		if err != nil {
			return fmt.Errorf("worker %q: use the UUID of a worker session", shorten(text))
		}
		q.Worker = id
	default:
		return fmt.Errorf("%q: use state, kind, queue, tag, worker, unique, error, args.NAME=, age or ended", shorten(key))
	}
	return nil
}

func joinStates() string {
	names := make([]string, len(States))
	for i, s := range States {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// argsTerm reads args.a.b=value.
func (q *Query) argsTerm(text string) (rest string, err error) {
	m, rest := ArgMatch{}, strings.TrimPrefix(text, "args")
	for strings.HasPrefix(rest, ".") {
		var name string
		if name, rest, err = readValue(rest[1:], ".="); err != nil || name == "" {
			return "", fmt.Errorf("%q: use args.NAME=value, and args.NAME.NAME=value for what is inside", shorten(text))
		}
		m.Path = append(m.Path, name)
	}
	if len(m.Path) == 0 || !strings.HasPrefix(rest, "=") {
		return "", fmt.Errorf("%q: use args.NAME=value", shorten(text))
	}
	if m.Value, rest, err = readValue(rest[1:], ""); err != nil {
		return "", fmt.Errorf("args: %w", err)
	}
	q.Args = append(q.Args, m)
	return rest, nil
}

// age reads <1h or >1h.
func (q *Query) age(key, text string, now time.Time) (rest string, err error) {
	if text[0] != '<' && (text[0] != '>' || key == "ended") {
		return "", fmt.Errorf("%s: use age>1h, age<30m or ended<10m", key)
	}
	value, rest, err := readValue(text[1:], "")
	if err != nil {
		return "", err
	}
	d, err := parseAge(value)
	if err != nil {
		return "", err
	}
	switch at := timestamp(now.Add(-d)); {
	case key == "ended":
		q.EndedAfter = at
	case text[0] == '>':
		q.CreatedBefore = at
	default:
		q.CreatedAfter = at
	}
	return rest, nil
}

// parseAge reads how long ago something was.
func parseAge(text string) (time.Duration, error) {
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("age %q: %w", shorten(text), err)
	case d < 0:
		return 0, fmt.Errorf("age %q: use a duration of 0 or more", shorten(text))
	}
	return d, nil
}

// readValues reads values with commas between them.
func readValues(text string) (values []string, rest string, err error) {
	for {
		var v string
		if v, text, err = readValue(text, ","); err != nil {
			return nil, "", err
		}
		if v == "" {
			return nil, "", fmt.Errorf("a value is missing")
		}
		values = append(values, v)
		if !strings.HasPrefix(text, ",") {
			return values, text, nil
		}
		text = text[1:]
	}
}

// readValue reads one value: a Go string, or all up to a space or one of the ends.
func readValue(text, ends string) (value, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", fmt.Errorf("%s: its quotes do not match", shorten(text))
		}
		value, err = strconv.Unquote(quoted)
		return value, text[len(quoted):], err
	}
	end := strings.IndexFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(ends, r) })
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:], nil
}

func shorten(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

// String is the text form of the query, without Cursor and Limit, as [ParseQuery] reads it; ages as of now.
func (q Query) String() string { return q.text(time.Now()) }

func (q *Query) text(now time.Time) string {
	var terms []string
	list := func(key string, values []string) {
		if len(values) > 0 {
			quoted := make([]string, len(values))
			for i, v := range values {
				quoted[i] = quote(v)
			}
			terms = append(terms, key+":"+strings.Join(quoted, ","))
		}
	}
	states := make([]string, len(q.States))
	for i, s := range q.States {
		states[i] = string(s)
	}
	list("state", states)
	list("kind", q.Kinds)
	list("queue", q.Queues)
	list("tag", q.Tags)
	if q.Worker != uuid.Nil {
		list("worker", []string{q.Worker.String()})
	}
	if q.Unique != "" {
		list("unique", []string{q.Unique})
	}
	if q.Error != "" {
		list("error", []string{q.Error})
	}
	for _, m := range q.Args {
		term := "args"
		for _, name := range m.Path {
			term += "." + quote(name)
		}
		terms = append(terms, term+"="+quote(m.Value))
	}
	if !q.CreatedBefore.IsZero() {
		terms = append(terms, "age>"+FormatDuration(now.Sub(q.CreatedBefore).Round(time.Second)))
	}
	if !q.CreatedAfter.IsZero() {
		terms = append(terms, "age<"+FormatDuration(now.Sub(q.CreatedAfter).Round(time.Second)))
	}
	if !q.EndedAfter.IsZero() {
		terms = append(terms, "ended<"+FormatDuration(now.Sub(q.EndedAfter).Round(time.Second)))
	}
	return strings.Join(terms, " ")
}

// quote writes a value so that readValue reads it again.
func quote(v string) string {
	plain := func(r rune) bool {
		return !unicode.IsSpace(r) && unicode.IsPrint(r) && !strings.ContainsRune(`".,=<>:\`, r)
	}
	if v != "" && strings.IndexFunc(v, func(r rune) bool { return !plain(r) }) < 0 {
		return v
	}
	return strconv.Quote(v)
}

// matches reports whether a job is one that the query selects.
func (q *Query) matches(j *Job) bool { return q.matchesIn(j, &texts{job: j}) }

// matchesIn is matches for a job that several queries look into. What takes long comes last.
func (q *Query) matchesIn(j *Job, t *texts) bool {
	return among(j.State, q.States) && amongKinds(j.Kind, q.Kinds) && among(j.Queue, q.Queues) &&
		(q.Worker == uuid.Nil || q.Worker == j.Worker) &&
		!slices.ContainsFunc(q.Tags, func(t string) bool { return !slices.Contains(j.Tags, t) }) &&
		(q.Unique == "" || q.Unique == j.Unique && j.HoldsUnique(time.Now())) &&
		(q.CreatedBefore.IsZero() || j.Created.Before(q.CreatedBefore)) &&
		(q.CreatedAfter.IsZero() || !j.Created.Before(q.CreatedAfter)) &&
		(q.EndedAfter.IsZero() || !j.Ended.Before(q.EndedAfter)) &&
		t.match(q)
}

// MatchesText reports whether a job's error and args are as the query asks: for stores that cannot tell by themselves.
func (q *Query) MatchesText(j *Job) bool { return (&texts{job: j}).match(q) }

// texts are what queries look for in a job's error and args, each made out once, however many queries look.
type texts struct {
	job  *Job
	fail *string // the error in lower case
	args *value
}

// match reports whether these are as a query asks.
func (t *texts) match(q *Query) bool {
	if q.Error != "" {
		if t.fail == nil {
			lower := strings.ToLower(t.job.Error)
			t.fail = &lower
		}
		if !strings.Contains(*t.fail, strings.ToLower(q.Error)) {
			return false
		}
	}
	if len(q.Args) > 0 && t.args == nil {
		t.args = newValue(t.job.Args)
	}
	return !slices.ContainsFunc(q.Args, func(m ArgMatch) bool { return !t.args.matches(m) })
}

func among[T comparable](v T, of []T) bool { return len(of) == 0 || slices.Contains(of, v) }

// amongKinds reports whether a kind is one of these, of which some may end in *.
func amongKinds(kind string, of []string) bool {
	return len(of) == 0 || slices.ContainsFunc(of, func(k string) bool {
		prefix, open := strings.CutSuffix(k, "*")
		return k == kind || open && strings.HasPrefix(kind, prefix)
	})
}

// value is a JSON value, decoded as far as somebody has looked into it.
type value struct {
	raw    json.RawMessage
	plain  bool   // a string, number, true, false or null
	text   string // of that
	opened bool
	object map[string]json.RawMessage
	array  []json.RawMessage
	inner  map[string]*value // those that were looked at
}

func newValue(raw json.RawMessage) *value {
	v := &value{raw: bytes.TrimSpace(raw)}
	switch {
	case len(v.raw) == 0 || v.raw[0] == '{' || v.raw[0] == '[':
	case v.raw[0] != '"' || json.Unmarshal(v.raw, &v.text) != nil:
		v.plain, v.text = true, string(v.raw)
	default:
		v.plain = true
	}
	return v
}

// matches looks along the path.
func (v *value) matches(m ArgMatch) bool {
	for _, name := range m.Path {
		if v = v.at(name); v == nil {
			return false
		}
	}
	return v.plain && v.text == m.Value
}

// at returns the value of a key of an object, or of a place in an array; nil: there is none.
func (v *value) at(name string) *value {
	if !v.opened {
		v.opened, v.inner = true, map[string]*value{}
		if json.Unmarshal(v.raw, &v.object) != nil {
			_ = json.Unmarshal(v.raw, &v.array) // else nothing is in it
		}
	}
	if known := v.inner[name]; known != nil {
		return known
	}
	raw, found := v.object[name]
	if i, err := strconv.Atoi(name); !found && err == nil && i >= 0 && i < len(v.array) {
		raw, found = v.array[i], true
	}
	if !found {
		return nil
	}
	v.inner[name] = newValue(raw)
	return v.inner[name]
}
