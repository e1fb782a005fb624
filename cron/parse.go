package cron

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// MaxSpec is the greatest length of a spec, in bytes.
const MaxSpec = 1000

// Option says how a spec is to be read.
type Option func(*options)

type options struct {
	zone *time.Location
	hash string
}

// In sets the time zone of a schedule whose spec names none. The default is UTC.
func In(zone *time.Location) Option { return func(o *options) { o.zone = zone } }

// HashOf gives the name from which H takes its values, such as the name of the schedule. There is no default.
func HashOf(name string) Option { return func(o *options) { o.hash = name } }

// ParseError says what is wrong with a spec. Every error of [Parse] is one.
type ParseError struct {
	Spec    string // as it was given
	Field   string // such as "minute" or "time zone"; empty if it is about the whole spec
	Column  int    // where the trouble begins, in characters, from 1 on
	Problem string // what is wrong, and what would be right
}

// Error is a single line.
func (e *ParseError) Error() string {
	spec := e.Spec
	if len(spec) > 80 {
		spec = spec[:80] + "…"
	}
	if e.Field == "" {
		return fmt.Sprintf("cron: column %d of %q: %s", e.Column, spec, e.Problem)
	}
	return fmt.Sprintf("cron: %s, column %d of %q: %s", e.Field, e.Column, spec, e.Problem)
}

var descriptors = map[string]string{
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
	"@monthly":  "0 0 1 * *",
	"@weekly":   "0 0 * * 0",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@hourly":   "0 * * * *",
}

// Parse reads a spec, as the package comment describes it. The error is a [*ParseError].
func Parse(spec string, opts ...Option) (*Schedule, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	s := &Schedule{spec: spec, zone: cmp.Or(o.zone, time.UTC)}
	if e := s.parse(o.hash); e != nil {
		e.Spec = spec
		return nil, e
	}
	return s, nil
}

// parse fills in the rest.
func (s *Schedule) parse(hash string) *ParseError {
	if len(s.spec) > MaxSpec {
		return &ParseError{Column: MaxSpec + 1, Problem: fmt.Sprintf("it is longer than %d bytes", MaxSpec)}
	}
	for i, r := range s.spec {
		if r > '~' {
			return &ParseError{Column: i + 1, Problem: fmt.Sprintf("unexpected %q: use ASCII characters", r)}
		}
	}
	words := split(s.spec)
	if len(words) > 0 {
		zone, found := strings.CutPrefix(words[0].text, "TZ=")
		if !found {
			zone, found = strings.CutPrefix(words[0].text, "CRON_TZ=")
		}
		if found {
			if err := s.setZone(words[0].at+len(words[0].text)-len(zone), zone); err != nil {
				return err
			}
			words = words[1:]
		}
	}
	if len(words) > 0 && words[0].text[0] == '@' {
		return s.descriptor(words)
	}
	return s.fields(words, hash)
}

// word is a part of a spec.
type word struct {
	at   int // in the spec
	text string
}

func split(spec string) (words []word) {
	rest := strings.TrimLeft(spec, " \t\r\n")
	for rest != "" {
		text := rest
		if end := strings.IndexAny(rest, " \t\r\n"); end >= 0 {
			text = rest[:end]
		}
		words = append(words, word{len(spec) - len(rest), text})
		rest = strings.TrimLeft(rest[len(text):], " \t\r\n")
	}
	return words
}

func (s *Schedule) setZone(at int, name string) *ParseError {
	if name == "" {
		return &ParseError{Field: "time zone", Column: at + 1, Problem: "its name is missing: use one such as Europe/London"}
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return &ParseError{
			Field: "time zone", Column: at + 1,
			Problem: fmt.Sprintf("%q is unknown: use a name of the IANA time zone database, such as Europe/London", name),
		}
	}
	s.zone = zone
	return nil
}

func (s *Schedule) descriptor(words []word) *ParseError {
	fail := func(w word, format string, args ...any) *ParseError {
		return &ParseError{Field: "descriptor", Column: w.at + 1, Problem: fmt.Sprintf(format, args...)}
	}
	name := strings.ToLower(words[0].text)
	switch spec, found := descriptors[name]; {
	case name == "@reboot":
		return fail(words[0], "@reboot is no time: run what belongs to the start of a program there, without a schedule")
	case name == "@every" && len(words) == 2:
		d, err := time.ParseDuration(words[1].text)
		if err != nil || d < time.Second || d%time.Second != 0 {
			return fail(words[1], "%q does not do: use a duration of whole seconds, 1s or more, such as 90s or 1h30m", words[1].text)
		}
		s.every = d
		return nil
	case name == "@every":
		return fail(words[0], "@every takes one duration, such as @every 1h30m")
	case !found:
		return fail(words[0], "%q is unknown: use @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every", words[0].text)
	case len(words) > 1:
		return fail(words[1], "nothing may follow %s", words[0].text)
	default:
		return s.fields(split(spec), "")
	}
}

// fields reads five, six or seven fields.
func (s *Schedule) fields(words []word, hash string) *ParseError {
	if len(words) < 5 || len(words) > 7 {
		at := len(s.spec)
		if len(words) > 7 {
			at = words[7].at
		}
		return &ParseError{Column: at + 1, Problem: fmt.Sprintf(
			"%s: use 5 (minute, hour, day-of-month, month, day-of-week), 6 (second first) or 7 (second first, year last)", plural(len(words), "field"))}
	}
	if len(words) == 5 {
		words = append([]word{{text: "0"}}, words...)
	}
	if len(words) == 6 {
		words = append(words, word{text: "*"})
	}
	var got [7]values
	for i, w := range words {
		p := parser{field: &fields[i], at: w.at, text: strings.ToUpper(w.text), hash: hash}
		if err := p.list(); err != nil {
			return err
		}
		got[i] = p.values
	}
	s.second, s.minute, s.hour = got[secondField].set[0], got[minuteField].set[0], got[hourField].set[0]
	s.month, s.years = got[monthField].set[0]<<1, got[yearField].set
	s.wild = got[secondField].star || got[minuteField].star || got[hourField].star
	s.days = days{
		dom: got[domField].set[0] << 1, fromEnd: got[domField].fromEnd, nearest: got[domField].nearest,
		dow: got[dowField].set[0], nth: got[dowField].nth,
		both: got[domField].star || got[dowField].star,
	}
	if !s.comes() {
		return s.noDay(words)
	}
	return nil
}

// noDay says which field is to blame that no day matches.
func (s *Schedule) noDay(words []word) *ParseError {
	at, use := domField, "another day or month"
	if s.days.dom == everyDom {
		at = dowField
	}
	if s.yearText() != "" {
		use = "another day, month or year"
	}
	return &ParseError{Field: fields[at].name, Column: words[at].at + 1, Problem: "no month and year given has such a day: use " + use}
}

// comes reports whether there is any day that matches.
func (s *Schedule) comes() bool {
	for year := firstYear; year <= lastYear; year++ {
		for month := time.January; month <= time.December; month++ {
			if s.has(year, month) && s.days.in(year, month) != 0 {
				return true
			}
		}
	}
	return false
}
