// One job and its log, kept up to date.

import * as api from "./api";
import { live } from "./live.svelte";
import { merge } from "./rows";
import { settings } from "./settings.svelte";
import { ended, type Entry, type Job } from "./types";

const maxEntries = 2000; // as many as the server keeps
const rest = 500; // between two reads of a job that changes all the time

export class JobView {
	job = $state.raw<Job>();
	problem = $state.raw<api.Problem>();
	gone = $state(false);
	entries = $state.raw<Entry[]>([]);
	logProblem = $state.raw<api.Problem>();

	#abort = new AbortController();
	#reading = false;
	#stale = false;
	#readingLog = false;
	#after = 0;
	#unfollow = () => {};
	#unlisten = () => {};

	constructor(readonly id: string) {}

	/** Reads the job until the returned function is called. */
	start(): () => void {
		this.#unlisten = live.listen({
			jobs: (news) => {
				const n = news.find((n) => n.id === this.id);
				if (n && this.job) this.take(merge(this.job, n));
				// What is not in the news may have changed too.
				if (n) void this.refresh();
			},
			gone: (id) => {
				if (id === this.id) this.gone = true;
			},
		});
		void this.refresh();
		// The watch forgets a job that has ended, but it may be retried; and the watch may be out of reach.
		const timer = setInterval(() => {
			if (!settings.paused && !document.hidden && !this.gone) void this.refresh();
		}, 5000);
		return () => {
			clearInterval(timer);
			this.#abort.abort();
			this.#unlisten();
			this.#unfollow();
		};
	}

	refresh = async (): Promise<void> => {
		if (this.#reading) {
			this.#stale = true;
			return;
		}
		this.#reading = true;
		do {
			this.#stale = false;
			try {
				this.take(await api.getJob(this.id, this.#abort.signal));
				this.problem = undefined;
			} catch (e) {
				if (this.#abort.signal.aborted) return;
				const problem = e as api.Problem;
				if (problem.status === 404 && this.job) this.gone = true;
				else this.problem = problem;
			}
		} while (this.#stale && (await this.#rest()));
		this.#reading = false;
	};

	/** Takes over the job as it is now; undefined: it was deleted. */
	take(job: Job | undefined) {
		if (!job) {
			this.gone = true;
			return;
		}
		const before = this.job;
		if (before && job.version < before.version) return;
		this.job = job;
		this.gone = false;
		if (!before || (ended(before.state) && !ended(job.state))) {
			this.#unfollow();
			this.#unfollow = ended(job.state) ? () => {} : live.follow([job]);
		}
		void this.readLog();
	}

	/**
	 * Reads what the log has more than was read. The watch tells when that is so: a request that waits for it would take one of
	 * the six connections that a browser has for all its tabs.
	 */
	readLog = async (): Promise<void> => {
		if (this.#readingLog) return;
		this.#readingLog = true;
		try {
			while (this.#after < (this.job?.entries ?? 0)) {
				const log = await api.getLog(this.id, this.#after, this.#abort.signal);
				this.logProblem = undefined;
				if (log.entries.length === 0) break;
				this.#after = log.after;
				this.entries = [...this.entries, ...log.entries].slice(-maxEntries);
			}
		} catch (e) {
			if (this.#abort.signal.aborted) return;
			this.logProblem = e as api.Problem;
		}
		this.#readingLog = false;
	};

	/** Waits a moment. False: nobody looks any more. */
	#rest(): Promise<boolean> {
		return new Promise((resolve) => setTimeout(() => resolve(!this.#abort.signal.aborted), rest));
	}
}
