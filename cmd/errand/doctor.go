package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
)

func doctorCommand() *cobra.Command {
	var format string
	var thorough bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the store and the workers, and say what to do",
		Long: `Doctor examines the store that the settings name, from where it stands, and the workers on it. Each line is one
check: ok, a warning, or a problem, and what to do about it. It exits with 0 if there is no problem, else with 1.

It changes no job, and may be run at any time: give it the settings of the servers and workers. A SQLite
file is migrated, as whenever one is opened.`,
		Example: `  errand doctor
  errand doctor --database postgres://errand@db/errand
  errand doctor -o json | jq '.checks[] | select(.level != "ok")'`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadStore(cmd)
			if err != nil {
				return err
			}
			d := &doctor{settings: s, thorough: thorough, report: report{Store: s.place()}}
			if err := d.examine(cmd.Context()); err != nil {
				return err
			}
			p := printer{cmd.OutOrStdout(), format}
			if format == "jsonl" {
				err = p.print(d.Checks, nil)
			} else {
				err = p.print(d.report, d.table)
			}
			if n := d.count(problem); n > 0 && err == nil {
				err = fmt.Errorf("%s found", plural(n, "problem"))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&thorough, "thorough", false, "also read through a SQLite file for damage, which may take a while")
	addSettings(cmd.Flags(), storeSide)
	addFormat(cmd, &format, "table", "json", "jsonl")
	return cmd
}

// level is how good or bad a finding is.
type level string

const (
	fine    level = "ok"
	warning level = "warning"
	problem level = "problem"
)

// finding is the outcome of one check.
type finding struct {
	Check  string `json:"check"`
	Level  level  `json:"level"`
	Text   string `json:"text"`             // what is
	Advice string `json:"advice,omitempty"` // what to do about it
}

// report is what doctor found.
type report struct {
	Store  string    `json:"store"`
	Checks []finding `json:"checks"`
}

func (r *report) add(check string, l level, text, advice string) {
	if l == fine {
		advice = ""
	}
	r.Checks = append(r.Checks, finding{check, l, text, advice})
}

func (r *report) count(l level) (n int) {
	for _, f := range r.Checks {
		if f.Level == l {
			n++
		}
	}
	return n
}

func (r *report) table() *table {
	t := &table{}
	for _, f := range r.Checks {
		text := f.Text
		if f.Advice != "" {
			text += " → " + f.Advice
		}
		t.row(string(f.Level), f.Check, text)
	}
	return t
}

// doctor examines a store.
type doctor struct {
	*settings
	report
	thorough bool
	offset   time.Duration // of the store's clock
	standby  bool          // the store takes no writes
}

// doctorTime bounds an examination that does not read through a file.
const doctorTime = 30 * time.Second

// examine looks at everything. What it finds is in the report; an error means that a setting is wrong.
func (d *doctor) examine(ctx context.Context) error {
	if !d.thorough {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, doctorTime)
		defer cancel()
	}
	var store errand.Store
	var err error
	if d.Database != "" {
		store, err = d.examineDatabase(ctx)
	} else {
		store, err = d.examineFile(ctx)
	}
	if store == nil {
		return err
	}
	defer store.Close()
	if err == nil {
		err = d.examineWork(ctx, store)
	}
	if err != nil {
		d.add("store", problem, err.Error(), "see the message: part of this examination is missing")
	}
	return nil
}

// examineWork looks at what every store can tell.
func (d *doctor) examineWork(ctx context.Context, store errand.Store) error {
	sessions, err := store.Sessions(ctx)
	if err != nil {
		return err
	}
	counts, err := store.Stats(ctx)
	if err != nil {
		return err
	}
	now := time.Now().Add(d.offset)
	live := slices.DeleteFunc(slices.Clone(sessions), func(s errand.Session) bool { return !s.Expires.After(now) })
	d.checkWorkers(live, len(sessions)-len(live), counts)
	if err := d.checkOrphans(ctx, store, len(live) > 0); err != nil {
		return err
	}
	taken, missing := []errand.Count{}, []errand.Count{}
	for _, c := range counts {
		if slices.ContainsFunc(live, func(s errand.Session) bool { return takes(&s, c.Queue, c.Kind) }) {
			taken = append(taken, c)
		} else {
			missing = append(missing, c)
		}
	}
	d.checkKinds(missing)
	d.checkBacklog(taken, now)
	return nil
}

