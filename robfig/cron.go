package cron

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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

// entry is an entry of a Cron, whose mutex guards it.
type entry struct {
	Entry
	name    string   // "" while it is derived and the Cron was never started
	stem    string   // of a derived name
	session *session // that has it run, or did
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

	session atomic.Pointer[session] // nil: it is not running; changed only by who holds mu

	mu      sync.Mutex
	entries []*entry
	names   map[string]*entry
	lastID  EntryID
	gone    []*entry        // that were removed and may be in the store
	over    <-chan struct{} // closed when all sessions before have ended
}

// New returns a Cron that is not running and has no entries.
func New(opts ...Option) *Cron {
	ended := make(chan struct{})
	close(ended)
	c := &Cron{
		location: time.Local, parser: standardParser, logger: DefaultLogger, program: programName(),
		names: map[string]*entry{}, over: ended,
	}
	for _, o := range opts {
		o(c)
	}
	return c
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[name] != nil {
		return 0, fmt.Errorf("cron: there is an entry named %q", name)
	}
	e, err := c.add(name, schedule, cmd)
	if err != nil {
		c.takeOut(len(c.entries) - 1)
		return 0, err
	}
	return e.ID, nil
}

// Schedule adds a job, to be run at the times of a schedule. An error of the store is logged, and the entry stored as soon as that can be.
func (c *Cron) Schedule(schedule Schedule, cmd Job) EntryID {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.add("", schedule, cmd)
	if err != nil {
		c.logger.Error(err, "cannot store an entry", "entry", e.ID, "name", e.name)
		s := c.session.Load()
		s.waiting = append(s.waiting, e)
	}
	return e.ID
}

// add adds an entry, and has it run if the Cron does; if there is an error the entry is there, but does not run. The caller holds c.mu.
func (c *Cron) add(name string, schedule Schedule, cmd Job) (*entry, error) {
	c.lastID++
	e := &entry{name: name, Entry: Entry{ID: c.lastID, Schedule: schedule, Job: cmd, WrappedJob: c.chain.Then(cmd)}}
	if name == "" {
		e.stem = c.stem(cmd)
	} else {
		c.names[name] = e
	}
	c.entries = append(c.entries, e)
	s := c.session.Load()
	if s == nil {
		return e, nil
	}
	c.takeName(e)
	if err := s.register(e); err != nil && s.ctx.Err() == nil { // else it waits for the next Start, like those from now on
		return e, err
	}
	c.logger.Info("added", "now", c.now(), "entry", e.ID, "name", e.name)
	return e, nil
}

// takeName gives an entry its name in the store, while the Cron runs. A derived one stays as it was, unless another Cron has it by now.
func (c *Cron) takeName(e *entry) {
	if e.stem == "" || e.name != "" && !inUse.has(c.home(), e.name) {
		inUse.take(c.home(), e.name)
	} else {
		e.name = inUse.takeFree(c.home(), e.stem)
	}
	c.names[e.name] = e
}

// takeOut takes out the i-th entry. The caller holds c.mu.
func (c *Cron) takeOut(i int) {
	e := c.entries[i]
	e.removed.Store(true)
	c.entries = slices.Delete(c.entries, i, i+1)
	delete(c.names, e.name)
	if c.session.Load() != nil {
		inUse.give(c.home(), e.name)
	}
}

// Entries returns the entries as they are now, once the Cron has been started those to run next first.
func (c *Cron) Entries() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.session.Load(); s != nil {
		s.refresh(s.ctx)
	}
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

// Remove removes an entry, which will not run any more; a run that goes on is not interrupted. What the store refuses, or cannot be asked
// while the Cron is not running, is done later.
func (c *Cron) Remove(id EntryID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.entries, func(e *entry) bool { return e.ID == id })
	if i < 0 {
		return
	}
	e := c.entries[i]
	c.takeOut(i)
	if e.name == "" {
		return
	}
	c.gone = append(c.gone, e)
	if s := c.session.Load(); s != nil {
		s.remove(e)
		c.logger.Info("removed", "entry", id)
	}
}

// Start has the entries run from now on, in the background. It does nothing if the Cron is running. What the store refuses is logged and tried
// again; an entry that can never be stored is logged and left out. Without a store the times before are forgotten, but for Entry.Prev.
func (c *Cron) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.Load() == nil {
		c.start()
	}
}

// Run is [Cron.Start], and returns after [Cron.Stop], or at once if the Cron is running.
func (c *Cron) Run() {
	c.mu.Lock()
	if c.session.Load() != nil {
		c.mu.Unlock()
		return
	}
	s := c.start()
	c.mu.Unlock()
	<-s.ctx.Done()
}

// Stop has no more runs begin. The context ends when those that go on have ended. A Cron may be started again.
func (c *Cron) Stop() context.Context {
	if s := c.session.Load(); s != nil {
		s.stop() // before all else: whoever holds the mutex may be waiting for the store
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.session.Load(); s != nil {
		s.stop()
		patience, done := context.WithTimeout(context.Background(), 3*time.Second)
		s.refresh(patience)
		done()
		for _, e := range c.entries {
			inUse.give(c.home(), e.name)
		}
		c.session.Store(nil)
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
