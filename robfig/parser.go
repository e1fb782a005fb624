package cron

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/errandhq/errand/cron"
)

// Schedule says when to run.
type Schedule interface {
	// Next returns the first time after a time; zero if there is none.
	Next(time.Time) time.Time
}

// ScheduleParser reads specs.
type ScheduleParser interface {
	Parse(spec string) (Schedule, error)
}

// ParseOption says which fields a spec has.
type ParseOption int

// The fields of a spec, in their order; one that is left out is 0 down to the hour, and * from the day on.
const (
	Second         ParseOption = 1 << iota // seconds
	SecondOptional                         // seconds, which may be left out
	Minute                                 // minutes
	Hour                                   // hours
	Dom                                    // days of the month
	Month                                  // months
	Dow                                    // days of the week
	DowOptional                            // days of the week, which may be left out
	Descriptor                             // no field: @daily and its like are read too
)

// Parser reads specs with certain fields.
type Parser struct{ options ParseOption }

var standardParser = NewParser(Minute | Hour | Dom | Month | Dow | Descriptor)

// NewParser returns a parser of specs with certain fields. It panics if two are optional.
func NewParser(options ParseOption) Parser {
	if options&SecondOptional != 0 && options&DowOptional != 0 {
		panic("cron: only one field can be optional")
	}
	return Parser{options}
}

// ParseStandard reads a spec of five fields, or a descriptor.
func ParseStandard(spec string) (Schedule, error) { return standardParser.Parse(spec) }

// Parse reads a spec, which may begin with CRON_TZ=NAME or TZ=NAME and a space.
func (p Parser) Parse(spec string) (Schedule, error) {
	words := strings.Fields(spec)
	zone := ""
	if len(words) > 0 && (strings.HasPrefix(words[0], "TZ=") || strings.HasPrefix(words[0], "CRON_TZ=")) {
		zone, words = words[0]+" ", words[1:]
	}
	switch {
	case len(words) == 0:
		return nil, errors.New("cron: the spec is empty")
	case words[0][0] != '@':
		var err error
		if words, err = p.complete(words); err != nil {
			return nil, err
		}
	case p.options&Descriptor == 0:
		return nil, fmt.Errorf("cron: %q: descriptors are not to be used here", spec)
	case words[0] == "@every" && len(words) == 2:
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return nil, fmt.Errorf("cron: %q: %w", spec, err)
		}
		return Every(d), nil
	}
	s := &specSchedule{spec: zone + strings.Join(words, " "), zoned: zone != ""}
	var err error
	s.parsed, err = cron.Parse(s.spec)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// complete makes six fields, or five if it is about whole minutes, of those that a spec has.
func (p Parser) complete(words []string) ([]string, error) {
	o := p.options
	optional := 0
	if o&(SecondOptional|DowOptional) != 0 {
		optional = 1
	}
	var most int
	fields := [...]struct {
		there    bool
		fallback string
	}{
		{o&(Second|SecondOptional) != 0, "0"},
		{o&Minute != 0, "0"},
		{o&Hour != 0, "0"},
		{o&Dom != 0, "*"},
		{o&Month != 0, "*"},
		{o&(Dow|DowOptional) != 0, "*"},
	}
	for _, f := range fields {
		if f.there {
			most++
		}
	}
	switch n := len(words); {
	case n == most:
	case n != most-optional:
		want := fmt.Sprint(most)
		if optional > 0 {
			want = fmt.Sprintf("%d or %d", most-1, most)
		}
		return nil, fmt.Errorf("cron: %q has %d fields: use %s", strings.Join(words, " "), n, want)
	case o&SecondOptional != 0:
		fields[0].there = false
	default:
		fields[5].there = false
	}
	var all []string
	for i, f := range fields {
		switch {
		case f.there:
			all, words = append(all, words[0]), words[1:]
		case i > 0:
			all = append(all, f.fallback)
		}
	}
	return all, nil
}

// specSchedule is a spec that was read. It goes by the time zone of the times it is given, unless it names one.
type specSchedule struct {
	spec   string
	zoned  bool
	parsed *cron.Schedule // in UTC, unless it is zoned
}

func (s *specSchedule) Next(t time.Time) time.Time {
	parsed := s.parsed
	if zone := t.Location(); !s.zoned && zone != time.UTC {
		parsed, _ = cron.Parse(s.spec, cron.In(zone)) // it has been parsed before
	}
	next := parsed.Next(t)
	if next.IsZero() {
		return next
	}
	return next.In(t.Location())
}

// String returns the spec.
func (s *specSchedule) String() string { return s.spec }

// ConstantDelaySchedule is a schedule of equal intervals.
type ConstantDelaySchedule struct{ Delay time.Duration }

// Every returns a schedule of equal intervals: whole seconds, one at least; what is less is cut off.
func Every(duration time.Duration) ConstantDelaySchedule {
	return ConstantDelaySchedule{max(duration.Truncate(time.Second), time.Second)}
}

// Next returns the whole second at which the interval that begins at t ends.
func (s ConstantDelaySchedule) Next(t time.Time) time.Time {
	return t.Add(s.Delay - time.Duration(t.Nanosecond()))
}

// zeros are what a duration need not say: the end of 1h0m0s, of 10m0s.
var zeros = regexp.MustCompile(`([hm])(0m)?0s$`)

// asPlan returns the spec and the zone that stand for a schedule in errand, if there are any.
func asPlan(schedule Schedule, location *time.Location) (spec, zone string, ok bool) {
	switch s := schedule.(type) {
	case ConstantDelaySchedule:
		text := zeros.ReplaceAllString(s.Delay.String(), "$1")
		return "@every " + text, "", s == Every(s.Delay) && s.Delay <= forEver
	case *specSchedule:
		if s.zoned {
			return s.spec, "", s.parsed.Location() != time.Local
		}
		zone, ok = zoneName(location)
		return s.spec, zone, ok
	}
	return "", "", false
}