func (d *doctor) checkWorkers(live []errand.Session, lost int, counts []errand.Count) {
	running, refused := int64(0), int64(0)
	versions := map[string]bool{}
	for _, c := range counts {
		if c.State == errand.Running {
			running += c.Jobs
		}
	}
	for i := range live {
		refused += live[i].Refused
		versions[cmp.Or(live[i].Version, "unknown")] = true
	}
	text := "none is alive"
	if len(live) > 0 {
		text = fmt.Sprintf("%d alive (version %s), %s running", len(live), strings.Join(slices.Sorted(maps.Keys(versions)), ", "), plural(int(running), "job"))
	}
	if refused > 0 {
		text += fmt.Sprintf(", %d late writes refused", refused)
	}
	if lost > 0 {
		text += fmt.Sprintf("; %d lost within the last hour", lost)
	}
	switch {
	case len(live) == 0:
		d.add("workers", warning, text, "start errand worker or errand serve: no job runs until then")
	case lost > 0:
		d.add("workers", warning, text, "look why: they were killed, or could not reach the store for the time of a lease")
	default:
		d.add("workers", fine, text, "")
	}
}

// rescueTime is how long workers may take to notice that jobs are orphaned, and more.
const rescueTime = 5 * time.Second

// checkOrphans looks for jobs that run without a live session. Where somebody should be rescuing them it looks twice.
func (d *doctor) checkOrphans(ctx context.Context, store errand.Store, rescued bool) error {
	if d.standby {
		return nil // the search tidies up on its way: it writes
	}
	const limit = 1000
	orphans, err := store.Orphans(ctx, limit)
	if err == nil && len(orphans) > 0 && rescued && pause(ctx, rescueTime) {
		first := map[errand.Lease]bool{}
		for i := range orphans {
			first[errand.Lease{ID: orphans[i].ID, Token: orphans[i].Token}] = true
		}
		orphans, err = store.Orphans(ctx, limit)
		orphans = slices.DeleteFunc(orphans, func(j errand.Job) bool { return !first[errand.Lease{ID: j.ID, Token: j.Token}] })
	}
	if err != nil {
		return err
	}
	text := plural(len(orphans), "job") + " of lost workers"
	if len(orphans) == limit {
		text = "at least " + text
	}
	switch {
	case len(orphans) == 0:
		d.add("orphans", fine, "no running job of a lost worker", "")
	case rescued:
		d.add("orphans", problem, text, "the workers should have rescued them within seconds: see their logs")
	default:
		d.add("orphans", warning, text, "start a worker: it makes them ready again")
	}
	return nil
}

// checkKinds reports jobs that no live worker would take. The counts are of such kinds.
func (d *doctor) checkKinds(counts []errand.Count) {
	missing := map[string]int64{}
	for _, c := range counts {
		if c.State == errand.Ready || c.State == errand.Scheduled {
			missing[fmt.Sprintf("%s (queue %s)", c.Kind, c.Queue)] += c.Jobs
		}
	}
	if len(missing) == 0 {
		d.add("kinds", fine, "every ready or scheduled job has a worker that takes it", "")
		return
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		parts = append(parts, name+": "+plural(int(missing[name]), "job"))
	}
	d.add("kinds", warning, "no live worker takes "+listed(parts, 5), "start a worker with a handler or a [command.NAME] of that name, and that queue")
}

// takes reports whether a session works on a kind in a queue.
func takes(s *errand.Session, queue, kind string) bool {
	return slices.Contains(s.Kinds, kind) && (len(s.Queues) == 0 || s.Queues[queue] > 0)
}

// listed is the first few words, and how many there are besides.
func listed(words []string, most int) string {
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}

// longWait is how long a ready job may have waited without being worth a warning.
const longWait = 5 * time.Minute

// checkBacklog looks at jobs that live workers take. The counts are of such kinds.
func (d *doctor) checkBacklog(counts []errand.Count, now time.Time) {
	var ready int64
	var oldest errand.Count
	for _, c := range counts {
		if c.State != errand.Ready {
			continue
		}
		ready += c.Jobs
		if oldest.OldestReady.IsZero() || c.OldestReady.Before(oldest.OldestReady) {
			oldest = c
		}
	}
	if ready == 0 {
		d.add("backlog", fine, "no job waits for a free worker", "")
		return
	}
	waits := max(now.Sub(oldest.OldestReady), 0)
	text := fmt.Sprintf("%s ready, the oldest for %s (%s, queue %s)", plural(int(ready), "job"), rough(waits), oldest.Kind, oldest.Queue)
	if waits > longWait {
		d.add("backlog", warning, text, "add workers, or raise their concurrency, if it does not shrink")
		return
	}
	d.add("backlog", fine, text, "")
}

// discard is a log for those who tell everything themselves.
var discard = slog.New(slog.DiscardHandler)

// reason is an error without what the report says anyway.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time: " + err.Error()
	}
	return err.Error()
}
