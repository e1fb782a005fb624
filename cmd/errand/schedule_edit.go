package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// planFlags are the flags of a schedule to be made.
type planFlags struct {
	zone, start, end      string
	jitter, window, grace string
	overlap, misfire      string
	catchUp               int
}

// addBounds adds the flags that bear on when jobs are made.
func (f *planFlags) addBounds(fs *pflag.FlagSet) {
	fs.StringVar(&f.zone, "zone", "", "time zone (`NAME`) of a cron expression, such as Europe/Berlin (default UTC)")
	fs.StringVar(&f.start, "start", "", "not before this `TIME`: 2026-01-31T15:04:05Z, or \"2026-01-31 15:04\" in the zone")
	fs.StringVar(&f.end, "end", "", "not at or after this `TIME`")
}

func (f *planFlags) add(fs *pflag.FlagSet) {
	f.addBounds(fs)
	f.misfire = string(errand.MisfireOnce)
	fs.StringVar(&f.jitter, "jitter", "", "start each job up to this `DURATION` later")
	fs.Var(&choiceValue{&f.overlap, choices(errand.Overlaps)}, "overlap", "when the last job has not ended: make none, one that waits, any number that wait, cancel it, or let them run side by side (default skip; with --misfire catch_up queue_all)")
	fs.Var(&choiceValue{&f.misfire, choices(errand.Misfires)}, "misfire", "of nominal times at which nobody was there: make one job for all, none, or the last ones")
	fs.IntVar(&f.catchUp, "catch-up", 0, "with --misfire catch_up: how many (`NUMBER`) at most, up to 100")
	fs.StringVar(&f.window, "window", "", "with --misfire catch_up: none older than this `DURATION`")
	fs.StringVar(&f.grace, "grace", "", "how late a job may be made, a `DURATION`; past for longer, it was missed (default 1m)")
}

func choices[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = string(all[i])
	}
	return out
}

// plan makes a plan of the flags.
func (f *planFlags) plan(spec string) (p server.Plan, err error) {
	p = server.Plan{Spec: spec, Zone: f.zone, Overlap: errand.Overlap(f.overlap), Misfire: errand.Misfire(f.misfire), CatchUp: f.catchUp}
	for _, d := range []struct {
		flag, text string
		to         *server.Duration
	}{{"jitter", f.jitter, &p.Jitter}, {"window", f.window, &p.Window}, {"grace", f.grace, &p.Grace}} {
		if d.text != "" {
			v, err := errand.ParseDuration(d.text)
			if err != nil {
				return p, fmt.Errorf("--%s %q: %w", d.flag, d.text, err)
			}
			*d.to = server.Duration(v)
		}
	}
	zone := time.Local
	if f.zone != "" {
		if zone, err = time.LoadLocation(f.zone); err != nil {
			return p, fmt.Errorf("--zone %q: use a name such as UTC or Europe/Berlin", f.zone)
		}
	}
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"start", f.start, &p.Start}, {"end", f.end, &p.End}} {
		if t.text != "" {
			v, err := parseTimeIn(t.text, zone)
			if err != nil {
				return p, fmt.Errorf("--%s %q: %w", t.flag, t.text, err)
			}
			*t.to = v.UTC()
		}
	}
	return p, nil
}

