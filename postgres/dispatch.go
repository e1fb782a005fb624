package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
)

// Ticket is what leads to a ready job without a search.
type Ticket struct {
	Queue, Kind string
	Priority    int
	Due         time.Time
	Seq         int64 // the order of insertion
}

// Dispatcher hands out ready jobs in front of the database, and carries hints. Package redis has one.
//
// The database stays the truth. A dispatcher may lose tickets, keep old ones, be gone: then jobs are found
// by asking the database, which each process does once a second in any case. Its methods must not take long.
type Dispatcher interface {
	// Offer is given tickets of jobs that have become ready.
	Offer(ctx context.Context, tickets []Ticket) error
	// Take removes and returns up to Limit tickets for each lane, in the order in which the jobs should start.
	Take(ctx context.Context, lanes []errand.Lane) ([][]Ticket, error)
	// Withdraw removes tickets of jobs that were claimed without it.
	Withdraw(ctx context.Context, tickets []Ticket) error
	// Publish sends a text to those who subscribe under the same name, in all processes.
	Publish(ctx context.Context, name, text string) error
	// Subscribe calls f with each text until ctx ends, and joined whenever texts may have been lost before.
	Subscribe(ctx context.Context, name string, joined func(), f func(text string)) error
	// Name tells what it is, for operators: "redis".
	Name() string
	// Close releases what it holds. The store closes its dispatcher.
	Close() error
}

const (
	// sweepEvery is how often a process that has a dispatcher asks the database itself.
	sweepEvery = time.Second
	// dispatchTimeout bounds a call of the dispatcher, and downFor how long one that has failed is left alone.
	dispatchTimeout = 500 * time.Millisecond
	downFor         = time.Second
	// maxOffers bounds the tickets that wait to be offered; the database has the others too.
	maxOffers = 20_000
)

// dispatch stands between the store and its dispatcher.
type dispatch struct {
	s *Store
	d Dispatcher // nil: there is none

	mu      sync.Mutex
	direct  time.Time     // ask the database itself from now until it has nothing left: since this time
	next    time.Time     // the earliest scheduled due, as of the latest claim from the database
	down    time.Time     // it has failed: leave it alone until then
	offers  []Ticket      // to be offered
	flushed chan struct{} // closed when they have been; nil if there are none
}

// known reports whether a claim may do without the database but for the jobs that the dispatcher names, and
// the earliest scheduled due.
func (x *dispatch) known() (next time.Time, ok bool) {
	if x.d == nil {
		return next, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	if now.Before(x.down) || now.Sub(x.direct) >= sweepEvery || !x.next.IsZero() && !x.next.After(now.Add(2*time.Millisecond)) {
		return next, false
	}
	return x.next, true
}

// doubt has the next claim ask the database.
func (x *dispatch) doubt() {
	if x.d == nil {
		return
	}
	x.mu.Lock()
	x.direct = time.Time{}
	x.mu.Unlock()
}

// failed notes that the dispatcher has failed.
func (x *dispatch) failed(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now := time.Now(); now.After(x.down) {
		if now.Sub(x.down) > 10*time.Second {
			x.s.log.Warn("dispatcher fails: jobs are claimed from PostgreSQL meanwhile", "dispatcher", x.d.Name(), "error", err)
		}
		x.down = now.Add(downFor)
	}
	x.direct = time.Time{}
}

// up reports whether the dispatcher is there and has not just failed.
func (x *dispatch) up() bool {
	if x.d == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return time.Now().After(x.down)
}

// offer gives tickets to the dispatcher, in the background. What it does not take is found by the sweep.
func (x *dispatch) offer(tickets []Ticket) {
	if len(tickets) == 0 || x.d == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.offers)+len(tickets) > maxOffers || time.Now().Before(x.down) || x.s.closed.Err() != nil {
		x.direct = time.Time{}
		return
	}
	x.offers = append(x.offers, tickets...)
	if x.flushed == nil {
		x.flushed = make(chan struct{})
		x.s.upkeep.running.Go(x.flush)
	}
}

// flush offers until there is nothing to offer.
func (x *dispatch) flush() {
	for {
		x.mu.Lock()
		tickets := x.offers
		x.offers = nil
		if len(tickets) == 0 {
			close(x.flushed)
			x.flushed = nil
			x.mu.Unlock()
			return
		}
		x.mu.Unlock()
		ctx, cancel := context.WithTimeout(x.s.closed, dispatchTimeout)
		if err := x.d.Offer(ctx, tickets); err != nil {
			x.failed(err)
		}
		cancel()
	}
}

