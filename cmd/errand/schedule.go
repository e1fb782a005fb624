package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/cron"
	"github.com/errandhq/errand/server"
)

// scheduleCommand is errand schedule: alone, it lists.
func scheduleCommand() *cobra.Command {
	cmd := scheduleListCommand("schedule [COMMAND]")
	cmd.Short = "See, make, edit, pause and run schedules"
	cmd.Long = `A schedule makes jobs: by a cron expression, at an interval, or each time a worker starts. Without a command it lists the schedules.

` + specHelp + `

Schedules can also stand in the settings of servers and workers, see errand serve --help. What is paused or edited here stays so when these
start again, until the settings say something else.`
	cmd.Example = `  errand schedule
  errand schedule set nightly '0 3 * * *' backup -a target=/srv --zone Europe/Berlin
  errand schedule preview '0 3 L * *' -n 3
  errand schedule pause nightly --reason "month end"`
	cmd.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		return &usageError{fmt.Errorf("%q: errand schedule has no such command%s", args[0], suggest(args[0], names))}
	}
	list := scheduleListCommand("list")
	list.Aliases, list.Short, list.Example = []string{"ls"}, "List the schedules", "  errand schedule list\n  errand schedule list -o id"
	list.Args = wants(0, 0)
	cmd.AddCommand(list, scheduleShowCommand(), scheduleSetCommand(), schedulePreviewCommand(), scheduleVerbCommand("pause"), scheduleVerbCommand("resume"),
		scheduleRunCommand(), scheduleBackfillCommand(), scheduleHistoryCommand(), scheduleDeleteCommand())
	return cmd
}

// specHelp describes specs.
const specHelp = `When:
  '0 7 * * MON-FRI'   a cron expression: minute, hour, day of month, month, day of week; in UTC, or in --zone
  @daily              and @hourly, @weekly, @monthly, @yearly
  '@every 90m'        an interval; it does not drift
  '@after 10m'        an interval, counted from the end of the last job
  @reboot             each time a worker starts
  cron.NAME           as NAME in the table [cron] of the server's settings`

func scheduleListCommand(use string) *cobra.Command {
	var format string
	query := url.Values{}
	cmd := &cobra.Command{
		Use: use,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			all, err := c.schedules(cmd.Context(), query)
			if err != nil {
				return err
			}
			p := printer{cmd.OutOrStdout(), format}
			switch {
			case format == "json":
				return p.json(server.Schedules{Schedules: append([]server.Schedule{}, all...)}, "  ")
			case format == "table" && len(all) == 0:
				if query.Has("search") || query.Has("only") {
					c.say("no schedule matches")
					return nil
				}
				c.say("there are no schedules: make one with errand schedule set")
				return nil
			}
			return p.print(all, func() *table { return scheduleTable(all) })
		},
	}
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	queryFlag(cmd, query, "search", "only those with this `text` in their name, spec, kind or queue")
	queryFlag(cmd, query, "only", "only those that are `paused`, or late")
	return cmd
}

// schedules lists all schedules that a query selects.
func (c *client) schedules(ctx context.Context, q url.Values) (all []server.Schedule, err error) {
	q.Set("limit", "200")
	q.Set("history", "0")
	for {
		var page server.Schedules
		if err := c.do(ctx, http.MethodGet, "/schedules", q, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Schedules...)
		if page.Next == "" {
			return all, nil
		}
		q.Set("after", page.Next)
	}
}

// schedulePath is the path of a schedule, whatever its name.
func schedulePath(name string, more string) string {
	escaped := url.PathEscape(name)
	if strings.Trim(name, ".") == "" {
		escaped = strings.ReplaceAll(name, ".", "%2E")
	}
	return "/schedules/" + escaped + more
}