func scheduleSetCommand() *cobra.Command {
	var plan planFlags
	var job jobFlags
	var format, reason string
	var isNew bool
	cmd := &cobra.Command{
		Use:   "set NAME WHEN KIND [ARGS]",
		Short: "Make a schedule, or replace what it does",
		Long: `Set makes a schedule, or replaces all that it does: what is not given gets its default. One that is paused stays paused.

` + specHelp + "\n\n" + argsHelp,
		Example: `  errand schedule set nightly '0 3 * * *' backup -a target=/srv --zone Europe/Berlin --timeout 1h
  errand schedule set poll '@after 30s' import --max-attempts 1
  errand schedule set report '0 6 1 * *' report --misfire catch_up --catch-up 3 --reason "asked for by sales"
  errand schedule set nightly cron.nightly backup '{"target": "/srv"}' --overlap queue_one`,
		Args: func(cmd *cobra.Command, args []string) error {
			err := wants(3, 4, "NAME", "WHEN", "KIND", "ARGS")(cmd, args)
			if len(args) > 4 {
				err = fmt.Errorf("%w (an expression with spaces needs quotes: '%s')", err, strings.Join(args[1:min(6, len(args))], " "))
			}
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := plan.plan(args[1])
			if err != nil {
				return &usageError{err}
			}
			n, err := job.newJob(cmd, args[2:])
			if err != nil {
				return &usageError{err}
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			body := server.NewSchedule{Plan: p, Job: templateOf(&n), Reason: reason}
			header := http.Header{}
			if isNew {
				header.Set("If-None-Match", "*")
			}
			var x server.Schedule
			if err := c.doWith(cmd.Context(), http.MethodPut, schedulePath(args[0], ""), nil, header, body, &x); err != nil {
				return namingSchedule(args[0], err)
			}
			if x.Warning != "" {
				c.say("warning: %s", x.Warning)
			}
			return printSchedule(printer{cmd.OutOrStdout(), format}, &x)
		},
	}
	plan.add(cmd.Flags())
	job.addTemplate(cmd.Flags())
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "why (`TEXT`): kept with the schedule")
	cmd.Flags().BoolVar(&isNew, "new", false, "only make it: if there is one of this name, leave it as it is (exit code 8)")
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeSet
	return cmd
}

// templateOf is what of a new job belongs to a schedule.
func templateOf(n *server.NewJob) server.Template {
	return server.Template{
		Kind: n.Kind, Args: n.Args, Queue: n.Queue, Priority: n.Priority, MaxAttempts: n.MaxAttempts, MaxCrashes: n.MaxCrashes,
		Timeout: n.Timeout, Retention: n.Retention, Tags: n.Tags, Metadata: n.Metadata,
	}
}

// completeSet completes NAME, WHEN and KIND.
func completeSet(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return completeSchedules(cmd, nil, word)
	case 1:
		words := []string{"@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@reboot"}
		c, ctx, cancel := completer(cmd)
		defer cancel()
		if c != nil {
			var specs server.Specs
			_ = c.do(ctx, http.MethodGet, "/specs", nil, nil, &specs)
			for _, s := range specs.Specs {
				words = append(words, s.Name+"\t"+s.Describe)
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	case 2:
		return completeKinds(cmd, nil, word)
	}
	return nil, cobra.ShellCompDirectiveDefault
}

func schedulePreviewCommand() *cobra.Command {
	var plan planFlags
	var format, name string
	var n int
	cmd := &cobra.Command{
		Use:   "preview WHEN",
		Short: "Tell what an expression means, and the next times",
		Long: `Preview tells what an expression means, and the next times with their offset from UTC. It needs no server, unless WHEN is a cron.NAME that is
not in the settings file here.

` + specHelp,
		Example: `  errand schedule preview '30 2 * * *' --zone Europe/Berlin -n 10
  errand schedule preview 'H H * * *' --name nightly
  errand schedule preview cron.nightly`,
		Args: wants(1, 1, "WHEN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 1 || n > 100 {
				return &usageError{fmt.Errorf("--number %d: use 1 to 100", n)}
			}
			p, err := plan.plan(args[0])
			if err != nil {
				return &usageError{err}
			}
			would, err := preview(cmd, name, p, n)
			if err != nil {
				return err
			}
			out := printer{cmd.OutOrStdout(), format}
			if format != "text" {
				return out.print(*would, nil)
			}
			return showPreview(out, would)
		},
	}
	plan.addBounds(cmd.Flags())
	cmd.Flags().IntVarP(&n, "number", "n", 5, "how many times (`NUMBER`), up to 100")
	cmd.Flags().StringVar(&name, "name", "preview", "`NAME` of the schedule: H in an expression depends on it")
	clientFlags(cmd)
	addFormat(cmd, &format, "text", "json", "jsonl")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeSet(cmd, []string{""}, word)
	}
	return cmd
}

