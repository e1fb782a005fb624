package errand

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a schedule has its times on every machine

	"github.com/errandhq/errand/cron"
)

// Plan says when a [Schedule] makes jobs, and which.
type Plan struct {
	// Spec is one of
	//
	//	0 7 * * MON-FRI     a cron expression, see package cron; also @daily and the like
	//	@every 10m          an interval, counted from Start, or else from the creation of the schedule: it does not drift
	//	@after 10m          an interval, counted from the end of the job that was made last
	//	@reboot             each time a worker starts
	//	cron.NAME           the one of [Config].Specs by this name
	Spec string `json:"spec"`
	// Zone is the time zone of a cron expression, such as Europe/Berlin. Default UTC.
	Zone string `json:"zone,omitempty"`
	// Start and End bound the nominal times: none is before Start, or at or after End. Zero: no bound.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Jitter has each job start up to so much later than its nominal time; how much is up to the schedule's name and the nominal time.
	Jitter time.Duration `json:"jitter,omitempty"`
	// Overlap says what to do when the job made last has not ended (one that is paused, or will be retried, has not). Default OverlapSkip;
	// with MisfireCatchUp OverlapQueueAll.
	Overlap Overlap `json:"overlap,omitempty"`
	// Misfire says what to do about nominal times at which nobody was there to make a job. Default MisfireOnce.
	Misfire Misfire `json:"misfire,omitempty"`
	// CatchUp and Window bound what MisfireCatchUp makes up for: the last so many nominal times, default 100 and at most that, which are not older than
	// Window; 0: however old.
	CatchUp int           `json:"catch_up,omitempty"`
	Window  time.Duration `json:"window,omitempty"`
	// Grace is how late a job may be made, at least 1 s. A nominal time that is past for longer was missed. Default 1 min.
	Grace time.Duration `json:"grace,omitempty"`
	// Job is what each of the jobs is made from.
	Job Template `json:"job"`
}

