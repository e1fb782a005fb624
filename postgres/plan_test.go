package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/internal/testserver"
)

// fill inserts n jobs of each state of which a store may have many, without the store's help.
const fill = `
	with j as (
		insert into errand.jobs (id, version, due, created, max_attempts, max_crashes, priority, state, kind, queue, shelf, ended, expires, args)
		select gen_random_uuid(), 1, clock_timestamp() + case when s = 'scheduled' then interval '10 years' else '-1 hour' end, clock_timestamp(), 20, 3, 0,
			s, 'other', 'default', case when s in ('scheduled', 'waiting', 'failed') then s end,
			case when s in ('succeeded', 'failed') then clock_timestamp() end, case when s in ('succeeded', 'failed') then clock_timestamp() + interval '1 day' end, '{"n": 1}'
		from unnest(array['succeeded', 'ready', 'scheduled', 'waiting', 'failed']) s, generate_series(1, $1)
		returning *)
	insert into errand.ready (gen, queue, kind, priority, due, seq) select 0, queue, kind, priority, due, seq from j where state = 'ready'`

const fillSchedules = `
	with s as (
		insert into errand.schedules (name, version, wake, body)
		select 's' || n, 1, clock_timestamp() + n * interval '1 second', json_build_object('spec', '@every 1h', 'reason', repeat('x', 500)) from generate_series(1, $1) n
		returning name)
	insert into errand.firings (schedule, slot, seq, nominal, at, outcome, missed)
	select name, n, n, clock_timestamp(), clock_timestamp(), 'made', 0 from s, generate_series(1, 4) n`

