// The page's one connection to the watch. What it tells is handed on in bundles, so that a storm of changes does not
// draw the page anew for each.

import { watch } from "../../../server/watch.js";
import { access } from "./access.svelte";
import { clock } from "./clock.svelte";
import type { LiveJob } from "./types";

export interface Listener {
	jobs?(jobs: LiveJob[]): void;
	gone?(id: string): void;
}

interface Match {
	filter: string;
	synced?(): void;
	refused?(code: string): void;
}

const bundleTime = 100;

class Live {
	state = $state<"connecting" | "open" | "closed" | "paused">("connecting");
	since = $state(clock.now); // of the state, but for attempts to connect again
	failures = $state(0); // connections that ended, or were refused

	#client: ReturnType<typeof watch> | undefined;
	#listeners = new Set<Listener>();
	#followed = new Map<string, { version: number; by: number }>();
	#matches = new Map<string, Match>();
	#names = 0;
	#bundle = new Map<string, LiveJob>();
	#timer: ReturnType<typeof setTimeout> | undefined;

	start() {
		if (this.#client) return;
		this.state = "connecting";
		this.#client = watch({
			url: new URL("api/v1/watch", document.baseURI).href,
			get token() {
				return access.token; // that of now, whenever it connects
			},
			onState: (state: "connecting" | "open" | "closed") => {
				if (state === "closed") this.failures++;
				if (state === "connecting" && this.state === "closed") return; // it is offline until it is connected
				if (state === "open" || this.state !== "closed") this.since = clock.now;
				this.state = state;
			},
			onJob: (job: object) => this.#take(job as LiveJob),
			onGone: (id: string) => {
				this.#bundle.delete(id);
				for (const l of this.#listeners) l.gone?.(id);
			},
			onSynced: (name: string) => {
				this.#flush(); // what was told before is known before
				this.#matches.get(name)?.synced?.();
			},
			onError: (e: { sub?: string; code: string }) => {
				if (e.sub) this.#matches.get(e.sub)?.refused?.(e.code);
			},
		});
		for (const [id, f] of this.#followed) this.#client.follow(id, f.version);
		for (const [name, m] of this.#matches) this.#client.match(name, m.filter);
	}

	stop() {
		this.#client?.close();
		this.#client = undefined;
		this.state = "paused";
		this.since = clock.now;
	}

	retry() {
		this.#client?.retry();
	}

	/** Hears of all jobs that anybody here follows, until the returned function is called. */
	listen(listener: Listener): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}

	/** Follows jobs, each until it has ended or the returned function is called. */
	follow(jobs: { id: string; version: number }[]): () => void {
		for (const { id, version } of jobs) {
			const f = this.#followed.get(id);
			this.#followed.set(id, { version: Math.max(version, f?.version ?? 0), by: (f?.by ?? 0) + 1 });
			this.#client?.follow(id, version);
		}
		return () => {
			for (const { id } of jobs) {
				const f = this.#followed.get(id);
				if (f && --f.by === 0) {
					this.#followed.delete(id);
					this.#client?.forget(id);
				}
			}
		};
	}

	/** Asks how these are that somebody follows: the watch forgets those that have ended, and they may be retried or deleted. */
	look(jobs: { id: string }[]) {
		for (const { id } of jobs) {
			const f = this.#followed.get(id);
			if (f) this.#client?.follow(id, f.version);
		}
	}

	/** Follows what matches a filter until the returned function is called. */
	match(m: Match): () => void {
		const name = "m" + ++this.#names;
		this.#matches.set(name, m);
		this.#client?.match(name, m.filter);
		return () => {
			if (this.#matches.delete(name)) this.#client?.unmatch(name);
		};
	}

	#take(job: LiveJob) {
		const f = this.#followed.get(job.id);
		if (f) f.version = Math.max(f.version, job.version);
		this.#bundle.set(job.id, job);
		this.#timer ??= setTimeout(() => this.#flush(), bundleTime);
	}

	#flush() {
		clearTimeout(this.#timer);
		this.#timer = undefined;
		const jobs = [...this.#bundle.values()];
		this.#bundle.clear();
		if (jobs.length) for (const l of this.#listeners) l.jobs?.(jobs);
	}
}

export const live = new Live();
