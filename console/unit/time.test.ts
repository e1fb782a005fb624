import { expect, it } from "vitest";
import { absolute, duration, instant, knowsZone, parseDuration, readable, relative, timeOfDay, wall, weekday, zoneName, zones } from "../src/lib/time";

const at = Date.parse("2026-03-01T23:30:09.045Z");

it("writes times in a zone", () => {
	expect(absolute(at, "UTC")).toBe("2026-03-01 23:30:09");
	expect(absolute(at, "Asia/Tokyo")).toBe("2026-03-02 08:30:09");
	expect(absolute(Date.parse("2026-03-01T00:00:00Z"), "UTC")).toBe("2026-03-01 00:00:00");
	expect(timeOfDay(at, "UTC")).toBe("23:30:09.045");
	expect(weekday(at, "UTC") + weekday(at, "Asia/Tokyo")).toBe("SunMon");
	expect(wall(at, "UTC")).toBe("2026-03-01T23:30:09");
	expect(wall(Date.parse("2026-03-01T00:00:00Z"), "Asia/Tokyo")).toBe("2026-03-01T09:00");
});

it("knows zones", () => {
	expect(knowsZone("local")).toBe(true);
	expect(knowsZone("Europe/Paris")).toBe(true);
	expect(knowsZone("Mars/Olympus")).toBe(false);
	expect(zones()[0]).toBe("UTC");
	expect(zones()).toContain("Europe/Paris");
	expect(zoneName("Europe/Paris")).toBe("Europe/Paris");
	expect(knowsZone(zoneName("local"))).toBe(true);
});

it("reads wall-clock times in a zone", () => {
	const iso = (wall: string, zone: string) => new Date(instant(wall, zone)).toISOString();
	expect(iso("2026-07-01T12:00", "UTC")).toBe("2026-07-01T12:00:00.000Z");
	expect(iso("2026-07-01T12:00:30", "Europe/Berlin")).toBe("2026-07-01T10:00:30.000Z");
	expect(iso("2026-01-01T00:30", "Asia/Kolkata")).toBe("2025-12-31T19:00:00.000Z");
	expect(iso("2026-03-29T02:30", "Europe/Berlin")).toBe("2026-03-29T01:30:00.000Z"); // skipped: an hour later
	expect(iso("2026-03-29T03:30", "Europe/Berlin")).toBe("2026-03-29T01:30:00.000Z");
});

it("tells times from now", () => {
	const now = 1e12;
	expect(relative(now - 200, now)).toBe("now");
	expect(relative(now - 59_999, now)).toBe("59 s ago");
	expect(relative(now - 60_000, now)).toBe("1 min ago");
	expect(relative(now + 2 * 3600_000, now)).toBe("in 2 h");
	expect(relative(now - 50 * 3600_000, now)).toBe("2 d ago");
});

it("writes durations", () => {
	const cases: [number, string][] = [
		[-5, "0 s"], [0, "0 ms"], [350, "350 ms"], [1250, "1.2 s"], [9999, "9.9 s"], [12_900, "12 s"], [60_000, "1 min"], [123_000, "2 min 3 s"],
		[3_840_000, "1 h 4 min"], [86_400_000, "1 d"], [3 * 86_400_000 + 4 * 3_600_000, "3 d 4 h"],
	];
	for (const [ms, text] of cases) expect(duration(ms)).toBe(text);
});

it("reads durations of the API", () => {
	expect(parseDuration("1h2m3.5s")).toBe(3_723_500);
	expect(parseDuration("10s")).toBe(10_000);
	expect(parseDuration("250ms")).toBe(250);
	expect(parseDuration("forever")).toBeUndefined();
	expect(parseDuration("5")).toBeUndefined();
	expect(readable("1h0m0s")).toBe("1 h");
	expect(readable("forever")).toBe("forever");
});
