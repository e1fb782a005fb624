// One page of the list of jobs: read by cursor, kept up to date by the watch.

import { SvelteSet } from "svelte/reactivity";
import { listJobs, type Problem } from "./api";
import { live } from "./live.svelte";
import { mergeRows, Newcomers } from "./rows";
import { ended, type Job } from "./types";

const pageSize = 50;
const searches = 10; // answers with few jobs before the person is asked whether to go on
const manyNew = 1000;
const lookEvery = 5000; // at rows that have ended

export class JobList {
	rows = $state.raw<Job[]>([]);
	next = $state<string>(); // the cursor of what follows
	short = $state(false); // what was read did not fill the page
	problem = $state.raw<Problem>();
	loading = $state(false);
	loaded = $state(false);
	fresh = $state(0); // jobs that the first page would have on top if it were read again
	deaf = $state(""); // why newcomers are not told of: too_many match to be watched, or another code of the watch
	selected = new SvelteSet<string>();

	#filter = "";
	#cursor = "";
	#abort: AbortController | undefined;
	#ends: (() => void)[] = [];
	#closed = false;

	async load(filter: string, cursor: string) {
		if (filter !== this.#filter || cursor !== this.#cursor) this.selected.clear();
		this.#filter = filter;
		this.#cursor = cursor;
		await this.#read([], cursor);
	}

	reload = () => this.load(this.#filter, this.#cursor);

	/** Looks further where the answers so far did not fill the page. */
	further = () => this.#read(this.rows, this.next ?? "");

	async #read(rows: Job[], cursor: string) {
		if (this.#closed) return;
		this.#abort?.abort();
		const { signal } = (this.#abort = new AbortController());
		this.loading = true;
		try {
			for (let n = 0; n < searches; n++) {
				const page = await listJobs({ filter: this.#filter, cursor, limit: pageSize - rows.length }, signal);
				if (signal.aborted) return;
				rows = [...rows, ...page.jobs];
				cursor = page.next ?? "";
				this.rows = rows;
				this.next = page.next;
				this.short = rows.length < pageSize;
				if (!cursor || rows.length >= pageSize) break;
			}
			this.problem = undefined;
			this.loaded = true;
			for (const id of this.selected) if (!rows.some((row) => row.id === id)) this.selected.delete(id);
			this.#watch();
		} catch (e) {
			if (signal.aborted) return;
			this.problem = e as Problem;
		}
		this.loading = false;
	}

	/** Takes over what an action has answered; undefined: the job is gone. */
	set(id: string, job: Job | undefined) {
		if (job) {
			this.rows = mergeRows(this.rows, [job]);
			live.look([job]); // it may have begun a new life
		} else {
			this.rows = this.rows.filter((row) => row.id !== id);
			this.selected.delete(id);
		}
	}

	#watch() {
		this.#unwatch();
		this.fresh = 0;
		this.deaf = "";
		const newcomers = new Newcomers(this.#filter, this.rows);
		const first = this.#cursor === "";
		let unmatch = () => {};
		const count = () => {
			this.fresh = newcomers.ids.size;
			if (this.fresh >= manyNew) unmatch(); // that is enough to know
		};
		const unlisten = live.listen({
			jobs: (news) => {
				this.rows = mergeRows(this.rows, news);
				if (!first) return;
				for (const job of news) newcomers.take(job);
				count();
			},
			gone: (id) => {
				this.set(id, undefined);
				newcomers.gone(id);
				count();
			},
		});
		const timer = setInterval(() => {
			if (!document.hidden) live.look(this.rows.filter((row) => ended(row.state)));
		}, lookEvery);
		this.#ends = [unlisten, live.follow(this.rows), () => clearInterval(timer)];
		if (!first) return;
		unmatch = live.match({ filter: this.#filter, synced: () => newcomers.synced(), refused: (code) => (this.deaf = code) });
		this.#ends.push(() => unmatch());
	}

	#unwatch() {
		for (const end of this.#ends) end();
		this.#ends = [];
	}

	/** Ends all that goes on, for good. */
	close() {
		this.#closed = true;
		this.#abort?.abort();
		this.#unwatch();
	}
}
