package cron

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/errandhq/errand"
)

// Job is what an entry runs.
type Job interface {
	Run()
}

// FuncJob makes a function a [Job].
type FuncJob func()

// Run calls the function.
func (f FuncJob) Run() { f() }

// EntryID identifies an entry of one [Cron]; none is 0.
type EntryID int

// Entry is a job and when it runs.
type Entry struct {
	ID         EntryID
	Schedule   Schedule
	Next       time.Time // the planned time to come; zero: there is none, or the Cron was never started
	Prev       time.Time // the latest planned time that has come; zero: none has
	WrappedJob Job       // what is run: Job with the chain around it
	Job        Job       // as it was added
}

// Valid reports whether this is an entry, and not the zero value.
func (e Entry) Valid() bool { return e.ID != 0 }

// entry is an entry of a Cron, whose mutex guards its times.
type entry struct {
	Entry
	name    string
	removed atomic.Bool
}

// Cron runs jobs at their times. All methods may be called from many goroutines.
type Cron struct {
	location *time.Location
	parser   ScheduleParser
	chain    Chain
	logger   Logger
	engine   *errand.Engine // given by WithEngine
	store    errand.Store   // given by WithStore
	plan     *errand.Plan
	options  []errand.Option
	program  string

	mu      sync.Mutex
	entries []*entry
	lastID  EntryID
	session *session        // nil: it is not running
	over    <-chan struct{} // closed when all sessions before have ended
}

// New returns a Cron that is not running and has no entries.
func New(opts ...Option) *Cron {
	ended := make(chan struct{})
	close(ended)
	c := &Cron{location: time.Local, parser: standardParser, logger: DefaultLogger, program: programName(), over: ended}
	for _, o := range opts {
		o(c)
	}
	return c
}

// programName is the last part of the path of the main package, or else of the file.
func programName() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" {
		return path.Base(info.Path)
	}
	return filepath.Base(os.Args[0])
}

// AddFunc adds a function, to be run at the times of a spec.
func (c *Cron) AddFunc(spec string, cmd func()) (EntryID, error) {
	return c.AddJob(spec, FuncJob(cmd))
}

// AddJob adds a job, to be run at the times of a spec, in the time zone of the Cron unless the spec names one. It fails if the spec
// does not do or, while the Cron is running, the entry cannot be stored.
func (c *Cron) AddJob(spec string, cmd Job) (EntryID, error) {
	return c.AddNamed("", spec, cmd)
}

// AddNamed is [Cron.AddJob] under a name of up to 240 bytes, which is the entry's in the store: the name of its schedule and the kind of its jobs. "" means one that is derived.
func (c *Cron) AddNamed(name, spec string, cmd Job) (EntryID, error) {
	schedule, err := c.parser.Parse(spec)
	if err != nil {
		return 0, err
	}
	return c.add(name, schedule, cmd)
}

// Schedule adds a job, to be run at the times of a schedule. An error of the store is logged; the entry then waits for the next Start.
func (c *Cron) Schedule(schedule Schedule, cmd Job) EntryID {
	id, err := c.add("", schedule, cmd)
	if err != nil {
		c.logger.Error(err, "cannot store an entry", "entry", id)
	}
	return id
}

func (c *Cron) add(name string, schedule Schedule, cmd Job) (EntryID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == "" {
		name = c.freeName(c.program + "/" + jobName(cmd))
	} else if c.named(name) != nil {
		return 0, fmt.Errorf("cron: there is an entry named %q", name)
	}
	c.lastID++
	e := &entry{name: name, Entry: Entry{ID: c.lastID, Schedule: schedule, Job: cmd, WrappedJob: c.chain.Then(cmd)}}
	if c.session != nil {
		if err := c.session.register(e); err != nil {
			return 0, err
		}
		c.logger.Info("added", "now", c.now(), "entry", e.ID, "name", e.name)
	}
	c.entries = append(c.entries, e)
	return e.ID, nil
}

func (c *Cron) named(name string) *entry {
	for _, e := range c.entries {
		if e.name == name {
			return e
		}
	}
	return nil
}

