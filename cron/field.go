package cron

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// The fields, by their place among seven.
const (
	secondField = iota
	minuteField
	hourField
	domField
	monthField
	dowField
	yearField
)

// The years in which a schedule can fire.
const (
	firstYear = 1970
	lastYear  = 2199
)

var fields = [...]field{
	{name: "second", max: 59},
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day-of-month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"},
	{name: "day-of-week", max: 6, names: "SUNMONTUEWEDTHUFRISAT"},
	{name: "year", min: firstYear, max: lastYear},
}

// field is one of the seven: its values are the numbers from min to max, and in the day-of-week 7 is another name of 0.
type field struct {
	name     string
	min, max int
	names    string // of the values, three letters each
}

func (f *field) size() int   { return f.max - f.min + 1 }
func (f *field) isDom() bool { return f == &fields[domField] }
func (f *field) isDow() bool { return f == &fields[dowField] }

// usage says which values there are.
func (f *field) usage() string {
	switch {
	case f.isDow():
		return "0-7 or SUN-SAT"
	case f.names != "":
		return "1-12 or JAN-DEC"
	}
	return fmt.Sprintf("%d-%d", f.min, f.max)
}

// values are what a field says.
type values struct {
	set     [4]uint64 // bit n: the n-th value of the field, from 0 on
	star    bool      // it begins with *, ? or H/
	fromEnd uint64    // as in days, like what follows
	nearest uint64
	nth     [6]uint64
}

// parser reads one field.
type parser struct {
	*field
	values
	at   int    // where the field is in the spec
	text string // the field, in capitals
	pos  int    // how much of the text has been read
	hash string // the name for H
}

// fail makes an error about what begins at a position of the field.
func (p *parser) fail(pos int, format string, args ...any) *ParseError {
	return &ParseError{Field: p.name, Column: p.at + pos + 1, Problem: fmt.Sprintf(format, args...)}
}

// next reports whether a character is the next one.
func (p *parser) next(c byte) bool { return p.pos < len(p.text) && p.text[p.pos] == c }

// eat reads one character if it is the next one.
func (p *parser) eat(c byte) bool {
	found := p.next(c)
	if found {
		p.pos++
	}
	return found
}

// run reads characters that lie between two others.
func (p *parser) run(from, to byte) string {
	start := p.pos
	for p.pos < len(p.text) && from <= p.text[p.pos] && p.text[p.pos] <= to {
		p.pos++
	}
	return p.text[start:p.pos]
}

// list reads items with commas between them: the whole field.
func (p *parser) list() *ParseError {
	p.star = p.text[0] == '*' || p.text[0] == '?' || strings.HasPrefix(p.text, "H/")
	for {
		if err := p.item(); err != nil {
			return err
		}
		if p.pos == len(p.text) {
			return nil
		}
		if !p.eat(',') {
			return p.fail(p.pos, "unexpected %q: use values (%s), ranges (a-b) and steps (/n), with commas between them", p.text[p.pos:p.pos+1], p.usage())
		}
	}
}

// item reads what may stand between two commas.
func (p *parser) item() *ParseError {
	start := p.pos
	switch {
	case p.eat('*'):
		return p.steps(0, p.size())
	case p.eat('?'):
		if !p.isDom() && !p.isDow() || p.text != "?" {
			return p.fail(start, "? stands alone, and for day-of-month or day-of-week only: use *")
		}
		p.add(0, p.size(), 1)
		return nil
	case p.eat('H'):
		return p.hashed(start)
	case p.eat('L'):
		return p.last(start)
	}
	first, count, err := p.span()
	switch {
	case err != nil:
		return err
	case count > 0:
		return p.steps(first, count)
	case p.next('/'):
		return p.steps(first, p.size()-first)
	case p.isDom() && p.eat('W'):
		p.nearest |= 1 << (first + p.min)
	case p.isDow() && p.eat('L'):
		p.nth[0] |= 1 << first
	case p.isDow() && p.eat('#'):
		n, err := p.number("place in the month", 1, 5)
		if err != nil {
			return err
		}
		p.nth[n] |= 1 << first
	default:
		p.add(first, 1, 1)
	}
	return nil
}

