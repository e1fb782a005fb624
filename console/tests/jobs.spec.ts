// The list of jobs: filters, paging, live rows, actions on a selection and on all that match.

import { test, expect, open, confirm, row, unique } from "./helpers";

test("a filter is typed, clicked, kept in the address, and refused with a reason", async ({ page, server }) => {
	const tag = unique("filter");
	const failed = await server.create({ kind: "fail", args: { text: "no route to host", customer: 12345678901234567890n.toString() }, tags: [tag] }, "failed");
	const ok = await server.create({ kind: "echo", args: '{"x":1}', tags: [tag] }, "succeeded");
	await open(page, "#/jobs");

	await page.keyboard.press("/");
	const box = page.getByRole("searchbox", { name: "Filter" });
	await expect(box).toBeFocused();
	await box.fill(`tag:${tag}`);
	await box.press("Enter");
	await expect(row(page, failed.id)).toContainText("no route to host");
	await expect(row(page, ok.id)).toBeVisible();

	await page.getByRole("button", { name: "failed" }).click();
	await expect(row(page, ok.id)).toHaveCount(0);
	await expect(row(page, failed.id)).toBeVisible();
	expect(new URLSearchParams(new URL(page.url()).hash.split("?")[1]).get("filter")).toBe(`tag:${tag} state:failed`);
	await expect(page.getByRole("button", { name: "failed" })).toHaveAttribute("aria-pressed", "true");

	await page.getByLabel("kind").selectOption("echo");
	await expect(page.getByText("No job matches")).toBeVisible();
	await page.goBack();
	await expect(row(page, failed.id)).toBeVisible();

	await page.reload();
	await expect(box).toHaveValue(`tag:${tag} state:failed`);
	await expect(row(page, failed.id)).toBeVisible();

	await box.fill("state:wrong");
	await box.press("Enter");
	await expect(page.getByRole("alert")).toContainText("use scheduled, waiting, ready");
	await expect(box).toHaveAttribute("aria-invalid", "true");
	await expect(row(page, failed.id)).toBeVisible(); // what was there stays

	await box.fill(`tag:${tag} error:"NO ROUTE"`);
	await box.press("Enter");
	await expect(row(page, failed.id)).toBeVisible();
	await page.getByRole("button", { name: 'Remove error:"NO ROUTE"' }).click();
	await expect(row(page, ok.id)).toBeVisible();
	await page.getByRole("button", { name: "Clear" }).click();
	await expect(box).toHaveValue("");
});

test("pages are turned by cursor", async ({ page, server }) => {
	const tag = unique("pages");
	const jobs = Array.from({ length: 120 }, (_, i) => ({ kind: "later", in: "1h", args: { i }, tags: [tag] }));
	await server.request("POST", "jobs/batch", { jobs });
	await open(page, `#/jobs?filter=tag:${tag}`);
	const rows = page.locator("tbody tr");
	await expect(rows).toHaveCount(50);
	await expect(rows.first()).toContainText('{"i":119}');
	await page.getByRole("button", { name: "Older" }).click();
	await expect(rows.first()).toContainText('{"i":69}');
	await page.getByRole("button", { name: "Older" }).click();
	await expect(rows).toHaveCount(20);
	await expect(page.getByRole("button", { name: "Older" })).toHaveCount(0);
	await page.getByRole("button", { name: "Newer" }).click();
	await expect(rows.first()).toContainText('{"i":69}');
	await page.reload();
	await expect(rows.first()).toContainText('{"i":69}');
	await page.getByRole("button", { name: "Newest" }).click();
	await expect(rows.first()).toContainText('{"i":119}');
});

test("an answer that is short and yet has more is searched further", async ({ page }) => {
	let asked = 0;
	await page.route("**/api/v1/jobs?*", (route) => {
		asked++;
		return route.fulfill({ json: asked < 13 ? { jobs: [], next: "c" + asked } : { jobs: [] } });
	});
	await open(page, "#/jobs?filter=error:x");
	await expect(page.getByText("Nothing found among the jobs looked through so far.")).toBeVisible();
	expect(asked).toBe(10); // by itself
	await page.getByRole("button", { name: "Search further" }).click();
	await expect(page.getByText("No job matches")).toBeVisible();
	expect(asked).toBe(13);
});

