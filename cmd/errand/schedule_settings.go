package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

// scheduleSettings are a [schedule.NAME]: a schedule that is registered when a server or worker starts.
type scheduleSettings struct {
	Spec        string            `toml:"spec"` // a cron expression, @every 10m, @after 10m, @reboot or cron.NAME; required
	Kind        string            `toml:"kind"` // of its jobs; required
	Args        any               `toml:"args"` // of its jobs: a table, or any other value
	Zone        string            `toml:"zone"` // of a cron expression; default UTC
	Start       instant           `toml:"start"`
	End         instant           `toml:"end"`
	Jitter      duration          `toml:"jitter"`
	Overlap     errand.Overlap    `toml:"overlap"` // skip, queue_one, queue_all, cancel or allow
	Misfire     errand.Misfire    `toml:"misfire"` // once, skip or catch_up
	CatchUp     int               `toml:"catch_up"`
	Window      duration          `toml:"window"`
	Grace       duration          `toml:"grace"`
	Queue       string            `toml:"queue"` // this and what follows: default as the kind has it
	Priority    *int              `toml:"priority"`
	MaxAttempts int               `toml:"max_attempts"`
	MaxCrashes  int               `toml:"max_crashes"`
	Timeout     *duration         `toml:"timeout"`
	Retention   *keeping          `toml:"retention"`
	Tags        []string          `toml:"tags"`
	Metadata    map[string]string `toml:"metadata"`

	job  errand.NewJob // made of these by check
	plan errand.Plan
}

// instant is a time in the settings file, which may have no zone.
type instant struct {
	t       time.Time
	noZone  bool
	written bool
}

// UnmarshalTOML reads a TOML date or a string.
func (x *instant) UnmarshalTOML(v any) error {
	x.written = true
	switch v := v.(type) {
	case time.Time:
		x.t = v
		switch v.Location().String() { // how the decoder marks what has no zone
		case "time-local":
			return errors.New("use a date, such as 2026-01-31 or 2026-01-31T15:04:05Z")
		case "datetime-local", "date-local":
			x.noZone = true
		}
		return nil
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			t, err = parseTimeIn(v, time.UTC)
			x.noZone = true
		}
		x.t = t
		return err
	}
	return errors.New("use a time such as 2026-01-31T15:04:05Z")
}

// in is the time, by the clocks of a zone unless it says its own.
func (x *instant) in(zone *time.Location) time.Time {
	t := x.t
	if x.written && x.noZone {
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
	}
	return t
}

// keeping is a retention in the settings file.
type keeping struct{ d time.Duration }

// UnmarshalText reads a duration, or forever.
func (k *keeping) UnmarshalText(text []byte) error { return (&keepValue{&k.d}).Set(string(text)) }

// check completes the settings, and says what is wrong with them. The engine has the named specs and the commands' options.
func (c *scheduleSettings) check(e *errand.Engine, name string) error {
	switch {
	case c.Spec == "":
		return errors.New("spec is missing: use a cron expression such as \"0 7 * * MON-FRI\", or \"@every 10m\"")
	case c.Kind == "":
		return errors.New("kind is missing: the kind of its jobs")
	}
	args, err := jsonOf(c.Args)
	if err != nil {
		return fmt.Errorf("args: %w", err)
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		zone = time.UTC // the engine says so
	}
	c.job = errand.NewJob{Kind: c.Kind, Args: args, Options: c.options()}
	c.plan = errand.Plan{
		Zone: c.Zone, Start: c.Start.in(zone), End: c.End.in(zone), Jitter: c.Jitter.d, Overlap: c.Overlap, Misfire: c.Misfire,
		CatchUp: c.CatchUp, Window: c.Window.d, Grace: c.Grace.d,
	}
	_, err = e.PreviewSchedule(name, c.Spec, c.job, &c.plan)
	return planError(err)
}

