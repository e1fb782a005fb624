// What can be done to a job, by the rules of the state machine (state.go). The server has the last word.

import { ended, type LiveJob, type Verb } from "./types";

export interface Action {
	verb: Verb;
	label: string;
	/** Why it cannot be done now; undefined if it can. */
	not?: string;
}

export const labels: Record<Verb, string> = {
	pause: "Pause", resume: "Resume", retry: "Retry", cancel: "Cancel", terminate: "Terminate", delete: "Delete",
};

export const past: Record<Verb, string> = {
	pause: "paused", resume: "resumed", retry: "retried", cancel: "cancelled", terminate: "terminated", delete: "deleted",
};

/** What a verb does, for its dialog. */
export const explained: Record<Verb, string> = {
	pause: "It does not start until it is resumed. If it runs, it is asked to save a checkpoint and stop.",
	resume: "It goes on from its checkpoint.",
	retry: "It runs again, from its checkpoint and with all its attempts.",
	cancel: "It ends for good. If it runs, it is asked to stop first.",
	terminate: "It ends at once. A run that goes on is disowned: nothing that it writes counts.",
	delete: "The job and its log are removed. This cannot be undone.",
};

export const dangerous = (verb: Verb): boolean => verb === "cancel" || verb === "terminate" || verb === "delete";

const over = "It is over; retry runs it again.";
const cancelling = "It is being cancelled.";

const refusals: Record<Verb, (job: LiveJob) => string | undefined> = {
	pause(j) {
		if (ended(j.state)) return over;
		if (j.want === "cancelled") return cancelling;
		return j.state === "paused" || j.want === "paused" ? "It is paused." : undefined;
	},
	resume(j) {
		if (ended(j.state)) return over;
		if (j.want === "cancelled") return cancelling;
		return j.state === "paused" || j.want === "paused" ? undefined : "It is not paused.";
	},
	retry(j) {
		switch (j.state) {
			case "running": return "It runs.";
			case "ready": return "It is about to run.";
			case "paused": return "It is paused; resume it.";
			case "waiting": return "It waits for other jobs.";
		}
		return undefined;
	},
	cancel(j) {
		if (j.state === "cancelled") return "It is cancelled.";
		if (j.want === "cancelled") return cancelling;
		return ended(j.state) && !leftovers(j) ? "It is over." : undefined;
	},
	terminate(j) {
		if (j.state === "cancelled") return "It is cancelled.";
		if (j.want === "cancelled" && j.clean_up === "due") return "Its clean-up is on.";
		return ended(j.state) && !leftovers(j) ? "It is over." : undefined;
	},
	delete(j) {
		const busy = j.state === "running" || (!ended(j.state) && j.clean_up);
		return busy ? "It must be cancelled or terminated first." : undefined;
	},
};

// A failed job whose work so far can be rolled back by its clean-up.
const leftovers = (j: LiveJob) => j.state === "failed" && j.clean_up === "armed";

/** The actions for a job, in the order in which they are shown: pause or resume, whichever makes sense. */
export function actionsFor(job: LiveJob, allowed: Verb[]): Action[] {
	const paused = job.state === "paused" || job.want === "paused";
	return allowed
		.filter((verb) => verb !== (paused ? "pause" : "resume"))
		.map((verb) => ({
			verb,
			label: verb === "retry" && job.state === "scheduled" ? "Run now" : labels[verb],
			not: refusals[verb](job),
		}));
}

/** The verbs that a role may use. */
export function verbsOf(me: { role: string; read_only: boolean }): Verb[] {
	if (me.read_only || me.role === "viewer") return [];
	const verbs: Verb[] = ["pause", "resume", "retry", "cancel", "terminate"];
	return me.role === "admin" ? [...verbs, "delete"] : verbs;
}
