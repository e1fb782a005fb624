// The time by which "3 min ago" is measured: the server's, as far as this browser can tell.

let offset = 0;

export const clock = $state({ now: Date.now() });

/** Takes note of the Date header of an answer. It has no fractions of a second, so small differences say nothing. */
export function heardServerTime(date: string | null) {
	const ahead = Date.parse(date ?? "") - Date.now();
	if (!Number.isNaN(ahead)) offset = Math.abs(ahead) > 2000 ? ahead : 0;
}

/** Ticks until the returned function is called. */
export function tick(): () => void {
	const timer = setInterval(() => (clock.now = Date.now() + offset), 1000);
	return () => clearInterval(timer);
}
