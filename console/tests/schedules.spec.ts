// The screens of schedules: the list, the page of one, and the form.

import type { Page } from "@playwright/test";
import { test, expect, open, confirm, row, unique, violations } from "./helpers";

const at = (name: string, part = "") => "#/schedules/" + encodeURIComponent(name) + part;
const header = (page: Page) => page.locator("header[aria-label=Schedule]");
const preview = (page: Page) => page.getByRole("region", { name: "Preview" });
const save = (page: Page) => page.locator("form").getByRole("button", { name: /^(Save|Make it)$/ });

test("a schedule is made through the form, with a preview of what is typed", async ({ page, server }) => {
	const name = unique("made");
	await open(page, "#/schedules");
	await page.getByRole("link", { name: "New schedule" }).click();
	await expect(page).toHaveTitle("New schedule · errand");
	await page.getByLabel("Name").fill(name);
	const spec = page.getByLabel("When");
	await spec.fill("61 7 * * *");
	await expect(page.getByText(/^minute, column 1: /)).toBeVisible();
	await expect(spec).toHaveAttribute("aria-invalid", "true");
	await spec.fill("0 7 * * MON-FRI");
	await expect(preview(page)).toContainText("At 07:00");
	await expect(spec).not.toHaveAttribute("aria-invalid");
	await expect(preview(page).locator("tbody tr")).toHaveCount(5);
	await page.getByLabel("Time zone").fill("Mars/Olympus");
	await expect(page.getByLabel("Time zone")).toHaveAttribute("aria-invalid", "true");
	await page.getByLabel("Time zone").fill("Asia/Tokyo");
	await expect(preview(page).getByRole("columnheader", { name: "Asia/Tokyo" })).toBeVisible();
	await expect(preview(page).locator("tbody tr").first()).toContainText(/(Mon|Tue|Wed|Thu|Fri) \d{4}-\d\d-\d\d 07:00:00/);

	await page.getByLabel("Kind").fill("echo");
	await page.getByLabel("Args").fill('{"n": 1,}');
	await expect(page.getByText("Line 1, column 9: expected a key in double quotes.")).toBeVisible();
	await expect(save(page)).toBeDisabled();
	await page.getByLabel("Args").fill('{"n": 12345678901234567890}');
	await page.getByLabel("Timeout").fill("soon");
	await expect(page.getByText("expected a duration such as 1m30s")).toBeVisible();
	await expect(preview(page).locator("tbody tr")).toHaveCount(5); // that is about the job
	await page.getByLabel("Timeout").fill("1m");
	await expect(page.getByLabel("Window")).toHaveCount(0);
	await page.getByLabel("Misfire").selectOption("catch_up");
	await page.getByLabel("Catch up").fill("7");
	await page.getByLabel("Overlap").selectOption("queue_one");
	await expect(page.getByText("One job waits for the last one to end. While it waits, none is made.", { exact: true })).toBeVisible();
	await page.getByLabel("Start").fill("2030-01-01T00:00");
	await page.getByLabel("Tags").fill("one, two");
	await page.getByLabel("Reason").fill("asked for");
	await save(page).click();

	await expect(page.getByRole("heading", { level: 1, name })).toBeVisible();
	await expect(page.getByText("The schedule was made.")).toBeVisible();
	await expect(page.getByText("12345678901234567890")).toBeVisible();
	await expect(page.getByRole("region", { name: "Plan" })).toContainText("7 at most");
	await expect(page.getByRole("region", { name: "Record" })).toContainText("asked for");
	await expect(page.getByRole("region", { name: "Next times" }).locator("tbody tr")).toHaveCount(5);
	const made = await server.request("GET", "schedules/" + name);
	expect(made).toMatchObject({ zone: "Asia/Tokyo", overlap: "queue_one", misfire: "catch_up", catch_up: 7, job: { timeout: "1m0s", tags: ["one", "two"] } });

	await page.goto("/#/schedules?new=1");
	await page.getByLabel("Name").fill(name);
	await page.getByLabel("When").fill("@daily");
	await page.getByLabel("Kind").fill("echo");
	await save(page).click();
	await expect(page.getByText("There is a schedule of this name already.")).toBeVisible();
	await page.getByRole("link", { name: "Edit the one that is there" }).click();
	await expect(page.getByLabel("When")).toHaveValue("0 7 * * MON-FRI");
	await expect(page.getByLabel("Args")).toHaveValue('{\n  "n": 12345678901234567890\n}');
	await server.request("DELETE", "schedules/" + name);
});