// preview works it out here if that can be done, else it asks the server.
func preview(cmd *cobra.Command, name string, p server.Plan, n int) (*server.Preview, error) {
	s, err := loadSettings(cmd.Flags())
	if err != nil {
		return nil, err
	}
	named, isName := strings.CutPrefix(strings.TrimSpace(p.Spec), "cron.")
	if _, known := s.Cron[named]; isName && !known {
		c, err := newClient(cmd)
		if err != nil {
			return nil, err
		}
		var would server.Preview
		return &would, c.do(cmd.Context(), http.MethodPost, "/schedules/preview", nil, server.NewPreview{Plan: p, Name: name, N: n}, &would)
	}
	x, err := s.planner().PreviewSchedule(name, p.Spec, errand.NewJob{Kind: "any"}, &errand.Plan{Zone: p.Zone, Start: p.Start, End: p.End})
	if err != nil {
		return nil, &usageError{planError(err)}
	}
	would := &server.Preview{Spec: x.Spec, Resolved: x.Resolved, Zone: x.Zone, Describe: x.Describe(), Next: x.Upcoming(time.Now(), n)}
	if would.Next == nil {
		would.Next = []time.Time{}
	}
	return would, nil
}

func showPreview(p printer, would *server.Preview) error {
	spec := would.Spec
	if would.Resolved != "" {
		spec = would.Resolved
	}
	zone := zoneOf(spec, would.Zone)
	if _, err := fmt.Fprintf(p.w, "%s\n", harmless(would.Describe)); err != nil {
		return err
	}
	t := &table{}
	for _, at := range would.Next {
		t.row("  "+at.In(zone).Format("Mon 2006-01-02 15:04:05 -07:00 MST"), ago(at))
	}
	if len(t.rows) == 0 && !slices.Contains([]string{"@reboot", "@after"}, strings.Fields(spec)[0]) {
		t.row("never")
	}
	return t.write(p.w)
}

// scheduleVerbCommand is pause or resume.
func scheduleVerbCommand(verb string) *cobra.Command {
	short, long := "Keep schedules from making jobs until resume", "Pause keeps schedules from making jobs, in all processes, over restarts too. What they have made runs."
	if verb == "resume" {
		short, long = "Let paused schedules make jobs again", "Resume lets paused schedules make jobs again, at the nominal times to come: those that have passed were not missed."
	}
	var reason, format string
	cmd := &cobra.Command{
		Use: verb + " NAME…", Short: short, Long: long,
		Example: "  errand schedule " + verb + " nightly --reason \"month end\"",
		Args:    wants(1, -1, "NAME"),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var all []server.Schedule
			for i := 0; i < len(names) && err == nil; i++ {
				var x server.Schedule
				if err = c.do(cmd.Context(), http.MethodPost, schedulePath(names[i], "/"+verb), nil, server.Action{Reason: reason}, &x); err == nil {
					all = append(all, x)
				} else {
					err = namingSchedule(names[i], err)
				}
			}
			if len(all) > 0 {
				p := printer{cmd.OutOrStdout(), format}
				err = errors.Join(err, p.print(all, func() *table { return scheduleTable(all) }))
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "why (`TEXT`): kept with the schedule")
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeSchedules
	return cmd
}

func scheduleRunCommand() *cobra.Command {
	var format, patience string
	var wait bool
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Make a job of a schedule now",
		Long: `Run makes a job of a schedule now, paused or not, besides those of its nominal times, and prints it. If the last one has not ended the new one
waits for it, unless they may overlap. With --wait it shows the job's log and progress and waits for its end, as errand run does.`,
		Example: "  errand schedule run nightly\n  errand schedule run nightly --wait",
		Args:    wants(1, 1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var job server.Job
			if err := c.do(cmd.Context(), http.MethodPost, schedulePath(args[0], "/run"), nil, nil, &job); err != nil {
				return namingSchedule(args[0], err)
			}
			p := printer{cmd.OutOrStdout(), format}
			if !wait {
				return p.print(job, func() *table { return jobTable([]server.Job{job}) })
			}
			if format == "table" {
				p.format = "result"
			}
			c.say("job %s", job.ID)
			return runToEnd(cmd, c, job, false, p)
		},
	}
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait for the end of the job, and print its result")
	clientFlags(cmd)
	patienceFlag(cmd, &patience)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeSchedules
	return cmd
}