// Template is what a [Schedule] makes jobs from. The fields are those of [Job].
type Template struct {
	Kind        string            `json:"kind"`
	Queue       string            `json:"queue"`
	Args        json.RawMessage   `json:"args"`
	Priority    int               `json:"priority,omitempty"`
	MaxAttempts int               `json:"max_attempts"`
	MaxCrashes  int               `json:"max_crashes"`
	Timeout     time.Duration     `json:"timeout,omitempty"`
	Retention   time.Duration     `json:"retention,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// Overlap is what to do when the job made last has not ended at the next nominal time.
type Overlap string

// The choices of Plan.Overlap.
const (
	OverlapSkip     Overlap = "skip"      // make no job
	OverlapQueueOne Overlap = "queue_one" // make one that waits for that one to end; make no more while it waits
	OverlapQueueAll Overlap = "queue_all" // make one that waits for that one to end, however many wait
	OverlapCancel   Overlap = "cancel"    // cancel that one; the new one starts once it has ended
	OverlapAllow    Overlap = "allow"     // make one that runs beside it
)

// Overlaps lists them all, the default first.
var Overlaps = []Overlap{OverlapSkip, OverlapQueueOne, OverlapQueueAll, OverlapCancel, OverlapAllow}

// Misfire is what to do about nominal times that were missed, see Plan.Grace.
type Misfire string

// The choices of Plan.Misfire.
const (
	MisfireOnce    Misfire = "once"     // make one job for all of them: the one of the latest, unless one is due that is in time
	MisfireSkip    Misfire = "skip"     // go on with those to come
	MisfireCatchUp Misfire = "catch_up" // make the jobs of the last ones, see Plan.CatchUp; they run one after another unless Overlap is OverlapAllow; not with OverlapCancel
)

// Misfires lists them all, the default first.
var Misfires = []Misfire{MisfireOnce, MisfireSkip, MisfireCatchUp}

// Schedule makes jobs by its [Plan]: at each nominal time one, however many processes there are to make it, and whenever
// they die. Its jobs have the tag "schedule:NAME" and say in their metadata which nominal time they belong to, see [Job.Nominal].
type Schedule struct {
	Name string `json:"-"`
	Plan
	Resolved string    `json:"resolved,omitempty"` // what Spec stands for, if it is a name
	Version  int64     `json:"-"`                  // grows by one with every change
	Wake     time.Time `json:"-"`                  // when to look at it next; zero: not before it is changed

	Created    time.Time `json:"created"`
	Changed    time.Time `json:"changed"`              // of its plan, or paused or resumed
	Registered string    `json:"registered,omitempty"` // the plan that a program has registered last, as a fingerprint; "": none has
	Actor      string    `json:"actor,omitempty"`      // who has changed it last
	Reason     string    `json:"reason,omitempty"`     // and why
	Paused     time.Time `json:"paused,omitzero"`      // since then it makes no jobs; zero: it does
	PausedBy   By        `json:"paused_by,omitzero"`   // who paused it, and why

	Next    time.Time     `json:"next,omitzero"`   // the nominal time to come; zero: there is none, or it is not known yet
	Prev    time.Time     `json:"prev,omitzero"`   // the latest that has come
	Last    ID            `json:"last,omitzero"`   // the job made last
	Before  ID            `json:"before,omitzero"` // the one that it was to wait for
	Late    time.Duration `json:"late,omitempty"`
	Firings int64         `json:"firings,omitempty"` // so many were noted so far
	Made    int64         `json:"made,omitempty"`    // nominal times that have come so far: a job was made
	Skipped int64         `json:"skipped,omitempty"` // none was, since the last one had not ended
	Missed  int64         `json:"missed,omitempty"`  // none was, since nobody was there in time
}

// Firing is what a [Schedule] did at a nominal time.
type Firing struct {
	Schedule string    `json:"-"`
	Seq      int64     `json:"-"`       // 1, 2, 3 … within the schedule, without gaps
	Nominal  time.Time `json:"nominal"` // the nominal time; of several that were missed, the latest
	At       time.Time `json:"at"`      // when it was
	Job      ID        `json:"job,omitzero"`
	Outcome  Outcome   `json:"outcome"`
	Missed   int64     `json:"missed,omitempty"` // so many nominal times
}

// Outcome is what came of a nominal time.
type Outcome string

// The outcomes of a firing.
const (
	OutcomeMade       Outcome = "made"       // a job
	OutcomeSkipped    Outcome = "skipped"    // none: the last one had not ended
	OutcomeMissed     Outcome = "missed"     // none: nobody was there in time
	OutcomeManual     Outcome = "manual"     // a job, because somebody asked for it
	OutcomeBackfilled Outcome = "backfilled" // a job, because somebody asked for those of a range
)

// Limits of schedules.
const (
	MaxFirings      = 100      // kept of each schedule; the newest stay
	MaxScheduleName = 240      // bytes
	MaxSpec         = 1000     // bytes of Plan.Spec
	MaxScheduleArgs = 64 << 10 // bytes of Template.Args: they are written anew at each firing
)

// MetaSchedule and MetaNominal are the keys of a job's metadata that name the schedule which made it, and the nominal time.
const (
	MetaSchedule = "errand.schedule"
	MetaNominal  = "errand.nominal"
)

// ScheduleTag is the tag of the jobs that a schedule has made.
func ScheduleTag(name string) string { return "schedule:" + name }

// Nominal returns the nominal time for which a schedule has made the job; zero if none has. Use it rather than the present time to tell what period
// the job is about: it stays the same when the job is late, is retried, or is made up for.
func (j *Job) Nominal() time.Time {
	t, _ := time.Parse(time.RFC3339Nano, j.Metadata[MetaNominal])
	return t.UTC()
}

// timing is a spec that has been read.
type timing struct {
	cron   *cron.Schedule // a cron expression
	every  time.Duration  // of @every
	after  time.Duration  // of @after
	reboot bool
}

// maxInterval bounds @every and @after.
const maxInterval = 100 * 366 * 24 * time.Hour

// spec is what says when: Spec, or what it stands for.
func (s *Schedule) spec() string { return strings.TrimSpace(cmp.Or(s.Resolved, s.Spec)) }

// timing reads the spec of a schedule.
func (s *Schedule) timing() (t timing, err error) {
	spec := s.spec()
	word, text, _ := strings.Cut(spec, " ")
	switch word {
	case "@reboot":
		if t.reboot = true; text != "" {
			err = fmt.Errorf("%q: @reboot stands alone", shorten(spec))
		}
	case "@after":
		t.after, err = parseInterval(text)
	case "@every":
		t.every, err = parseInterval(text)
	default:
		zone, unknown := time.LoadLocation(s.Zone)
		if unknown != nil || s.Zone == "Local" {
			return t, fmt.Errorf("%w zone %q: use a name such as UTC or Europe/Berlin", ErrInvalid, shorten(s.Zone))
		}
		if t.cron, err = cron.Parse(spec, cron.In(zone), cron.HashOf(s.Name)); err != nil {
			break
		}
		if d, ok := t.cron.Interval(); ok { // @every in another spelling
			t.cron, word = nil, "@every"
			t.every, err = parseInterval(d.String())
		} else if t.cron.Location() == time.Local {
			err = fmt.Errorf("%q: the zone Local is another one on each machine; use its name, such as Europe/Berlin", shorten(spec))
		}
	}
	if err != nil {
		return t, fmt.Errorf("%w spec: %w", ErrInvalid, err)
	}
	if s.Zone != "" && t.cron == nil {
		return t, fmt.Errorf("%w zone: %s has none", ErrInvalid, word)
	}
	return t, nil
}

func parseInterval(text string) (time.Duration, error) {
	d, err := ParseDuration(strings.TrimSpace(text))
	if err != nil || d < time.Second || d > maxInterval || d%time.Microsecond != 0 {
		return 0, fmt.Errorf("interval %q: use a duration of 1s or more, such as 90s or 1h30m", shorten(text))
	}
	return d, nil
}

// resolve looks up what a spec stands for; "" if it is none of the names.
func resolve(spec string, specs map[string]string) (string, error) {
	name, named := strings.CutPrefix(strings.TrimSpace(spec), "cron.")
	if !named {
		return "", nil
	}
	if found, ok := specs[name]; ok {
		return found, nil
	}
	known := "there are none"
	if len(specs) > 0 {
		known = "there are cron." + strings.Join(slices.Sorted(maps.Keys(specs)), ", cron.")
	}
	return "", fmt.Errorf("%w spec %q: no spec has this name (%s)", ErrInvalid, shorten(spec), known)
}

// check completes the plan of a schedule, and refuses one that cannot be.
func (p *Schedule) check() error {
	name := p.Name
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w "+format, append([]any{ErrInvalid}, args...)...)
	}
	if p.Misfire = cmp.Or(p.Misfire, MisfireOnce); p.Misfire == MisfireCatchUp {
		p.Overlap = cmp.Or(p.Overlap, OverlapQueueAll)
	}
	p.Overlap = cmp.Or(p.Overlap, OverlapSkip)
	p.Start, p.End = timestamp(p.Start), timestamp(p.End)
	switch {
	case name == "" || len(name) > MaxScheduleName || !printable(name):
		return bad("name %q of a schedule: use 1 to %d bytes of printable UTF-8", shorten(name), MaxScheduleName)
	case name == "." || name == ".." || name == "/":
		return bad("name %q of a schedule: no URL can have it in it", name)
	case len(p.Spec) > MaxSpec || len(p.Zone) > MaxName:
		return bad("spec of %d bytes: use at most %d", len(p.Spec), MaxSpec)
	case !slices.Contains(Overlaps, p.Overlap):
		return bad("overlap %q: use skip, queue_one, queue_all, cancel or allow", shorten(string(p.Overlap)))
	case !slices.Contains(Misfires, p.Misfire):
		return bad("misfire %q: use once, skip or catch_up", shorten(string(p.Misfire)))
	case p.Misfire == MisfireCatchUp && p.Overlap == OverlapCancel:
		return bad("misfire catch_up with overlap cancel: each job would cancel the one before; use another overlap")
	case p.CatchUp < 0 || p.CatchUp > MaxFirings:
		return bad("catch up %d: use 1 to %d", p.CatchUp, MaxFirings)
	case (p.CatchUp > 0 || p.Window != 0) && p.Misfire != MisfireCatchUp:
		return bad("catch up and window: they belong to misfire catch_up")
	case p.Window < 0:
		return bad("window %s: use 0 for none, or more", p.Window)
	case p.Jitter < 0 || p.Jitter > 24*time.Hour:
		return bad("jitter %s: use 0 to 24h", p.Jitter)
	case p.Grace != 0 && p.Grace < time.Second || p.Grace > 24*time.Hour:
		return bad("grace %s: use 1s to 24h; 0 means 1m", p.Grace)
	case !inEra(p.Start) || !inEra(p.End):
		return bad("start %s, end %s: use times of the years 1970 to 9999", p.Start, p.End)
	case !p.End.IsZero() && !p.End.After(p.Start):
		return bad("end %s: use a time after the start", p.End)
	}
	_, err := p.timing()
	return err
}

// inEra reports whether intervals can be counted from t: a Duration has room for 292 years.
func inEra(t time.Time) bool { return t.IsZero() || t.Year() >= 1970 && t.Year() <= 9999 }

// fingerprint names the plan of a schedule.
func (s *Schedule) fingerprint() string {
	raw, _ := json.Marshal(s.Plan) // it has been checked
	sum := sha256.Sum256(append(raw, s.Resolved...))
	return hex.EncodeToString(sum[:])
}

// sameTiming reports whether the nominal times of two schedules of one name are the same.
func (s *Schedule) sameTiming(o *Schedule) bool {
	return s.spec() == o.spec() && s.Zone == o.Zone && s.Start.Equal(o.Start) && s.End.Equal(o.End)
}

// templateOf keeps what a schedule needs of a job.
func templateOf(j *Job) (Template, error) {
	switch {
	case j.Unique != "":
		return Template{}, fmt.Errorf("%w job of a schedule: it cannot be unique, Overlap does that", ErrInvalid)
	case len(j.After) > 0 || j.State != Ready:
		return Template{}, fmt.Errorf("%w job of a schedule: it cannot wait for other jobs or a time of its own", ErrInvalid)
	case len(j.Tags) >= MaxTags:
		return Template{}, fmt.Errorf("%w job of a schedule with %d tags: use at most %d", ErrInvalid, len(j.Tags), MaxTags-1)
	}
	var args bytes.Buffer
	if err := json.Compact(&args, j.Args); err != nil {
		return Template{}, fmt.Errorf("%w args of kind %q: not JSON", ErrInvalid, j.Kind)
	}
	if args.Len() > MaxScheduleArgs {
		return Template{}, fmt.Errorf("%w args of %d bytes: those of a schedule's jobs have at most %d; store the data elsewhere and pass a reference", ErrInvalid, args.Len(), MaxScheduleArgs)
	}
	return Template{
		Kind: j.Kind, Queue: j.Queue, Args: args.Bytes(), Priority: j.Priority, MaxAttempts: j.MaxAttempts, MaxCrashes: j.MaxCrashes,
		Timeout: j.Timeout, Retention: j.Retention, Tags: j.Tags, Metadata: j.Metadata,
	}, nil
}

// times yields the nominal times after t.
func (s *Schedule) times(t time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		x, err := s.timing()
		if err != nil {
			return // it was checked when it was stored
		}
		for t = s.within(x.next(s, t)); !t.IsZero() && yield(t); t = s.within(x.next(s, t)) {
		}
	}
}

// within is the nominal time n, or zero if it is not before End.
func (s *Schedule) within(n time.Time) time.Time {
	if n.IsZero() || !s.End.IsZero() && !n.Before(s.End) {
		return time.Time{}
	}
	return timestamp(n)
}

// anchor is what @every counts from.
func (s *Schedule) anchor() time.Time {
	if s.Start.IsZero() {
		return s.Created.Truncate(time.Second)
	}
	return s.Start
}

// next returns the first nominal time of a schedule after t, whatever its End.
func (x *timing) next(s *Schedule, t time.Time) time.Time {
	if t.Before(s.Start) {
		t = s.Start.Add(-time.Microsecond)
	}
	switch {
	case x.cron != nil:
		return x.cron.Next(t)
	case x.every > 0:
		since := t.Sub(s.anchor())
		if since < 0 && !s.Start.IsZero() {
			return s.Start
		}
		return s.anchor().Add((max(since, 0)/x.every + 1) * x.every)
	}
	return time.Time{}
}

// prev returns the last nominal time of a schedule at or before t, whatever its End; zero if there is none.
func (x *timing) prev(s *Schedule, t time.Time) (n time.Time) {
	switch {
	case x.cron != nil:
		n = x.cron.Prev(t.Add(time.Microsecond))
	case x.every > 0:
		if since := t.Sub(s.anchor()); since >= x.every || since >= 0 && !s.Start.IsZero() {
			n = s.anchor().Add(since / x.every * x.every)
		}
	}
	if n.Before(s.Start) {
		return time.Time{}
	}
	return n
}

// Upcoming returns the next up to n nominal times after t. A schedule of @after or @reboot has none that can be foretold.
func (s *Schedule) Upcoming(t time.Time, n int) (times []time.Time) {
	for t := range s.times(t) {
		if len(times) == n {
			break
		}
		times = append(times, t)
	}
	return times
}

// Describe says in English when the schedule makes jobs.
func (s *Schedule) Describe() string {
	x, err := s.timing()
	switch {
	case err != nil:
		return err.Error()
	case x.reboot:
		return "Each time a worker starts"
	case x.after > 0:
		return "Every " + FormatDuration(x.after) + ", counted from the end of the last job"
	case x.every > 0:
		return "Every " + FormatDuration(x.every)
	}
	return x.cron.Describe()
}