// freeName returns a name that no entry has.
func (c *Cron) freeName(name string) string {
	const most = errand.MaxScheduleName - len(" #1000000")
	if len(name) > most {
		name = strings.ToValidUTF8(name[len(name)-most:], "")
	}
	free := name
	for n := 2; c.named(free) != nil; n++ {
		free = fmt.Sprintf("%s #%d", name, n)
	}
	return free
}

// jobName is the name of a job's function or type.
func jobName(job Job) string {
	v := reflect.ValueOf(job)
	if v.Kind() == reflect.Func {
		if f := runtime.FuncForPC(v.Pointer()); f != nil {
			return strings.TrimSuffix(path.Base(f.Name()), "-fm") // of a method value
		}
	}
	return fmt.Sprintf("%T", job)
}

// Entries returns the entries as they are now, once the Cron has been started those to run next first.
func (c *Cron) Entries() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	all := make([]Entry, len(c.entries))
	for i, e := range c.entries {
		all[i] = e.Entry
	}
	slices.SortStableFunc(all, func(a, b Entry) int {
		if a.Next.IsZero() != b.Next.IsZero() {
			return cmp.Compare(b.Next.Unix(), a.Next.Unix()) // those that never run come last
		}
		return a.Next.Compare(b.Next)
	})
	return all
}

// Entry returns an entry as it is now; the zero value if it is not there.
func (c *Cron) Entry(id EntryID) Entry {
	for _, e := range c.Entries() {
		if e.ID == id {
			return e
		}
	}
	return Entry{}
}

// refresh looks up the times of the entries. The caller holds c.mu.
func (c *Cron) refresh() {
	if c.session == nil || len(c.entries) == 0 {
		return
	}
	names := make([]string, len(c.entries))
	for i, e := range c.entries {
		names[i] = e.name
	}
	found, err := c.session.engine.Schedules(context.Background(), errand.ScheduleQuery{Names: names})
	if err != nil {
		c.logger.Error(err, "cannot look up the entries' times")
		return
	}
	for i := range found {
		if e := c.named(found[i].Name); e != nil && !c.session.computes(e) {
			e.Next = c.local(found[i].Next)
			if prev := found[i].Prev; !prev.IsZero() { // else it may have one from before, see Start
				e.Prev = c.local(prev)
			}
		}
	}
}

// local is a time in the Cron's time zone.
func (c *Cron) local(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.In(c.location)
}

func (c *Cron) now() time.Time { return time.Now().In(c.location) }

// Location returns the time zone of specs that name none.
func (c *Cron) Location() *time.Location { return c.location }

// Remove removes an entry, which will not run any more; a run that goes on is not interrupted.
func (c *Cron) Remove(id EntryID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.entries, func(e *entry) bool { return e.ID == id })
	if i < 0 {
		return
	}
	e := c.entries[i]
	e.removed.Store(true)
	c.entries = slices.Delete(c.entries, i, i+1)
	if c.session != nil {
		if err := c.session.remove(e); err != nil && !errors.Is(err, errand.ErrNoSchedule) {
			c.logger.Error(err, "cannot remove an entry from the store", "entry", id, "name", e.name)
		}
		c.logger.Info("removed", "entry", id)
	}
}

// Start has the entries run from now on, in the background. It does nothing if the Cron is running. What the store refuses is logged and tried
// again. Without a store the times before are forgotten, but for Entry.Prev.
func (c *Cron) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		c.start()
	}
}

// Run is [Cron.Start], and returns after [Cron.Stop], or at once if the Cron is running.
func (c *Cron) Run() {
	c.mu.Lock()
	if c.session != nil {
		c.mu.Unlock()
		return
	}
	s := c.start()
	c.mu.Unlock()
	<-s.ctx.Done()
}

// Stop has no more runs begin. The context ends when those that go on have ended. A Cron may be started again.
func (c *Cron) Stop() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		c.refresh()
		c.session.stop()
		c.session = nil
		c.logger.Info("stop")
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := c.over
	select {
	case <-over:
		cancel()
	default:
		go func() {
			<-over
			cancel()
		}()
	}
	return ctx
}
