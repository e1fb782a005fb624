// What comes from outside is text, whatever is in it.

import { test, expect, open, row, unique } from "./helpers";

const strings = {
	"markup, directions, emoji and control characters": [
		`<img src=x onerror="alert(1);document.title='owned'">`,
		`"><script>alert(1)</script>`,
		"\u202Eevil\u2066 \u200Ftxt.exe",
		"{{constructor.constructor('alert(1)')()}} ${alert(1)} {@html 1}",
		"👩‍👩‍👧‍👦 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢ a\tb\u0007\u001b[31mc",
	].join(" "),
	"a very long word": "W".repeat(5000),
};

test("args of any depth, and what is there twice, break no page", async ({ page, server }) => {
	const tag = unique("deep");
	const deep = await server.create(`{"kind":"later","in":"1h","tags":["${tag}","${tag}"],"args":${"[".repeat(1900)}${"]".repeat(1900)}}`);
	await open(page, `#/jobs?filter=tag:${tag} age<1h age<1h`);
	await expect(row(page, deep.id)).toContainText("[[[[");
	await page.getByRole("button", { name: "Remove age<1h" }).click();
	await row(page, deep.id).getByRole("link").click();
	await expect(page.getByRole("region", { name: "Details" }).getByRole("link", { name: tag })).toHaveCount(2);
	await expect(page.locator("section").filter({ has: page.getByRole("heading", { name: "Args" }) })).toContainText("[[[[");
});

test("a log of many lines keeps the newest", async ({ page, server }) => {
	const lines = Array.from({ length: 20_000 }, (_, i) => i.toString(36));
	const job = await server.create({ kind: "fail", args: { text: lines.join("\n") } }, "failed");
	await open(page, "#/jobs/" + job.id);
	const log = page.getByRole("log").locator(".line");
	await expect(log.filter({ hasText: new RegExp(`^\\S+\\s*WARN\\s*${lines.at(-1)}$`) })).toHaveCount(1);
	expect(await log.count()).toBeLessThanOrEqual(2000);
});

for (const [name, text] of Object.entries(strings)) {
	test(`${name} stays text`, async ({ page, server, faults }) => {
		// Names have 255 bytes at most, and control characters and the like are refused in some of them.
		const label = [...text].slice(0, 120).join("");
		const fits = async (field: string, value: unknown) => {
			try {
				await server.create({ kind: "later", in: "1h", [field]: value });
				return { [field]: value };
			} catch {
				return {};
			}
		};
		const go = unique("hostile");
		const fields = { ...(await fits("queue", label)), ...(await fits("tags", [label])) };
		const failed = await server.create({ kind: "fail", args: { text, [text]: [text] }, metadata: { [label]: text }, ...fields }, "failed");
		const held = await server.create({ kind: (await fits("kind", label)).kind ?? "later", in: "1h", args: { [text]: text }, ...fields, tags: [go, ...(fields.tags as string[] ?? [])] });
		await server.request("POST", `jobs/${held.id}/pause`, { reason: text.slice(0, 4000) });
		const echoed = await server.create({ kind: "echo", args: { text } }, "succeeded");
		if (fields.queue) await server.request("POST", `queues/${encodeURIComponent(label)}/pause`, { reason: label });
		let schedule = unique("hostile ");
		for (const c of label.replace(/\p{C}/gu, "")) if (Buffer.byteLength(schedule + c) <= 240) schedule += c;
		const job = { kind: "fail", args: { [text]: text }, metadata: { [label]: text }, ...fields };
		await server.schedule(schedule, { spec: "0 0 1 1 *", job });
		await server.toSchedule(schedule, "run");
		await server.toSchedule(schedule, "pause", { reason: text.slice(0, 4000) });

		const narrow = async () => expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
		const begin = text.split("\t")[0]!.slice(0, 40);
		await page.setViewportSize({ width: 360, height: 800 });

		await open(page, "#/jobs/" + failed.id);
		await expect(page.getByRole("log")).toContainText(begin); // the line of the log, and the error
		await expect(page.getByRole("region", { name: "Attempts that failed" })).toContainText(begin);
		await expect(page.getByRole("region", { name: "Details" })).toContainText(begin); // metadata, tags
		await narrow();

		await open(page, "#/jobs/" + held.id);
		await expect(page.getByRole("heading", { level: 1 })).toHaveText(held.kind);
		await expect(page.getByRole("region", { name: "Timeline" })).toContainText(begin); // the reason
		await narrow();

		await open(page, "#/jobs/" + echoed.id);
		await expect(page.getByRole("heading", { name: "Result" })).toBeVisible();
		await narrow();

		await open(page, `#/jobs?filter=tag:${go}`);
		await expect(row(page, held.id)).toContainText(begin);
		await page.getByRole("checkbox", { name: held.id }).check();
		await page.getByRole("button", { name: "Cancel", exact: true }).click();
		await expect(page.getByRole("dialog")).toBeVisible();
		await page.keyboard.press("Escape");
		await narrow();

		for (const screen of ["", "queues", "workers", "jobs"]) {
			await open(page, "#/" + screen);
			await expect(page.getByText("Reading…")).toHaveCount(0);
			await narrow();
		}
		await open(page, "#/enqueue?copy=" + held.id);
		await expect(page.getByLabel("Kind")).toHaveValue(held.kind);
		await narrow();

		await open(page, "#/schedules");
		await expect(page.locator("tbody tr").filter({ hasText: schedule })).toContainText(begin); // the name, and the reason
		await narrow();
		await open(page, "#/schedules/" + encodeURIComponent(schedule));
		await expect(page.getByRole("heading", { level: 1 })).toHaveText(schedule);
		await expect(page.locator("header[aria-label=Schedule]")).toContainText(begin);
		await expect(page.getByRole("region", { name: "Its jobs" })).toContainText(begin); // metadata, tags
		await narrow();
		await page.getByRole("button", { name: "Delete" }).click();
		await expect(page.getByRole("dialog").getByRole("heading")).toHaveText("Delete: " + schedule);
		await page.keyboard.press("Escape");
		await open(page, "#/schedules/" + encodeURIComponent(schedule) + "/edit");
		await expect(page.getByLabel("Kind")).toHaveValue("fail");
		await page.getByLabel("When").fill(text.slice(0, 900));
		await expect(page.getByLabel("When")).toHaveAttribute("aria-invalid", "true");
		await narrow();
		await page.route(/\/api\/v1\/schedules(\?|\/)/, async (route) => { // what is checked by the server, as if it were not
			const response = await route.fetch();
			const body = await response.json();
			for (const s of body.schedules ?? [body]) Object.assign(s, { spec: text, resolved: text, describe: text, zone: text, overlap: text, misfire: text, actor: text });
			await route.fulfill({ response, json: body });
		});
		for (const hash of ["#/schedules", "#/schedules/" + encodeURIComponent(schedule)]) {
			await open(page, hash);
			await expect(page.locator("code").first()).toContainText(begin);
			await narrow();
		}
		await page.goto("/#/jobs/" + (await server.request("GET", "schedules/" + encodeURIComponent(schedule))).last.id);
		await expect(page.locator("header[aria-label=Job]")).toContainText("Schedule " + schedule);
		await narrow();
		await server.request("DELETE", "schedules/" + encodeURIComponent(schedule));

		expect(await page.title()).not.toContain("owned");
		expect(await page.locator("main img, main script").count()).toBe(0);
		expect(faults).toEqual([]);
		if (fields.queue) await server.request("POST", `queues/${encodeURIComponent(label)}/resume`, {});
	});
}
