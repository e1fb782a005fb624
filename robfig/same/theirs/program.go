// Package program uses much of a cron package and writes down what happens. Of the two copies one imports robfig/cron, the other errand in its place.
package program

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// transcript is what happens, and when.
type transcript struct {
	mu    sync.Mutex
	begin time.Time
	lines []string
}

func (x *transcript) say(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lines = append(x.lines, fmt.Sprintf("%8s  ", time.Since(x.begin).Round(10*time.Millisecond))+fmt.Sprintf(format, args...))
}

func (x *transcript) job(name string, takes time.Duration) func() {
	return func() {
		x.say("%s begins", name)
		if time.Sleep(takes); takes > 0 {
			x.say("%s ends", name)
		}
	}
}

// Printf makes the transcript a logger.
func (x *transcript) Printf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	text, _, _ = strings.Cut(text, ", stack=")
	x.say("log: %s", text)
}

// named is a job with a name.
type named struct {
	x    *transcript
	name string
}

func (j named) Run() { j.x.say("%s runs", j.name) }

// Run does it all, and returns what happened: what happened at one time in the order of the alphabet.
func Run() string {
	x := &transcript{begin: time.Now()}
	for _, part := range []func(*transcript){basics, chains, zones, ownParser, logs} {
		part(x)
	}
	at := func(i int) string { return x.lines[i][:8] }
	for i := 0; i < len(x.lines); {
		k := i
		for k < len(x.lines) && at(k) == at(i) {
			k++
		}
		sort.Strings(x.lines[i:k])
		i = k
	}
	return strings.Join(x.lines, "\n") + "\n"
}

func basics(x *transcript) {
	c := cron.New(cron.WithSeconds(), cron.WithLocation(time.UTC))
	_, err := c.AddFunc("* * * * *", func() {})
	x.say("five fields: error %v", err != nil)
	_, err = c.AddFunc("nonsense", func() {})
	x.say("nonsense: error %v", err != nil)
	_, _ = c.AddFunc("*/10 * * * * ?", x.job("ten", 0))
	every, _ := c.AddFunc("@every 7s", x.job("seven", 0))
	job, _ := c.AddJob("0 1 0 1 1 ?", named{x, "new year"})
	never := c.Schedule(cron.Every(1500*time.Millisecond), named{x, "never"})
	c.Remove(never)
	x.say("entries before Start: %s", entries(c))
	time.Sleep(1500 * time.Millisecond)
	c.Start()
	c.Start()
	x.say("entries after Start: %s", entries(c))
	time.Sleep(22 * time.Second)
	x.say("entries: %s; the job is %s; %v %v", entries(c), c.Entry(job).Job.(named).name, c.Entry(every).Valid(), c.Entry(99).Valid())
	c.Remove(every)
	_, _ = c.AddFunc("@hourly", x.job("hourly", 0))
	time.Sleep(20 * time.Second)
	ctx := c.Stop()
	<-ctx.Done()
	x.say("stopped: %s", entries(c))
	time.Sleep(time.Minute)
	c.Start()
	x.say("started again: %s", entries(c))
	time.Sleep(15 * time.Second)
	<-c.Stop().Done()
	<-c.Stop().Done()
	x.say("location %s", c.Location())
}

func entries(c *cron.Cron) string {
	var all []string
	for _, e := range c.Entries() {
		text := fmt.Sprint(e.ID)
		for _, t := range []time.Time{e.Prev, e.Next} {
			if t.IsZero() {
				text += " -"
			} else {
				text += t.Format(" 15:04:05 MST")
			}
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func chains(x *transcript) {
	c := cron.New(cron.WithSeconds(), cron.WithChain(cron.Recover(cron.PrintfLogger(x))))
	wrap := func(w cron.JobWrapper, f func()) cron.Job { return cron.NewChain(w).Then(cron.FuncJob(f)) }
	_, _ = c.AddJob("*/10 * * * * *", wrap(cron.SkipIfStillRunning(cron.VerbosePrintfLogger(x)), x.job("skipping", 15*time.Second)))
	_, _ = c.AddFunc("*/10 * * * * *", x.job("overlapping", 15*time.Second))
	_, _ = c.AddFunc("5/20 * * * * *", func() { panic("oh") })
	ended := make(chan bool)
	go func() { c.Run(); x.say("Run returns"); close(ended) }()
	time.Sleep(34 * time.Second)
	ctx := c.Stop()
	<-ended
	x.say("stopped")
	<-ctx.Done()
	x.say("all have ended")
}

func zones(x *transcript) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	now := time.Now().In(berlin)
	soon := now.Add(5 * time.Minute)
	c := cron.New(cron.WithLocation(berlin))
	spec := fmt.Sprintf("%d %d * * *", soon.Minute(), soon.Hour())
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		panic(err)
	}
	there := now.Add(10 * time.Minute).In(tokyo)
	_, _ = c.AddFunc(spec, x.job("in Berlin", 0))
	_, _ = c.AddFunc(fmt.Sprintf("CRON_TZ=Asia/Tokyo %d %d * * *", there.Minute(), there.Hour()), x.job("in Tokyo", 0))
	_, _ = c.AddFunc("TZ=Asia/Kolkata 30 5 * * MON-FRI", x.job("in Kolkata", 0))
	_, err = c.AddFunc("TZ=Mars/Olympus 30 5 * * *", x.job("on Mars", 0))
	x.say("Mars: error %v", err != nil)
	_, _ = c.AddFunc("@daily", x.job("daily", 0))
	c.Start()
	x.say("entries: %s", entries(c))
	time.Sleep(49 * time.Hour)
	x.say("entries: %s", entries(c))
	<-c.Stop().Done()
}

// quarter is a schedule of its own.
type quarter struct{}

func (quarter) Next(t time.Time) time.Time { return t.Truncate(15 * time.Minute).Add(15 * time.Minute) }

func ownParser(x *transcript) {
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	c := cron.New(cron.WithParser(parser))
	_, _ = c.AddFunc("30 0/20 * * * *", x.job("with seconds", 0))
	_, _ = c.AddFunc("0/20 * * * *", x.job("without", 0))
	c.Schedule(quarter{}, named{x, "quarter"})
	c.Start()
	time.Sleep(time.Hour)
	<-c.Stop().Done()
	s, err := cron.ParseStandard("5 4 * * sun")
	x.say("standard: %s, %v", s.Next(x.begin).Sub(x.begin), err)
	_, err = cron.NewParser(cron.Minute | cron.Hour).Parse("@daily")
	x.say("no descriptors: error %v", err != nil)
	s, err = cron.NewParser(cron.Dom | cron.Month | cron.DowOptional).Parse("15 */3")
	x.say("days only: %s, %v", s.Next(x.begin).Sub(x.begin), err)
}

func logs(x *transcript) {
	l := cron.VerbosePrintfLogger(x)
	l.Info("said", "at", time.Unix(0, 0).UTC(), "n", 5)
	l.Error(fmt.Errorf("bad"), "failed", "n", 5)
	cron.PrintfLogger(x).Info("not said")
	cron.DiscardLogger.Error(fmt.Errorf("bad"), "not said")
}