test("an answer to what was typed before is not heeded", async ({ page }) => {
	let first = () => {};
	await page.route("**/api/v1/schedules/preview", async (route) => {
		if (!route.request().postData()!.includes("@hourly")) return route.continue();
		await new Promise<void>((resolve) => (first = resolve));
		await route.continue().catch(() => {}); // it may have been given up
	});
	await open(page, "#/schedules?new=1");
	const asked = page.waitForRequest("**/preview");
	await page.getByLabel("When").fill("@hourly");
	await asked;
	await page.getByLabel("When").fill("cron.nightly");
	await expect(preview(page)).toContainText("At 03:00");
	await expect(preview(page)).toContainText("0 3 * * *");
	first();
	await page.waitForTimeout(500);
	await expect(preview(page)).toContainText("At 03:00");
	await page.getByLabel("When").fill("");
	await expect(preview(page)).toContainText("are shown here");
	await page.getByLabel("When").fill("@reboot");
	await expect(preview(page)).toContainText("Its times cannot be foretold.");
	expect(await page.locator("datalist#specs option").evaluateAll((all) => all.map((o) => (o as HTMLOptionElement).value))).toContain("cron.nightly");
});

test("an edit keeps what the form does not show, and what somebody else has done", async ({ page, server }) => {
	const name = unique("edited");
	const job = { kind: "echo", max_crashes: 2, retention: "forever", metadata: { team: "a" }, tags: ["a, b"] };
	await server.schedule(name, { spec: "@every 1h", start: "2099-01-02T03:04:05.678Z", job });
	await open(page, at(name));
	await page.getByRole("link", { name: "Edit" }).click();
	await expect(page).toHaveTitle("Edit schedule · errand");
	await expect(page.getByText("Kept as set elsewhere: at most 2 lost workers, retention forever, metadata (1).")).toBeVisible();
	await page.getByLabel("When").fill("@every 2h");
	await save(page).click();
	await expect(page.getByText("The schedule was changed.")).toBeVisible();
	const edited = await server.request("GET", "schedules/" + name);
	expect(edited).toMatchObject({ spec: "@every 2h", start: "2099-01-02T03:04:05.678Z", job });
	expect(edited.job.timeout).toBeUndefined();

	await page.goto("/" + at(name, "/edit"));
	await page.getByLabel("When").fill("@every 3h");
	await server.schedule(name, { spec: "@every 4h", job: { kind: "fail" }, reason: "the other one is gone" });
	await server.toSchedule(name, "pause");
	await server.toSchedule(name, "resume", { reason: "go on" });
	await save(page).click();
	const conflict = page.getByRole("alert").filter({ hasText: "Not saved" });
	await expect(conflict).toContainText("somebody has changed this schedule since you opened it: anonymous.");
	await expect(conflict).toContainText("go on");
	await expect(conflict).toContainText("@every 4h");
	await expect(conflict).toContainText("fail");
	await expect(page.getByLabel("When")).toHaveValue("@every 3h"); // nothing is lost
	expect((await server.request("GET", "schedules/" + name)).spec).toBe("@every 4h");
	await conflict.getByRole("button", { name: "Take it as it is now" }).click();
	await expect(page.getByLabel("When")).toHaveValue("@every 4h");
	await expect(page.getByLabel("Kind")).toHaveValue("fail");
	await expect(conflict).toHaveCount(0);

	await page.getByLabel("When").fill("@every 5h");
	await server.schedule(name, { spec: "@every 6h" });
	await save(page).click();
	await page.getByRole("button", { name: "Save mine all the same" }).click();
	await expect(page.getByRole("heading", { level: 1, name })).toBeVisible();
	expect(await server.request("GET", "schedules/" + name)).toMatchObject({ spec: "@every 5h", job: { kind: "fail" } });

	await page.goto("/" + at(name, "/edit"));
	await page.getByLabel("When").fill("@every 7h");
	await server.request("DELETE", "schedules/" + name);
	await save(page).click();
	await expect(page.getByRole("alert")).toContainText("somebody has deleted this schedule");
	await expect(page.getByLabel("When")).toHaveValue("@every 7h");
	await save(page).click();
	await expect(page.getByText("The schedule was made.")).toBeVisible();
	await server.request("DELETE", "schedules/" + name);
});

