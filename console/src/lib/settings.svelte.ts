// What the person at this browser has chosen. It is kept in the browser's storage, where there is one.

import { knowsZone } from "./time";

export const themes = ["system", "light", "dark"] as const;

export interface Settings {
	theme: (typeof themes)[number];
	zone: string; // local, UTC, or the IANA name of a zone
	times: "relative" | "absolute";
	paused: boolean; // nothing is refreshed
}

const key = "errand.console";

function load(): Settings {
	let kept: Partial<Settings> = {};
	try {
		kept = JSON.parse(localStorage.getItem(key) ?? "{}") ?? {};
	} catch {
		// no storage here, or something else wrote there
	}
	return {
		theme: themes.find((t) => t === kept.theme) ?? "system",
		zone: typeof kept.zone === "string" && knowsZone(kept.zone) ? kept.zone : "local",
		times: kept.times === "absolute" ? "absolute" : "relative",
		paused: kept.paused === true,
	};
}

export const settings = $state(load());

/** Keeps and applies the settings whenever they change. To be called while a component is made. */
export function keepSettings() {
	$effect(() => {
		document.documentElement.dataset.theme = settings.theme;
		try {
			localStorage.setItem(key, JSON.stringify(settings));
		} catch {
			// they last as long as the page
		}
	});
}
