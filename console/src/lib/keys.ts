// The keyboard of the page.

import { router } from "./router.svelte";
import { href } from "./place";

export const keys = [
	["/", "Go to the filter"],
	["j  k", "Next and previous row"],
	["Enter", "Open the row"],
	["x", "Select the row"],
	["g o", "Overview"],
	["g j", "Jobs"],
	["g q", "Queues"],
	["g c", "Schedules"],
	["g w", "Workers"],
	["g e", "Enqueue"],
	["g s", "Settings"],
	["p", "Pause or go on refreshing"],
	["?", "This list"],
	["Escape", "Close a dialog, leave a field"],
] as const;

const screens: Record<string, string> = { o: "", j: "jobs", q: "queues", c: "schedules", w: "workers", e: "enqueue", s: "settings" };

/** Handles a key. Help and pause belong to the caller. */
export function keyHandler(help: () => void, pause: () => void): (event: KeyboardEvent) => void {
	let afterG = false;
	return (event) => {
		const target = event.target as HTMLElement;
		const typing = target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
		if (event.key === "Escape" && typing && !document.querySelector("dialog[open]")) target.blur();
		if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
		const go = afterG ? screens[event.key] : undefined;
		afterG = event.key === "g";
		if (go !== undefined) return router.go(href(go));
		switch (event.key) {
			case "/":
				event.preventDefault();
				return focusFilter();
			case "j":
			case "k":
				return move(event.key === "j" ? 1 : -1);
			case "x":
				return currentRow()?.querySelector<HTMLInputElement>("input[type=checkbox]")?.click();
			case "p":
				return pause();
			case "?":
				return help();
		}
	};
}

function focusFilter() {
	const box = document.querySelector<HTMLInputElement>("[data-filter]");
	if (box) return box.select();
	addEventListener("hashchange", () => requestAnimationFrame(focusFilter), { once: true }); // once the list is there
	router.go(href("jobs"));
}

const currentRow = () => document.activeElement?.closest("[data-row]");

function move(by: number) {
	const rows = [...document.querySelectorAll("main [data-row]")];
	const at = rows.indexOf(currentRow()!);
	const next = rows[at < 0 ? 0 : Math.min(Math.max(at + by, 0), rows.length - 1)];
	next?.querySelector<HTMLElement>("a")?.focus();
	next?.scrollIntoView({ block: "nearest" });
}
