package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// results holds the samples of each row and system: results[row key][system].
type results map[string]map[string][]sample

func (r results) add(system string, samples map[string]sample) {
	for key, one := range samples {
		if r[key] == nil {
			r[key] = map[string][]sample{}
		}
		r[key][system] = append(r[key][system], one)
	}
}

// median is the middle figure of the repetitions; ok says whether there is one.
func (r results) median(key, system string) (value float64, ok bool) {
	samples := r[key][system]
	if len(samples) == 0 {
		return 0, false
	}
	values := make([]float64, len(samples))
	for i, one := range samples {
		values[i] = one.value
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

// report writes one table a group of systems, as Markdown that is aligned for
// a terminal too.
func (r results) report(w io.Writer, rows []row, systems []System, s settings) {
	fmt.Fprintf(w, "%s jobs of 60 bytes, medians of %d, limit %v, %s, %d CPUs\n", count(s.n), s.count, s.limit, runtime.Version(), runtime.NumCPU())
	var groups []string
	for _, system := range systems {
		if !slices.Contains(groups, system.Group) {
			groups = append(groups, system.Group)
		}
	}
	for _, group := range groups {
		columns := slices.DeleteFunc(slices.Clone(systems), func(c System) bool { return c.Group != group })
		lines := [][]string{{group + " (jobs/s unless it says otherwise)"}}
		for _, column := range columns {
			lines[0] = append(lines[0], column.Name)
		}
		for _, row := range rows {
			if line, some := r.line(row, columns); some {
				lines = append(lines, line)
			}
		}
		fmt.Fprintln(w)
		align(w, lines)
	}
	r.legend(w, systems)
}

// line writes one row; some is false if no column has a figure.
func (r results) line(row row, columns []System) (line []string, some bool) {
	line = []string{row.label}
	base := r.base(row, columns)
	for _, column := range columns {
		value, ok := r.median(row.key, column.Name)
		if row.whole != "" {
			value, ok = r.share(row, column.Name)
		}
		cell := "–"
		if ok {
			some = true
			cell = row.unit.format(value) + r.marks(row.key, column.Name)
			if row.whole == "" {
				cell += r.ratio(row, column, base, value)
			}
		}
		line = append(line, cell)
	}
	return line, some
}

// share is one row's figure as a part of another's.
func (r results) share(row row, system string) (float64, bool) {
	part, ok := r.median(row.part, system)
	whole, also := r.median(row.whole, system)
	return part / whole, ok && also
}

// base is the column that the others are compared with: errand where it has a
// figure, else the best floor.
func (r results) base(row row, columns []System) *System {
	var best *System
	for i, column := range columns {
		value, ok := r.median(row.key, column.Name)
		switch {
		case !ok:
		case column.Role == Ours:
			return &columns[i]
		case column.Role == Floor:
			if best != nil {
				if old, _ := r.median(row.key, best.Name); row.unit.better(old, value) >= 1 {
					continue
				}
			}
			best = &columns[i]
		}
	}
	return best
}

// ratio says how the column compares with the base. With errand as the base it
// is errand's merit that is written, else that of the column.
func (r results) ratio(row row, column System, base *System, value float64) string {
	if base == nil || base.Name == column.Name {
		return ""
	}
	other, _ := r.median(row.key, base.Name)
	if row.unit == mega && min(value, other) < 1e6 {
		return "" // what is left when almost nothing is held compares with nothing
	}
	ratio := row.unit.better(value, other)
	if base.Role == Ours && column.Role != Ours {
		ratio = row.unit.better(other, value)
	}
	switch {
	case math.IsInf(ratio, 0) || math.IsNaN(ratio) || ratio <= 0:
		return ""
	case column.Role == Floor && ratio < 2, base.Role == Floor, column.Role == Ours:
		return " (" + percent.format(ratio) + ")"
	case ratio < 10:
		return fmt.Sprintf(" (%.1f×)", ratio)
	}
	return fmt.Sprintf(" (%.0f×)", ratio)
}

// better is how many times better a is than b.
func (u unit) better(a, b float64) float64 {
	if u == rate {
		return a / b
	}
	return b / a
}

func (u unit) format(value float64) string {
	if u == mega {
		value /= 1e6
	}
	switch {
	case u == percent && value < 0.1:
		return fmt.Sprintf("%.1f %%", value*100)
	case u == percent:
		return fmt.Sprintf("%.0f %%", value*100)
	case value < 0.01:
		return "0"
	case value < 10:
		return strconv.FormatFloat(value, 'f', 2, 64)
	case value < 100:
		return strconv.FormatFloat(value, 'f', 1, 64)
	}
	digits := math.Pow(10, math.Floor(math.Log10(value))-2) // three that count
	return count(int(math.Round(value/digits) * digits))
}

// count writes a number with commas.
func count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// marks are explained in the legend.
func (r results) marks(key, system string) (marks string) {
	if slices.ContainsFunc(r[key][system], func(s sample) bool { return s.cut }) {
		marks = "*"
	}
	if slices.ContainsFunc(r[key][system], func(s sample) bool { return s.failed > 0 }) {
		marks += "!"
	}
	return marks
}

func (r results) legend(w io.Writer, systems []System) {
	ours := slices.ContainsFunc(systems, func(s System) bool { return s.Role == Ours })
	fmt.Fprintln(w)
	if ours {
		fmt.Fprintln(w, "- (n×) how many times better errand is than this column; (n %) below a floor: errand as a share of it, for time and memory inverted, so that more is always better for errand")
	} else {
		fmt.Fprintln(w, "- (n %) this column as a share of the best floor, for time and memory inverted")
	}
	fmt.Fprintln(w, "- \\* ended by the limit: fewer jobs than asked for, the rate holds  ! some enqueues were refused: the rate counts the others")
	for _, system := range systems {
		fmt.Fprintf(w, "- %s: %s\n", system.Name, system.Note)
	}
	for key, bySystem := range r {
		for system, samples := range bySystem {
			if i := slices.IndexFunc(samples, func(s sample) bool { return s.err != nil }); i >= 0 {
				fmt.Fprintf(w, "- ! %s, %s: %d refused, first: %v\n", system, key, samples[i].failed, samples[i].err)
			}
		}
	}
}

func align(w io.Writer, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range lines {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				fmt.Fprintf(w, "| %s%s |", cell, pad)
			} else {
				fmt.Fprintf(w, " %s%s |", pad, cell)
			}
		}
		fmt.Fprintln(w)
		if n == 0 {
			rule(w, widths)
		}
	}
}

// rule writes the line below the head: text to the left, figures to the right.
func rule(w io.Writer, widths []int) {
	for i, width := range widths {
		if i == 0 {
			fmt.Fprintf(w, "|%s|", strings.Repeat("-", width+2))
		} else {
			fmt.Fprintf(w, "%s:|", strings.Repeat("-", width+1))
		}
	}
	fmt.Fprintln(w)
}
