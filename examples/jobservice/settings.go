package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"
)

// settings come from the environment. Both commands read, and check, all of them.
type settings struct {
	sql           url.URL // with the password
	redis         string  // host:port, "" for none
	redisPassword string
	host          string
	port          int
	timeout       time.Duration // how long a job may run
	window        time.Duration // how long an object's job answers for it
	duration      time.Duration // how long it takes to draw a picture
	lease         time.Duration // how long a worker may be silent
	concurrency   int           // jobs that a worker runs at a time
	prefetch      int           // jobs that it reserves besides; negative: none
}

func readSettings() (settings, error) {
	var e environment
	s := settings{
		sql: url.URL{
			Scheme: "postgres",
			User:   url.UserPassword(e.text("SQL_USER", "postgres"), os.Getenv("SQL_PASSWORD")),
			Host:   e.address("SQL_ADDRESS", "127.0.0.1:5432"),
			Path:   "/" + e.text("SQL_NAME", "postgres"),
		},
		redis:         e.address("REDIS_ADDRESS", ""),
		redisPassword: os.Getenv("REDIS_PASSWORD"),
		host:          e.text("HTTP_HOST", "127.0.0.1"),
		port:          e.number("HTTP_PORT", 3000, 0, 65535),
		timeout:       e.duration("JOB_TIMEOUT", 30*time.Second, time.Millisecond),
		window:        e.duration("JOB_WINDOW", 5*time.Minute, time.Millisecond),
		duration:      e.duration("JOB_DURATION", time.Second, 0),
		lease:         e.duration("JOB_LEASE", 30*time.Second, time.Second),
		concurrency:   e.number("JOB_CONCURRENCY", 10, 1, 10_000),
		prefetch:      e.number("JOB_PREFETCH", 0, 0, 1000),
	}
	if s.prefetch == 0 {
		s.prefetch = -1 // errand's 0 means as many as run in 50 ms
	}
	return s, errors.Join(e.problems...)
}

// environment reads variables. One that is empty counts as not set.
type environment struct{ problems []error }

func (e *environment) refuse(name, use string) {
	e.problems = append(e.problems, fmt.Errorf("%s=%s: use %s", name, os.Getenv(name), use))
}

func (e *environment) text(name, usual string) string { return cmp.Or(os.Getenv(name), usual) }

func (e *environment) address(name, usual string) string {
	text := e.text(name, usual)
	_, port, err := net.SplitHostPort(text)
	if _, bad := strconv.ParseUint(port, 10, 16); text != "" && (err != nil || bad != nil) {
		e.refuse(name, "a host and a port, such as db.example:5432")
	}
	return text
}

func (e *environment) number(name string, usual, least, most int) int {
	n, err := strconv.Atoi(e.text(name, strconv.Itoa(usual)))
	if err != nil || n < least || n > most {
		e.refuse(name, fmt.Sprintf("a whole number from %d to %d", least, most))
	}
	return n
}

// duration reads seconds, or a duration with a unit.
func (e *environment) duration(name string, usual, least time.Duration) time.Duration {
	const most = 24 * time.Hour // errand keeps finished jobs, and with them the key of an object, for so long
	text := e.text(name, usual.String())
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < least || d > most {
		e.refuse(name, fmt.Sprintf("seconds, such as 30, or a duration such as 500ms or 5m, from %s to %s", least, most))
	}
	return d
}