// options are those of the jobs.
func (c *scheduleSettings) options() (o []errand.Option) {
	add := func(given bool, option func() errand.Option) {
		if given {
			o = append(o, option())
		}
	}
	add(c.Queue != "", func() errand.Option { return errand.Queue(c.Queue) })
	add(c.Priority != nil, func() errand.Option { return errand.Priority(*c.Priority) })
	add(c.MaxAttempts != 0, func() errand.Option { return errand.MaxAttempts(c.MaxAttempts) })
	add(c.MaxCrashes != 0, func() errand.Option { return errand.MaxCrashes(c.MaxCrashes) })
	add(c.Timeout != nil, func() errand.Option { return errand.Timeout(c.Timeout.d) })
	add(c.Retention != nil, func() errand.Option { return errand.Retain(c.Retention.d) })
	add(len(c.Tags) > 0, func() errand.Option { return errand.Tags(c.Tags...) })
	for k, v := range c.Metadata {
		o = append(o, errand.Meta(k, v))
	}
	return o
}

// planError is the engine's error about a schedule, without its name, which stands before it.
func planError(err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "schedule ") {
		return errors.New(strings.TrimPrefix(inner.Error(), errand.ErrInvalid.Error()+" "))
	}
	return err
}

// jsonOf is a TOML value as JSON.
func jsonOf(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	plain, err := plainTOML(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(plain)
	return bytes.TrimSpace(b.Bytes()), err
}

// plainTOML makes text of the dates in a TOML value, as they were written.
func plainTOML(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if out[k], err = plainTOML(x); err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
		}
		return out, nil
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			if out[i], err = plainTOML(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			if out[i], err = plainTOML(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case time.Time:
		layout := map[string]string{"datetime-local": "2006-01-02T15:04:05.999999999", "date-local": time.DateOnly, "time-local": "15:04:05.999999999"}[v.Location().String()]
		return v.Format(cmp.Or(layout, time.RFC3339Nano)), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("nan and inf are no JSON")
		}
	}
	return v, nil
}

// planner is an engine that only says what schedules would do.
func (s *settings) planner() *errand.Engine {
	e := errand.New(errand.Memory(nil), &errand.Config{Specs: s.Cron})
	for name, c := range s.Commands {
		e.Handle(name, errand.Handling{Options: c.options()})
	}
	return e
}

// checkSchedules checks the named specs and the schedules; at tells where a key stands.
func (s *settings) checkSchedules(at func(key ...string) string) error {
	e := s.planner()
	for _, name := range slices.Sorted(maps.Keys(s.Cron)) {
		var err error
		switch spec := s.Cron[name]; {
		case name == "" || len(name) > errand.MaxName || strings.TrimSpace(name) != name || harmless(name) != name:
			err = fmt.Errorf("use a name of 1 to %d printable bytes", errand.MaxName)
		case strings.HasPrefix(strings.TrimSpace(spec), "cron."):
			err = errors.New("a name cannot stand for another name: use what that one stands for")
		default:
			_, err = e.PreviewSchedule("cron."+name, spec, errand.NewJob{Kind: "any"}, nil)
		}
		if err != nil {
			return fmt.Errorf("%s: cron.%s = %q: %w", at("cron", name), name, s.Cron[name], planError(err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Schedules)) {
		if err := s.Schedules[name].check(e, name); err != nil {
			return fmt.Errorf("%s: [schedule.%s] %w", at("schedule", name), name, err)
		}
	}
	return nil
}

// register registers the schedules of the settings.
func (n *node) register(ctx context.Context, s *settings) error {
	for _, name := range slices.Sorted(maps.Keys(s.Schedules)) {
		c := s.Schedules[name]
		if _, err := n.engine.Schedule(ctx, name, c.Spec, c.job, &c.plan); err != nil {
			return fmt.Errorf("%s: [schedule.%s] %w", s.sources["schedule."+name], name, planError(err))
		}
		if s.Commands[c.Kind] == nil {
			n.log.Warn("a schedule is of a kind for which there is no [command.NAME] here: another program must handle it", "schedule", name, "kind", c.Kind)
		}
	}
	return nil
}
