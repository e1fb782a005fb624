-- What operators ask of queues and of worker sessions.

-- The queues that are paused: their jobs are not claimed.
create table errand.pauses (
	queue  text        primary key,
	since  timestamptz not null,
	actor  text        not null,
	reason text        not null
);

-- The session claims no more jobs.
alter table errand.sessions add column draining boolean not null default false;

-- Which jobs have changed, for processes that watch jobs; see errand.turn.watched. Three partitions of a minute each, which are truncated in
-- turn. Unlogged: a crash of the server empties them, and those who watch notice.
create table errand.changes (
	slot  smallint not null default extract(epoch from statement_timestamp())::bigint / 60 % 3,
	xid   xid8     not null default pg_current_xact_id(),
	queue text     not null,
	kind  text     not null,
	state text, -- null: they were deleted
	ids   uuid[]   not null
) partition by list (slot);

create unlogged table errand.changes_0 partition of errand.changes for values in (0);
create unlogged table errand.changes_1 partition of errand.changes for values in (1);
create unlogged table errand.changes_2 partition of errand.changes for values in (2);
create index changes_xid on errand.changes (xid);

-- Until when changes are noted: a process that watches keeps putting it off.
alter table errand.turn add column watched timestamptz not null default '-infinity';

-- How many jobs were added (0), started (1), succeeded (2), failed (3) and were cancelled (4) in a span of time, and how many
-- milliseconds the started ones had waited in all (5). It begins at: spans of 10 s, older ones of 5 min.
create table errand.history (
	at    timestamptz not null,
	what  smallint    not null,
	queue text        not null,
	kind  text        not null,
	n     bigint      not null,
	primary key (at, what, queue, kind)
);

-- How many milliseconds they had waited that were claimed.
alter table errand.moves add column waited bigint;

-- True for sums of moves that are in errand.history.
alter table errand.moves add column folded boolean not null default false;

-- When moves were last added up.
alter table errand.turn add column folded timestamptz not null default '-infinity';
