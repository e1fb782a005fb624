package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/errandhq/errand"
)

// The types of settings, as pflag.Values: Set reads what a flag, a variable or a file says, and its
// error says what would be right.

type textValue string

func (v *textValue) String() string     { return string(*v) }
func (v *textValue) Set(s string) error { *v = textValue(s); return nil }
func (v *textValue) Type() string       { return "text" }

type boolValue bool

func (v *boolValue) String() string { return strconv.FormatBool(bool(*v)) }
func (v *boolValue) Type() string   { return "bool" }

func (v *boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("use true or false")
	}
	*v = boolValue(b)
	return nil
}

type intValue struct {
	n        *int
	from, to int
}

func (v *intValue) String() string { return strconv.Itoa(*v.n) }
func (v *intValue) Type() string   { return "number" }

func (v *intValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.from || n > v.to {
		return fmt.Errorf("use a whole number from %d to %d", v.from, v.to)
	}
	*v.n = n
	return nil
}

type durationValue struct {
	d        *time.Duration
	from, to time.Duration
}

func (v *durationValue) String() string { return errand.FormatDuration(*v.d) }
func (v *durationValue) Type() string   { return "duration" }

func (v *durationValue) Set(s string) error {
	d, err := errand.ParseDuration(s)
	if err != nil {
		return err
	}
	if d < v.from || d > v.to {
		return fmt.Errorf("use a duration from %s to %s", errand.FormatDuration(v.from), errand.FormatDuration(v.to))
	}
	*v.d = d
	return nil
}

// keepValue is a retention: a duration, or forever.
type keepValue struct{ d *time.Duration }

func (v *keepValue) Type() string { return "duration" }

func (v *keepValue) String() string {
	if *v.d < 0 {
		return "forever"
	}
	return errand.FormatDuration(*v.d)
}

func (v *keepValue) Set(s string) error {
	if s == "forever" {
		*v.d = -1
		return nil
	}
	d, err := errand.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("use a duration above 0 such as 24h or 30d, or forever")
	}
	*v.d = d
	return nil
}

type levelValue slog.Level

func (v *levelValue) String() string { return strings.ToLower(slog.Level(*v).String()) }
func (v *levelValue) Type() string   { return "level" }

func (v *levelValue) Set(s string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return errors.New("use debug, info, warn or error")
	}
	*v = levelValue(l)
	return nil
}

type choiceValue struct {
	s       *string
	choices []string
}

func (v *choiceValue) String() string { return *v.s }
func (v *choiceValue) Type() string   { return strings.Join(v.choices, "|") }

func (v *choiceValue) Set(s string) error {
	if !slices.Contains(v.choices, s) {
		return fmt.Errorf("use %s", orList(v.choices))
	}
	*v.s = s
	return nil
}

type listValue []string

func (v *listValue) String() string { return strings.Join(*v, ",") }
func (v *listValue) Type() string   { return "list" }

func (v *listValue) Set(s string) error {
	*v = nil
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*v = append(*v, part)
		}
	}
	return nil
}

type queuesValue map[string]int

func (v *queuesValue) Type() string { return "queues" }

func (v *queuesValue) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(*v)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, (*v)[name]))
	}
	return strings.Join(parts, ",")
}

func (v *queuesValue) Set(s string) error {
	m := map[string]int{}
	for part := range strings.SplitSeq(s, ",") {
		name, count, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(count)
		if name == "" || err != nil || n < 1 {
			return errors.New("use NAME=CONCURRENCY, several with commas: default=10,media=2")
		}
		m[name] = n
	}
	*v = m
	return nil
}

// urlValue is the address of a server; http:// may be left out.
type urlValue string

func (v *urlValue) String() string { return string(*v) }
func (v *urlValue) Type() string   { return "url" }

func (v *urlValue) Set(s string) error {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return errors.New("use an address such as http://127.0.0.1:8642 (and --user or --token for credentials)")
	}
	*v = urlValue(strings.TrimRight(s, "/"))
	return nil
}

// orList is "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// suggest is "; did you mean X?" for the word that is nearest to s, "" if none is near.
func suggest(s string, words []string) string {
	best, distance := "", max(2, len(s)/4)+1
	slices.Sort(words)
	for _, w := range words {
		if d := editDistance(s, w); d < distance {
			best, distance = w, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
