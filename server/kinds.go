package server

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// kindsFor is how long the kinds of the worker sessions are remembered.
const kindsFor = time.Second

// knownKinds remembers which kinds the live worker sessions handle.
type knownKinds struct {
	mu    sync.Mutex
	until time.Time
	names map[string]bool
}

// warn says that nobody is known to handle a kind; if the server is strict, as an error.
func (s *Server) warn(ctx context.Context, at, kind string) (string, error) {
	here := s.engine.Kinds()
	if slices.Contains(here, kind) {
		return "", nil
	}
	there, err := s.kinds.get(ctx, s)
	switch {
	case err != nil && s.config.StrictKinds:
		return "", err
	case err != nil || there[kind]:
		return "", nil
	case s.config.StrictKinds:
		for name := range there {
			here = append(here, name)
		}
		slices.Sort(here)
		here = slices.Compact(here)
		text := "no worker handles this kind"
		if len(here) > 0 && len(here) <= 50 {
			text += "; expected one of " + strings.Join(here, ", ")
		}
		return "", invalid(ProblemField{at, text})
	}
	return "no worker that is alive handles this kind: the job waits until one does", nil
}

// get returns the kinds of live sessions, as of a moment ago. The caller does not change them.
func (k *knownKinds) get(ctx context.Context, s *Server) (map[string]bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := s.engine.Now()
	if now.Before(k.until) {
		return k.names, nil
	}
	sessions, err := s.engine.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	k.names, k.until = map[string]bool{}, now.Add(kindsFor)
	for _, x := range sessions {
		if x.Expires.After(now) {
			for _, kind := range x.Kinds {
				k.names[kind] = true
			}
		}
	}
	return k.names, nil
}