test("rows are live, and new jobs are announced", async ({ page, server }) => {
	const tag = unique("live");
	const job = await server.create({ kind: "steps", args: { go: tag }, tags: [tag] }, "running");
	await open(page, `#/jobs?filter=tag:${tag}`);
	await expect(row(page, job.id)).toContainText("three of ten");

	const other = await server.create({ kind: "later", in: "1h", tags: [tag] });
	await expect(page.getByRole("button", { name: "1 new", exact: true })).toBeVisible();
	await expect(row(page, other.id)).toHaveCount(0);

	server.letGo(tag);
	await expect(row(page, job.id)).toContainText("succeeded");
	await page.getByRole("button", { name: "1 new", exact: true }).click();
	await expect(row(page, other.id)).toBeVisible();
	await expect(page.getByRole("button", { name: /\d new/ })).toHaveCount(0);

	await server.request("DELETE", "jobs/" + other.id);
	await expect(row(page, other.id)).toHaveCount(0);
});

test("an old job that comes to match is announced", async ({ page, server }) => {
	const tag = unique("tofail");
	const jobs = [];
	for (let i = 0; i < 2; i++) jobs.push(await server.create({ kind: "later", in: "1h", tags: [tag] }));
	await open(page, `#/jobs?filter=state:cancelled tag:${tag}`);
	await expect(page.getByText("No job matches")).toBeVisible();
	await server.request("POST", `jobs/${jobs[0].id}/cancel`, {});
	await page.getByRole("button", { name: "1 new", exact: true }).click();
	await expect(row(page, jobs[0].id)).toBeVisible();
});

test("a selection is acted on, and refusals are told", async ({ page, server }) => {
	const tag = unique("select");
	const a = await server.create({ kind: "later", in: "1h", tags: [tag] });
	const b = await server.create({ kind: "later", in: "1h", tags: [tag] });
	const over = await server.create({ kind: "echo", args: {}, tags: [tag] }, "succeeded");
	await open(page, `#/jobs?filter=tag:${tag}`);
	await page.getByRole("checkbox", { name: "Select all" }).check();
	await expect(page.getByText("3 selected")).toBeVisible();
	const actions = page.getByRole("group", { name: "Actions on the selection" });
	await actions.getByRole("button", { name: "Pause" }).click();
	await confirm(page, "Pause", "while we look");
	await expect(row(page, a.id)).toContainText("paused");
	await expect(row(page, b.id)).toContainText("while we look");
	await expect(page.getByRole("alert")).toContainText(`${over.id}: Cannot pause this job`);
	await expect(page.getByText("1 selected")).toBeVisible(); // what was refused stays selected

	await page.getByRole("button", { name: "Select none" }).click();
	await page.getByRole("checkbox", { name: a.id }).check();
	await actions.getByRole("button", { name: "Delete" }).click();
	await confirm(page, "Delete");
	await expect(row(page, a.id)).toHaveCount(0);
});

