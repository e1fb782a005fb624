// Who uses the page, what this one may do, and what it has been told.

import * as api from "./api";
import { verbsOf } from "./verbs";
import type { Me, Verb } from "./types";

interface Toast {
	id: number;
	text: string;
	bad: boolean;
}

class Session {
	me = $state.raw<Me>({ name: "", role: "viewer", read_only: true, version: "" }); // nothing is offered before it is known
	verbs = $derived<Verb[]>(verbsOf(this.me));
	mayAct = $derived(this.verbs.length > 0);
	toasts = $state<Toast[]>([]);
	#ids = 0;

	async start() {
		try {
			// A server without this route leaves it to the actions to be refused.
			this.me = (await api.me()) ?? { name: "", role: "admin", read_only: false, version: "" };
		} catch {
			setTimeout(() => this.start(), 5000);
		}
	}

	say(text: string, bad = false) {
		const id = ++this.#ids;
		this.toasts.push({ id, text, bad });
		if (!bad) setTimeout(() => this.dismiss(id), 6000);
	}

	dismiss(id: number) {
		this.toasts = this.toasts.filter((t) => t.id !== id);
	}

	/** Does something, and tells if it failed. */
	async attempt(what: string, work: () => Promise<unknown>): Promise<boolean> {
		try {
			await work();
			return true;
		} catch (e) {
			this.say(`${what}: ${(e as Error).message}`, true);
			return false;
		}
	}
}

export const session = new Session();
