package errand

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "2d12h30m5s": 60*time.Hour + 30*time.Minute + 5*time.Second, "24h": 24 * time.Hour, "1h30m": 90 * time.Minute,
		"1h0m5s": time.Hour + 5*time.Second, "10m": 10 * time.Minute, "0s": 0, "350ms": 350 * time.Millisecond, "-1h": -time.Hour,
	} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("%s is %v, %v", text, got, err)
		}
		if got := FormatDuration(want); got != text {
			t.Errorf("%v is written %s, want %s", want, got, text)
		}
	}
	for text, want := range map[string]time.Duration{"1d": 24 * time.Hour, "0.5d": 12 * time.Hour, "1d0s": 24 * time.Hour, "-1d": -24 * time.Hour, "0": 0, "60m": time.Hour} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "x", "1", "1dd", "1d2d", "1d-2h", "1d+2h", "-1d12h", "xd", "1d5", "12h1d", "106752d", "99999999d", "106751d24h", "300000000h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := time.Duration(rapid.Int64Min(math.MinInt64+1).Draw(t, "duration"))
		if got, err := ParseDuration(FormatDuration(want)); got != want || err != nil {
			t.Fatalf("%v is written %s, read as %v, %v", want, FormatDuration(want), got, err)
		}
	})
}