// wait waits until all that this process has had to offer was offered.
func (x *dispatch) wait(ctx context.Context) {
	x.mu.Lock()
	flushed := x.flushed
	x.mu.Unlock()
	if flushed != nil {
		select {
		case <-flushed:
		case <-ctx.Done():
		}
	}
}

// take asks the dispatcher for tickets; ok is false if it cannot tell.
func (x *dispatch) take(ctx context.Context, lanes []errand.Lane) (tickets [][]Ticket, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, dispatchTimeout)
	defer cancel()
	x.wait(ctx)
	if _, ok := x.known(); !ok || ctx.Err() != nil { // what this process has had to offer was not taken
		return nil, false
	}
	tickets, err := x.d.Take(ctx, lanes)
	if err != nil {
		x.failed(err)
	}
	return tickets, err == nil
}

// claimed notes what a claim from the database has got: whether there may be more, and what is no longer to be had.
func (x *dispatch) claimed(c errand.Claim, got []stored, woken []Ticket, next time.Time) {
	if x.d == nil {
		return
	}
	wanted := 0
	for _, l := range c.Lanes {
		wanted += l.Limit
	}
	taken := make(map[int64]bool, len(got))
	tickets := make([]Ticket, len(got))
	for i := range got {
		tickets[i] = ticketOf(&got[i])
		taken[got[i].seq] = true
	}
	left := woken[:0]
	for _, t := range woken {
		if !taken[t.Seq] {
			left = append(left, t)
		}
	}
	x.mu.Lock()
	x.next = next
	if len(got) < wanted || wanted == 0 {
		x.direct = time.Now()
	}
	x.mu.Unlock()
	x.offer(left)
	if len(tickets) > 0 && x.up() {
		x.wait(x.s.closed)
		ctx, cancel := context.WithTimeout(x.s.closed, dispatchTimeout)
		defer cancel()
		if err := x.d.Withdraw(ctx, tickets); err != nil {
			x.failed(err)
		}
	}
}

func ticketOf(s *stored) Ticket { return Ticket{s.Queue, s.Kind, s.Priority, s.Due, s.seq} }

const selectTickets = `select j.queue, j.kind, j.priority, j.due, j.seq from errand.jobs j where j.id = any ($1::uuid[]) and j.state = 'ready' order by j.seq`

func scanTickets(rows pgx.Rows, err error) ([]Ticket, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Ticket, error) {
		r := reader{row: row.RawValues()}
		return Ticket{r.text(), r.text(), int(r.int16()), r.time(), r.int64()}, r.err
	})
}

// inserted offers jobs that were inserted: those that are not there already. Seqs are theirs, if known.
func (x *dispatch) inserted(jobs []errand.Job, there []*errand.Job, seqs []int64) {
	if x.d == nil {
		return
	}
	var tickets []Ticket
	var unknown [][16]byte
	for i := range jobs {
		j := &jobs[i]
		switch {
		case len(there) > 0 && there[i] != nil:
		case j.State == errand.Scheduled:
			x.doubt()
		case j.State != errand.Ready:
		case len(seqs) == len(jobs):
			tickets = append(tickets, Ticket{j.Queue, j.Kind, j.Priority, j.Due, seqs[i]})
		default:
			unknown = append(unknown, j.ID)
		}
	}
	x.offer(tickets)
	if len(unknown) == 0 {
		return
	}
	err := x.s.do(x.s.closed, x.s.general, func(ctx context.Context, c *pgxpool.Conn) (err error) {
		tickets, err = scanTickets(c.Query(ctx, x.s.sql(selectTickets), unknown))
		return err
	})
	if err != nil {
		x.doubt()
		return
	}
	x.offer(tickets)
}

// swapped offers the jobs that changes have made ready.
func (x *dispatch) swapped(changes []errand.Change, out []errand.Swapped, joined *lines) {
	if x.d == nil {
		return
	}
	for i := range changes {
		if out[i] == errand.Written && (changes[i].From == errand.Scheduled || changes[i].Job.State == errand.Scheduled) {
			x.doubt()
			break
		}
	}
	tickets := make([]Ticket, len(joined.seqs))
	for i := range tickets {
		tickets[i] = Ticket{joined.queues[i], joined.kinds[i], int(joined.priorities[i]), joined.dues[i], joined.seqs[i]}
	}
	x.offer(tickets)
}
