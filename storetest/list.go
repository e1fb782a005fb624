package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var listCases = []testCase{
	{"list/fields", "a listed job is the whole job", listFields},
	{"list/order", "the newest job is what somebody looks for first, and a change does not move a job about", listOrder},
	{"list/filters", "each filter alone, and several values in one", listFilters},
	{"list/combined", "filters narrow each other", listCombined},
}

var pageCases = []testCase{
	{"list/limit", "a page has a hundred jobs unless told otherwise", listLimit},
	{"list/pages", "pages follow each other without gap or repetition, and the last one says so", listPages},
	{"list/pages-filtered", "a filter applies before the page is cut", listPagesFiltered},
	{"list/pages-insert", "jobs that come while somebody pages do not shift what is to come", listPagesInsert},
	{"list/pages-delete", "nor do jobs that go, the last one of the page before included", listPagesDelete},
	{"list/invalid", "a bad cursor or limit is the caller's mistake, and said to be", listInvalid},
}

func listFields(f *fixture) {
	j := f.write(change(f.running(uuid.New()), fullState))
	got := f.list(errand.Query{})
	if len(got.Jobs) != 1 || got.Next != "" {
		f.Fatalf("List: %d jobs, Next %q, want one job and no Next", len(got.Jobs), got.Next)
	}
	checkTimes(f, got.Jobs[0])
	f.equal("the listed job", j, got.Jobs[0])
}

// newest returns the IDs of jobs, the last one first.
func newest(jobs []errand.Job) []errand.ID {
	ids := idsOf(jobs)
	slices.Reverse(ids)
	return ids
}

func listOrder(f *fixture) {
	jobs := newJobs(12)
	for i := range jobs {
		jobs[i].Priority, jobs[i].Created = i%5, base.AddDate(0, 0, i%3)
	}
	f.insert(jobs[:5]...)
	f.insert(jobs[5])
	f.insert(jobs[6:]...)
	f.sameIDs("List", newest(jobs), f.list(errand.Query{}).Jobs)
	f.write(change(jobs[3], inState(errand.Paused)), change(jobs[8], ended(errand.Failed)))
	f.claim(uuid.New(), 3)
	f.sameIDs("List after changes", newest(jobs), f.list(errand.Query{}).Jobs)
}

// scheduledLater keeps a job that was scheduled from being woken.
func scheduledLater(j *errand.Job) {
	if j.State == errand.Scheduled {
		j.Due = future
	}
}

// variety inserts jobs of all kinds and states, and returns them as they are, in order.
func variety(f *fixture, session uuid.UUID) []errand.Job {
	f.Helper()
	var jobs []errand.Job
	for i := range 48 {
		jobs = append(jobs, newJob(func(j *errand.Job) {
			j.Kind, j.Queue = []string{"mail", "import", "mai"}[i%3], []string{"default", "media"}[i/3%2]
			j.Tags = [][]string{nil, {"red"}, {"blue", "red"}, {"re"}, {"redder"}}[i%5]
		}))
	}
	f.insert(jobs...)
	f.claims(session, lane("media", 12, "mail", "import"))
	f.claims(uuid.New(), lane("default", 4, "mai"))
	var changes []errand.Change
	for i, j := range f.find(idsOf(jobs)...) {
		if i%5 != 0 {
			changes = append(changes, change(j, inState(errand.States[i%len(errand.States)]), scheduledLater))
		}
	}
	f.write(changes...)
	return f.find(idsOf(jobs)...)
}

// lists checks that a query selects the jobs for which want is true.
func (f *fixture) lists(jobs []errand.Job, q errand.Query, want func(errand.Job) bool) {
	f.Helper()
	var match []errand.Job
	for _, j := range jobs {
		if want(j) {
			match = append(match, j)
		}
	}
	if len(match) == 0 || len(match) == len(jobs) {
		f.Fatalf("the case is void: %d of %d jobs match %+v", len(match), len(jobs), q)
	}
	f.sameIDs(fmt.Sprintf("List %+v", q), newest(match), f.listAll(q))
}

func listFilters(f *fixture) {
	session := uuid.New()
	jobs := variety(f, session)
	for _, s := range errand.States {
		f.lists(jobs, errand.Query{States: []errand.State{s}}, func(j errand.Job) bool { return j.State == s })
	}
	f.lists(jobs, errand.Query{States: []errand.State{errand.Failed, errand.Paused, errand.Ready}},
		func(j errand.Job) bool {
			return j.State == errand.Failed || j.State == errand.Paused || j.State == errand.Ready
		})
	f.lists(jobs, errand.Query{Kinds: []string{"mai"}}, func(j errand.Job) bool { return j.Kind == "mai" })
	f.lists(jobs, errand.Query{Kinds: []string{"mai", "mail", "none"}}, func(j errand.Job) bool { return j.Kind != "import" })
	f.lists(jobs, errand.Query{Queues: []string{"media"}}, func(j errand.Job) bool { return j.Queue == "media" })
	f.lists(jobs, errand.Query{Tag: "red"}, func(j errand.Job) bool { return slices.Contains(j.Tags, "red") })
	f.lists(jobs, errand.Query{Worker: session}, func(j errand.Job) bool { return j.Worker == session })
	for _, q := range []errand.Query{{Kinds: []string{"none"}}, {Queues: []string{"none"}}, {Tag: "none"}, {Worker: uuid.New()}} {
		f.sameIDs(fmt.Sprintf("List %+v", q), nil, f.listAll(q))
	}
}