// completeSchedules completes the name of one schedule.
func completeSchedules(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, ctx, cancel := completer(cmd)
	defer cancel()
	if c == nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := c.schedules(ctx, url.Values{})
	var words []string
	for i := range all {
		words = append(words, all[i].Name+"\t"+all[i].Describe)
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func scheduleTable(all []server.Schedule) *table {
	t := &table{}
	t.head("name", "when", "next", "last", "overlap", "paused")
	for i := range all {
		x := &all[i]
		t.row(shorten(x.Name, 40), shorten(whenText(x), 60), nextText(x), lastText(x.Last), string(x.Overlap), pausedText(x))
	}
	return slimmed(t)
}

// whenText says when a schedule makes jobs, and by which name.
func whenText(x *server.Schedule) string {
	if x.Resolved != "" {
		return x.Describe + " (" + x.Spec + ")"
	}
	return x.Describe
}

// nextText says when the next job is made.
func nextText(x *server.Schedule) string {
	spec := strings.TrimSpace(cmp.Or(x.Resolved, x.Spec))
	switch {
	case !x.Paused.IsZero():
		return ""
	case !x.Next.IsZero() && durationOf(x.LateBy) >= time.Second:
		return "late by " + rough(durationOf(x.LateBy))
	case !x.Next.IsZero():
		return ago(x.Next) + ", " + timeText(x.Next, zoneOf(spec, x.Zone))
	case spec == "@reboot":
		return "when a worker starts"
	case strings.HasPrefix(spec, "@after ") && (x.End.IsZero() || x.End.After(time.Now())):
		return "once the last job has ended"
	}
	return "never"
}

// clockText is a time as short as it can be told.
func timeText(t time.Time, zone *time.Location) string {
	t = t.In(zone)
	layout := "Mon 02 Jan 15:04 MST"
	switch away := time.Until(t).Abs(); {
	case t.Second() != 0 && away < 24*time.Hour:
		layout = "15:04:05 MST"
	case away < 12*time.Hour:
		layout = "15:04 MST"
	case away > 300*24*time.Hour:
		layout = "2006-01-02 15:04 MST"
	}
	return t.Format(layout)
}

// zoneOf is the time zone by which a spec goes; the local one for intervals.
func zoneOf(spec, zone string) *time.Location {
	in, err := time.LoadLocation(zone)
	if err != nil {
		return time.UTC
	}
	s, err := cron.Parse(spec, cron.In(in), cron.HashOf("any"))
	if err != nil {
		return time.Local
	}
	if _, interval := s.Interval(); interval {
		return time.Local
	}
	return s.Location()
}

// lastText says what became of the last job.
func lastText(j *server.LastJob) string {
	switch {
	case j == nil:
		return ""
	case j.State == "":
		return "no longer kept"
	case j.Started.IsZero() && j.Ended.IsZero():
		return string(j.State)
	}
	at := j.Ended
	if at.IsZero() {
		at = j.Started
	}
	return string(j.State) + " " + ago(at)
}

func pausedText(x *server.Schedule) string {
	if x.Paused.IsZero() {
		return ""
	}
	return ago(x.Paused) + byText(x.PausedBy, x.PausedFor)
}

// byText is who did something, and why.
func byText(actor, reason string) (text string) {
	if actor != "" {
		text = " by " + actor
	}
	if reason != "" {
		text += ": " + shorten(reason, 60)
	}
	return text
}

func scheduleShowCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show all that is known of a schedule, and the next nominal times",
		Example: "  errand schedule show nightly\n  errand schedule show nightly -o json | jq .job",
		Args:    wants(1, 1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var x server.Schedule
			if err := c.do(cmd.Context(), http.MethodGet, schedulePath(args[0], ""), nil, nil, &x); err != nil {
				return namingSchedule(args[0], err)
			}
			return printSchedule(printer{cmd.OutOrStdout(), format}, &x)
		},
	}
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeSchedules
	return cmd
}

func namingSchedule(name string, err error) error {
	return fmt.Errorf("schedule %s: %w", harmless(name), err)
}

func printSchedule(p printer, x *server.Schedule) error {
	if p.format != "table" {
		return p.print(*x, nil)
	}
	return showSchedule(p.w, x)
}

