package cron

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// FuzzParse reads anything, and goes from some second on through the times of what it is.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, spec string, second int64) {
		s, err := Parse(spec, HashOf("x"))
		var e *ParseError
		if err != nil {
			if !errors.As(err, &e) || s != nil || e.Problem == "" || e.Column < 1 || e.Column > len(spec)+1 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%#v: %v", e, err)
			}
			return
		}
		if s.String() != spec || s.Describe() == "" {
			t.Fatalf("%q: %q", s, s.Describe())
		}
		at := time.Unix(second%(1<<62), 0) // there are no times beyond
		p := s.Prev(at)
		if n := s.Next(p); !p.IsZero() && (!p.Before(at) || n.Before(at) && !n.IsZero()) {
			t.Fatalf("before %s: %s; after that: %s", at, p, n)
		}
		for range 5 {
			n := s.Next(at)
			if n.IsZero() {
				return
			}
			p, again := s.Prev(n), s.Next(s.Prev(n))
			switch {
			case !n.After(at):
				t.Fatalf("after %s: %s", at, n)
			case s.every > 0:
				if second >= 0 && !again.Equal(n) {
					t.Fatalf("before %s: %s; after that: %s", n, p, again)
				}
			case !p.IsZero() && (p.After(at) || !again.Equal(n)), !s.Prev(n.Add(1)).Equal(n), !s.Next(n.Add(-1)).Equal(n):
				t.Fatalf("after %s: %s; before that: %s; after that: %s", at, n, p, again)
			}
			at = n
		}
	})
}
