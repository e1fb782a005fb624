package errand

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var errDuration = errors.New("use a duration such as 500ms, 90s, 1h30m or 7d")

// ParseDuration reads what [time.ParseDuration] reads, and days of 24 hours before it: 7d, 1d12h.
func ParseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	} else if rest == "" {
		rest = "0"
	}
	d, err := time.ParseDuration(days + "h")
	r, restErr := time.ParseDuration(rest)
	sum := 24*d + r
	switch {
	case err != nil, restErr != nil, found && strings.ContainsAny(days, "hms"), found && strings.ContainsAny(rest[:1], "+-"), d < 0 && r != 0:
		return 0, errDuration
	case (24*d)/24 != d, r > 0 && sum < 0: // it does not fit
		return 0, errDuration
	}
	return sum, nil
}

// FormatDuration writes a duration as [ParseDuration] reads it, with days from two days on and without needless zeros: 7d, 2d12h, 24h, 1h30m.
func FormatDuration(d time.Duration) string {
	days := ""
	if d >= 48*time.Hour {
		days = fmt.Sprintf("%dd", d/(24*time.Hour))
		if d %= 24 * time.Hour; d == 0 {
			return days
		}
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return days + text
}