func listCombined(f *fixture) {
	session := uuid.New()
	jobs := variety(f, session)
	f.lists(jobs, errand.Query{Kinds: []string{"mail", "import"}, Queues: []string{"media"}, Tag: "red"},
		func(j errand.Job) bool {
			return j.Kind != "mai" && j.Queue == "media" && slices.Contains(j.Tags, "red")
		})
	f.lists(jobs, errand.Query{States: []errand.State{errand.Running, errand.Failed}, Worker: session, Limit: 2},
		func(j errand.Job) bool {
			return (j.State == errand.Running || j.State == errand.Failed) && j.Worker == session
		})
	f.lists(jobs, errand.Query{States: []errand.State{errand.Paused}, Queues: []string{"media", "default"}, Kinds: []string{"mail"}},
		func(j errand.Job) bool { return j.State == errand.Paused && j.Kind == "mail" })
	f.sameIDs("nothing", nil, f.listAll(errand.Query{Kinds: []string{"mail"}, Queues: []string{"none"}}))
}

func listLimit(f *fixture) {
	jobs := newJobs(1001)
	f.insert(jobs...)
	for limit, want := range map[int]int{0: 100, 1: 1, 99: 99, 1000: 1000} {
		p := f.list(errand.Query{Limit: limit})
		f.sameIDs(fmt.Sprintf("List with limit %d", limit), newest(jobs[1001-want:]), p.Jobs)
		if p.Next == "" {
			f.Errorf("List with limit %d: no Next, though there are more", limit)
		}
	}
}

func listPages(f *fixture) {
	jobs := newJobs(20)
	f.insert(jobs...)
	for _, limit := range []int{1, 3, 5, 19, 20, 21} {
		var got []errand.Job
		q, pages := errand.Query{Limit: limit}, 0
		for {
			p := f.list(q)
			got = append(got, p.Jobs...)
			pages++
			if q.Cursor = p.Next; q.Cursor == "" || pages > len(jobs) {
				break
			}
		}
		f.sameIDs(fmt.Sprintf("the pages of %d", limit), newest(jobs), got)
		if want := (len(jobs) + limit - 1) / limit; pages != want {
			f.Errorf("%d pages of %d for %d jobs, want %d: the last one has no Next", pages, limit, len(jobs), want)
		}
	}
}

func listPagesFiltered(f *fixture) {
	jobs := newJobs(40)
	var want []errand.Job
	for i := range jobs {
		if i%7 == 0 {
			jobs[i].Kind = "rare"
			want = append(want, jobs[i])
		}
	}
	f.insert(jobs...)
	q := errand.Query{Kinds: []string{"rare"}, Limit: 2}
	for i := len(want); i > 0; i -= 2 {
		p := f.list(q)
		f.sameIDs("a page", newest(want[max(i-2, 0):i]), p.Jobs)
		if last := i <= 2; (p.Next == "") != last {
			f.Errorf("Next = %q with %d jobs to come", p.Next, max(i-2, 0))
		}
		q.Cursor = p.Next
	}
}

func listPagesInsert(f *fixture) {
	jobs := newJobs(12)
	f.insert(jobs...)
	var got []errand.Job
	q := errand.Query{Limit: 5}
	for {
		p := f.list(q)
		got = append(got, p.Jobs...)
		f.insert(newJobs(3)...)
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
	}
	f.sameIDs("the pages", newest(jobs), got)
}

func listPagesDelete(f *fixture) {
	jobs := newJobs(12)
	f.insert(jobs...)
	p := f.list(errand.Query{Limit: 4})
	f.write(remove(jobs[11]), remove(jobs[8]), remove(jobs[6])) // jobs[8] ended the page
	rest := slices.Concat(jobs[:6], jobs[7:8])
	p = f.list(errand.Query{Cursor: p.Next})
	f.sameIDs("the second page", newest(rest), p.Jobs)
}

func listInvalid(f *fixture) {
	f.insert(newJobs(3)...)
	for _, q := range []errand.Query{
		{Limit: -1},
		{Limit: errand.MaxPage + 1},
		{Cursor: "no cursor at all!"},
		{Cursor: "ž\x00"},
		{Cursor: "-1"},
		{Cursor: "' or 1=1 --"},
	} {
		p, err := f.store.List(f.Context(), q)
		if !errors.Is(err, errand.ErrInvalid) {
			f.Errorf("List %+v: %d jobs, error %v, want one that wraps errand.ErrInvalid", q, len(p.Jobs), err)
		}
	}
}