// span reads a range of so many values from the first on; or a single value, and then count is 0. Values are counted from 0 on.
func (p *parser) span() (first, count int, err *ParseError) {
	start := p.pos
	if first, err = p.value(); err != nil || !p.eat('-') {
		return first % p.size(), 0, err
	}
	middle := p.pos
	last, err := p.value()
	if err != nil {
		return 0, 0, err
	}
	if first == p.size() { // 7, for Sunday
		first, last = 0, last%p.size()
	}
	if count = last - first + 1; count <= 0 && p.names != "" {
		count += p.size()
	}
	if count <= 0 {
		from, to := p.text[start:middle-1], p.text[middle:p.pos]
		return 0, 0, p.fail(start, "%s-%s runs backwards: use %s-%s, or %s-%d,%d-%s", from, to, to, from, from, p.max, p.min, to)
	}
	return first, count, nil
}

// value reads a number or a name, and returns which of the values it is, from 0 on.
func (p *parser) value() (int, *ParseError) {
	start := p.pos
	name := p.run('A', 'Z')
	if name == "" {
		top := p.max
		if p.isDow() {
			top = 7
		}
		n, err := p.number("value", p.min, top)
		if err != nil && p.isDow() && n >= firstYear {
			err.Problem += "; a year is the last of seven fields, of which the first is the second"
		}
		return n - p.min, err
	}
	if p.isDow() && len(name) == 4 && name[3] == 'L' {
		p.pos, name = p.pos-1, name[:3]
	}
	if i := strings.Index(p.names, name); len(name) == 3 && i >= 0 && i%3 == 0 {
		return i / 3, nil
	}
	return 0, p.fail(start, "%q is no %s: use %s", name, p.name, p.usage())
}

// number reads a number, which must lie between two others.
func (p *parser) number(what string, low, high int) (int, *ParseError) {
	start := p.pos
	digits := p.run('0', '9')
	if digits == "" {
		return 0, p.fail(start, "a %s is missing: use %d-%d", what, low, high)
	}
	n, err := strconv.Atoi(digits)
	if err == nil && low <= n && n <= high {
		return n, nil
	}
	return n, p.fail(start, "%s is outside %d-%d", digits, low, high)
}

// steps adds the values of a range, or every n-th of them if /n follows.
func (p *parser) steps(first, count int) *ParseError {
	step := 1
	if p.eat('/') {
		var err *ParseError
		if step, err = p.number("step", 1, p.size()); err != nil {
			return err
		}
	}
	p.add(first, count, step)
	return nil
}

func (p *parser) add(first, count, step int) {
	for i := 0; i < count; i += step {
		at := (first + i) % p.size()
		p.set[at/64] |= 1 << (at % 64)
	}
}

// last reads what follows L, where L does not follow a day of the week.
func (p *parser) last(start int) *ParseError {
	switch {
	case p.isDow():
		return p.fail(start, "L needs a day before it: use FRIL for the last Friday of the month, or SAT for Saturday")
	case !p.isDom():
		return p.fail(start, "L is for day-of-month and day-of-week: use %s", p.usage())
	case p.eat('W'):
		p.nearest |= 1
	case p.eat('-'):
		n, err := p.number("number of days", 1, 30)
		if err != nil {
			return err
		}
		p.fromEnd |= 1 << n
	default:
		p.fromEnd |= 1
	}
	return nil
}

// hashed reads what follows H.
func (p *parser) hashed(start int) *ParseError {
	switch {
	case p.hash == "":
		return p.fail(start, "H needs a name to take a value from, and none was given: use a value (%s)", p.usage())
	case p.field == &fields[yearField]:
		return p.fail(start, "H is not for years: use %s", p.usage())
	}
	first, count := 0, p.size()
	if p.isDom() {
		count = 28 // so that every month has it
	}
	if open := p.pos; p.eat('(') {
		var err *ParseError
		if first, count, err = p.span(); err != nil {
			return err
		}
		if count == 0 || !p.eat(')') {
			return p.fail(open, "H takes one range: use H(a-b), with values of %s", p.usage())
		}
	}
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s\x00%s", p.hash, p.name)
	h := sum.Sum64()
	h ^= h >> 32
	if !p.next('/') {
		p.add(first+int(h%uint64(count)), 1, 1)
		return nil
	}
	p.pos++
	step, err := p.number("step", 1, p.size())
	if err != nil {
		return err
	}
	skip := int(h % uint64(min(step, count)))
	p.add(first+skip, count-skip, step)
	return nil
}