test("what is typed is there again after a sign-in", async ({ page, server }) => {
	const name = unique("signed");
	await server.schedule(name, { spec: "@every 1h" });
	await open(page, at(name, "/edit"));
	await page.getByLabel("When").fill("@every 2h");
	const put = "**/api/v1/schedules/" + name;
	await page.route(put, (route) => (route.request().method() === "PUT" ? route.fulfill({ status: 401, json: {} }) : route.continue()));
	await save(page).click();
	await page.getByRole("button", { name: "Go on" }).click();
	await expect(page.getByLabel("When")).toHaveValue("@every 2h");
	await page.unroute(put);
	await save(page).click();
	await expect(page.getByText("The schedule was changed.")).toBeVisible(); // it is still the one that was read
	await server.request("DELETE", "schedules/" + name);
});

test("it is paused and resumed with a reason, run and deleted", async ({ page, server }) => {
	const name = unique("acted");
	await server.schedule(name, { spec: "0 0 1 1 *", job: { kind: "echo", args: { hello: 1 } } });
	await open(page, "#/schedules");
	const line = row(page, name);
	await expect(line).toContainText("no firing yet");
	await line.getByRole("button", { name: "Pause" }).click();
	await confirm(page, "Pause", "month end");
	await expect(line).toContainText("by anonymous: month end");
	await expect(line).toContainText("none while it is paused");
	await line.getByRole("button", { name: "Resume" }).click();
	await confirm(page, "Resume", "over");
	await expect(line).not.toContainText("month end");
	await line.getByRole("button", { name: "Run now" }).click();
	await confirm(page, "Run now");
	await expect(page.getByText("A job was made.")).toBeVisible();
	await expect(line.getByRole("img", { name: "1 firing: 1 succeeded" })).toBeVisible();
	await expect(line.getByRole("link", { name: "The last job: succeeded" })).toBeVisible();

	await line.getByRole("link", { name, exact: true }).click();
	const firings = page.getByRole("region", { name: "Firings" });
	await expect(firings.locator("tbody tr")).toContainText("by hand");
	await page.getByRole("button", { name: "Run now" }).click();
	await confirm(page, "Run now");
	await expect(firings.getByRole("img", { name: "2 firings: 2 succeeded" })).toBeVisible();
	await firings.getByRole("link", { name: "succeeded" }).first().click();
	await expect(page.getByRole("heading", { level: 1, name: "echo" })).toBeVisible();
	await expect(page.locator("header[aria-label=Job]")).toContainText(`Schedule ${name}, for 2`);
	await page.getByRole("link", { name, exact: true }).click();
	await page.getByRole("link", { name: "its jobs" }).click();
	await expect(page.locator("tbody tr")).toHaveCount(2);
	await page.goBack();

	await page.getByRole("button", { name: "Delete" }).click();
	await confirm(page, "Delete");
	await expect(page.getByRole("heading", { level: 1, name: "Schedules" })).toBeVisible();
	await expect(line).toHaveCount(0);
});

