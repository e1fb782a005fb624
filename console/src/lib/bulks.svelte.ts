// The actions on all that match that were begun here, and how far they are.

import { getJob, Problem } from "./api";
import { live } from "./live.svelte";
import { merge } from "./rows";
import { ended, type Job, type LiveJob, type Verb } from "./types";

export interface BulkRun {
	verb: Verb;
	filter: string;
	job: Job;
}

class Bulks {
	runs = $state.raw<BulkRun[]>([]);
	/** Grows when one has ended: lists are to be read again. */
	done = $state(0);
	/** Whether one goes on. */
	busy = $derived(this.runs.some((run) => !ended(run.job.state)));
	#unfollow = new Map<string, () => void>();

	constructor() {
		live.listen({
			jobs: (news) => {
				for (const n of news) this.update(n);
			},
			gone: (id) => this.dismiss(id),
		});
	}

	add(run: BulkRun) {
		this.runs = [...this.runs, run];
		this.#unfollow.set(run.job.id, live.follow([run.job]));
	}

	/** Takes over the news of a job, if it is one of these. */
	update(news: LiveJob) {
		const run = this.runs.find((run) => run.job.id === news.id);
		if (!run) return;
		const job = merge(run.job, news);
		if (ended(job.state) && !ended(run.job.state)) this.done++;
		this.runs = this.runs.map((r) => (r === run ? { ...run, job } : r));
	}

	/** Reads how far they are, for when the watch does not tell. */
	async read() {
		for (const { job } of this.runs) {
			if (ended(job.state)) continue;
			try {
				this.update(await getJob(job.id));
			} catch (e) {
				if (e instanceof Problem && e.status === 404) this.dismiss(job.id);
			}
		}
	}

	dismiss(id: string) {
		this.runs = this.runs.filter((run) => run.job.id !== id);
		this.#unfollow.get(id)?.();
		this.#unfollow.delete(id);
	}
}

export const bulks = new Bulks();
