// Command bench runs errand and its peers on the same work, in one process and
// one run, and prints one table. README.md says what is measured and how.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// systems are the columns of the table, in order, for runs of n jobs.
func systems(n int, servers *servers) []System {
	postgres := newPGHome(servers)
	return slices.Concat(
		errandSystems(postgres, dispatchedHome{postgres, newRedisHome(servers)}), channelSystems(n), poolSystems(),
		rawSystems(), riverSystems(), backliteSystems(),
		pgRawSystems(postgres), pgRiverSystems(postgres), asynqSystems(servers),
	)
}

// settings are the flags.
type settings struct {
	n, count, retained, samples int
	limit                       time.Duration
	rows, systems               *regexp.Regexp
	dir                         string
	list                        bool
	pressure                    time.Duration
	rate                        int
	schedules                   int
}

func main() {
	log.SetFlags(0)
	isWorker, err := workIfAsked()
	if !isWorker {
		err = bench(context.Background(), parseFlags())
	}
	if err != nil {
		log.Fatal("bench: ", err)
	}
}

func bench(ctx context.Context, s settings) (err error) {
	var servers servers
	defer func() { err = firstOf(err, servers.close()) }()
	chosen := slices.DeleteFunc(systems(s.n, &servers), func(c System) bool { return !s.systems.MatchString(c.Name) })
	switch {
	case s.list:
		listNames(s, chosen)
		return nil
	case s.schedules > 0:
		return tick(ctx, os.Stdout, s, schedulers(s, chosen))
	case s.pressure > 0:
		return press(ctx, os.Stdout, s, chosen)
	}
	results, err := run(ctx, s, chosen)
	if err != nil {
		return err
	}
	var rows []row
	for _, scene := range scenes(s) {
		rows = append(rows, s.chosen(scene)...)
	}
	results.report(os.Stdout, rows, chosen, s)
	return nil
}

func parseFlags() (s settings) {
	flag.IntVar(&s.n, "n", 100_000, "jobs a row")
	flag.IntVar(&s.count, "count", 3, "repetitions, of which the median is shown")
	flag.IntVar(&s.retained, "retained", 1_000_000, "jobs in the store in the rows on finished and scheduled jobs")
	flag.IntVar(&s.samples, "samples", 1000, "samples of latency")
	flag.DurationVar(&s.limit, "limit", 5*time.Second, "longest time of one measurement; slower systems do fewer jobs")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "directory for databases, to be on a real disk")
	rows := flag.String("run", ".", "regular expression of the rows to measure, see -list")
	names := flag.String("systems", ".", "regular expression of the systems to measure, see -list")
	flag.BoolVar(&s.list, "list", false, "list rows and systems")
	flag.DurationVar(&s.pressure, "pressure", 0, "instead of the table: this long at an even -rate beside an open transaction, for each system that can")
	flag.IntVar(&s.rate, "rate", 800, "jobs a second under -pressure")
	flag.IntVar(&s.schedules, "schedules", 0, "instead of the table: so many schedules of every minute, in errand, robfig/cron and gocron")
	verbose := flag.Bool("v", false, "let the peers log to standard error")
	flag.Parse()
	if *verbose {
		peerLog = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	s.rows, s.systems = regexp.MustCompile(*rows), regexp.MustCompile(*names)
	os.Setenv("TMPDIR", s.dir) // where the servers keep theirs
	return s
}

func listNames(s settings, chosen []System) {
	for _, scene := range scenes(s) {
		for _, row := range s.chosen(scene) {
			fmt.Printf("row     %-20s %s\n", row.key, row.label)
		}
	}
	for _, system := range chosen {
		fmt.Printf("system  %-18s %s\n", system.Name, system.Note)
	}
}

// chosen are the rows of a scene that -run asks for.
func (s settings) chosen(scene scene) []row {
	return slices.DeleteFunc(slices.Clone(scene.rows), func(r row) bool { return !s.rows.MatchString(r.key) })
}

// run does every scene that yields a chosen row. The repetitions go round the
// systems, so that a disturbance of the machine meets all of them.
func run(ctx context.Context, s settings, systems []System) (results, error) {
	root, err := os.MkdirTemp(s.dir, "errand-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	jobs := newJobs(s.n)
	all := results{}
	for _, scene := range scenes(s) {
		rows := s.chosen(scene)
		for repetition := range s.count {
			for _, system := range systems {
				keys := system.keys(rows)
				if len(keys) == 0 {
					continue
				}
				t := trial{System: system, settings: s, jobs: jobs, dir: filepath.Join(root, system.Name)}
				if err := t.run(ctx, scene, keys, repetition, all); err != nil {
					return nil, fmt.Errorf("%s, %v: %w", system.Name, keys, err)
				}
			}
		}
	}
	return all, nil
}

// keys are the rows that mean something for the system.
func (c System) keys(rows []row) (keys []string) {
	skip := regexp.MustCompile(c.Skip)
	for _, row := range rows {
		if (row.group == "" || row.group == c.Group) && (c.Skip == "" || !skip.MatchString(row.key)) {
			keys = append(keys, row.key)
		}
	}
	return keys
}

// run does one repetition, in an empty directory unless the scene wants other
// jobs in the store: that directory is filled once and kept to the last one.
func (t trial) run(ctx context.Context, scene scene, keys []string, repetition int, all results) error {
	if scene.preload == "" || repetition == 0 {
		if ok, err := t.fill(ctx, scene.preload); !ok || err != nil {
			return err
		}
	} else if _, err := os.Stat(t.dir); err != nil {
		return nil // cannot be filled
	}
	samples, err := scene.measure(ctx, t)
	switch {
	case err != nil:
	case scene.preload == "" || repetition == t.count-1:
		err = t.clear()
	default:
		err = t.tidy()
	}
	if err != nil {
		return err
	}
	for key := range samples {
		if !slices.Contains(keys, key) {
			delete(samples, key)
		}
	}
	all.add(t.Name, samples)
	for _, key := range keys {
		if one, ok := samples[key]; ok {
			log.Printf("%d/%d  %-18s %-18s %14.2f", repetition+1, t.count, key, t.Name, one.value)
		}
	}
	return nil
}

// fill makes the directory and puts jobs of a state into the store, if the
// system can; ok says whether it did.
func (t trial) fill(ctx context.Context, state string) (ok bool, err error) {
	if err := os.MkdirAll(t.dir, 0o755); err != nil || state == "" {
		return true, err
	}
	inst, err := t.Open(t.dir, 1)
	if err != nil {
		return false, err
	}
	loader, ok := inst.(Preloader)
	if !ok {
		return false, firstOf(inst.Close(), t.clear())
	}
	return true, firstOf(loader.Preload(ctx, state, t.retained), inst.Close(), t.tidy())
}

// clear removes the directory and what belongs to it.
func (t trial) clear() error {
	if t.Home != nil {
		if err := t.Home.Clear(t.dir); err != nil {
			return err
		}
	}
	return os.RemoveAll(t.dir)
}

func (t trial) tidy() error {
	if t.Home == nil {
		return nil
	}
	return t.Home.Tidy(t.dir)
}
