package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

var listCases = []testCase{
	{"list/fields", "a listed job is the whole job", listFields},
	{"list/order", "the newest job is what somebody looks for first, and a change does not move a job about", listOrder},
	{"list/filters", "each filter alone, and several values in one", listFilters},
	{"list/combined", "filters narrow each other", listCombined},
	{"list/texts", "who looks for a dozen failures knows a word of the error, or a value of the args", listTexts},
	{"list/ages", "who looks for what went wrong knows about when", listAges},
	{"list/unique", "who holds a key is found by the key, and who held it is not", listUnique},
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
	f.lists(jobs, errand.Query{Tags: []string{"red"}}, func(j errand.Job) bool { return slices.Contains(j.Tags, "red") })
	f.lists(jobs, errand.Query{Worker: session}, func(j errand.Job) bool { return j.Worker == session })
	for _, q := range []errand.Query{{Kinds: []string{"none"}}, {Queues: []string{"none"}}, {Tags: []string{"none"}}, {Worker: uuid.New()}} {
		f.sameIDs(fmt.Sprintf("List %+v", q), nil, f.listAll(q))
	}
}

func listTexts(f *fixture) {
	args := []string{`{"customer":{"id":42,"name":"Ann \u00dcbel"},"n":12345678901234567890,"list":[1,"two",null,true]}`, `{"customer":"42"}`, `[42,{"a b":"x"}]`, `"customer"`, `null`}
	jobs := make([]errand.Job, len(args))
	for i := range args {
		jobs[i] = newJob(func(j *errand.Job) {
			j.Args, j.Kind = json.RawMessage(args[i]), fmt.Sprintf("mail.%d", i)
			if i > 0 {
				j.State, j.Ended, j.Error = errand.Failed, base, fmt.Sprintf(`exit code %d: No Route to "host%%_\'" ünd`, i)
			}
		})
	}
	f.insert(jobs...)
	for _, c := range []struct {
		q    errand.Query
		want []int
	}{
		{errand.Query{Error: "no route"}, []int{4, 3, 2, 1}},
		{errand.Query{Error: `"HOST%_\'"`}, []int{4, 3, 2, 1}},
		{errand.Query{Error: "code 3", States: []errand.State{errand.Failed}}, []int{3}},
		{errand.Query{Error: "ünd", States: []errand.State{errand.Failed, errand.Paused}}, []int{4, 3, 2, 1}},
		{errand.Query{Error: "host.*"}, nil},
		{errand.Query{Kinds: []string{"mail*"}}, []int{4, 3, 2, 1, 0}},
		{errand.Query{Kinds: []string{"mail.1", "mail_*", "mai*.2", "mail.4*"}}, []int{4, 1}},
		{errand.Query{Kinds: []string{"*"}, Error: "code 4"}, []int{4}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"customer", "id"}, Value: "42"}}}, []int{0}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"customer"}, Value: "42"}}}, []int{1}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"n"}, Value: "12345678901234567890"}}}, []int{0}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"n"}, Value: "12345678901234567891"}}}, nil},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"customer", "name"}, Value: "Ann Übel"}}}, []int{0}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"list", "1"}, Value: "two"}, {Path: []string{"list", "2"}, Value: "null"}}}, []int{0}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"list", "3"}, Value: "true"}}}, []int{0}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"list", "4"}, Value: "true"}}}, nil},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"0"}, Value: "42"}}}, []int{2}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"1", "a b"}, Value: "x"}}}, []int{2}},
		{errand.Query{Args: []errand.ArgMatch{{Path: []string{"customer"}, Value: ""}}}, nil},
	} {
		var want []errand.ID
		for _, i := range c.want {
			want = append(want, jobs[i].ID)
		}
		f.sameIDs(fmt.Sprintf("List %+v", c.q), want, f.listAll(c.q))
	}
}

func listAges(f *fixture) {
	var jobs []errand.Job
	for i := range 4 {
		jobs = append(jobs, newJob(func(j *errand.Job) {
			j.Created = base.Add(time.Duration(i) * time.Minute)
			if i > 1 {
				j.State, j.Ended = errand.Succeeded, base.Add(time.Duration(i)*time.Hour)
			}
		}))
	}
	f.insert(jobs...)
	at := func(d time.Duration) time.Time { return base.Add(d) }
	f.lists(jobs, errand.Query{CreatedBefore: at(2 * time.Minute)}, func(j errand.Job) bool { return j.ID == jobs[0].ID || j.ID == jobs[1].ID })
	f.lists(jobs, errand.Query{CreatedAfter: at(2 * time.Minute)}, func(j errand.Job) bool { return j.ID == jobs[2].ID || j.ID == jobs[3].ID })
	f.lists(jobs, errand.Query{CreatedAfter: at(time.Minute), CreatedBefore: at(2 * time.Minute)}, func(j errand.Job) bool { return j.ID == jobs[1].ID })
	f.lists(jobs, errand.Query{EndedAfter: at(3 * time.Hour)}, func(j errand.Job) bool { return j.ID == jobs[3].ID })
	f.lists(jobs, errand.Query{EndedAfter: at(-time.Hour)}, func(j errand.Job) bool { return j.State == errand.Succeeded })
}

func listUnique(f *fixture) {
	held := f.insert(newJob(unique("k", errand.UntilEnded)))
	f.insert(newJob(unique("l", errand.UntilEnded)))
	over := f.insert(newJob(unique("m", errand.UntilTime), func(j *errand.Job) { j.UniqueUntil = base.Add(time.Second) }))
	f.sameIDs("who holds the key", []errand.ID{held.ID}, f.listAll(errand.Query{Unique: "k"}))
	f.sameIDs("who holds the key, in another state", nil, f.listAll(errand.Query{Unique: "k", States: []errand.State{errand.Failed}}))
	f.sameIDs("who held a key until its time was over", nil, f.listAll(errand.Query{Unique: over.Unique}))
	f.write(change(held, ended(errand.Failed)))
	f.sameIDs("who held the key", nil, f.listAll(errand.Query{Unique: "k"}))
	f.sameIDs("a key that nobody knows", nil, f.listAll(errand.Query{Unique: "n"}))
}

func listMany(f *fixture) {
	const n = 45_000 // more than twice as many as a store looks through for a page
	var want []errand.ID
	for from := 0; from < n; from += 5000 {
		jobs := newJobs(5000, func(j *errand.Job) { j.State, j.Ended, j.Error = errand.Failed, base, "usual" })
		if from%10_000 == 0 {
			jobs[7].Error, jobs[7].Tags, jobs[7].Kind = "odd", []string{"odd"}, "odd"
			want = append(want, jobs[7].ID)
		}
		f.insert(jobs...)
	}
	slices.Reverse(want)
	for _, q := range []errand.Query{
		{States: []errand.State{errand.Failed}, Error: "odd"},
		{States: []errand.State{errand.Failed, errand.Paused, errand.Running}, Kinds: []string{"odd"}},
		{Kinds: []string{"odd"}, Limit: 2},
		{Tags: []string{"odd"}, Limit: 2},
		{States: []errand.State{errand.Failed, errand.Succeeded}, Error: "odd", Limit: 1},
	} {
		f.sameIDs(fmt.Sprintf("List %+v", q), want, f.listAll(q))
	}
}

func listCombined(f *fixture) {
	session := uuid.New()
	jobs := variety(f, session)
	f.lists(jobs, errand.Query{Kinds: []string{"mail", "import"}, Queues: []string{"media"}, Tags: []string{"red"}},
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
