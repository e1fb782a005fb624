// The page around the screens, and the screens that are not about jobs.

import { createServer, request } from "node:http";
import { connect } from "node:net";
import { test, expect, open, confirm, unique } from "./helpers";

test("the overview counts, links and charts", async ({ page, server }) => {
	await server.create({ kind: "fail", args: { text: "shown on the overview" } }, "failed");
	await open(page, "#/");
	await expect(page.getByRole("region", { name: "Latest failures" })).toContainText("shown on the overview");
	await expect(page.getByRole("img", { name: /Jobs per minute in the last hour/ })).toBeVisible();
	await expect(page.getByRole("img", { name: /How long jobs waited .* in the last hour/ })).toBeVisible();
	await expect(page.locator(".u-wrap canvas")).toHaveCount(2);
	await expect(page.getByRole("region", { name: /Waiting time/ })).toContainText(/\d (ms|s|min)|No job is waiting/);
	await page.getByRole("link", { name: "24h" }).click();
	await expect(page.getByRole("img", { name: /Jobs per minute in the last 24 hours/ })).toBeVisible();
	expect(page.url()).toContain("range=24h");
	await page.getByRole("list", { name: "Jobs by state" }).getByRole("link", { name: /^failed [1-9]/ }).click();
	await expect(page.getByText("shown on the overview")).toBeVisible();
});

test("without a history there is no chart, and the rest is there", async ({ page }) => {
	await page.route("**/api/v1/history?*", (route) => route.fulfill({ status: 404, json: { title: "Not Found", status: 404 } }));
	await page.route("**/api/v1/me", (route) => route.fulfill({ status: 404, json: { title: "Not Found", status: 404 } }));
	await open(page, "#/");
	await expect(page.getByRole("region", { name: "Queues" })).toContainText("default");
	await expect(page.getByText("Throughput")).toHaveCount(0);
	await expect(page.getByRole("alert")).toHaveCount(0);
	await expect(page.getByRole("link", { name: "Enqueue", exact: true })).toBeVisible();
});

test("a queue is paused and resumed with a reason", async ({ page, server }) => {
	const queue = unique("queue");
	const job = await server.create({ kind: "later", in: "1h", queue });
	await open(page, "#/queues");
	const line = page.locator(`tr[data-row="${queue}"]`);
	await line.getByRole("button", { name: "Pause queue" }).click();
	await confirm(page, "Pause", "being moved");
	await expect(line).toContainText("by anonymous: being moved");
	await line.getByRole("button", { name: "Resume queue" }).click();
	await confirm(page, "Resume");
	await expect(line).not.toContainText("being moved");
	await line.getByRole("link", { name: "1", exact: true }).click(); // scheduled
	await expect(page.locator(`tr[data-row="${job.id}"]`)).toBeVisible();
});

test("a worker is drained and undrained, and shows what it runs", async ({ page, server }) => {
	const job = await server.create({ kind: "sleep" }, "running");
	await open(page, "#/workers");
	const line = page.locator("tbody tr").first();
	await expect(line).toContainText("Working");
	await line.getByRole("button", { name: "Drain" }).click();
	await confirm(page, "Drain");
	await expect(line).toContainText("Draining");
	await line.getByRole("button", { name: "Undrain" }).click();
	await expect(line).toContainText("Working");
	await line.locator("td").getByRole("link").first().click();
	await expect(page.locator(`tr[data-row="${job.id}"]`)).toContainText("running");
	await page.locator(`tr[data-row="${job.id}"]`).getByRole("link").click();
	await page.getByRole("region", { name: "Details" }).getByRole("link", { name: job.worker }).click();
	await expect(page.locator("tr.wanted")).toBeVisible();
	await server.request("POST", `jobs/${job.id}/terminate`, {});
});

test("settings are kept and heeded", async ({ page, server }) => {
	const job = await server.create({ kind: "later", at: "2030-07-01T12:00:00Z" });
	await open(page, "#/settings");
	await page.getByLabel("dark").check();
	await page.getByLabel("Time zone").fill("Mars/Olympus");
	await page.getByLabel("Time zone").press("Tab");
	await expect(page.getByText("There is no such zone.")).toBeVisible();
	await page.getByLabel("Time zone").fill("Asia/Tokyo");
	await page.getByLabel("Time zone").press("Tab");
	await page.getByLabel("absolute", { exact: true }).check();
	await page.reload();
	await expect(page.getByLabel("dark")).toBeChecked();
	expect(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)).toBe("dark");
	await open(page, "#/jobs/" + job.id);
	await expect(page.locator('time[datetime^="2030-07-01"]').first()).toContainText("2030-07-01 21:00:00");
	await page.evaluate(() => localStorage.setItem("errand.console", "nonsense"));
	await page.goto("/#/settings");
	await page.reload();
	await expect(page.getByLabel("system")).toBeChecked();
});

