package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// plural is "1 job", "2 jobs".
func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// harmlessLines is harmless for text of several lines.
func harmlessLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = harmless(lines[i])
	}
	return strings.Join(lines, "\n")
}

// logLine is one entry of a job's log for people.
func logLine(e *server.Entry) string {
	text := harmlessLines(e.Text)
	switch e.Type {
	case errand.EntryAttempt:
		text = fmt.Sprintf("attempt %d failed: %s", e.Attempt, text)
	case errand.EntryAction:
		text = "→ " + text
	default:
		text += attrsText(e.Attrs)
	}
	indent := "\n" + strings.Repeat(" ", len("15:04:05.000 ERROR "))
	return fmt.Sprintf("%s %-5s %s", e.Time.Local().Format("15:04:05.000"), e.Level, strings.ReplaceAll(text, "\n", indent))
}

// attrsText is " key=value …" of a line's attributes.
func attrsText(raw json.RawMessage) string {
	var attrs map[string]any
	if json.Unmarshal(raw, &attrs) != nil {
		return ""
	}
	s := ""
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		v := attrs[k]
		text, ok := v.(string)
		if !ok {
			b, _ := json.Marshal(v)
			text = string(b)
		} else if text == "" || strings.ContainsAny(text, " \"=\n") {
			text = fmt.Sprintf("%q", text)
		}
		s += " " + k + "=" + text
	}
	return harmless(s)
}
