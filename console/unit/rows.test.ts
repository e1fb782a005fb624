import { describe, expect, it } from "vitest";
import { merge, mergeRows, Newcomers } from "../src/lib/rows";
import type { Job } from "../src/lib/types";

const job = (id: string, more: Partial<Job> = {}): Job => ({
	id, kind: "k", queue: "q", priority: 0, max_attempts: 1, max_crashes: 1, created: "2026-01-01T00:00:00Z", state: "ready", version: 1, attempt: 0, entries: 0, ...more,
});

describe("merge", () => {
	it("takes newer news and keeps what is not in them", () => {
		const row = job("a", { args: '{"n":12345678901234567890}' });
		expect(merge(row, job("a", { version: 2, state: "running" }))).toMatchObject({ state: "running", args: row.args });
	});
	it("ignores older news, which come late", () => {
		const row = job("a", { version: 3, state: "failed" });
		expect(merge(row, job("a", { version: 2, state: "running" }))).toBe(row);
	});
	it("leaves a list alone of which nothing has changed", () => {
		const rows = [job("a"), job("b")];
		expect(mergeRows(rows, [job("c", { version: 9 })])).toBe(rows);
		expect(mergeRows(rows, [job("b", { version: 2, state: "paused" })]).map((r) => r.state)).toEqual(["ready", "paused"]);
	});
});

describe("Newcomers", () => {
	const later = "2026-01-01T00:00:01Z", earlier = "2025-12-31T00:00:00Z";

	it("counts jobs created after the list was read, each once", () => {
		const n = new Newcomers("", [job("a")]);
		n.take(job("b", { created: later }));
		n.take(job("b", { created: later, version: 2 }));
		n.take(job("a", { version: 2 }));
		expect([...n.ids]).toEqual(["b"]);
	});
	it("does not count old jobs that change further down", () => {
		const n = new Newcomers("", [job("a")]);
		n.synced();
		n.take(job("old", { created: earlier }));
		expect(n.ids.size).toBe(0);
	});
	it("counts old jobs that come to match a filter by state, and not those that matched before", () => {
		const n = new Newcomers("state:failed", [job("a", { state: "failed" })]);
		n.take(job("before", { created: earlier, state: "failed" }));
		n.synced();
		n.take(job("before", { created: earlier, state: "failed", version: 2 }));
		n.take(job("now", { created: earlier, state: "failed" }));
		expect([...n.ids]).toEqual(["now"]);
	});
	it("forgets those that left again", () => {
		const n = new Newcomers("state:running", []);
		n.synced();
		n.take(job("b", { created: later, state: "running" }));
		n.take(job("b", { created: later, state: "succeeded", version: 2 }));
		n.take(job("c", { created: later, state: "running" }));
		n.gone("c");
		expect(n.ids.size).toBe(0);
	});
});
