// Package cron has the surface of github.com/robfig/cron/v3 over errand: a program changes the import and nothing else.
//
//	import "github.com/errandhq/errand/robfig" // was "github.com/robfig/cron/v3"
//
//	c := cron.New() // cron.New(cron.WithStore(store)) makes it durable
//	c.AddFunc("30 3-6,20-23 * * *", report)
//	c.AddFunc("CRON_TZ=Asia/Tokyo 30 04 * * *", backup)
//	c.AddFunc("@every 1h30m", clean)
//	c.Start()
//	defer c.Stop()
//
// New without more keeps all in memory, as robfig/cron does. With [WithStore], or [WithEngine], the entries are schedules of errand, and
// their runs are jobs: they go on where they were after a restart; of several processes with the same entries one makes each run, and any of them runs it; a run whose process dies
// is run again by another; each can be seen, paused and run now from the console and the command line, with the times, the errors and the stack of those that panicked.
//
// # Names
//
// An entry in a store needs a name by which the next process knows it. It is made of the program's name and that of the function or the job's type: "billing/main.report", "billing/*main.Backup"; the second of the
// same name in the order of registration ends in " #2". The spec is not part of it, so another spec changes the schedule that is there. A function without a name of its
// own is called after the one that it stands in ("main.main.func1"), so a name can pass to another function when the code changes: name such entries with [Cron.AddNamed].
// Crons of one process that have a store, or an engine, in common do not share derived names: the second to start numbers on. A name given with AddNamed is one
// schedule, whoever has it; so those of different Crons should differ.
//
// A Cron that runs removes from the store the schedules that this program has registered in the past and that for half a minute no process at work has had: an
// entry that was taken out of the code is gone within minutes of the end of the last process that has it, and the jobs of it that nobody would run are cancelled. So programs that are not the same need different names, see [WithProgram].
//
// # Differences to robfig/cron
//
//   - Specs have the grammar of github.com/errandhq/errand/cron: L, W, # and Sunday as 7 can be used. How many fields there are is up to the parser, as in robfig.
//     Days in steps (*/2) are every day with regard to the other field of days, so "0 0 */2 * MON" is Mondays on odd days; to robfig it is Mondays and odd days.
//     Errors are what can be no more than a slip: ? elsewhere than for days, an empty item of a list, a step beyond the range, and a spec that never comes ("0 0 30 2 *").
//   - Where clocks are changed, a run at a fixed time comes once that day: in robfig that of the skipped hour is left out, and that of the repeated hour comes twice.
//   - @every is counted from the time at which the entry was first stored, or without a store from the start. It does not drift, and a restart does not begin it anew.
//   - A panic is logged with its stack to the [Logger], and fails the run's job; it does not end the process. [Recover] has it logged where it stands in the chain; its job has then not failed.
//   - Entry.Next and Entry.Prev are planned times. Those of an entry in a store are remembered, and Next is zero while an operator has paused it.
//   - What was missed while no process was there is not made up for, unless [WithPlan] says so; but a run that is late by less than a minute
//     (errand.Plan.Grace) is not missed.
//   - [SkipIfStillRunning] and [DelayIfStillRunning] look at the runs of their process, as in robfig; across processes errand.Plan.Overlap does it. Skip does not go on
//     skipping after a panic.
//   - [Cron.Stop] does not interrupt runs, and its context ends when they have ended; with WithStore, when they are recorded too: wait for it before you close the store. With
//     WithEngine the engine goes on making runs; those that would begin after Stop wait for the next Start, in whichever process.
//   - [Cron.Remove] takes the entry from the store, and so from all processes; if the Cron is stopped, with the next Start.
//   - A [Schedule] of the program's own, and one in a time zone that has no name, are asked for times in this process. With a store each run is made once all the same, but what was missed is not known.
//   - At most 10,000 runs go on at the same time, unless the engine was given.
//   - Not there: SpecSchedule with its sets of bits; a spec becomes some other Schedule.
package cron
