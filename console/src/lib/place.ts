// The address of a screen is the hash of the page, so that the server needs to know one page only: #/jobs?filter=state%3Afailed

export interface Place {
	screen: string; // "" is the overview
	id: string; // of a job, or the name of a schedule
	part: string; // of what the id names
	params: URLSearchParams;
}

export function parseHash(hash: string): Place {
	const [path = "", query = ""] = split(hash.replace(/^#?\/?/, ""));
	const [screen = "", id = "", part = ""] = path.split("/");
	return { screen, id: decode(id), part, params: new URLSearchParams(query) };
}

function split(text: string): string[] {
	const at = text.indexOf("?");
	return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		return text; // a stray %
	}
}

/** The link to a screen. Parameters that are empty are left out. */
export function href(screen: string, params: Record<string, string | undefined> = {}): string {
	const given = Object.entries(params).filter((p): p is [string, string] => !!p[1]);
	const query = new URLSearchParams(given).toString();
	return "#/" + screen + (query ? "?" + query : "");
}

export const jobHref = (id: string) => href("jobs/" + encodeURIComponent(id));
/** The link to a schedule, or to a part of it. */
export const scheduleHref = (name: string, part = "") => href("schedules/" + encodeURIComponent(name) + (part && "/" + part));
export const filterHref = (filter: string) => href("jobs", { filter });
