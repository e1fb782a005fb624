// What live news do to a list of jobs that is on the page.

import { valuesOf } from "./filter";
import type { Job, LiveJob } from "./types";

/** The job with what the news say. Args, checkpoint and result are not in the news: they stay. */
export function merge(job: Job, news: LiveJob): Job {
	if (news.version <= job.version) return job;
	const { args, checkpoint, result } = job;
	return { ...news, args, checkpoint, result };
}

/** The rows with the news in them: the same array if nothing changed. */
export function mergeRows(rows: Job[], news: LiveJob[]): Job[] {
	const byID = new Map(news.map((n) => [n.id, n]));
	const merged = rows.map((row) => {
		const n = byID.get(row.id);
		return n ? merge(row, n) : row;
	});
	return merged.some((row, i) => row !== rows[i]) ? merged : rows;
}

/**
 * Finds the jobs that a list would have on its first page if it were read again. The watch tells of changes, too, of jobs that
 * match and are further down, which are not new.
 */
export class Newcomers {
	readonly ids = new Set<string>();
	#known = new Set<string>();
	#synced = false;
	#since: string;
	#states: string[];
	#later: boolean;

	/** Filter is that of the list; since, the creation of its newest job. */
	constructor(filter: string, rows: Job[]) {
		for (const r of rows) this.#known.add(r.id);
		this.#since = rows[0]?.created ?? "";
		this.#states = valuesOf(filter, "state");
		// Jobs can come to match these long after they were created.
		this.#later = /(?:^|\s)(?:state:|error:|worker:|ended<)/.test(filter);
	}

	/** All that matched at first has been told. */
	synced() {
		this.#synced = true;
	}

	take(job: LiveJob) {
		if (this.#states.length && !this.#states.includes(job.state)) {
			this.ids.delete(job.id); // it came and went
			return;
		}
		if (this.#known.has(job.id)) return;
		const younger = Date.parse(job.created) > (Date.parse(this.#since) || 0);
		if (younger || (this.#synced && this.#later)) this.ids.add(job.id);
		else if (!this.#synced) this.#known.add(job.id); // later on it would only grow
	}

	gone(id: string) {
		this.ids.delete(id);
	}
}
