package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

//go:embed app.conf
var defaultSettings string

const maxPool = 10_000

// settings are what app.conf describes.
type settings struct {
	cron           map[string]string
	pool           int
	selfConcurrent bool
	acceptProxy    bool
	user, password string
}

// readSettings reads a file of lines KEY = VALUE; the value may stand in quotes.
func readSettings(file string) (*settings, error) {
	text := defaultSettings
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		text = string(raw)
	}
	s := &settings{cron: map[string]string{}, pool: 10}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		err := errors.New("use KEY = VALUE")
		if found {
			err = s.set(strings.TrimSpace(key), strings.TrimSpace(value))
		}
		if err != nil {
			return nil, fmt.Errorf("settings, line %d: %w", i+1, err)
		}
	}
	if (s.user == "") != (s.password == "") {
		return nil, errors.New("settings: jobs.auth.user and jobs.auth.password belong together")
	}
	return s, nil
}

func (s *settings) set(key, value string) (err error) {
	if strings.HasPrefix(value, `"`) {
		if value, err = strconv.Unquote(value); err != nil {
			return fmt.Errorf("%s: its quotes do not match", key)
		}
	}
	if name, found := strings.CutPrefix(key, "cron."); found {
		s.cron[name] = value
		return nil
	}
	switch key {
	case "jobs.pool":
		if s.pool, err = strconv.Atoi(value); err != nil || s.pool < 1 || s.pool > maxPool {
			return fmt.Errorf("jobs.pool = %q: use a number from 1 to %d", value, maxPool)
		}
	case "jobs.selfconcurrent":
		s.selfConcurrent, err = strconv.ParseBool(value)
	case "jobs.acceptproxyaddress":
		s.acceptProxy, err = strconv.ParseBool(value)
	case "jobs.auth.user":
		s.user = value
	case "jobs.auth.password":
		s.password = value
	default:
		return fmt.Errorf("%s is no setting", key)
	}
	if err != nil {
		return fmt.Errorf("%s = %q: use true or false", key, value)
	}
	return nil
}
