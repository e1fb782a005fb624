package cron

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/errandhq/errand"
)

// programName is the last part of the path of the main package, or else of the file.
func programName() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" {
		return path.Base(info.Path)
	}
	return filepath.Base(os.Args[0])
}

// jobName is the name of a job's function or type.
func jobName(job Job) string {
	v := reflect.ValueOf(job)
	if v.Kind() == reflect.Func {
		if f := runtime.FuncForPC(v.Pointer()); f != nil {
			return strings.TrimSuffix(path.Base(f.Name()), "-fm") // of a method value
		}
	}
	return fmt.Sprintf("%T", job)
}

// stem is what the derived names of a job's entries begin with.
func (c *Cron) stem(job Job) string {
	const most = errand.MaxScheduleName - len(" #1000000")
	name := c.program + "/" + jobName(job)
	if len(name) > most {
		name = strings.ToValidUTF8(name[len(name)-most:], "")
	}
	return name
}

// home is what the Crons have in common that must not mistake one another's entries for their own.
type home struct {
	place   any // the store, or the engine
	program string
}

func (c *Cron) home() home {
	switch {
	case c.engine != nil:
		return home{c.engine, c.program}
	case c.store != nil && reflect.ValueOf(c.store).Comparable():
		return home{c.store, c.program}
	}
	return home{c, c.program}
}

// inUse are the names of the entries of the Crons of this process that run.
var inUse = registry{homes: map[home]*names{}}

type registry struct {
	mu    sync.Mutex
	homes map[home]*names
}

type names struct {
	users map[string]int // how many Crons have an entry of this name
	next  map[string]int // by stem, from where on a number may be free
}

// of returns the names in a home. The caller holds r.mu.
func (r *registry) of(h home) *names {
	if r.homes[h] == nil {
		r.homes[h] = &names{map[string]int{}, map[string]int{}}
	}
	return r.homes[h]
}

func (r *registry) has(h home, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.homes[h] != nil && r.homes[h].users[name] > 0
}

func (r *registry) take(h home, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(h).users[name]++
}

// takeFree takes the stem as a name, or else with the first number that makes it one which nobody has.
func (r *registry) takeFree(h home, stem string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.of(h)
	free, number := stem, max(n.next[stem], 2)
	for ; n.users[free] > 0; number++ {
		free = fmt.Sprintf("%s #%d", stem, number)
	}
	n.users[free]++
	n.next[stem] = number
	return free
}

func (r *registry) give(h home, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.of(h)
	if n.users[name]--; n.users[name] <= 0 {
		delete(n.users, name)
	}
	if clear(n.next); len(n.users) == 0 {
		delete(r.homes, h)
	}
}
