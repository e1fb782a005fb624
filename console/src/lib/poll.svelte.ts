// What a screen shows of the server, read again every few seconds. What was read stays while it is read anew, and when that fails.

import { untrack } from "svelte";
import { settings } from "./settings.svelte";
import type { Problem } from "./api";

export class Poll<T> {
	data = $state.raw<T>();
	problem = $state.raw<Problem>();
	loading = $state(false);
	#load: (signal: AbortSignal) => Promise<T>;
	#abort: AbortController | undefined;

	constructor(load: (signal: AbortSignal) => Promise<T>) {
		this.#load = load;
	}

	/** Reads anew. A read that is under way is given up. */
	refresh = async (): Promise<void> => {
		this.stop();
		const abort = (this.#abort = new AbortController());
		this.loading = true;
		try {
			const data = await this.#load(abort.signal);
			if (abort.signal.aborted) return;
			this.data = data;
			this.problem = undefined;
		} catch (e) {
			if (abort.signal.aborted) return;
			this.problem = e as Problem;
		}
		this.loading = false;
	};

	stop() {
		this.#abort?.abort();
	}
}

/**
 * Reads now, whenever what load depends on changes, and every so many milliseconds while the page is seen and refreshing is
 * not paused. To be called while a component is made.
 */
export function poll<T>(load: (signal: AbortSignal) => Promise<T>, every: number): Poll<T> {
	const p = new Poll(load);
	$effect(() => {
		void p.refresh(); // up to its first await: what load reads there is what this effect depends on
		return () => p.stop();
	});
	$effect(() => {
		if (settings.paused) return;
		const again = () => {
			if (!document.hidden && !p.loading) void p.refresh();
		};
		const timer = setInterval(again, every);
		document.addEventListener("visibilitychange", again);
		untrack(again); // it may have been paused
		return () => {
			clearInterval(timer);
			document.removeEventListener("visibilitychange", again);
		};
	});
	return p;
}
