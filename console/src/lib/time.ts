// Times and durations as text. Zones are IANA names, "local" or "UTC".

const second = 1000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
	let f = formats.get(zone);
	if (!f) {
		f = new Intl.DateTimeFormat("en-GB", {
			timeZone: zone === "local" ? undefined : zone,
			year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
		});
		formats.set(zone, f);
	}
	return f;
}

/** Whether the browser knows a zone. */
export function knowsZone(zone: string): boolean {
	try {
		formatOf(zone);
		return true;
	} catch {
		return false;
	}
}

function parts(ms: number, zone: string): Record<string, string> {
	return Object.fromEntries(formatOf(zone).formatToParts(ms).map((p) => [p.type, p.value]));
}

/** 2026-03-01 14:05:09 */
export function absolute(ms: number, zone: string): string {
	const p = parts(ms, zone);
	return `${p.year}-${p.month}-${p.day} ${p.hour}:${p.minute}:${p.second}`;
}

/** Mon */
export function weekday(ms: number, zone: string): string {
	return new Date(absolute(ms, zone).replace(" ", "T") + "Z").toLocaleDateString("en-GB", { weekday: "short", timeZone: "UTC" });
}

/** 2026-03-01T14:05:09 in a zone, as a field for a time has it: without seconds if there are none. */
export function wall(ms: number, zone: string): string {
	return absolute(ms, zone).replace(" ", "T").replace(/:00$/, "");
}

/** The IANA name of a zone, where it is known. */
export const zoneName = (zone: string): string => (zone === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : zone);

/** The names of all zones that the browser knows, UTC first. */
export const zones = (): string[] => ["UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? []).filter((z) => z !== "UTC")];

/** 14:05:09.123 */
export function timeOfDay(ms: number, zone: string): string {
	const p = parts(ms, zone);
	return `${p.hour}:${p.minute}:${p.second}.${String(((ms % second) + second) % second).padStart(3, "0")}`;
}

/** The instant of a wall-clock time such as 2026-03-01T14:05 in a zone. A time that a change of clocks skips is the one after it. */
export function instant(wall: string, zone: string): number {
	const asUTC = Date.parse(wall + (wall.length === 16 ? ":00Z" : "Z"));
	const offsetAt = (ms: number) => Date.parse(absolute(ms, zone).replace(" ", "T") + "Z") - Math.floor(ms / second) * second;
	const guess = asUTC - offsetAt(asUTC);
	return asUTC - offsetAt(guess);
}

/** 3 min ago, in 2 h, now */
export function relative(ms: number, now: number): string {
	const d = Math.abs(now - ms);
	if (d < second) return "now";
	const text = rough(d);
	return ms > now ? "in " + text : text + " ago";
}

function rough(d: number): string {
	if (d < minute) return Math.floor(d / second) + " s";
	if (d < hour) return Math.floor(d / minute) + " min";
	if (d < day) return Math.floor(d / hour) + " h";
	return Math.floor(d / day) + " d";
}

/** 350 ms, 1.2 s, 2 min 3 s, 1 h 4 min, 3 d 4 h */
export function duration(ms: number): string {
	if (ms < 0) return "0 s";
	if (ms < second) return Math.round(ms) + " ms";
	if (ms < 10 * second) return (Math.floor(ms / 100) / 10).toFixed(1) + " s";
	if (ms < minute) return Math.floor(ms / second) + " s";
	const two = (big: number, bigName: string, small: number, smallName: string) => {
		const rest = Math.floor((ms % big) / small);
		return `${Math.floor(ms / big)} ${bigName}` + (rest ? ` ${rest} ${smallName}` : "");
	};
	if (ms < hour) return two(minute, "min", second, "s");
	if (ms < day) return two(hour, "h", minute, "min");
	return two(day, "d", hour, "h");
}

const units: Record<string, number> = { ns: 1e-6, us: 1e-3, "µs": 1e-3, ms: 1, s: second, m: minute, h: hour };

/** Milliseconds of a duration such as 1h2m3.5s; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
	if (text === "0") return 0;
	if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
	let sum = 0;
	for (const [, n, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) sum += Number(n) * units[unit!]!;
	return sum;
}

/** A duration of the API such as 1h0m0s, as people write it. What is none, such as forever, stays. */
export function readable(text: string): string {
	const ms = parseDuration(text);
	return ms === undefined ? text : duration(ms);
}
