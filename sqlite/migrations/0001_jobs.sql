create table errand_schema (
	version integer primary key,
	applied text not null
) strict;

-- States are stored as numbers: 1 ready, 2 succeeded, 3 running, 4 scheduled, 5 waiting,
-- 6 paused, 7 failed, 8 cancelled. The first two are those of which there are many, so
-- that one comparison tells them apart in the condition of an index. Times are
-- microseconds since 1970 UTC, durations nanoseconds, and what is not there is null.
-- The view errand_jobs_readable shows all this as a person would write it.

create table errand_jobs (
	seq         integer primary key, -- the order of insertion
	id          blob    not null,    -- a UUID, 16 bytes
	kind        text    not null,
	queue       text    not null,
	state       integer not null,
	version     integer not null,
	priority    integer not null,
	due         integer not null,
	attempt     integer not null,
	token       integer not null,
	worker      blob,
	started     integer,
	ended       integer,
	expires     integer,
	entries     integer not null,
	created     integer,
	limits      text    not null, -- JSON: max_attempts, max_crashes, timeout, retention
	unique_key  text,
	unique_held integer, -- 1 while it keeps others with its key out
	options     text,    -- JSON: scope, until, after, on_failure, tags, metadata
	extra       text,    -- JSON: crashes, blocked, clean_up, want, actor, reason, progress
	error       text,
	checkpoint  text,
	result      text,
	args        text     -- last, so that a long one is not in the way of the others
) strict;

create unique index errand_jobs_id on errand_jobs (id);
create index errand_jobs_ready on errand_jobs (queue, kind, priority desc, due) where state = 1;
create index errand_jobs_due on errand_jobs (due) where state = 4;
create index errand_jobs_state on errand_jobs (state) where state > 3;
create unique index errand_jobs_unique on errand_jobs (unique_key) where unique_held = 1;

-- What leads to the running jobs and to those that expire: one row for 256 seqs, which a
-- batch of jobs shares. Indexes on the jobs would double the cost of a claim and a finish.
create table errand_chunks (
	chunk   integer primary key, -- seq / 256
	running integer not null,    -- how many jobs are
	expires integer              -- none before this time; null: none at all
) strict;

create table errand_counts (
	queue text    not null,
	state integer not null,
	kind  text    not null,
	jobs  integer not null,
	primary key (queue, state, kind)
) strict, without rowid;

create table errand_links (
	on_id blob    not null, -- the job waited for
	job   integer not null, -- seq of the one that waits
	ended integer not null, -- 1 once the job waited for has ended or is gone
	primary key (on_id, job)
) strict, without rowid;

create index errand_links_job on errand_links (job);
create index errand_links_ended on errand_links (job) where ended = 1;

create table errand_tags (
	tag text    not null,
	job integer not null,
	primary key (tag, job)
) strict, without rowid;

create table errand_entries (
	job     integer not null,
	seq     integer not null,
	time    integer not null,
	type    text    not null,
	level   integer not null,
	attempt integer not null,
	text    text    not null,
	attrs   text,
	primary key (job, seq)
) strict, without rowid;

create table errand_sessions (
	id      blob    primary key,
	started integer not null,
	expires integer not null,
	info    text    not null -- JSON: the rest of errand.Session
) strict, without rowid;

create view errand_jobs_readable as
select
	seq,
	lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' ||
		substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) as id,
	kind, queue,
	case state when 1 then 'ready' when 2 then 'succeeded' when 3 then 'running' when 4 then 'scheduled'
		when 5 then 'waiting' when 6 then 'paused' when 7 then 'failed' else 'cancelled' end as state,
	extra ->> 'want' as want,
	version, priority, attempt, limits ->> 0 as max_attempts, coalesce(extra ->> 'crashes', 0) as crashes,
	token, lower(hex(worker)) as worker,
	strftime('%Y-%m-%dT%H:%M:%fZ', created / 1e6, 'unixepoch') as created,
	strftime('%Y-%m-%dT%H:%M:%fZ', due / 1e6, 'unixepoch') as due,
	strftime('%Y-%m-%dT%H:%M:%fZ', started / 1e6, 'unixepoch') as started,
	strftime('%Y-%m-%dT%H:%M:%fZ', ended / 1e6, 'unixepoch') as ended,
	strftime('%Y-%m-%dT%H:%M:%fZ', expires / 1e6, 'unixepoch') as expires,
	(limits ->> 2) / 1e9 as timeout_seconds, entries, unique_key, unique_held, options,
	extra ->> 'actor' as actor, extra ->> 'reason' as reason, extra -> 'progress' as progress,
	error, checkpoint, result, args
from errand_jobs;
