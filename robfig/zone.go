package cron

import (
	"os"
	"strings"
	"time"
)

// zoneName returns the name by which any process can load a time zone. That of time.Local is known from the system's settings; a zone made by
// time.FixedZone has none.
func zoneName(zone *time.Location) (string, bool) {
	names := []string{zone.String()}
	if names[0] == "Local" {
		names = systemZone()
	}
	for _, name := range names {
		if _, after, found := strings.Cut(name, "zoneinfo/"); found {
			name = after
		}
		if found, err := time.LoadLocation(name); err == nil && name != "" && name != "Local" && sameZone(zone, found) {
			return name, true
		}
	}
	return "", false
}

// systemZone returns what may be the name of the time zone that the system is set to.
func systemZone() (names []string) {
	if link, err := os.Readlink("/etc/localtime"); err == nil {
		names = append(names, link)
	}
	if text, err := os.ReadFile("/etc/timezone"); err == nil {
		names = append(names, strings.TrimSpace(string(text)))
	}
	return append(names, "UTC")
}

// sameZone reports whether clocks in two zones show the same from a year ago until in three years.
func sameZone(a, b *time.Location) bool {
	now := time.Now()
	for t := now.AddDate(-1, 0, 0); t.Before(now.AddDate(3, 0, 0)); {
		_, x := t.In(a).Zone()
		_, y := t.In(b).Zone()
		if x != y {
			return false
		}
		next := now.AddDate(3, 0, 0)
		for _, zone := range []*time.Location{a, b} {
			if _, end := t.In(zone).ZoneBounds(); end.After(t) && end.Before(next) {
				next = end
			}
		}
		t = next
	}
	return true
}
