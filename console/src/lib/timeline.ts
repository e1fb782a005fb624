// The story of a job, put together from the job and its log.

import { members } from "./json";
import { ended, type Entry, type Job } from "./types";

export interface Moment {
	time: string;
	what: "created" | "due" | "started" | "attempt" | "action" | "ended";
	title: string;
	text?: string;
	worker?: string;
}

export function timeline(job: Job, entries: Entry[]): Moment[] {
	const moments: Moment[] = [{ time: job.created, what: "created", title: "Created" }];
	for (const e of entries) {
		if (e.type === "attempt") moments.push({ time: e.time, what: "attempt", title: `Attempt ${e.attempt} failed`, text: firstLine(e.text) });
		if (e.type === "action") moments.push(action(e));
	}
	if (job.started) {
		const title = job.state === "running" ? `Attempt ${job.attempt} started` : "Last run started";
		moments.push({ time: job.started, what: "started", title, worker: job.worker });
	}
	if (job.ended) {
		const why = job.state === "failed" ? firstLine(job.error ?? "") : undefined;
		const told = moments.some((m) => m.what === "attempt" && m.text === why);
		moments.push({ time: job.ended, what: "ended", title: sentence(job.state), text: told ? undefined : why });
	} else if (job.due && job.state !== "running" && Date.parse(job.due) > Date.parse(job.created)) {
		moments.push({ time: job.due, what: "due", title: "Due" });
	}
	// What happened in the same instant stays in the order above.
	return moments.sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
}

function action(e: Entry): Moment {
	const attrs = strings(e.attrs);
	const verb = attrs.verb ?? e.text;
	return { time: e.time, what: "action", title: attrs.actor ? `${sentence(verb)} by ${attrs.actor}` : sentence(verb), text: attrs.reason };
}

/** The values of an object that are strings. */
export function strings(raw: string | undefined): Record<string, string> {
	const found: Record<string, string> = {};
	for (const [key, value] of members(raw ?? "{}")) {
		if (value.startsWith('"')) found[key] = JSON.parse(value) as string;
	}
	return found;
}

export const firstLine = (text: string): string => text.split("\n", 1)[0]!;

const sentence = (s: string) => s.charAt(0).toUpperCase() + s.slice(1);

/** How long the latest run took, or has taken; undefined if there was none. */
export function runTime(job: Pick<Job, "started" | "ended" | "state">, now: number): number | undefined {
	if (!job.started || (!ended(job.state) && job.state !== "running")) return undefined;
	return (job.ended ? Date.parse(job.ended) : now) - Date.parse(job.started);
}
