import { describe, expect, it } from "vitest";
import { parseSchedule } from "../src/lib/api";
import { blankSchedule, changes, draftOf, previewBody, scheduleBody, unshown } from "../src/lib/newschedule";
import { fate, foretold, lateness, noNext, tally, zoneOf } from "../src/lib/schedule";
import type { Firing, Schedule } from "../src/lib/types";

const firing = (more: Partial<Firing> = {}): Firing => ({ seq: 1, nominal: "2026-01-01T00:00:00Z", at: "2026-01-01T00:00:00Z", outcome: "made", ...more });
const schedule = (more: Partial<Schedule> = {}): Schedule => ({
	name: "s", spec: "0 3 * * *", overlap: "skip", misfire: "once", describe: "", created: "2026-01-01T00:00:00Z", changed: "2026-01-01T00:00:00Z",
	registered: false, made: 0, skipped: 0, missed: 0, job: { kind: "k" }, ...more,
});

describe("firings", () => {
	it("are told by what became of their jobs", () => {
		expect(fate(firing({ state: "succeeded" }))).toBe("succeeded");
		expect(fate(firing({ state: "paused" }))).toBe("waiting");
		expect(fate(firing({ outcome: "manual", state: "failed" }))).toBe("failed");
		expect(fate(firing())).toBe("gone");
		expect(fate(firing({ outcome: "missed" }))).toBe("missed");
	});
	it("are counted", () => {
		const many = (n: number, more: Partial<Firing>) => Array.from({ length: n }, () => firing(more));
		const all = [...many(1, { outcome: "skipped" }), ...many(17, { state: "succeeded" }), ...many(2, { state: "failed" })];
		expect(tally(all)).toBe("20 firings: 17 succeeded, 2 failed, 1 skipped");
		expect(tally(many(1, {}))).toBe("1 firing: 1 no longer kept");
		expect(tally([])).toBe("0 firings");
	});
});

describe("a schedule", () => {
	it("has a zone if it is by a clock", () => {
		expect(zoneOf(schedule())).toBe("UTC");
		expect(zoneOf(schedule({ zone: "Europe/Berlin" }))).toBe("Europe/Berlin");
		expect(zoneOf(schedule({ spec: "@daily" }))).toBe("UTC");
		expect(zoneOf(schedule({ spec: "cron.x", resolved: "@every 1h" }))).toBeUndefined();
	});
	it("says why it has no next time", () => {
		expect(noNext(schedule({ paused: "2026-01-01T00:00:00Z", spec: "@reboot" }))).toBe("none while it is paused");
		expect(noNext(schedule({ spec: "@reboot" }))).toBe("when a worker starts");
		expect(noNext(schedule({ spec: " @after 1m" }))).toBe("once the last job has ended");
		expect(noNext(schedule())).toBe("none any more");
		expect([foretold(schedule({ spec: "@every 1m" })), foretold(schedule({ spec: "@after 1m" }))]).toEqual([true, false]);
	});
	it("is late by more than moments", () => {
		expect(lateness(schedule())).toBe(0);
		expect(lateness(schedule({ late_by: "1.2s" }))).toBe(0);
		expect(lateness(schedule({ late_by: "1m0.5s" }))).toBe(60_500);
	});
	it("is read with its args as they are written", () => {
		const s = parseSchedule('{"name":"s","job":{"kind":"k","args":{"n": 12345678901234567890}}}');
		expect(s.job.args).toBe('{"n": 12345678901234567890}');
		expect(parseSchedule('{"job":{"kind":"k"}}').job.args).toBeUndefined();
	});
});

describe("the form of a schedule", () => {
	it("makes a request of what is typed", () => {
		const d = { ...blankSchedule, name: "n", spec: " 0 3 * * * ", kind: 'say "x"', args: ' {"n": 12345678901234567890} ', catchUp: "3", priority: "high", tags: "a, b" };
		expect(scheduleBody(d, "UTC")).toBe(
			'{"spec":"0 3 * * *","overlap":"skip","misfire":"once","job":{"kind":"say \\"x\\"","priority":"high","tags":["a","b"],"args":{"n": 12345678901234567890}}}',
		);
		const timed = { ...blankSchedule, spec: "@daily", zone: "UTC", start: "2026-07-01T12:00", misfire: "catch_up", catchUp: "3", window: "48h", kind: "k", reason: " why " };
		expect(JSON.parse(scheduleBody(timed, "Asia/Tokyo"))).toEqual({
			spec: "@daily", zone: "UTC", start: "2026-07-01T03:00:00.000Z", overlap: "skip", misfire: "catch_up", catch_up: 3, window: "48h", reason: "why", job: { kind: "k" },
		});
	});
	it("asks for a preview of what is there so far", () => {
		const d = { ...blankSchedule, spec: "@daily", args: "{" };
		expect(previewBody(d, "UTC")).toBe('{"n":5,"spec":"@daily","overlap":"skip","misfire":"once"}');
		expect(previewBody({ ...d, name: "n", kind: "k", reason: "r" }, "UTC")).toBe('{"name":"n","n":5,"spec":"@daily","overlap":"skip","misfire":"once","job":{"kind":"k"}}');
	});

	const whole = schedule({
		zone: "Europe/Berlin", start: "2026-03-01T00:00:00.123456Z", end: "2026-10-25T00:30:00Z", jitter: "30s", overlap: "queue_one", misfire: "catch_up",
		catch_up: 7, window: "48h0m0s", grace: "2m0s",
		job: {
			kind: "k", args: '{"n":12345678901234567890}', queue: "q", priority: -3, max_attempts: 4, max_crashes: 2, retention: "forever",
			tags: ["a, b", "c"], metadata: { k: "v" },
		},
	});

	it("keeps all of a schedule that was left alone", () => {
		for (const zone of ["UTC", "Europe/Berlin", "America/New_York"]) {
			const { name: _name, describe: _d, created: _c, changed: _ch, registered: _r, made: _m, skipped: _s, missed: _mi, ...plan } = whole;
			const body = scheduleBody(draftOf(whole, zone), zone, whole);
			expect(JSON.parse(body)).toEqual({ ...plan, job: { ...plan.job, args: { n: 12345678901234567000 }, timeout: "0s" } });
			expect(body).toContain("12345678901234567890");
		}
	});
	it("sends what was changed", () => {
		const body = JSON.parse(scheduleBody({ ...draftOf(whole, "UTC"), start: "", end: "2026-11-01T10:00", misfire: "once", tags: "c" }, "UTC", whole));
		expect(body).toMatchObject({ end: "2026-11-01T10:00:00.000Z", misfire: "once", job: { tags: ["c"], metadata: { k: "v" }, max_crashes: 2, retention: "forever" } });
		for (const field of ["start", "catch_up", "window"]) expect(body).not.toHaveProperty(field);
	});
	it("tells what somebody else has changed", () => {
		const now = { ...whole, spec: "@hourly", paused: "2026-01-02T00:00:00Z", job: { ...whole.job, tags: [] } };
		expect(changes(whole, now, "UTC")).toEqual([{ label: "When", now: "@hourly" }, { label: "Tags", now: "" }, { label: "Paused", now: "yes" }]);
		expect(changes(whole, whole, "UTC")).toEqual([]);
	});
	it("says what it does not show", () => {
		expect(unshown(whole)).toEqual(["at most 2 lost workers", "retention forever", "metadata (1)"]);
		expect(unshown(schedule({ job: { kind: "k", max_crashes: 3 } }))).toEqual([]);
	});
});
