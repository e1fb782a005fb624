// What the person at this browser has chosen. It is kept in the browser's storage, where there is one: for all tabs, but for
// the pause, which is of this tab.

import { knowsZone } from "./time";

export const themes = ["system", "light", "dark"] as const;

export interface Settings {
	theme: (typeof themes)[number];
	zone: string; // local, UTC, or the IANA name of a zone
	times: "relative" | "absolute";
	paused: boolean; // nothing is refreshed
}

const key = "errand.console", pausedKey = "errand.paused";

function load(): Settings {
	let kept: Partial<Settings> = {}, paused = false;
	try {
		paused = sessionStorage.getItem(pausedKey) !== null;
		kept = JSON.parse(localStorage.getItem(key) ?? "{}") ?? {};
	} catch {
		// no storage here, or something else wrote there
	}
	return {
		theme: themes.find((t) => t === kept.theme) ?? "system",
		zone: typeof kept.zone === "string" && knowsZone(kept.zone) ? kept.zone : "local",
		times: kept.times === "absolute" ? "absolute" : "relative",
		paused,
	};
}

export const settings = $state(load());

/** Keeps and applies the settings whenever they change, here or in another tab. To be called while a component is made. */
export function keepSettings() {
	$effect(() => {
		const { paused, ...shared } = settings;
		document.documentElement.dataset.theme = shared.theme;
		try {
			localStorage.setItem(key, JSON.stringify(shared));
			if (paused) sessionStorage.setItem(pausedKey, "");
			else sessionStorage.removeItem(pausedKey);
		} catch {
			// they last as long as the page
		}
	});
	$effect(() => {
		const heard = (e: StorageEvent) => {
			if (e.key === key) Object.assign(settings, load());
		};
		addEventListener("storage", heard);
		return () => removeEventListener("storage", heard);
	});
}
