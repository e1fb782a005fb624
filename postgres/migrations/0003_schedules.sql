-- Schedules, which make jobs at nominal times.

create table errand.schedules (
	name    text collate "C" primary key,
	version bigint      not null, -- grows with every change
	wake    timestamptz, -- when to look at it; null: not before it is changed
	body    json        not null -- the rest of errand.Schedule
)
-- Each firing writes a row anew, and adds to both indexes: vacuum soon.
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

create index schedules_wake on errand.schedules (wake, name) where wake is not null;

-- What schedules did at their latest nominal times: each has its slots, which it fills in turn, so that nothing need be removed.
create table errand.firings (
	schedule text collate "C" not null,
	slot     smallint    not null, -- seq modulo how many are kept
	seq      bigint      not null, -- 1, 2, 3 … within the schedule
	nominal  timestamptz not null,
	at       timestamptz not null,
	job      uuid,
	outcome  text        not null,
	missed   bigint      not null, -- nominal times
	primary key (schedule, slot)
)
-- A slot that is filled again changes no indexed column, and finds room on the same page ("HOT").
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