test("what is refused is said in the dialog, and what is gone on its page", async ({ page, server }) => {
	const name = unique("refused"), go = unique("go");
	await server.schedule(name, { spec: "0 0 1 1 *", job: { kind: "steps", args: { go } } });
	await server.toSchedule(name, "run");
	await server.toSchedule(name, "run");
	await open(page, at(name));
	await page.getByRole("button", { name: "Run now" }).click();
	await page.getByRole("dialog").getByRole("button", { name: "Run now" }).click();
	await expect(page.getByRole("dialog").getByRole("alert")).toContainText("A job of this schedule waits already");
	await page.keyboard.press("Escape");
	await server.request("DELETE", "schedules/" + name);
	await expect(page.getByText("This schedule is no longer there")).toBeVisible();
	await expect(page.getByRole("region", { name: "Plan" })).toBeVisible();
	await expect(page.getByRole("button", { name: "Run now" })).toHaveCount(0);
	server.letGo(go);
});

test("a backfill is counted before it is made", async ({ page, server }) => {
	const name = unique("filled");
	await server.schedule(name, { spec: "0 12 * * *" });
	await page.addInitScript(() => localStorage.setItem("errand.console", JSON.stringify({ zone: "UTC" })));
	await open(page, at(name));
	const panel = page.getByRole("region", { name: "Backfill" });
	await panel.getByLabel("From").fill("2026-01-01T00:00");
	await panel.getByLabel("To, exclusive").fill("2025-12-01T00:00");
	await panel.getByRole("button", { name: "Count" }).click();
	await expect(panel.getByText("expected a time after from")).toBeVisible();
	await panel.getByLabel("To, exclusive").fill("2026-01-04T00:00");
	await panel.getByRole("button", { name: "Count" }).click();
	await expect(page.getByRole("dialog")).toContainText("3 nominal times from 2026-01-01 00:00:00 until before 2026-01-04 00:00:00.");
	expect((await server.request("GET", "jobs?filter=" + encodeURIComponent(`tag:"schedule:${name}"`))).jobs).toHaveLength(0);
	await confirm(page, "Make 3 jobs");
	await expect(page.getByText("3 jobs were made.")).toBeVisible();
	await panel.getByLabel("To, exclusive").fill("2026-01-05T00:00");
	await panel.getByRole("button", { name: "Count" }).click();
	await confirm(page, "Make 4 jobs");
	await expect(page.getByText("1 job was made. 3 of 4 were there already.")).toBeVisible();
	await panel.getByLabel("From").fill("2026-01-04T13:00");
	await panel.getByRole("button", { name: "Count" }).click();
	await expect(page.getByRole("dialog").getByRole("button", { name: "Make none" })).toBeDisabled();
	await server.request("DELETE", "schedules/" + name);
});

test("latest firings are told by a label, and a late schedule by a warning", async ({ page, server }) => {
	const name = unique("late");
	await server.schedule(name, { spec: "0 0 1 1 *" });
	const firing = (seq: number, more: object) => ({ seq, nominal: `2026-01-01T00:00:${String(seq).padStart(2, "0")}Z`, at: "2026-01-01T00:01:00Z", outcome: "made", ...more });
	const history = [
		firing(21, { outcome: "skipped" }), firing(20, { outcome: "missed", missed: 3 }), firing(19, { state: "running", job: "a" }), firing(18, { state: "failed", job: "b" }),
		...Array.from({ length: 17 }, (_, i) => firing(17 - i, { state: "succeeded", job: "c" + i })),
	];
	await page.route(/\/api\/v1\/schedules(\?|\/)/, async (route) => {
		const response = await route.fetch();
		const body = await response.json();
		if (body.firings) body.firings = history;
		for (const s of body.schedules ?? [body]) if (s.name === name) Object.assign(s, { late_by: "5m12s", next: "2026-01-01T00:00:00Z", history });
		await route.fulfill({ response, json: body });
	});
	await open(page, "#/schedules");
	await expect(row(page, name)).toContainText("Late by 5 min 12 s");
	expect(await violations(page)).toEqual([]);
	const label = "20 firings: 16 succeeded, 1 failed, 1 running, 1 skipped, 1 missed";
	await expect(row(page, name).getByRole("img", { name: label })).toBeVisible();
	const shapes = await row(page, name).locator("td svg g").evaluateAll((all) =>
		[...new Set(all.map((g) => [...g.children].slice(2).map((e) => e.tagName + (e.getAttribute("height") ?? "")).join()))].sort(),
	);
	expect(shapes).toEqual(["path", "rect12", "rect21", "rect3", "rect6,circle"]);
	await page.goto("/" + at(name));
	await expect(header(page)).toContainText("Late by 5 min 12 s");
	await expect(page.getByRole("region", { name: "Firings" })).toContainText("21 firings: 17 succeeded");
	await expect(page.getByRole("region", { name: "Firings" })).toContainText("3 times, up to this one");
	await expect(page.getByRole("region", { name: "Firings" }).locator("tbody tr")).toHaveCount(20);
	await page.getByRole("button", { name: "1 more" }).click();
	await expect(page.getByRole("region", { name: "Firings" }).locator("tbody tr")).toHaveCount(21);
	await page.goto("/#/");
	await expect(page.getByText(/^Schedules: 1 is late/)).toBeVisible();
	await server.request("DELETE", "schedules/" + name);
});

