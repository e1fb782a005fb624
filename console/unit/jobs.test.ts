import { describe, expect, it } from "vitest";
import { blank, bodyOf, copyOf } from "../src/lib/newjob";
import { runTime, timeline } from "../src/lib/timeline";
import { actionsFor, verbsOf } from "../src/lib/verbs";
import type { Entry, Job, State } from "../src/lib/types";

const job = (more: Partial<Job> = {}): Job => ({
	id: "a", kind: "k", queue: "q", priority: 0, max_attempts: 3, max_crashes: 3, created: "2026-01-01T00:00:00Z", state: "ready", version: 1, attempt: 0, entries: 0, ...more,
});
const all = verbsOf({ role: "admin", read_only: false });

describe("actions", () => {
	const can = (more: Partial<Job>) => actionsFor(job(more), all).filter((a) => !a.not).map((a) => a.label);

	it("are those of the state machine", () => {
		const expected: Record<State, string[]> = {
			scheduled: ["Pause", "Run now", "Cancel", "Terminate", "Delete"],
			waiting: ["Pause", "Cancel", "Terminate", "Delete"],
			ready: ["Pause", "Cancel", "Terminate", "Delete"],
			running: ["Pause", "Cancel", "Terminate"],
			paused: ["Resume", "Cancel", "Terminate", "Delete"],
			succeeded: ["Retry", "Delete"],
			failed: ["Retry", "Delete"],
			cancelled: ["Retry", "Delete"],
		};
		for (const [state, labels] of Object.entries(expected)) expect(can({ state: state as State }), state).toEqual(labels);
	});
	it("heed what was asked already", () => {
		expect(can({ state: "running", want: "paused" })).toEqual(["Resume", "Cancel", "Terminate"]);
		expect(can({ state: "running", want: "cancelled" })).toEqual(["Terminate"]);
		expect(can({ state: "failed", clean_up: "armed" })).toEqual(["Retry", "Cancel", "Terminate", "Delete"]);
	});
	it("depend on the role", () => {
		expect(verbsOf({ role: "viewer", read_only: false })).toEqual([]);
		expect(verbsOf({ role: "admin", read_only: true })).toEqual([]);
		expect(verbsOf({ role: "operator", read_only: false })).not.toContain("delete");
		expect(all).toContain("delete");
	});
});

describe("a new job", () => {
	it("is a request with its args as they were written", () => {
		const d = { ...blank, kind: 'say "x"', args: ' {"n": 12345678901234567890} ', priority: "-5", maxAttempts: "x", tags: " a, ,b " };
		expect(bodyOf(d, "UTC")).toBe('{"kind":"say \\"x\\"","priority":-5,"max_attempts":"x","tags":["a","b"],"args":{"n": 12345678901234567890}}');
		expect(bodyOf({ ...blank, kind: "k" }, "UTC")).toBe('{"kind":"k"}');
	});
	it("knows when", () => {
		const d = { ...blank, kind: "k", in: "5m", at: "2026-07-01T12:00" };
		expect(bodyOf(d, "UTC")).toBe('{"kind":"k"}');
		expect(bodyOf({ ...d, when: "in" }, "UTC")).toBe('{"kind":"k","in":"5m"}');
		expect(bodyOf({ ...d, when: "at" }, "Asia/Tokyo")).toBe('{"kind":"k","at":"2026-07-01T03:00:00.000Z"}');
	});
	it("can be like another one, without its unique key", () => {
		const d = copyOf(job({ args: "[1]", tags: ["a", "b"], timeout: "1m0s", unique: { key: "u" } }));
		expect(bodyOf(d, "UTC")).toBe('{"kind":"k","queue":"q","priority":0,"max_attempts":3,"timeout":"1m0s","tags":["a","b"],"args":[1]}');
	});
});

describe("timeline", () => {
	const entry = (more: Partial<Entry>): Entry => ({ seq: 1, time: "2026-01-01T00:00:05Z", type: "log", level: "INFO", attempt: 1, text: "t", ...more });

	it("tells the story in order", () => {
		const j = job({ state: "failed", started: "2026-01-01T00:00:10Z", ended: "2026-01-01T00:00:12Z", error: "bad\nluck", worker: "w" });
		const moments = timeline(j, [
			entry({}),
			entry({ time: "2026-01-01T00:00:04Z", type: "attempt", text: "one\ntwo" }),
			entry({ type: "action", text: "retry by x: y", attrs: '{"verb":"retry","actor":"ann","reason":"again"}' }),
		]);
		expect(moments.map((m) => [m.title, m.text])).toEqual([
			["Created", undefined], ["Attempt 1 failed", "one"], ["Retry by ann", "again"], ["Last run started", undefined], ["Failed", "bad"],
		]);
	});
	it("shows when it is due", () => {
		expect(timeline(job({ state: "scheduled", due: "2026-01-02T00:00:00Z" }), []).map((m) => m.what)).toEqual(["created", "due"]);
		expect(timeline(job({ due: "2026-01-01T00:00:00Z" }), []).map((m) => m.what)).toEqual(["created"]);
	});
	it("measures runs", () => {
		const started = "2026-01-01T00:00:00Z", now = Date.parse("2026-01-01T00:01:00Z");
		expect(runTime(job({ state: "running", started }), now)).toBe(60_000);
		expect(runTime(job({ state: "succeeded", started, ended: "2026-01-01T00:00:02Z" }), now)).toBe(2000);
		expect(runTime(job({ state: "scheduled", started }), now)).toBeUndefined();
		expect(runTime(job(), now)).toBeUndefined();
	});
});
