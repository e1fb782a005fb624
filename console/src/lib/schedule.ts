// What there is to say of a schedule and its firings.

import type { Firing, ListedSchedule, Misfire, Overlap } from "./types";
import { parseDuration } from "./time";

interface Choice {
	short: string;
	text: string;
}

/** What is done at a time at which the last job has not ended. */
export const overlaps: Record<Overlap, Choice> = {
	skip: { short: "no job", text: "While the last job has not ended, none is made." },
	queue_one: { short: "one waits", text: "One job waits for the last one to end. While it waits, none is made." },
	queue_all: { short: "all wait", text: "Each job waits for the one before it to end, however many wait." },
	cancel: { short: "the last one ends", text: "The last job is cancelled. The new one starts once that has ended." },
	allow: { short: "side by side", text: "Jobs run side by side." },
};

/** What is done about times at which nobody was there. */
export const misfires: Record<Misfire, Choice> = {
	once: { short: "one job for all", text: "One job is made for all the times at which nobody was there." },
	skip: { short: "no job", text: "Times at which nobody was there are not made up for." },
	catch_up: { short: "the last ones", text: "The last of the times at which nobody was there are made up for, each by a job of its own." },
};

/** A choice of overlap or misfire as people write it. */
export const spoken = (choice: string): string => choice.replaceAll("_", " ");

/** What there was of a firing, in the order in which they are counted. */
export const fates = ["succeeded", "failed", "cancelled", "running", "waiting", "skipped", "missed", "gone"] as const;
export type Fate = (typeof fates)[number];

/** What became of a firing: of its job, if it made one. Waiting: it has not started, or is paused. Gone: the job is no longer kept. */
export function fate(f: Firing): Fate {
	if (f.outcome === "skipped" || f.outcome === "missed") return f.outcome;
	switch (f.state) {
		case undefined:
			return "gone";
		case "succeeded":
		case "failed":
		case "cancelled":
		case "running":
			return f.state;
	}
	return "waiting";
}

/** 20 firings: 17 succeeded, 2 failed, 1 skipped */
export function tally(firings: Firing[]): string {
	const all = firings.map(fate);
	const counts = fates
		.map((of) => [all.filter((f) => f === of).length, of === "gone" ? "no longer kept" : of] as const)
		.filter(([n]) => n > 0)
		.map(([n, of]) => `${n} ${of}`);
	const count = `${firings.length} ${firings.length === 1 ? "firing" : "firings"}`;
	return counts.length ? `${count}: ${counts.join(", ")}` : count;
}

const form = (s: { spec: string; resolved?: string }) => /^@(every|after|reboot)\b/.exec((s.resolved || s.spec).trim())?.[1];

/** The zone by whose clocks the nominal times are; undefined: by none. */
export function zoneOf(s: { spec: string; resolved?: string; zone?: string }): string | undefined {
	return form(s) ? undefined : s.zone || "UTC";
}

/** Whether its nominal times are known long before, and after. */
export const foretold = (s: ListedSchedule): boolean => form(s) !== "after" && form(s) !== "reboot";

/** Why a schedule has no next time. */
export function noNext(s: ListedSchedule): string {
	if (s.paused) return "none while it is paused";
	switch (form(s)) {
		case "reboot":
			return "when a worker starts";
		case "after":
			return "once the last job has ended";
	}
	return "none any more";
}

const soon = 5000;

/** By how many milliseconds it is late; 0 if it is not, or so little that its job may be on its way. */
export function lateness(s: ListedSchedule): number {
	const late = parseDuration(s.late_by ?? "") ?? 0;
	return late < soon ? 0 : late;
}
