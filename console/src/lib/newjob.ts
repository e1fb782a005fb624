// The form of a new job, and the request that it makes.

import { instant } from "./time";
import type { Job } from "./types";

export interface Draft {
	kind: string;
	args: string;
	queue: string;
	priority: string;
	when: "now" | "in" | "at";
	in: string;
	at: string; // a wall-clock time in the zone of the settings
	maxAttempts: string;
	timeout: string;
	unique: string;
	tags: string; // with commas between them
}

export const blank: Draft = {
	kind: "", args: "", queue: "", priority: "", when: "now", in: "", at: "", maxAttempts: "", timeout: "", unique: "", tags: "",
};

/** A job like another one. Its unique key is left out: the other one may hold it. */
export function copyOf(job: Job): Draft {
	return {
		...blank,
		kind: job.kind,
		args: job.args ?? "",
		queue: job.queue,
		priority: String(job.priority),
		maxAttempts: String(job.max_attempts),
		timeout: job.timeout ?? "",
		tags: job.tags?.join(", ") ?? "",
	};
}

/** The body of the request, as text: args are put into it as they were written. */
export function bodyOf(d: Draft, zone: string): string {
	return write([
		["kind", d.kind],
		["queue", d.queue || undefined],
		["priority", numberOf(d.priority)],
		["in", d.when === "in" && d.in ? d.in : undefined],
		["at", d.when === "at" && d.at ? new Date(instant(d.at, zone)).toISOString() : undefined],
		["max_attempts", numberOf(d.maxAttempts)],
		["timeout", d.timeout || undefined],
		["unique", d.unique ? { key: d.unique } : undefined],
		["tags", tagsOf(d.tags)],
	], ["args", d.args]);
}

/** An object as text. What is undefined is left out; so are empty ones of the values that are put in as they are written. */
export function write(values: [string, unknown][], ...raw: [string, string][]): string {
	const parts = values.filter(([, v]) => v !== undefined).map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`);
	for (const [k, text] of raw) if (text.trim()) parts.push(`${JSON.stringify(k)}:${text.trim()}`);
	return `{${parts.join(",")}}`;
}

export function tagsOf(text: string): string[] | undefined {
	const tags = text.split(",").map((t) => t.trim()).filter(Boolean);
	return tags.length ? tags : undefined;
}

/** The number that a text is. What is none goes to the server as it is: it says what would be right. */
export function numberOf(text: string): number | string | undefined {
	const t = text.trim();
	if (t === "") return undefined;
	return /^-?\d{1,9}$/.test(t) ? Number(t) : t;
}
