package errand

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestFireCounts: whatever the plan, however late and seldom a schedule is looked at, each nominal time that has come is accounted for once: a job was
// made, it was skipped, or missed.
func TestFireCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Date(2026, 3, 28, 23, 0, 0, 0, time.UTC) // before a change of clocks
		s := Schedule{Name: "s", Version: 1, Created: begin, Plan: Plan{
			Spec:    rapid.SampledFrom([]string{"@every 7s", "*/10 * * * * *", "* * * * *", "30 1 * * *", "0 0 31 * *", "@every 90m"}).Draw(t, "spec"),
			Overlap: rapid.SampledFrom(Overlaps).Draw(t, "overlap"),
			Misfire: rapid.SampledFrom(Misfires).Draw(t, "misfire"),
			Grace:   time.Duration(rapid.IntRange(0, 300).Draw(t, "grace")) * time.Second,
			Job:     Template{Kind: "k", Queue: "q", Args: json.RawMessage("null"), MaxAttempts: 1, MaxCrashes: 1},
		}}
		if s.Spec[0] != '@' && rapid.Bool().Draw(t, "zone") {
			s.Zone = "Europe/London"
		}
		if rapid.Bool().Draw(t, "ends") {
			s.End = begin.Add(time.Duration(rapid.IntRange(1, 200_000).Draw(t, "end")) * time.Second)
		}
		if s.Misfire == MisfireCatchUp {
			s.CatchUp = rapid.IntRange(0, 20).Draw(t, "catch up")
			s.Window = time.Duration(rapid.IntRange(0, 20_000).Draw(t, "window")) * time.Second
		}
		if s.Misfire == MisfireCatchUp && s.Overlap == OverlapCancel {
			t.Skip("refused")
		}
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		if err := s.begin(begin); err != nil {
			t.Fatal(err)
		}
		var made []time.Time
		var last *Job
		now := begin
		for range rapid.IntRange(1, 12).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.OneOf(rapid.IntRange(0, 90), rapid.IntRange(0, 40_000)).Draw(t, "seconds")) * time.Second)
			if last != nil && rapid.Bool().Draw(t, "ends") {
				last.State, last.Ended = Succeeded, now
			}
			for !s.Wake.IsZero() && !s.Wake.After(now) {
				f := s.fire(now, last)
				for i := range f.jobs {
					j := &f.jobs[i]
					if j.ID != nominalID("s", j.Nominal()) || slices.Contains(made, j.Nominal()) || j.Nominal().After(now) {
						t.Fatalf("job %s for %s at %s, after %v", j.ID, j.Nominal(), now, made)
					}
					if len(j.After) > 0 && s.Overlap == OverlapAllow {
						t.Fatalf("a job waits although they may overlap")
					}
					made = append(made, j.Nominal())
				}
				if s, last = f.s, f.last; s.Last != uuid.Nil && (last == nil || last.ID != s.Last) {
					t.Fatalf("the last job is %s, noted is %s", last.ID, s.Last)
				}
			}
		}
		var want []time.Time
		all := s
		all.Created = begin
		for n := range all.times(begin) {
			if n.After(now) {
				break
			}
			want = append(want, n)
		}
		if got := s.Made + s.Skipped + s.Missed; got != int64(len(want)) || s.Made != int64(len(made)) {
			t.Fatalf("%d nominal times until %s; %d made (%d jobs), %d skipped, %d missed", len(want), now, s.Made, len(made), s.Skipped, s.Missed)
		}
		for _, n := range made {
			if !slices.Contains(want, n) {
				t.Fatalf("a job for %s, which is no nominal time", n)
			}
		}
	})
}
