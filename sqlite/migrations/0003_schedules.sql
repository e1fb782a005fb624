-- The schedules, and what each did at its latest nominal times.

create table errand_schedules (
	name    text    not null primary key,
	version integer not null,
	wake    integer, -- when to look at it next; null: not before it is changed
	body    text    not null -- JSON: the rest of errand.Schedule
) strict;

create index errand_schedules_wake on errand_schedules (wake, name) where wake is not null;

create table errand_firings (
	schedule text    not null,
	slot     integer not null, -- seq % 100: the newest 100 stay, since each takes the place of the one 100 before it
	seq      integer not null,
	body     text    not null, -- JSON: the rest of errand.Firing
	primary key (schedule, slot)
) strict, without rowid;
