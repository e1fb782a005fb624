// The form of a schedule, and the requests that it makes.

import { mistake, pretty } from "./json";
import { numberOf, tagsOf, write } from "./newjob";
import { instant, wall } from "./time";
import type { Schedule } from "./types";

export interface ScheduleDraft {
	name: string;
	spec: string;
	zone: string;
	start: string; // wall-clock times in the zone of the form
	end: string;
	jitter: string;
	overlap: string;
	misfire: string;
	catchUp: string;
	window: string;
	grace: string;
	kind: string;
	args: string;
	queue: string;
	priority: string;
	maxAttempts: string;
	timeout: string;
	tags: string; // with commas between them
	reason: string;
}

export const blankSchedule: ScheduleDraft = {
	name: "", spec: "", zone: "", start: "", end: "", jitter: "", overlap: "skip", misfire: "once", catchUp: "", window: "", grace: "",
	kind: "", args: "", queue: "", priority: "", maxAttempts: "", timeout: "", tags: "", reason: "",
};

/** A schedule as the form has it. */
export function draftOf(s: Schedule, zone: string): ScheduleDraft {
	const { job } = s;
	return {
		name: s.name,
		spec: s.spec,
		zone: s.zone ?? "",
		start: s.start ? wall(Date.parse(s.start), zone) : "",
		end: s.end ? wall(Date.parse(s.end), zone) : "",
		jitter: s.jitter ?? "",
		overlap: s.overlap,
		misfire: s.misfire,
		catchUp: s.catch_up ? String(s.catch_up) : "",
		window: s.window ?? "",
		grace: s.grace ?? "",
		kind: job.kind,
		args: job.args && job.args !== "null" ? pretty(job.args) : "",
		queue: job.queue ?? "",
		priority: String(job.priority ?? 0),
		maxAttempts: job.max_attempts ? String(job.max_attempts) : "",
		timeout: job.timeout ?? "0s", // left out, it would be that of the kind
		tags: job.tags?.join(", ") ?? "",
		reason: "",
	};
}

/**
 * The body of the request, as text: args are put into it as they were written. Was is the schedule that is edited: what no field
 * shows is as it was, and so are times and tags that were left alone, which may have more to them than their fields can show.
 */
export function scheduleBody(d: ScheduleDraft, zone: string, was?: Schedule): string {
	return write([...plan(d, zone, was), ["reason", d.reason.trim() || undefined]], ["job", job(d, d.args, was)]);
}

/** The body of the request for a preview. What is not there yet, or is no JSON, is left out. */
export function previewBody(d: ScheduleDraft, zone: string, was?: Schedule): string {
	const args = d.args.trim() && mistake(d.args) ? "" : d.args;
	return write([["name", d.name || undefined], ["n", 5], ...plan(d, zone, was)], ["job", d.kind ? job(d, args, was) : ""]);
}

function plan(d: ScheduleDraft, zone: string, was?: Schedule): [string, unknown][] {
	const old = was && draftOf(was, zone);
	const time = (field: "start" | "end") => {
		if (!d[field]) return undefined;
		return d[field] === old?.[field] ? was?.[field] : new Date(instant(d[field], zone)).toISOString();
	};
	const catchUp = d.misfire === "catch_up";
	return [
		["spec", d.spec.trim()],
		["zone", d.zone.trim() || undefined],
		["start", time("start")],
		["end", time("end")],
		["jitter", d.jitter.trim() || undefined],
		["overlap", d.overlap],
		["misfire", d.misfire],
		["catch_up", catchUp ? numberOf(d.catchUp) : undefined],
		["window", (catchUp && d.window.trim()) || undefined],
		["grace", d.grace.trim() || undefined],
	];
}

function job(d: ScheduleDraft, args: string, was?: Schedule): string {
	const tags = was && d.tags === draftOf(was, "UTC").tags ? was.job.tags : tagsOf(d.tags);
	return write([
		["kind", d.kind],
		["queue", d.queue || undefined],
		["priority", numberOf(d.priority)],
		["max_attempts", numberOf(d.maxAttempts)],
		["max_crashes", was?.job.max_crashes],
		["timeout", d.timeout.trim() || undefined],
		["retention", was?.job.retention],
		["tags", tags],
		["metadata", was?.job.metadata],
	], ["args", args]);
}

const labels: Record<Exclude<keyof ScheduleDraft, "name" | "reason">, string> = {
	spec: "When", zone: "Time zone", start: "Start", end: "End", jitter: "Jitter", overlap: "Overlap", misfire: "Misfire",
	catchUp: "Catch up", window: "Window", grace: "Grace", kind: "Kind", args: "Args", queue: "Queue", priority: "Priority",
	maxAttempts: "Attempts at most", timeout: "Timeout", tags: "Tags",
};

/** What somebody has changed in a schedule, with what is there now. */
export function changes(was: Schedule, now: Schedule, zone: string): { label: string; now: string }[] {
	const a = draftOf(was, zone), b = draftOf(now, zone);
	const found = Object.entries(labels)
		.filter(([field]) => a[field as keyof typeof labels] !== b[field as keyof typeof labels])
		.map(([field, label]) => ({ label, now: b[field as keyof typeof labels] }));
	if (!was.paused !== !now.paused) found.push({ label: "Paused", now: now.paused ? "yes" : "no" });
	return found;
}

/** What a form has of a schedule that no field shows. */
export function unshown(s: Schedule): string[] {
	const { max_crashes: crashes, retention, metadata } = s.job;
	const entries = Object.keys(metadata ?? {}).length;
	return [
		crashes && crashes !== 3 ? `at most ${crashes} lost workers` : "",
		retention ? `retention ${retention}` : "",
		entries ? `metadata (${entries})` : "",
	].filter(Boolean);
}

/** Specs to choose from, with what they mean. */
export const commonSpecs: [string, string][] = [
	["0 3 * * *", "each day at 03:00"],
	["0 7 * * MON-FRI", "on working days at 07:00"],
	["*/15 * * * *", "each quarter of an hour"],
	["0 0 1 * *", "on the first of each month"],
	["0 0 L * *", "on the last day of each month"],
	["@hourly", "at the full hour"],
	["@daily", "at midnight"],
	["@every 10m", "each ten minutes"],
	["@after 10m", "ten minutes after the last job has ended"],
	["@reboot", "each time a worker starts"],
];
