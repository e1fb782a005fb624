package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// pressureProducers is how many enqueue at a time under pressure. A system falls
// behind when each of its calls takes longer than so many jobs are apart.
const pressureProducers = 64

// press enqueues at an even pace into each system that takes part, while 16
// workers run and a transaction with an old snapshot keeps PostgreSQL from
// removing what is dead: into an empty database and into filled ones.
func press(ctx context.Context, w io.Writer, s settings, systems []System) error {
	root, err := os.MkdirTemp(s.dir, "errand-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	jobs := newJobs(int(s.pressure.Seconds() * float64(s.rate)))
	table := [][]string{{
		fmt.Sprintf("%v, %d jobs/s, beside an open transaction", s.pressure, s.rate),
		"enqueued/s", "started/s", "left", "p50, ms", "p99, ms", "first p50", "first p99", "last p50", "last p99",
	}}
	for _, state := range []string{"", finished, scheduled, unworked} {
		if !s.rows.MatchString("pressure/" + cmp.Or(state, "empty")) {
			continue
		}
		for _, system := range systems {
			if !system.Pressed {
				continue
			}
			t := trial{System: system, settings: s, jobs: jobs, dir: filepath.Join(root, system.Name)}
			line, err := t.press(ctx, state)
			if err != nil {
				return fmt.Errorf("%s, pressure: %w", system.Name, err)
			}
			table = append(table, line)
		}
	}
	align(w, table)
	return nil
}

// press is the turn of one system; it answers a line of the table.
func (t trial) press(ctx context.Context, state string) ([]string, error) {
	name := t.Name
	if state != "" {
		name += ", " + count(t.retained) + " " + state
	}
	if _, err := t.fill(ctx, state); err != nil {
		return nil, err
	}
	inst, err := t.Open(t.dir, 16)
	if err != nil {
		return nil, err
	}
	release, err := holdSnapshot(ctx, t.dir)
	if err != nil {
		return nil, err
	}
	p := &pressure{trial: t, name: name, called: make([]atomic.Int64, len(t.jobs)), ran: newTally(len(t.jobs))}
	if err := inst.Start(ctx, p.handle); err != nil {
		return nil, err
	}
	p.start = time.Now()
	p.run(ctx, inst)
	return p.line(), firstOf(p.err, inst.Close(), release(), t.clear())
}

// holdSnapshot opens a transaction in the database of the directory that has
// read something, and keeps it open.
func holdSnapshot(ctx context.Context, dir string) (release func() error, err error) {
	url, err := address(dir, nil)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err == nil {
		_, err = tx.Exec(ctx, `select count(*) from pg_class`)
	}
	return func() error { return firstOf(tx.Rollback(ctx), conn.Close(ctx)) }, err
}

// pressure is one run under way.
type pressure struct {
	trial
	name   string
	start  time.Time
	called []atomic.Int64 // when each job's Enqueue was called, since start
	made   atomic.Int64
	ran    *tally

	mu      sync.Mutex
	pickups []float64 // from that call to the handler, in ms, in the order of starts
	err     error     // the first refusal
	reports []report
}

// report is on the time since the one before it.
type report struct {
	at        time.Duration // since the start
	made, ran int64         // since the start, too
	pickups   int           // how many there were
	p50, p99  float64       // of the new ones
}

func (p *pressure) handle(args Args) {
	now := time.Since(p.start)
	if !p.ran.first(args) {
		return
	}
	called := time.Duration(p.called[args.ID-firstID].Load())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pickups = append(p.pickups, float64((now-called).Microseconds())/1e3)
}

// run enqueues all jobs and reports on the way.
func (p *pressure) run(ctx context.Context, inst Instance) {
	next := make(chan int)
	var producers sync.WaitGroup
	for range pressureProducers {
		producers.Go(func() {
			for i := range next {
				p.enqueue(ctx, inst, i)
			}
		})
	}
	every := min(30*time.Second, p.pressure/2)
	due := every
	for i := range p.jobs {
		if time.Since(p.start) > due {
			p.report()
			due += every
		}
		time.Sleep(time.Until(p.start.Add(time.Duration(i) * time.Second / time.Duration(p.rate))))
		next <- i
	}
	close(next)
	producers.Wait()
	p.report()
}

func (p *pressure) enqueue(ctx context.Context, inst Instance, i int) {
	p.called[i].Store(int64(time.Since(p.start)))
	err := inst.Enqueue(ctx, p.jobs[i])
	if err == nil {
		p.made.Add(1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = firstOf(p.err, err)
}

// report logs what has happened since the last report.
func (p *pressure) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var last report
	if len(p.reports) > 0 {
		last = p.reports[len(p.reports)-1]
	}
	now := report{at: time.Since(p.start), made: p.made.Load(), ran: p.ran.n.Load(), pickups: len(p.pickups)}
	now.p50, now.p99 = middleAndWorst(slices.Clone(p.pickups[last.pickups:]))
	p.reports = append(p.reports, now)
	log.Printf("%-40s %8v  enqueued %6.0f/s  started %6.0f/s  left %7d  p50 %s ms  p99 %s ms", p.name, now.at.Round(time.Second),
		perSecond(int(now.made-last.made), now.at-last.at), perSecond(int(now.ran-last.ran), now.at-last.at), now.made-now.ran,
		latency.format(now.p50), latency.format(now.p99))
}

// line sums up.
func (p *pressure) line() []string {
	first, last := p.reports[0], p.reports[len(p.reports)-1]
	p50, p99 := middleAndWorst(p.pickups)
	line := []string{p.name, rate.format(perSecond(int(last.made), last.at)), rate.format(perSecond(int(last.ran), last.at)), count(int(last.made - last.ran))}
	for _, value := range []float64{p50, p99, first.p50, first.p99, last.p50, last.p99} {
		line = append(line, latency.format(value))
	}
	return line
}

// middleAndWorst sorts and answers p50 and p99.
func middleAndWorst(values []float64) (p50, p99 float64) {
	if len(values) == 0 {
		return 0, 0
	}
	slices.Sort(values)
	return values[len(values)/2], values[len(values)*99/100]
}
