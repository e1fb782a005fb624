package cron

import (
	"errors"
	"time"

	"github.com/errandhq/errand"
)

// look removes the schedules that this program registered in the past and that nobody at work has, now and at the look before: a process that is
// just starting, or was silent for a moment, may not be seen at one of the two. What others may have removed while this process was silent itself is
// stored again.
func (s *session) look() {
	if s.c.store == nil && s.c.engine == nil {
		return
	}
	now, before := time.Now().Round(0), s.nobodys
	found, err := s.orphans()
	if err == nil && now.Sub(s.looked) > lookAgain*3/2 {
		before, err = nil, s.restore()
	}
	for name := range found {
		if err == nil && before[name] {
			err = s.drop(name)
		}
	}
	if err != nil {
		s.log(err, "cannot look for what is no entry any more")
		return
	}
	s.looked, s.nobodys = now, found
}

// orphans returns the names of the schedules of this program that are no entry of a worker session.
func (s *session) orphans() (map[string]bool, error) {
	engine, found, alive := s.engine.Load(), map[string]bool{}, map[string]bool{}
	sessions, err := engine.Sessions(s.ctx)
	for _, w := range sessions {
		for _, kind := range w.Kinds {
			alive[kind] = alive[kind] || w.Expires.After(engine.Now())
		}
	}
	for after := ""; err == nil; {
		var page []errand.Schedule
		if page, err = engine.Schedules(s.ctx, errand.ScheduleQuery{After: after, Limit: errand.MaxPage}); len(page) == 0 {
			break
		}
		for i := range page {
			if after = page[i].Name; !alive[after] && page[i].Job.Metadata[metaProgram] == s.c.program {
				found[after] = true
			}
		}
	}
	return found, err
}

// drop removes what is no entry any more, unless it is one of a Cron of this process, whose session is not to be seen.
func (s *session) drop(name string) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if inUse.has(s.c.home(), name) {
		return nil
	}
	if err := s.delete(name); err != nil {
		return err
	}
	if err := s.cancelJobs(name); err != nil {
		return err
	}
	s.c.logger.Info("removed what is no entry any more", "name", name)
	return nil
}

// forget removes from the store what is gone, unless it is an entry again. The caller holds c.mu.
func (s *session) forget() (err error) {
	c := s.c
	for ; len(c.gone) > 0; c.gone = c.gone[1:] {
		e := c.gone[0]
		if inUse.has(c.home(), e.name) {
			continue
		}
		err = s.delete(e.name)
		if err == nil && e.session != s { // else the handler refuses them
			err = s.cancelJobs(e.name)
		}
		if err != nil {
			break
		}
	}
	return err
}

func (s *session) delete(name string) error {
	return ignore(errand.ErrNoSchedule, s.engine.Load().DeleteSchedule(s.ctx, name))
}

// cancelJobs cancels the jobs of an entry that nobody would run.
func (s *session) cancelJobs(name string) (err error) {
	engine := s.engine.Load()
	q := errand.Query{States: []errand.State{errand.Scheduled, errand.Waiting, errand.Ready}, Kinds: []string{name}, Limit: errand.MaxPage}
	for more := true; more && err == nil; more = q.Cursor != "" {
		var page errand.Page
		page, err = engine.List(s.ctx, q)
		for i := range page.Jobs {
			if j := &page.Jobs[i]; j.Kind == name && j.Metadata[metaProgram] == s.c.program { // a name that ends in * stands for others too
				_, e := engine.Cancel(s.ctx, j.ID, "its entry was removed")
				if state := (*errand.StateError)(nil); !errors.As(e, &state) { // else it has ended
					err = errors.Join(err, ignore(errand.ErrNotFound, e))
				}
			}
		}
		q.Cursor = page.Next
	}
	return err
}

// restore has the entries stored again that are not there any more.
func (s *session) restore() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	found, err := s.stored(s.ctx)
	there := map[string]bool{}
	for i := range found {
		there[found[i].Name] = true
	}
	for _, e := range s.c.entries {
		if err == nil && !there[e.name] && e.session == s && !s.computes(e) {
			s.waiting = append(s.waiting, e)
		}
	}
	s.settle()
	return err
}