test("a list of many is turned over", async ({ page, server }) => {
	const prefix = unique("zz");
	const names = Array.from({ length: 110 }, (_, i) => prefix + String(i).padStart(3, "0"));
	await Promise.all(names.map((name) => server.schedule(name, { spec: "0 0 1 1 *" })));
	await open(page, `#/schedules?after=${prefix}`);
	const first = page.locator("tbody tr").first();
	await expect(first).toContainText(names[0]!);
	await page.getByRole("button", { name: "Next" }).click();
	await expect(first).toContainText(names[50]!);
	await page.getByRole("button", { name: "Next" }).click();
	await expect(first).toContainText(names[100]!);
	await expect(page.getByRole("button", { name: "Next" })).toHaveCount(0);
	await page.getByRole("button", { name: "Previous" }).click();
	await expect(first).toContainText(names[50]!);
	await page.goBack();
	await expect(first).toContainText(names[100]!);
	await page.getByRole("button", { name: "First" }).click();
	await expect(page.getByRole("button", { name: "First" })).toHaveCount(0);
	await Promise.all(names.map((name) => server.request("DELETE", "schedules/" + name)));
});

test("schedules are searched for, and narrowed to the paused ones", async ({ page, server }) => {
	const word = unique("needle");
	for (const name of [word + " a", word + " b"]) await server.schedule(name, { spec: "0 0 1 1 *" });
	await server.toSchedule(word + " b", "pause", {});
	await open(page, "#/schedules");
	await page.keyboard.press("/");
	await page.keyboard.type(word.toUpperCase());
	await page.keyboard.press("Enter");
	await expect(page.locator("tbody tr")).toHaveCount(2);
	await page.getByRole("button", { name: "paused", exact: true }).click();
	await expect(page.locator("tbody tr")).toHaveCount(1);
	await expect(row(page, word + " b")).toBeVisible();
	expect(page.url()).toContain("only=paused");
	await page.reload();
	await expect(page.getByRole("searchbox")).toHaveValue(word.toUpperCase());
	await expect(page.locator("tbody tr")).toHaveCount(1);
	await page.getByRole("button", { name: "late", exact: true }).click();
	await expect(page.getByText("No schedule matches")).toBeVisible();
	await page.getByRole("button", { name: "Show all" }).click();
	await expect(page.getByRole("searchbox")).toHaveValue("");
	await expect(row(page, word + " a")).toBeVisible();
});

test("paused, the screens stay as they are", async ({ page, server }) => {
	const name = unique("still");
	await server.schedule(name, { spec: "0 0 1 1 *" });
	await open(page, "#/schedules");
	await expect(row(page, name)).toBeVisible();
	await page.getByRole("button", { name: "Pause refresh" }).click();
	await server.toSchedule(name, "pause", { reason: "not seen" });
	await page.waitForTimeout(6000);
	await expect(row(page, name)).not.toContainText("not seen");
	await page.getByRole("button", { name: "Resume refresh" }).click();
	await expect(row(page, name)).toContainText("not seen");
	await server.request("DELETE", "schedules/" + name);
});

