// Every screen in both themes and at phone width: complete, accessible, and no wider than the window.

import { join } from "node:path";
import { test, expect, open, overflow, Server, unique, violations } from "./helpers";

const go = unique("screens");
let failed = "", waiting = "", running = "";

test.beforeAll(async () => {
	const server = new Server(process.env.CONSOLE_URL!);
	for (let i = 0; i < 4; i++) await server.create({ kind: "echo", args: { customer: i, nested: { list: [1, 2.50, "three", null] } }, tags: ["nightly"] });
	failed = (await server.create({ kind: "fail", args: { text: "connection refused: 10.0.0.7:5432" }, tags: ["nightly"], metadata: { source: "import" } }, "failed")).id;
	await server.create({ kind: "fail", args: { text: "timeout" } }, "failed");
	running = (await server.create({ kind: "steps", queue: "media", args: { go } }, "running")).id;
	waiting = (await server.create({ kind: "echo", queue: "media", args: { big: 1 }, after: [running] })).id;
	await server.create({ kind: "report", in: "2h", queue: "reports" });
	await server.request("POST", "queues/reports/pause", { reason: "the month is being closed" });
	const paused = await server.create({ kind: "sleep", queue: "media", tags: [go] }, "running");
	await server.request("POST", `jobs/${paused.id}/pause`, { reason: "after hours" });
	await server.schedule("digest", { spec: "0 7 * * MON-FRI", zone: "Europe/Berlin", overlap: "allow", job: { kind: "echo", args: { to: ["ops@example.org"], n: 1 }, tags: ["mail"] } });
	for (let i = 0; i < 6; i++) await server.toSchedule("digest", "run");
	await server.schedule("import", { spec: "@every 1s", job: { kind: "sleep", queue: "media", tags: [go] } });
	await server.schedule("month end", { spec: "0 3 L * *", misfire: "catch_up", window: "48h", job: { kind: "fail", args: { text: "timeout" } } });
	await server.toSchedule("month end", "run");
	await server.toSchedule("month end", "pause", { reason: "the month is being closed, and the numbers must not change" });
});

test.afterAll(async () => {
	const server = new Server(process.env.CONSOLE_URL!);
	server.letGo(go);
	for (const name of ["digest", "import", "month end"]) await server.request("DELETE", "schedules/" + encodeURIComponent(name));
	await server.request("POST", "bulk", { verb: "terminate", filter: "tag:" + go });
	await server.request("POST", "queues/reports/resume", {});
});

const screens: [name: string, hash: () => string, ready: string][] = [
	["overview", () => "#/", "Latest failures"],
	["jobs", () => "#/jobs", "Act on all that match…"],
	["empty", () => "#/jobs?filter=kind%3Anothing", "No job matches"],
	["failed", () => "#/jobs/" + failed, "Attempts that failed"],
	["waiting", () => "#/jobs/" + waiting, "It waits for 1 other job"],
	["running", () => "#/jobs/" + running, "a first line"],
	["missing", () => "#/jobs/00000000-0000-0000-0000-000000000000", "There is no such job"],
	["enqueue", () => "#/enqueue", "Attempts at most"],
	["workers", () => "#/workers", "Working"],
	["queues", () => "#/queues", "the month is being closed"],
	["schedules", () => "#/schedules", "must not change"],
	["schedule", () => "#/schedules/digest", "by hand"],
	["schedule-running", () => "#/schedules/import", "skipped"],
	["schedule-paused", () => "#/schedules/month%20end", "must not change"],
	["schedule-missing", () => "#/schedules/none", "There is no such schedule"],
	["schedule-new", () => "#/schedules?new=1", "Catch up"],
	["schedule-edit", () => "#/schedules/digest/edit", "At 07:00"],
	["settings", () => "#/settings", "Time zone"],
];

for (const theme of ["light", "dark"] as const) {
	for (const [size, width] of [["wide", 1280], ["phone", 360]] as const) {
		test(`${theme}, ${size}`, async ({ page }, info) => {
			test.setTimeout(60_000);
			await page.setViewportSize({ width, height: 900 });
			await page.addInitScript((theme) => localStorage.setItem("errand.console", JSON.stringify({ theme })), theme);
			for (const [name, hash, ready] of screens) {
				await open(page, hash());
				await expect(page.getByText(ready).first()).toBeAttached();
				await expect(page.getByText("Reading…")).toHaveCount(0);
				expect.soft(await overflow(page), `${name} is wider than the window`).toBeLessThanOrEqual(0);
				if (process.env.SCREENSHOTS) await page.screenshot({ path: join(info.project.outputDir, "screens", `${name}-${theme}-${size}.png`), fullPage: true });
				expect.soft(await violations(page), name).toEqual([]);
			}
		});
	}
}