// showSchedule prints one schedule for people. What is as usual is left out.
func showSchedule(w io.Writer, x *server.Schedule) error {
	t := &table{}
	add := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	zone := zoneOf(cmp.Or(x.Resolved, x.Spec), x.Zone)
	add("name", x.Name)
	add("when", x.Describe)
	add("spec", x.Spec)
	add("stands for", x.Resolved)
	add("zone", x.Zone)
	add("paused", pausedText(x))
	if len(x.Upcoming) == 0 {
		add("next", nextText(x))
	}
	for i, at := range x.Upcoming {
		add([]string{"next", " "}[min(i, 1)], at.In(zone).Format("Mon 2006-01-02 15:04:05 MST")+" ("+ago(at)+")")
	}
	if durationOf(x.LateBy) >= time.Second {
		add("late", nextText(x))
	}
	for _, bound := range []struct {
		name string
		at   time.Time
	}{{"start", x.Start}, {"end", x.End}} {
		if !bound.at.IsZero() {
			add(bound.name, bound.at.In(zone).Format("2006-01-02 15:04:05 MST"))
		}
	}
	add("overlap", string(x.Overlap))
	add("misfire", misfireText(x))
	for _, d := range []struct {
		name string
		d    server.Duration
	}{{"grace", x.Grace}, {"jitter", x.Jitter}} {
		if d.d != 0 {
			add(d.name, errand.FormatDuration(durationOf(d.d)))
		}
	}
	addTemplate(add, &x.Job)
	add("created", when(x.Created))
	add("changed", when(x.Changed)+byText(x.Actor, x.Reason))
	if x.Registered {
		add("registered", "by a program or its settings, each time it starts")
	}
	add("made", fmt.Sprintf("%d; skipped %d, missed %d", x.Made, x.Skipped, x.Missed))
	if j := x.Last; j != nil {
		add("last job", strings.TrimSpace(j.ID.String()+" "+lastText(j)))
		add("error", harmless(shorten(strings.ReplaceAll(j.Error, "\n", " "), 200)))
	}
	return t.write(w)
}

func misfireText(x *server.Schedule) string {
	text := string(x.Misfire)
	if x.CatchUp > 0 {
		text += fmt.Sprintf(", %d at most", x.CatchUp)
	}
	if x.Window > 0 {
		text += ", none older than " + errand.FormatDuration(durationOf(x.Window))
	}
	return text
}

// addTemplate tells what the jobs are made from.
func addTemplate(add func(name, value string), j *server.Template) {
	add("kind", j.Kind)
	queue := j.Queue
	if j.Priority != nil {
		queue += fmt.Sprintf(", priority %d", *j.Priority)
	}
	add("queue", queue)
	add("args", compact(j.Args))
	add("attempts", strconv.Itoa(j.MaxAttempts))
	if j.Timeout != nil {
		add("timeout", errand.FormatDuration(durationOf(*j.Timeout)))
	}
	if j.Retention != 0 {
		add("retention", j.Retention.String())
	}
	add("tags", strings.Join(j.Tags, " "))
	for _, k := range slices.Sorted(maps.Keys(j.Metadata)) {
		add("meta "+k, j.Metadata[k])
	}
}

func scheduleHistoryCommand() *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use:     "history NAME",
		Short:   "List what a schedule did at its latest nominal times, the newest first",
		Long:    "History lists what a schedule did at its latest nominal times, the newest first. The latest 100 are kept.",
		Example: "  errand schedule history nightly\n  errand schedule history nightly -n 100 -o id | errand show -",
		Args:    wants(1, 1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > errand.MaxFirings {
				return &usageError{fmt.Errorf("--limit %d: use 1 to %d", limit, errand.MaxFirings)}
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var out server.Firings
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if err := c.do(cmd.Context(), http.MethodGet, schedulePath(args[0], "/firings"), q, nil, &out); err != nil {
				return namingSchedule(args[0], err)
			}
			p := printer{cmd.OutOrStdout(), format}
			switch {
			case format == "json":
				return p.json(out, "  ")
			case format == "table" && len(out.Firings) == 0:
				c.say("nothing yet")
				return nil
			}
			return p.print(out.Firings, func() *table { return firingTable(out.Firings) })
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "how many (`NUMBER`) at most, up to 100")
	clientFlags(cmd)
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	cmd.ValidArgsFunction = completeSchedules
	return cmd
}

func firingTable(all []server.Firing) *table {
	t := &table{}
	t.head("nominal", "outcome", "late", "job", "state", "took")
	for i := range all {
		f := &all[i]
		outcome, late, job, state := string(f.Outcome), "", "", string(f.State)
		if f.Missed > 1 {
			outcome += fmt.Sprintf(" %d", f.Missed)
		}
		if d := f.At.Sub(f.Nominal); f.Outcome == errand.OutcomeMade && d >= time.Second {
			late = rough(d)
		}
		if f.Job != (errand.ID{}) {
			job, state = f.Job.String(), cmp.Or(state, "no longer kept")
		}
		took := runTime(&server.Job{State: f.State, Started: f.Started, Ended: f.Ended})
		t.row(f.Nominal.Local().Format("2006-01-02 15:04:05 MST"), outcome, late, job, state, took)
	}
	return slimmed(t)
}