// The statements of the hot path go by an index, however many jobs there are in whatever state, and whether
// the statistics are those of an empty table or fresh.
func TestPlans(t *testing.T) {
	s, err := Open(t.Context(), testserver.PostgresURL(t), &Options{NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	id := [16]byte(uuid.New())
	now := time.Now()
	texts, numbers, small, times, ids := []string{"default"}, []int64{1}, []int16{0}, []time.Time{now}, [][16]byte{id}
	update := append([]any{numbers, []bool{false}}, arrays(changingColumns, 1, func(int) *errand.Job { return &errand.Job{Due: now} })...)
	hot := map[string][]any{
		wake: {1000}, claim: {id, "default", []string{"mail", "other"}, 1000, false}, selectNext: nil,
		claimTickets: {id, texts, texts, small, times, numbers},
		finish:       {numbers, numbers, []*string{nil}, now, now, now},
		markLinks:    {ids}, lockReady: {ids}, lockRows: {ids}, lockHolders: {texts}, deleteReady: {texts, texts, small, times, numbers},
		updateRows: update, dropLinks: {ids, ids}, expireUsed: {ids}, removals[0]: {numbers}, removals[1]: {numbers},
		selectChanged: {ids, numbers}, settleLinks: nil, selectAhead: {"default", texts, int16(0), now, int64(1), 10_000},
		insertAny: arrays(allColumns, 1, func(int) *errand.Job { return &errand.Job{ID: id, Due: now, Args: []byte("1")} }),
		selectDue: {500, now}, lockSchedules: {texts, numbers}, createSchedules: {texts, numbers, times, texts}, updateSchedules: {texts, numbers, times, texts},
		deleteSchedules: {texts}, insertFirings: {texts, numbers, times, times, ids, texts, numbers, errand.MaxFirings},
	}
	reads := map[string][]any{selectSchedules: {"", 100}, selectNamed: {"", texts}, selectFirings: {texts, 1}} // through the general pool
	c, err := s.work.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	g, err := s.general.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Release()
	check := func(when string) {
		for text, args := range hot {
			plan := explain(t, c, text, args)
			// A volatile function can be no condition of an index: it would be asked of every row.
			if bad := regexp.MustCompile(`(Seq|Bitmap Heap) Scan on (jobs|ready_\d|links|entries|schedules|firings)|Filter:.*[<>]=? clock_timestamp`).FindString(plan); bad != "" {
				t.Errorf("%s: %s in the plan of %s\n%s", when, bad, text, plan)
			}
		}
		for text, args := range reads {
			if plan := explain(t, g, text, args); strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s: the plan of %s\n%s", when, text, plan)
			}
		}
	}
	check("empty")
	for _, text := range []string{fill, fillSchedules} {
		if _, err := c.Exec(t.Context(), text, 40_000); err != nil {
			t.Fatal(err)
		}
	}
	check("filled")
	if _, err := c.Exec(t.Context(), "vacuum analyze"); err != nil {
		t.Fatal(err)
	}
	check("analyzed")
}

// explain returns the generic plan of a statement, which it does not run.
func explain(t *testing.T, c *pgxpool.Conn, text string, args []any) string {
	t.Helper()
	if _, err := c.Exec(t.Context(), "prepare explained as "+text); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	defer c.Exec(context.Background(), "deallocate explained")
	params := make([]string, len(args))
	for i := range params {
		params[i] = "null"
	}
	call := "explain execute explained"
	if len(params) > 0 {
		call += "(" + strings.Join(params, ", ") + ")"
	}
	rows, err := c.Query(t.Context(), call, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// While a transaction of somebody else's stays open, vacuum can remove nothing. A claim must not become slower with every job
// that has been claimed since: the partitions of errand.ready take turns.
func TestOpenTransaction(t *testing.T) {
	s, err := Open(t.Context(), testserver.PostgresURL(t), &Options{NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	open, err := pgx.Connect(t.Context(), s.general.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close(context.Background())
	if _, err := open.Exec(t.Context(), "begin isolation level repeatable read; select 1 from pg_class", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	session, seq := uuid.New(), 0
	stays := newReady("stays", &seq)
	insert(t, s, stays) // a job that nobody works keeps no partition from its turn
	const rounds, batch = 100, 1000
	for range rounds {
		jobs := make([]errand.Job, batch)
		for i := range jobs {
			jobs[i] = newReady("mail", &seq)
		}
		insert(t, s, jobs...)
		got, err := s.Claim(t.Context(), errand.Claim{Session: session, Lanes: []errand.Lane{{Queue: "default", Kinds: []string{"mail"}, Limit: batch}}})
		if err != nil || len(got.Jobs) != batch {
			t.Fatalf("claimed %d jobs, %v", len(got.Jobs), err)
		}
		s.upkeep.last.Store(0)
		if _, err := s.Prune(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	// The statistics come a moment late, so the last turns may be yet to come.
	var dead, size int64
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		s.upkeep.last.Store(0)
		if _, err := s.Prune(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		err := s.general.QueryRow(t.Context(), `select sum(pg_stat_get_dead_tuples(oid)), sum(pg_relation_size(oid)) from pg_class where relname ~ '^ready_\d$'`).Scan(&dead, &size)
		if err != nil {
			t.Fatal(err)
		}
		if dead < 2*manyDead {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %d claims there are %d dead rows in %d bytes", rounds*batch, dead, size)
		}
	}
	got, err := s.Claim(t.Context(), errand.Claim{Session: session, Lanes: []errand.Lane{{Queue: "default", Kinds: []string{"stays"}, Limit: 2}}})
	if err != nil || len(got.Jobs) != 1 || got.Jobs[0].ID != stays.ID {
		t.Errorf("the job that stayed: claimed %d jobs, %v", len(got.Jobs), err)
	}
	t.Logf("%d dead rows in %d bytes after %d claims", dead, size, rounds*batch)
}

// TestOpenTransactionSchedules: an old transaction keeps what the firings leave behind, and looking for what is due does not walk over it.
func TestOpenTransactionSchedules(t *testing.T) {
	s, err := Open(t.Context(), testserver.PostgresURL(t), &Options{NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	const schedules, rounds = 100, 300
	now := time.Now().UTC().Truncate(time.Microsecond)
	var changes []errand.ScheduleChange
	for i := range schedules {
		changes = append(changes, errand.ScheduleChange{Schedule: errand.Schedule{Name: fmt.Sprint(i), Version: 1, Wake: now.Add(-2 * rounds * time.Second)}})
	}
	if _, err := s.SwapSchedules(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	open, err := s.general.Begin(t.Context())
	if err == nil {
		defer open.Rollback(context.Background())
		_, err = open.Exec(t.Context(), "set transaction isolation level repeatable read; select 1 from pg_class", pgx.QueryExecModeSimpleProtocol)
	}
	for range rounds {
		if err == nil {
			_, err = s.general.Exec(t.Context(), "update errand.schedules set wake = wake + interval '2 seconds', version = version + 1")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if due, err := s.DueSchedules(t.Context(), schedules); err != nil || len(due.Schedules) != schedules {
		t.Fatalf("%d are due, %v", len(due.Schedules), err)
	}
	from, _ := s.looks.begin()
	whole, rest := buffers(t, s, time.Time{}), buffers(t, s, from)
	t.Logf("%d buffers for all, %d from the last look on", whole, rest)
	if now.Sub(from) > 2*lookBack || rest > whole/4 {
		t.Errorf("a look from %v before now on takes %d buffers, and one for all %d", now.Sub(from), rest, whole)
	}
	late := errand.Schedule{Name: "late", Version: 1, Wake: now.Add(-time.Hour)}
	if _, err := s.SwapSchedules(t.Context(), []errand.ScheduleChange{{Schedule: late}}); err != nil {
		t.Fatal(err)
	}
	if due, err := s.DueSchedules(t.Context(), 1); err != nil || len(due.Schedules) != 1 || due.Schedules[0].Name != "late" {
		t.Errorf("one that was due long before was not found: %+v, %v", due, err)
	}
}

// buffers returns how many buffers a look for due schedules takes.
func buffers(t *testing.T, s *Store, from time.Time) (n int) {
	t.Helper()
	var plan []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := s.general.QueryRow(t.Context(), "explain (analyze, buffers, format json) "+s.sql(selectDue), 10, from).Scan(&plan); err != nil {
		t.Fatal(err)
	}
	return plan[0].Plan.Hit + plan[0].Plan.Read
}

func newReady(kind string, seq *int) errand.Job {
	*seq++
	now := time.Now().UTC().Truncate(time.Microsecond)
	return errand.Job{
		ID: uuid.New(), Kind: kind, Queue: "default", Args: fmt.Appendf(nil, `{"n": %d}`, *seq), MaxAttempts: 1, MaxCrashes: 1,
		Created: now, State: errand.Ready, Version: 1, Due: now,
	}
}

func insert(t *testing.T, s *Store, jobs ...errand.Job) {
	t.Helper()
	if _, err := s.Insert(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
}
