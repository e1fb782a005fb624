// Package errand runs background jobs: work outside the request, that must not be lost.
//
// A program defines kinds of jobs, enqueues jobs into a store, and runs them with
// handlers, which are plain functions:
//
//	var Resize = errand.Define[Image, string]("resize", errand.Queue("media"))
//
//	e := errand.New(store, nil) // errand.Memory(nil), sqlite.Open("jobs.db", nil), postgres.Open(ctx, url, nil)
//	Resize.Handle(e, func(ctx context.Context, in Image) (url string, err error) { ... })
//	go e.Run(ctx) // works until ctx ends, then shuts down in stages
//
//	job, err := Resize.Enqueue(ctx, e, Image{"a.png", 320}, errand.In(time.Minute))
//	url, err := job.Wait(ctx)
//
// The same program runs on memory, on one SQLite file, and on PostgreSQL with any number of
// processes on any machines, with the same semantics.
//
// # Enqueue
//
// [Kind.Enqueue] creates one job, [Engine.Enqueue] many at once, all or none. Once it
// returns without error, the job is stored and will run. Options say how: [Queue],
// [Priority], [At] and [In], [MaxAttempts], [Timeout], [Unique] and its kin, [After] for
// serial work, [WithID], [Tags], [Meta], [Retain]. Concurrent enqueues are written together.
// With [Engine.Tx] a job is enqueued in a transaction of the application, where the store can.
//
// # Handlers
//
// A handler gets its args and a context, and returns a result or an error. An error is
// retried by the kind's [RetryPolicy] until the job's attempts are used up; [Permanent],
// [RetryAfter] and [Snooze] say otherwise. A panic, and runtime.Goexit, are errors with a stack.
// Inside, [Current] gives the run: [Run.Progress], [Run.Save], [Run.Token]; [Logger] a logger
// whose lines are kept with the job.
//
// A job may run more than once: a worker can die after the work and before the record of it.
// Handlers should be idempotent, or make their effects conditional on the fencing token.
//
// # Stopping a run
//
// There is one way to stop a run: its context ends, and [context.Cause] says why:
// [ErrPaused], [ErrCancelled], [ErrTerminated], [ErrShutdown], [ErrTimeout], [ErrLeaseLost].
// The handler saves where it is and returns the cause:
//
//	run := errand.Current(ctx)
//	row, err := errand.Checkpoint[int](run) // where the last run stopped
//	for ; row < in.Rows; row++ {
//		if ctx.Err() != nil {
//			return run.Stop(row) // saves the checkpoint, returns the cause
//		}
//		work(row)
//		run.Progress(int64(row+1), int64(in.Rows), "")
//	}
//	return nil
//
// A handler that returns nil although its context has ended has finished its work: the job succeeds.
// Pause and shutdown cost no attempt. Cancel is cooperative; terminate ends the job at once
// and disowns the run, whose later writes are refused.
//
// # Schedules
//
// [Engine.Schedule] has jobs made again and again: by a cron expression (package cron), at an interval, or when a worker starts.
//
//	e.Schedule(ctx, "digest", "0 7 * * MON-FRI", Digest.New(args), &errand.Plan{Zone: "Europe/Berlin"})
//
// A [Schedule] is kept in the store, and fired by whichever process is there, once for each nominal time however many there are. Its [Plan] says
// what to do when the last job has not ended ([Overlap]) and about times at which no process was there ([Misfire]). [Job.Nominal] tells a
// handler which time its job is for. [Engine.PauseSchedule], [Engine.ResumeSchedule], [Engine.RunSchedule], [Engine.Backfill],
// [Engine.EditSchedule] and [Engine.DeleteSchedule] control it, [Engine.Schedules] and [Engine.FiringsOf] look.
//
// # Control
//
// [Engine.Pause], [Engine.Resume], [Engine.Cancel], [Engine.Terminate], [Engine.Retry] and
// [Engine.Delete] act on any job, from any process, with a reason; [WithActor] says who.
// [Engine.Bulk] does so to all jobs that match a [Query], of which [ParseQuery] reads the text form.
// [Engine.PauseQueue] keeps the jobs of a queue from starting, [Engine.DrainWorker] a worker from claiming any.
// [Engine.Get], [Engine.List], [Engine.Log], [Engine.Stats], [Engine.History] and [Engine.Sessions] look,
// [Engine.Why] tells what keeps a job from running, [Engine.Wait] waits, [Engine.Events] subscribes to what this
// process does. [Engine.Watch] follows any number of jobs for a client, in whatever process they change, and never
// misses an end.
//
// # States
//
// The table shows what each verb makes of a job in each state: "-" means nothing to do,
// "refused" a [StateError], "." not applicable; "run/pause" is a running job that is asked to
// pause. A scheduled job becomes ready when it is due, and a ready one running when a worker
// claims it. "unblock" is the news that a job which it waits for has succeeded, "unblock*"
// that it has not; "interrupt" a run that returned because of a pause or shutdown.
//
//	           scheduled  waiting    ready      running    paused     succeeded  failed     cancelled
//	pause      paused     paused     paused     run/pause  -          refused    refused    refused
//	resume     -          -          -          -          ready      refused    refused    refused
//	cancel     cancelled  cancelled  cancelled  run/cancel cancelled  refused    refused    -
//	terminate  cancelled  cancelled  cancelled  cancelled  cancelled  refused    refused    -
//	retry      ready      refused    -          -          refused    ready      ready      ready
//	delete     deleted    deleted    deleted    refused    deleted    deleted    deleted    deleted
//	unblock    -          ready      -          -          -          -          -          -
//	unblock*   -          cancelled  -          -          -          -          -          -
//	succeed    .          .          .          succeeded  .          .          .          .
//	fail       .          .          .          scheduled  .          .          .          .
//	fail last  .          .          .          failed     .          .          .          .
//	permanent  .          .          .          failed     .          .          .          .
//	snooze     .          .          .          scheduled  .          .          .          .
//	time out   .          .          .          scheduled  .          .          .          .
//	interrupt  .          .          .          ready      .          .          .          .
//	rescue     .          .          .          ready      .          .          .          .
//	rescue 3rd .          .          .          failed     .          .          .          .
//
// And in special situations: running and asked to pause, or to cancel; running with a clean-up
// hook armed; failed with one armed; running that clean-up.
//
//	           run/pause  run/cancel armed      failed/a   clean-up
//	pause      -          refused    run/pause  refused    refused
//	resume     running    refused    -          refused    refused
//	cancel     run/cancel -          run/cancel clean-up   -
//	terminate  cancelled  cancelled  clean-up   clean-up   -
//	retry      -          -          -          ready      -
//	delete     refused    refused    refused    deleted    refused
//	unblock    -          -          -          -          -
//	unblock*   -          -          -          -          -
//	succeed    succeeded  succeeded  succeeded  .          cancelled
//	fail       paused     cancelled  scheduled  .          scheduled
//	fail last  failed     cancelled  failed     .          failed
//	permanent  failed     cancelled  failed     .          failed
//	snooze     paused     cancelled  scheduled  .          scheduled
//	time out   paused     cancelled  scheduled  .          scheduled
//	interrupt  paused     cancelled  ready      .          clean-up
//	rescue     paused     cancelled  ready      .          clean-up
//	rescue 3rd failed     cancelled  failed     .          failed
//
// # Trust
//
// Leases belong to worker sessions: a process sends heartbeats, three a lease, and when it
// falls silent its jobs are given to others. Each claim gives the job a higher fencing token and each change a
// higher version, and a change is written only to the version it was made from: a worker
// that comes back from the dead can change nothing. A job under which three workers in a row die
// is poison and fails.
//
// # Stores
//
// A [Store] keeps values and decides nothing; the state machine lives in this package.
// Package storetest is the contract as a test suite. Sub-packages hold the stores for databases.
package errand
