// One page of the list of jobs: read by cursor, kept up to date by the watch.

import { SvelteSet } from "svelte/reactivity";
import { listJobs, type Problem } from "./api";
import { live } from "./live.svelte";
import { merge, mergeRows, Newcomers } from "./rows";
import { ended, type Job } from "./types";

const pageSize = 50;
const searches = 10; // answers with few jobs before the person is asked whether to go on
const manyNew = 1000;

export class JobList {
	rows = $state.raw<Job[]>([]);
	next = $state<string>(); // the cursor of what follows
	problem = $state.raw<Problem>();
	loading = $state(false);
	loaded = $state(false);
	fresh = $state(0); // jobs that the first page would have on top if it were read again
	tooMany = $state(false); // more match than can be watched for newcomers
	selected = new SvelteSet<string>();

	#filter = "";
	#cursor = "";
	#abort: AbortController | undefined;
	#ends: (() => void)[] = [];

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
		this.#abort?.abort();
		const { signal } = (this.#abort = new AbortController());
		this.loading = true;
		try {
			for (let n = 0; n < searches; n++) {
				const page = await listJobs({ filter: this.#filter, cursor, limit: pageSize - rows.length }, signal);
				rows = [...rows, ...page.jobs];
				cursor = page.next ?? "";
				this.rows = rows;
				this.next = page.next;
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

	get hasRoom(): boolean {
		return this.rows.length < pageSize;
	}

	/** Takes over what an action has answered; undefined: the job is gone. */
	set(id: string, job: Job | undefined) {
		if (job) {
			this.rows = this.rows.map((row) => (row.id === id ? merge(row, job) : row));
			if (!ended(job.state)) this.#ends.push(live.follow([job])); // it may have begun a new life
		} else {
			this.rows = this.rows.filter((row) => row.id !== id);
			this.selected.delete(id);
		}
	}

	#watch() {
		this.close();
		this.fresh = 0;
		this.tooMany = false;
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
		this.#ends = [unlisten, live.follow(this.rows.filter((row) => !ended(row.state)))];
		if (!first) return;
		unmatch = live.match({ filter: this.#filter, synced: () => newcomers.synced(), refused: () => (this.tooMany = true) });
		this.#ends.push(() => unmatch());
	}

	close() {
		for (const end of this.#ends) end();
		this.#ends = [];
	}
}
