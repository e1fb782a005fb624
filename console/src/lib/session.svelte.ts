// Who uses the page, what this one may do, and what it has been told.

import { access } from "./access.svelte";
import * as api from "./api";
import { verbsOf } from "./verbs";
import type { Me, Verb } from "./types";

interface Toast {
	id: number;
	text: string;
	bad: boolean;
}

const maxToasts = 5;

class Session {
	me = $state.raw<Me>({ name: "", role: "viewer", read_only: true, version: "" }); // nothing is offered before it is known
	asked = $state(false); // whether the server has been asked who this is
	verbs = $derived<Verb[]>(verbsOf(this.me));
	mayAct = $derived(this.verbs.length > 0);
	schedules = $state(true); // whether the server has them, as far as is known
	toasts = $state<Toast[]>([]);
	#ids = 0;
	#looked = false;
	#again: ReturnType<typeof setTimeout> | undefined;

	/** Asks the server who this is, until it answers. */
	async start() {
		clearTimeout(this.#again);
		const { token } = access;
		try {
			this.#take(await api.me(token), token);
		} catch (e) {
			clearTimeout(this.#again);
			if ((e as api.Problem).status !== 401) this.#again = setTimeout(() => this.start(), 5000);
		}
		this.asked = true;
	}

	/** Begins to use a token, if the server accepts it; stay: see access. Fails with a Problem. */
	async signIn(token: string, stay: boolean) {
		const me = await api.me(token);
		access.use(token, stay);
		this.#take(me, token);
	}

	#take(me: Me | undefined, token: string) {
		if (token !== access.token) return;
		// A server without this route leaves it to the actions to be refused.
		this.me = me ?? { name: "", role: "admin", read_only: false, version: "" };
		access.needed = false;
		void this.#look();
	}

	/** Finds out what the server has. */
	async #look() {
		if (this.#looked) return;
		try {
			this.schedules = (await api.schedules({ limit: 1, history: 0 })) !== undefined;
			this.#looked = true;
		} catch {
			// the screen will say why
		}
	}

	say(text: string, bad = false) {
		const id = ++this.#ids;
		this.toasts = [...this.toasts, { id, text, bad }].slice(-maxToasts);
		if (!bad) setTimeout(() => this.dismiss(id), 6000);
	}

	dismiss(id: number) {
		this.toasts = this.toasts.filter((t) => t.id !== id);
	}

	/** Tells that something failed, but for want of a sign-in, which is asked for anyway. */
	failed(what: string, e: unknown) {
		if (!access.closed) this.say(`${what}: ${(e as Error).message}`, true);
	}

	/** Does something, and tells if it failed. */
	async attempt(what: string, work: () => Promise<unknown>) {
		try {
			await work();
		} catch (e) {
			this.failed(what, e);
		}
	}
}

export const session = new Session();