func scheduleBackfillCommand() *cobra.Command {
	var from, to string
	var yes, dry bool
	cmd := &cobra.Command{
		Use:   "backfill NAME --from TIME --to TIME",
		Short: "Make the jobs of nominal times that have passed",
		Long: `Backfill makes the jobs of all nominal times from one time to before another, but for those whose job is there. They run after the
schedule's last job, and one after another, unless its jobs may overlap. It counts the nominal times first and asks.`,
		Example: `  errand schedule backfill nightly --from 2026-01-01 --to 2026-02-01 --dry-run
  errand schedule backfill nightly --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --yes`,
		Args: wants(1, 1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b := server.NewBackfill{DryRun: true}
			for flag, x := range map[string]struct {
				text string
				to   *time.Time
			}{"from": {from, &b.From}, "to": {to, &b.To}} {
				t, err := parseTime(x.text)
				if err != nil {
					return &usageError{fmt.Errorf("--%s %q: %w", flag, x.text, err)}
				}
				*x.to = t.UTC()
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			path := schedulePath(args[0], "/backfill")
			var counted, done server.Backfill
			if err := c.do(cmd.Context(), http.MethodPost, path, nil, b, &counted); err != nil {
				return namingSchedule(args[0], err)
			}
			what := plural(counted.NominalTimes, "nominal time")
			switch {
			case dry:
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: would make the jobs that are not there\n", what)
				return err
			case counted.NominalTimes == 0:
				c.say("there is no nominal time in this range")
				return nil
			}
			undone := "nothing was made: add --yes to go ahead without being asked, or --dry-run to see how many there are"
			if err := ask(cmd, fmt.Sprintf("Make the jobs of %s?", what), undone, yes); err != nil {
				return err
			}
			b.DryRun = false
			if err := c.do(cmd.Context(), http.MethodPost, path, nil, b, &done); err != nil {
				return namingSchedule(args[0], err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, %s made\n", plural(done.NominalTimes, "nominal time"), plural(done.Made, "job"))
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the first nominal time, or a `TIME` before it: 2026-01-31T15:04:05Z, or local \"2026-01-31 15:04\"")
	cmd.Flags().StringVar(&to, "to", "", "the end, a `TIME` in the past: nominal times at it are left out")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only count the nominal times")
	clientFlags(cmd)
	cmd.ValidArgsFunction = completeSchedules
	return cmd
}

func scheduleDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "delete NAME…",
		Aliases: []string{"rm"},
		Short:   "Remove schedules and the records of what they did; their jobs stay",
		Long: `Delete removes schedules and the records of what they did. The jobs that they have made stay. One that a program or its settings
register is there again when that starts: remove it there first, or pause it instead.`,
		Example: "  errand schedule delete nightly\n  errand schedule delete old older --yes",
		Args:    wants(1, -1, "NAME"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := ask(cmd, fmt.Sprintf("Delete %s for good?", plural(len(names), "schedule")), "nothing was deleted: add --yes to delete without being asked", yes); err != nil {
				return err
			}
			c, err := newClient(cmd)
			for i := 0; i < len(names) && err == nil; i++ {
				if err = c.do(cmd.Context(), http.MethodDelete, schedulePath(names[i], ""), nil, nil, nil); err != nil {
					return namingSchedule(names[i], err)
				}
				c.say("schedule %s: deleted", harmless(names[i]))
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	clientFlags(cmd)
	cmd.ValidArgsFunction = completeSchedules
	return cmd
}