test("refreshing is paused and goes on where it was", async ({ page, server }) => {
	const tag = unique("paused");
	const job = await server.create({ kind: "steps", args: { go: tag }, tags: [tag] }, "running");
	await open(page, `#/jobs?filter=tag:${tag}`);
	const line = page.locator(`tr[data-row="${job.id}"]`);
	await expect(line).toContainText("running");
	await page.getByRole("button", { name: "Pause refresh" }).click();
	await expect(page.getByText("Paused", { exact: true })).toBeVisible();
	server.letGo(tag);
	await server.reaches(job.id, "succeeded");
	await expect(line).toContainText("running");
	await page.getByRole("button", { name: "Resume refresh" }).click();
	await expect(line).toContainText("succeeded");
});

test("a lost connection is said so, and made again", async ({ page, context }) => {
	let refuse = false;
	await page.routeWebSocket(/\/api\/v1\/watch$/, (socket) => {
		if (refuse) void socket.close();
		else socket.connectToServer();
	});
	await open(page, "#/queues");
	refuse = true;
	await page.getByRole("button", { name: "Pause refresh" }).click(); // ends the connection
	await page.getByRole("button", { name: "Resume refresh" }).click();
	await expect(page.getByText("Offline")).toBeVisible();
	await context.setOffline(true);
	await expect(page.getByRole("alert")).toContainText("The server cannot be reached.");
	await expect(page.locator('tr[data-row="default"]')).toBeVisible(); // what was read stays
	await context.setOffline(false);
	await page.getByRole("button", { name: "Try again" }).click();
	await expect(page.getByRole("alert")).toHaveCount(0);
	refuse = false;
	await page.getByRole("button", { name: "Retry now" }).click();
	await expect(page.getByText("Live", { exact: true })).toBeVisible();
});

for (const [role, read_only, sees, misses] of [
	["viewer", false, [], ["Pause", "Delete", "Enqueue"]],
	["operator", false, ["Pause", "Cancel", "Enqueue"], ["Delete"]],
	["admin", false, ["Pause", "Delete", "Enqueue"], []],
	["admin", true, [], ["Pause", "Delete", "Enqueue"]],
] as const) {
	test(`${role}${read_only ? ", read only" : ""}: what is not allowed is not offered`, async ({ page, server }) => {
		const job = await server.create({ kind: "later", in: "1h" });
		const me = page.waitForResponse("**/api/v1/me");
		await page.route("**/api/v1/me", (route) => route.fulfill({ json: { name: "ann", role, read_only, version: "1" } }));
		await open(page, "#/jobs/" + job.id);
		await me;
		await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
		const seen = (name: string) => (name === "Enqueue" ? page.getByRole("link", { name, exact: true }) : page.getByRole("button", { name, exact: true }));
		for (const name of sees) await expect(seen(name)).toBeVisible();
		for (const name of misses) await expect(seen(name)).toHaveCount(0);
	});
}

/** Serves what is at another address under a prefix. */
async function mounted(prefix: string, at: URL) {
	const strip = (url = "") => (url.startsWith(prefix) ? url.slice(prefix.length - 1) : "/404");
	const server = createServer((req, res) => {
		const options = { host: at.hostname, port: at.port, path: strip(req.url), method: req.method, headers: req.headers };
		req.pipe(request(options, (answer) => answer.pipe(res.writeHead(answer.statusCode!, answer.headers))));
	});
	server.on("upgrade", (req, socket) => {
		const to = connect(Number(at.port), at.hostname, () => {
			const headers = Object.entries(req.headers).map(([k, v]) => `${k}: ${v}`);
			to.write(`GET ${strip(req.url)} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`);
			socket.pipe(to).pipe(socket);
		});
		for (const s of [to, socket]) s.on("error", () => (to.destroy(), socket.destroy()));
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}${prefix}`, close: () => server.close() };
}

test("it works under a prefix, and over nothing but relative addresses", async ({ page, baseURL, faults }) => {
	const mount = await mounted("/admin/jobs/", new URL(baseURL!));
	const asked: string[] = [];
	page.on("request", (r) => asked.push(r.url()));
	await page.goto(mount.url + "#/queues");
	await expect(page.locator('tr[data-row="default"]')).toBeVisible();
	await expect(page.getByText("Live", { exact: true })).toBeVisible();
	expect(asked.filter((url) => !url.startsWith(mount.url))).toEqual([]);
	faults.length = 0; // these requests are foreign to the other tests only
	mount.close();
});

test("the keyboard reaches the content, and dialogs keep the focus", async ({ page }) => {
	await open(page, "#/queues");
	await expect(page.locator('tr[data-row="default"]')).toBeVisible();
	await page.keyboard.press("Tab");
	await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
	await page.keyboard.press("Enter");
	await expect(page.locator("main")).toBeFocused();
	const opener = page.getByRole("button", { name: "Pause queue default" });
	await opener.focus();
	await page.keyboard.press("Enter");
	const dialog = page.getByRole("dialog", { name: "Pause queue default" });
	await expect(dialog.getByLabel("Reason")).toBeFocused();
	for (let i = 0; i < 6; i++) {
		await page.keyboard.press("Tab");
		expect(await page.evaluate(() => document.activeElement === document.body || !!document.activeElement!.closest("dialog"))).toBe(true);
	}
	await page.keyboard.press("Escape");
	await expect(dialog).toHaveCount(0);
	await expect(opener).toBeFocused();
});
