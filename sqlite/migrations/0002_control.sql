-- What operators ask of queues and of worker sessions.

-- The queues that are paused: their jobs are not claimed.
create table errand_pauses (
	queue  text    not null primary key,
	since  integer not null,
	actor  text    not null,
	reason text    not null
) strict, without rowid;

-- 1: the session claims no more jobs.
alter table errand_sessions add column draining integer not null default 0;

-- Which jobs have changed, for other processes that watch jobs; written only while there are such.
create table errand_changes (
	n     integer primary key autoincrement,
	at    integer not null,
	queue text    not null,
	kind  text    not null,
	state integer, -- null: they were deleted
	ids   blob    not null -- UUIDs, 16 bytes each
) strict;

-- The processes that watch, and until when they will have asked again.
create table errand_watchers (
	process blob    not null primary key,
	until   integer not null
) strict, without rowid;

-- How many jobs were added (0), started (1), succeeded (2), failed (3) and were cancelled (4) in a span of time, and how many
-- milliseconds the started ones had waited in all (5).
create table errand_history (
	at    integer not null, -- Unix seconds of its begin; spans of 10 s, older ones of 5 min
	what  integer not null,
	queue text    not null,
	kind  text    not null,
	n     integer not null,
	primary key (at, what, queue, kind)
) strict, without rowid;
