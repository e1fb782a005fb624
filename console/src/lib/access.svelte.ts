// The bearer token that the page sends, where its server wants one.

const key = "errand.token";

/**
 * Who signs in types a token, and the page sends it by itself with each request: it is never a cookie, which a browser would add to the requests of other
 * sites, too (CSRF). It is kept in the storage of this tab, which ends with it, or for all tabs until somebody signs out, if that was asked for. Scripts could
 * read it in both; the content security policy lets no script run but the page's own.
 */
class Access {
	/** What goes into requests; "": nothing, and the browser sends what it knows. */
	token = stored(() => sessionStorage) || stored(() => localStorage);

	/** Whether a token would help: the server takes some. */
	takesTokens = $state(true);

	/** The same as needed, for what is not to depend on it, or goes because of it. */
	closed = false;
	#needed = $state(false);

	/** The server knows nobody by what was sent: nothing is asked until somebody has signed in. */
	get needed(): boolean {
		return this.#needed;
	}
	set needed(needed: boolean) {
		this.#needed = this.closed = needed;
	}

	/** Takes note of a 401 to a request with this token. */
	refused(token: string, challenge: string | null) {
		if (token !== this.token) return; // another one is in use since
		this.takesTokens = /\bbearer\b/i.test(challenge ?? "");
		this.needed = true;
	}

	/** Uses a token from now on; stay: in all tabs, and when the browser is started again. */
	use(token: string, stay: boolean) {
		if (stored(() => localStorage) === this.token) keep(() => localStorage, "");
		keep(() => sessionStorage, stay ? "" : token);
		if (stay) keep(() => localStorage, token);
		this.token = token;
		this.needed = false;
	}

	/** Forgets the token, here and in all tabs that share it, and all that was read with it. */
	signOut() {
		keep(() => sessionStorage, "");
		keep(() => localStorage, "");
		location.reload();
	}

	/** Takes over the token of all tabs when another one changes it, until the returned function is called. */
	share(changed: () => void): () => void {
		const heard = (e: StorageEvent) => {
			if (e.key !== key || stored(() => sessionStorage)) return; // this tab has one of its own
			if (!e.newValue) return location.reload(); // signed out
			this.token = e.newValue;
			changed();
		};
		addEventListener("storage", heard);
		return () => removeEventListener("storage", heard);
	}
}

// Without storage the token lasts as long as the page.

function stored(storage: () => Storage): string {
	try {
		return storage().getItem(key) ?? "";
	} catch {
		return "";
	}
}

function keep(storage: () => Storage, token: string) {
	try {
		if (token) storage().setItem(key, token);
		else storage().removeItem(key);
	} catch {
		// see above
	}
}

export const access = new Access();
