// The actions on all that match that were begun here, and how far they are.

import { live } from "./live.svelte";
import { merge } from "./rows";
import { ended, type Job, type Verb } from "./types";

export interface BulkRun {
	verb: Verb;
	filter: string;
	job: Job;
}

class Bulks {
	runs = $state.raw<BulkRun[]>([]);
	/** Grows when one has ended: lists are to be read again. */
	done = $state(0);
	#unfollow = new Map<string, () => void>();

	constructor() {
		live.listen({
			jobs: (news) => {
				for (const n of news) this.update(n.id, (job) => merge(job, n));
			},
		});
	}

	add(run: BulkRun) {
		this.runs = [...this.runs, run];
		this.#unfollow.set(run.job.id, live.follow([run.job]));
	}

	update(id: string, change: (job: Job) => Job) {
		this.runs = this.runs.map((run) => {
			if (run.job.id !== id) return run;
			const job = change(run.job);
			if (ended(job.state) && !ended(run.job.state)) this.done++;
			return { ...run, job };
		});
	}

	dismiss(id: string) {
		this.runs = this.runs.filter((run) => run.job.id !== id);
		this.#unfollow.get(id)?.();
		this.#unfollow.delete(id);
	}
}

export const bulks = new Bulks();
