// One job and its log, kept up to date.

import * as api from "./api";
import { live } from "./live.svelte";
import { merge } from "./rows";
import { settings } from "./settings.svelte";
import { ended, type Entry, type Job } from "./types";

const maxEntries = 2000; // as many as the server keeps
const minRest = 1000, maxRest = 15_000;

export class JobView {
	job = $state.raw<Job>();
	problem = $state.raw<api.Problem>();
	gone = $state(false);
	entries = $state.raw<Entry[]>([]);
	logProblem = $state.raw<api.Problem>();

	#abort = new AbortController();
	#reading = false;
	#stale = false;
	#following = false; // the log
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
		}, 10_000);
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
		} while (this.#stale && (await this.#rest(minRest / 2)));
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
		if (!ended(job.state) || job.entries > this.#after) void this.followLog();
	}

	/** Reads the log, and what is added to it, until the job has ended. */
	followLog = async (): Promise<void> => {
		if (this.#following) return;
		this.#following = true;
		let rest = minRest;
		for (let on = true; on; ) {
			try {
				const log = await api.getLog(this.id, this.#after, this.#after > 0 && !settings.paused, this.#abort.signal);
				this.#after = log.after;
				if (log.entries.length) this.entries = [...this.entries, ...log.entries].slice(-maxEntries);
				this.logProblem = undefined;
				rest = minRest;
				on = !log.ended && (!settings.paused || log.entries.length > 0);
				// With nothing there yet the first answer came at once.
				if (on && this.#after === 0) on = await this.#rest(minRest);
			} catch (e) {
				if (this.#abort.signal.aborted) return;
				this.logProblem = e as api.Problem;
				on = this.logProblem.status !== 404 && !settings.paused && (await this.#rest(rest));
				rest = Math.min(2 * rest, maxRest);
			}
		}
		this.#following = false;
	};

	/** Waits a moment. False: nobody looks any more. */
	#rest(ms: number): Promise<boolean> {
		return new Promise((resolve) => setTimeout(() => resolve(!this.#abort.signal.aborted), ms));
	}
}
