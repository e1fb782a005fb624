// examples/monitor in a browser: with its own page, and with one that knows nothing but the two routes.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, expect, type Page } from "@playwright/test";
import { build, Program, withDir } from "./programs";

/** A page as others write it: GET /createJob, text ids by /jobMonitor, and all pending ones again after an outage. */
const plainPage = `<!doctype html>
<title>Jobs</title>
<button id="connect">Connect</button> <button id="disconnect">Disconnect</button> <button id="create">Create a job</button>
<p>pending <b id="pending">0</b>, completed <b id="completed">0</b>, total <b id="total">0</b></p>
<pre id="log"></pre>
<script src="script.js"></script>`;
const plainScript = `
var ws = null, pending = [], completed = 0;
function show(text) {
	document.getElementById("pending").textContent = pending.length;
	document.getElementById("completed").textContent = completed;
	document.getElementById("total").textContent = pending.length + completed;
	document.getElementById("log").textContent += text + "\\n";
}
document.getElementById("connect").onclick = function () {
	ws = new WebSocket("ws://" + location.host + "/jobMonitor");
	ws.onopen = function () {
		show("connected");
		pending.forEach(function (id) { ws.send(id); });
	};
	ws.onmessage = function (e) {
		var at = pending.indexOf(e.data);
		if (at < 0) return show("unexpected " + e.data);
		pending.splice(at, 1);
		completed++;
		show("completed " + e.data);
	};
	ws.onclose = function () { ws = null; show("disconnected"); };
};
document.getElementById("disconnect").onclick = function () { ws.close(); };
document.getElementById("create").onclick = function () {
	var request = new XMLHttpRequest();
	request.open("GET", "/createJob");
	request.onload = function () {
		pending.push(request.responseText);
		show("created " + request.responseText);
		if (ws && ws.readyState === 1) ws.send(request.responseText);
	};
	request.send();
};`;

const counts = (page: Page) => page.evaluate(() => ["pending", "completed", "total"].map((id) => Number(document.getElementById(id)!.textContent)));

async function create(page: Page, n: number) {
	const [, , total] = await counts(page);
	for (let i = 0; i < n; i++) await page.getByRole("button", { name: "Create a job" }).click();
	await expect(page.locator("#total")).toHaveText(String(total! + n));
}

const press = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).click();

for (const own of [true, false]) {
	test(`every job is reported to ${own ? "the example's page" : "a plain page"}, whatever happens meanwhile`, async ({ page }) => {
		test.setTimeout(120_000);
		await withDir(async (dir) => {
			const files = join(dir, "page");
			mkdirSync(files);
			writeFileSync(join(files, "index.html"), plainPage);
			writeFileSync(join(files, "script.js"), plainScript);
			const binary = build("./examples/monitor", dir);
			const program = (addr: string) =>
				new Program([binary, "-addr", addr, "-data", join(dir, "data"), ...(own ? [] : ["-page", files])], /listens on http:\/\/(\S+),/);
			let monitor = program("127.0.0.1:0");
			try {
				const addr = await monitor.start();
				await page.goto(`http://${addr}/`);
				await press(page, "Connect");
				await expect(page.locator("#log")).toContainText("connected");
				await create(page, 4);
				await expect.poll(() => counts(page), { timeout: 15_000 }).toEqual([0, 4, 4]);

				await create(page, 5); // the client goes away
				await press(page, "Disconnect");
				await expect(page.locator("#log")).toContainText("disconnected");
				const [left] = await counts(page);
				expect(left).toBeGreaterThan(0);
				await page.waitForTimeout(6500); // all have ended
				expect((await counts(page))[0]).toBe(left);
				await press(page, "Connect");
				await expect.poll(() => counts(page), { timeout: 5_000 }).toEqual([0, 9, 9]);

				await create(page, 5); // the server goes away
				await monitor.end("SIGKILL");
				const [lost] = await counts(page);
				expect(lost).toBeGreaterThan(0);
				monitor = program(addr);
				await monitor.start();
				if (!own) await press(page, "Connect"); // the example's page does so itself
				await expect.poll(() => counts(page), { timeout: 20_000 }).toEqual([0, 14, 14]);
				await expect(page.locator("#log")).not.toContainText("unexpected");

				if (!own) return;
				await press(page, "Create three in a row"); // the page goes away
				await expect(page.locator("#total")).toHaveText("17");
				await page.reload();
				expect((await counts(page))[2]).toBe(17);
				await press(page, "Connect");
				await expect.poll(() => counts(page), { timeout: 25_000 }).toEqual([0, 17, 17]);
				if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, "monitor.png") });
			} finally {
				await monitor.end("SIGKILL");
			}
		});
	});
}
