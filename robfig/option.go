package cron

import (
	"time"

	"github.com/errandhq/errand"
)

// Option changes what [New] returns.
type Option func(*Cron)

// WithLocation sets the time zone of specs that name none. Default time.Local.
func WithLocation(loc *time.Location) Option { return func(c *Cron) { c.location = loc } }

// WithSeconds has specs begin with a field for seconds.
func WithSeconds() Option {
	return WithParser(NewParser(Second | Minute | Hour | Dom | Month | Dow | Descriptor))
}

// WithParser sets the parser of specs.
func WithParser(p ScheduleParser) Option { return func(c *Cron) { c.parser = p } }

// WithChain sets what is put around every job, the first outermost.
func WithChain(wrappers ...JobWrapper) Option {
	return func(c *Cron) { c.chain = NewChain(wrappers...) }
}

// WithLogger sets where to log. Default [DefaultLogger].
func WithLogger(logger Logger) Option { return func(c *Cron) { c.logger = logger } }

// WithStore keeps the entries and their runs in a store, which the caller closes after [Cron.Stop].
func WithStore(store errand.Store) Option { return func(c *Cron) { c.store = store } }

// WithEngine keeps the entries and their runs in the store of an engine, which the caller runs. They run while both the engine and the Cron do.
func WithEngine(e *errand.Engine) Option { return func(c *Cron) { c.engine = e } }

// WithPlan sets what the schedules of all entries have in common, such as Misfire, Overlap and Jitter; their specs and time zones are their own.
// Default: OverlapAllow and MisfireSkip.
func WithPlan(plan errand.Plan) Option { return func(c *Cron) { c.plan = &plan } }

// WithJobOptions sets options of the jobs that the runs are, such as errand.Timeout or errand.MaxCrashes. Each is attempted once unless they say otherwise.
func WithJobOptions(options ...errand.Option) Option {
	return func(c *Cron) { c.options = options }
}

// WithProgram sets the name of the program that the derived names of entries begin with. Default: the last part of the path of its main package.
func WithProgram(name string) Option { return func(c *Cron) { c.program = name } }
