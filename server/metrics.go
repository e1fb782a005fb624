package server

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/errandhq/errand"
)

const (
	metricsTime      = 5 * time.Second // a scrape takes at most
	metricsSchedules = 1000            // schedules that have metrics of their own, the first by name
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("errand_"+name, help, labels, nil)
}

var (
	jobsMetric           = describe("jobs", "Jobs in the store.", "queue", "kind", "state")
	oldestReadyMetric    = describe("queue_oldest_ready_seconds", "How long the job of a queue that is ready for longest could have started already; 0 if none is.", "queue")
	queuePausedMetric    = describe("queue_paused", "1 for each queue that is paused.", "queue")
	workersMetric        = describe("workers", "Worker sessions that are alive.")
	schedulesMetric      = describe("schedules", "Schedules in the store, at most 1,000: of these there are metrics.")
	lateMetric           = describe("schedule_late_seconds", "How long after its nominal time a schedule has made its latest job.", "schedule")
	overdueMetric        = describe("schedule_overdue_seconds", "How long the next nominal time of a schedule has passed without a job; 0 if it has not come.", "schedule")
	madeMetric           = describe("schedule_made_total", "Nominal times of a schedule at which it made a job.", "schedule")
	skippedMetric        = describe("schedule_skipped_total", "Nominal times at which it made none, since the last one had not ended.", "schedule")
	missedMetric         = describe("schedule_missed_total", "Nominal times at which it made none, since no process was there in time.", "schedule")
	schedulePausedMetric = describe("schedule_paused", "1 for a schedule that is paused, else 0.", "schedule")
)

// collected are metrics that have been read.
type collected []prometheus.Metric

// Describe implements [prometheus.Collector]: what there is depends on the store.
func (c *collected) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *collected) Collect(out chan<- prometheus.Metric) {
	for _, m := range *c {
		out <- m
	}
}

// metrics serves, for Prometheus, what the store says, which is the same on every server, and what this process says of itself.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), metricsTime)
	defer cancel()
	var c collected
	for _, collect := range []func(context.Context, *errand.Engine) error{c.jobs, c.workers, c.schedules} {
		if err := collect(ctx, s.engine); err != nil {
			s.fail(ctx, err).write(w)
			return
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

func (c *collected) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	*c = append(*c, prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...))
}

func (c *collected) jobs(ctx context.Context, e *errand.Engine) error {
	counts, err := e.Stats(ctx)
	if err != nil {
		return err
	}
	now, oldest := e.Now(), map[string]float64{}
	for _, n := range counts {
		c.gauge(jobsMetric, float64(n.Jobs), n.Queue, n.Kind, string(n.State))
		age := 0.0
		if n.State == errand.Ready && !n.OldestReady.IsZero() {
			age = max(now.Sub(n.OldestReady).Seconds(), 0)
		}
		oldest[n.Queue] = max(oldest[n.Queue], age)
	}
	for queue, age := range oldest {
		c.gauge(oldestReadyMetric, age, queue)
	}
	paused, err := e.PausedQueues(ctx)
	for _, p := range paused {
		c.gauge(queuePausedMetric, 1, p.Queue)
	}
	return err
}

func (c *collected) workers(ctx context.Context, e *errand.Engine) error {
	sessions, err := e.Sessions(ctx)
	if err != nil {
		return err
	}
	alive := 0
	for i := range sessions {
		if sessions[i].Expires.After(e.Now()) {
			alive++
		}
	}
	c.gauge(workersMetric, float64(alive))
	return nil
}

func (c *collected) schedules(ctx context.Context, e *errand.Engine) error {
	all, err := e.Schedules(ctx, errand.ScheduleQuery{Limit: metricsSchedules})
	if err != nil {
		return err
	}
	now := e.Now()
	c.gauge(schedulesMetric, float64(len(all)))
	for i := range all {
		s := &all[i]
		overdue, paused := s.LateBy(now).Seconds(), 0.0
		if !s.Paused.IsZero() {
			paused = 1
		}
		c.gauge(lateMetric, s.Late.Seconds(), s.Name)
		c.gauge(overdueMetric, overdue, s.Name)
		c.gauge(schedulePausedMetric, paused, s.Name)
		for desc, n := range map[*prometheus.Desc]int64{madeMetric: s.Made, skippedMetric: s.Skipped, missedMetric: s.Missed} {
			*c = append(*c, prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), s.Name))
		}
	}
	return nil
}