test("without a schedule it is told how to make one", async ({ page }) => {
	await page.route("**/api/v1/schedules?*", (route) => route.fulfill({ json: { schedules: [] } }));
	await open(page, "#/schedules");
	await expect(page.getByText("No schedule yet")).toBeVisible();
	await expect(page.getByText("errand schedule set nightly")).toBeVisible();
	await page.getByRole("link", { name: "Make the first one" }).click();
	await expect(page.getByLabel("Name")).toBeVisible();
});

test("where the server has no schedules, there is no screen of them", async ({ page }) => {
	await page.route("**/api/v1/schedules?*", (route) => route.fulfill({ status: 404, json: { title: "Not Found", status: 404 } }));
	await open(page, "#/schedules");
	await expect(page.getByText("There is no such screen.")).toBeVisible();
	await expect(page.getByRole("navigation").getByRole("link", { name: "Schedules" })).toHaveCount(0);
	await expect(page.getByRole("link", { name: "Queues", exact: true })).toBeVisible();
});

test("a failure to read is said, and what was read stays", async ({ page, context }) => {
	await page.route("**/api/v1/schedules?*history=20*", (route) => route.fulfill({ status: 500, json: { title: "Internal Server Error", status: 500, detail: "the disk is full" } }));
	await open(page, "#/schedules");
	await expect(page.getByRole("alert")).toContainText("The schedules could not be read.");
	await expect(page.getByRole("alert")).toContainText("The disk is full.");
	await page.unroute("**/api/v1/schedules?*history=20*");
	await page.getByRole("button", { name: "Try again" }).click();
	await expect(row(page, "registered")).toBeVisible();
	await context.setOffline(true);
	await expect(page.getByRole("alert")).toContainText("The server cannot be reached.");
	await expect(row(page, "registered")).toBeVisible();
	await context.setOffline(false);
});

test("one that a program registers says so", async ({ page }) => {
	await open(page, at("registered"));
	await expect(page.getByText("A program registers it when it starts.")).toBeVisible();
	await page.getByRole("button", { name: "Delete" }).click();
	await expect(page.getByRole("dialog")).toContainText("when that starts again, the schedule is there again");
	await page.keyboard.press("Escape");
	await page.getByRole("link", { name: "Edit" }).click();
	await expect(page.getByText("Your edit stays until that comes with a new plan, which replaces it.")).toBeVisible();
});

for (const [role, read_only, sees, misses] of [
	["viewer", false, [], ["Run now", "Pause", "Edit", "Delete", "New schedule", "Count…"]],
	["operator", false, ["Run now", "Pause", "Edit"], ["Delete"]],
	["admin", true, [], ["Run now", "Pause", "Edit", "Delete", "New schedule", "Count…"]],
] as const) {
	test(`${role}${read_only ? ", read only" : ""}: what is not allowed is not offered`, async ({ page }) => {
		await page.route("**/api/v1/me", (route) => route.fulfill({ json: { name: "ann", role, read_only, version: "1" } }));
		for (const hash of ["#/schedules", at("registered")]) {
			await open(page, hash);
			await expect(page.getByText("At 03:00").first()).toBeVisible();
			const seen = (name: string) => page.getByRole("button", { name }).or(page.getByRole("link", { name })).and(page.locator(`main :text("${name}"):not(.chip)`));
			for (const name of sees) await expect(seen(name).first()).toBeVisible();
			for (const name of misses) await expect(seen(name)).toHaveCount(0);
		}
		if (sees.length) return;
		for (const hash of ["#/schedules?new=1", at("registered", "/edit")]) {
			await open(page, hash);
			await expect(page.getByText("You may look, but not edit.")).toBeVisible();
		}
	});
}

test("the keyboard goes there", async ({ page }) => {
	await open(page, "#/queues");
	await page.keyboard.press("g");
	await page.keyboard.press("c");
	await expect(page.getByRole("heading", { name: "Schedules" })).toBeVisible();
	await expect(row(page, "registered")).toBeVisible();
	await page.keyboard.press("j");
	await page.keyboard.press("Enter");
	await expect(header(page)).toBeVisible();
	await page.keyboard.press("?");
	await expect(page.getByRole("dialog")).toContainText("Schedules");
});
