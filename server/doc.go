// Package server is errand's HTTP API: a [Server] is an http.Handler on an errand.Engine.
//
// Everything is under /api/v1 and speaks JSON; openapi.json in this directory describes each
// route. The rules that hold for all of them:
//
//   - Every error is a problem by RFC 9457 ([Problem]), those of the router and panics too. It
//     names the fields that are wrong, never their values (but for what is wrong in a schedule's spec), and nothing of the server's inside;
//     the log has that under the problem's request_id.
//   - Args, results and checkpoints are passed on as the JSON they are: a big integer
//     survives. Only the white space between tokens may change.
//   - Unknown fields and query parameters are errors.
//   - Lists, batches and watches leave long fields of a job out, see [Job].Omitted.
//
// # Who may do what
//
// A viewer may GET, and see a preview of a schedule; an operator may also enqueue, pause, resume, cancel, terminate and
// retry, and make, edit and run schedules; an admin may also delete. The principal's name is the actor that is kept with the job.
// Without any tokens and users configured everybody is admin.
//
// # Repeating a POST
//
// With the header Idempotency-Key, POST /jobs and POST /jobs/batch may be repeated: the
// jobs' IDs derive from the key and the principal, so that the repeat answers the job that
// the first one created (200, duplicate: true), in whatever process and after whatever
// crash. The same key with another body is refused (422). A key is known as long as its job
// is: once that is deleted, or removed after its retention, the key creates a new one.
// A request that met another job by its unique key created nothing, so its repeat may.
//
// # Editing a schedule
//
// PUT /schedules/{name} sets a whole plan. With the header If-Match, from the ETag of the schedule that was read, it answers 412 if
// somebody has edited, paused or resumed it meanwhile; with If-None-Match: * it only makes a new one. A name may be anything
// printable: in the path it is in percent-encoding, a slash as %2F (a proxy must pass that on as it is).
//
// # Waiting
//
// GET /jobs/{id}?wait=30s answers when the job has ended, or the time is over, with the job as it
// is. GET /jobs/{id}/log?wait=30s answers when there are new entries. GET
// /jobs/{id}/watch is a stream of Server-Sent Events: the job as it is now, and again whenever it
// has changed, until it has ended. What changes too fast is skipped, never queued. All of them
// see what other processes do, within a second or so; they are bounded in number
// ([Config].MaxWaits) and end early when the server stops.
package server
