package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// printer writes data in the format that -o asks for.
type printer struct {
	w      io.Writer
	format string
}

// addFormat adds -o, the first choice being the default.
func addFormat(cmd *cobra.Command, format *string, choices ...string) {
	*format = choices[0]
	cmd.Flags().VarP(&choiceValue{format, choices}, "output", "o", "format: "+orList(choices))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp))
}

// print writes v, a struct or a slice; as a table it is what the function makes of it.
func (p printer) print(v any, asTable func() *table) error {
	switch p.format {
	case "json":
		return p.json(v, "  ")
	case "jsonl":
		if list := reflect.ValueOf(v); list.Kind() == reflect.Slice {
			for i := range list.Len() {
				if err := p.json(list.Index(i).Interface(), ""); err != nil {
					return err
				}
			}
			return nil
		}
		return p.json(v, "")
	case "id":
		return p.ids(v)
	}
	return asTable().write(p.w)
}

func (p printer) json(v any, indent string) error {
	if list := reflect.ValueOf(v); list.Kind() == reflect.Slice && list.IsNil() {
		v = []int{} // [] rather than null
	}
	enc := json.NewEncoder(p.w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

func (p printer) ids(v any) error {
	var ids []any
	switch v := v.(type) {
	case server.Job:
		ids = append(ids, v.ID)
	case []server.Job:
		for i := range v {
			ids = append(ids, v[i].ID)
		}
	case server.Schedule:
		ids = append(ids, v.Name)
	case []server.Schedule:
		for i := range v {
			ids = append(ids, v[i].Name)
		}
	case []server.Firing:
		for i := range v {
			if v[i].Job != (errand.ID{}) {
				ids = append(ids, v[i].Job)
			}
		}
	}
	for _, id := range ids {
		if _, err := fmt.Fprintln(p.w, id); err != nil {
			return err
		}
	}
	return nil
}

// table is lines of aligned cells.
type table struct{ rows [][]string }

func (t *table) head(cells ...string) {
	for i := range cells {
		cells[i] = strings.ToUpper(cells[i])
	}
	t.row(cells...)
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = harmless(strings.Join(strings.Fields(c), " "))
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(w io.Writer) error {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush() // into memory
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil { // no blanks at the end of a line
			return err
		}
	}
	return nil
}

// harmless makes text from elsewhere fit for a terminal: no control characters but tab.
func harmless(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// ago is a time as seen from now: "3m ago", "in 2h".
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := time.Since(t)
	switch {
	case d < -time.Second:
		return "in " + rough(-d)
	case d < time.Second:
		return "now"
	}
	return rough(d) + " ago"
}

// rough is a duration in one unit, or two.
func rough(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}

// when is a time in the local zone, and as seen from now.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST") + " (" + ago(t) + ")"
}

// runTime is how long a job's latest run took, or takes so far.
func runTime(j *server.Job) string {
	switch {
	case j.Started.IsZero():
		return ""
	case !j.Ended.IsZero():
		return rough(j.Ended.Sub(j.Started))
	case j.State == "running":
		return rough(max(time.Since(j.Started), 0))
	}
	return ""
}

// progressText is "3/10 text".
func progressText(j *server.Job) string {
	p := j.Progress
	if p == nil {
		return ""
	}
	s := fmt.Sprint(p.Done)
	if p.Total > 0 {
		s += fmt.Sprintf("/%d", p.Total)
	}
	return strings.TrimSpace(s + " " + shorten(p.Text, 40))
}

// stateText is a job's state, and where it is on its way to.
func stateText(j *server.Job) string {
	switch {
	case j.State == "running" && j.Want == "paused":
		return "running (pausing)"
	case j.Want == "cancelled":
		return string(j.State) + " (cancelling)"
	}
	return string(j.State)
}

func jobTable(jobs []server.Job) *table {
	t := &table{}
	t.head("id", "kind", "queue", "state", "attempt", "progress", "created", "took")
	for i := range jobs {
		j := &jobs[i]
		created := ago(j.Created)
		if j.State == "scheduled" {
			created += ", due " + ago(j.Due)
		}
		t.row(j.ID.String(), shorten(j.Kind, 30), shorten(j.Queue, 20), stateText(j), fmt.Sprintf("%d/%d", j.Attempt, j.MaxAttempts),
			progressText(j), created, runTime(j))
	}
	return slimmed(t)
}

// slimmed drops columns without any value.
func slimmed(t *table) *table {
	for col := len(t.rows[0]) - 1; col >= 0 && len(t.rows) > 1; col-- {
		if !slices.ContainsFunc(t.rows[1:], func(row []string) bool { return row[col] != "" }) {
			for i := range t.rows {
				t.rows[i] = slices.Delete(t.rows[i], col, col+1)
			}
		}
	}
	return t
}