test("all that match are acted on, after a count and a confirmation", async ({ page, server }) => {
	const tag = unique("bulk");
	const jobs = Array.from({ length: 60 }, () => ({ kind: "later", in: "1h", tags: [tag] }));
	const made = await server.request("POST", "jobs/batch", { jobs });
	await open(page, `#/jobs?filter=tag:${tag}`);
	await page.getByLabel("Act on all that match").selectOption("cancel");
	const dialog = page.getByRole("dialog");
	await expect(dialog).toContainText("60 jobs will be cancelled");
	await expect(dialog).toContainText(`tag:${tag}`);
	await confirm(page, "Cancel 60 jobs", "not needed any more");

	const bar = page.getByRole("region", { name: "Cancel all that match" });
	await expect(bar).toContainText("succeeded");
	await expect(bar).toContainText("60 changed, 0 refused");
	await expect(page.locator("tbody tr").first()).toContainText("cancelled");
	const last = await server.request("GET", "jobs/" + made.jobs[59].id);
	expect(last).toMatchObject({ state: "cancelled", reason: "not needed any more" });
	await bar.getByRole("button", { name: "Close" }).click();
	await expect(bar).toHaveCount(0);

	// Nothing matches: nothing to confirm. And without a filter a box must be ticked.
	await page.getByRole("searchbox").fill("kind:nothing");
	await page.getByRole("searchbox").press("Enter");
	await expect(page.getByText("No job matches")).toBeVisible();
	await page.getByLabel("Act on all that match").selectOption("retry");
	await expect(dialog).toContainText("No job matches.");
	await expect(dialog.getByRole("button", { name: "Retry" })).toBeDisabled();
	await page.keyboard.press("Escape");
	await expect(dialog).toHaveCount(0);
	await page.getByRole("button", { name: "Clear" }).first().click();
	await page.getByLabel("Act on all that match").selectOption("pause");
	await expect(dialog).toContainText("every job");
	await expect(dialog.getByRole("button", { name: /^Pause/ })).toBeDisabled();
	await dialog.getByRole("checkbox").check();
	await expect(dialog.getByRole("button", { name: /^Pause/ })).toBeEnabled();
	await dialog.getByRole("button", { name: "Leave it" }).click();
});

test("a bulk can be paused and cancelled", async ({ page, server }) => {
	const tag = unique("slow");
	await server.create({ kind: "later", in: "1h", tags: [tag] });
	await server.request("POST", "queues/errand/pause", {}); // the bulk waits, so that there is time
	try {
		await open(page, `#/jobs?filter=tag:${tag}`);
		await page.getByLabel("Act on all that match").selectOption("delete");
		await confirm(page, "Delete 1 job");
		const bar = page.getByRole("region", { name: "Delete all that match" });
		await bar.getByRole("button", { name: "Pause" }).click();
		await expect(bar).toContainText("paused");
		await bar.getByRole("button", { name: "Resume" }).click();
		await expect(bar).toContainText("ready");
		await bar.getByRole("button", { name: "Cancel" }).click();
		await expect(bar).toContainText("cancelled");
		await expect(page.locator("tbody tr")).toHaveCount(1);
	} finally {
		await server.request("POST", "queues/errand/resume", {});
	}
});

test("the keyboard goes through the list", async ({ page, server }) => {
	const tag = unique("keys");
	const older = await server.create({ kind: "later", in: "1h", tags: [tag] });
	const newer = await server.create({ kind: "later", in: "1h", tags: [tag] });
	await open(page, `#/jobs?filter=tag:${tag}`);
	await expect(row(page, older.id)).toBeVisible();
	await page.keyboard.press("j");
	await expect(row(page, newer.id).getByRole("link")).toBeFocused();
	await page.keyboard.press("j");
	await page.keyboard.press("j"); // the last one stays
	await expect(row(page, older.id).getByRole("link")).toBeFocused();
	await page.keyboard.press("k");
	await page.keyboard.press("x");
	await expect(page.getByText("1 selected")).toBeVisible();
	await row(page, newer.id).getByRole("link").focus();
	await page.keyboard.press("Enter");
	await expect(page.getByRole("heading", { level: 1, name: "later" })).toBeVisible();
	expect(page.url()).toContain(newer.id);

	await page.keyboard.press("?");
	await expect(page.getByRole("dialog", { name: "Keyboard" })).toBeVisible();
	await page.keyboard.press("Escape");
	await expect(page.getByRole("dialog")).toHaveCount(0);
	await page.keyboard.press("g");
	await page.keyboard.press("w");
	await expect(page.getByRole("heading", { name: "Workers" })).toBeVisible();
});
