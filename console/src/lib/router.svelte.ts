// Where the page is. See place.ts for what an address looks like.

import { parseHash, type Place } from "./place";

class Router {
	place = $state.raw<Place>(parseHash(location.hash));

	constructor() {
		addEventListener("hashchange", () => (this.place = parseHash(location.hash)));
	}

	go(to: string) {
		location.hash = to;
	}
}

export const router = new Router();
