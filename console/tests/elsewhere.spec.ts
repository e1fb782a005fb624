// What happens elsewhere while a page is open: in other tabs, on the way to the server, by the browser's own buttons.

import { test, expect, open, confirm, row, unique } from "./helpers";

test("rows and pages of jobs that have ended follow what becomes of them", async ({ page, context, server }) => {
	const tag = unique("again");
	const failed = await server.create({ kind: "fail", args: { text: "once" }, tags: [tag] }, "failed");
	const stopped = await server.create({ kind: "sleep", tags: [tag] }, "running");
	const deleted = await server.create({ kind: "fail", args: { text: "twice" }, tags: [tag] }, "failed");
	await server.request("POST", `jobs/${stopped.id}/cancel`, {});
	await server.reaches(stopped.id, "cancelled");
	await open(page, `#/jobs?filter=state:failed,cancelled tag:${tag}`);
	await expect(row(page, stopped.id)).toContainText("cancelled");
	const other = await context.newPage();
	await other.goto(new URL(page.url()).origin + "/#/jobs/" + stopped.id);
	const header = other.locator("header[aria-label=Job]");
	await expect(header).toContainText("cancelled");

	await server.request("POST", `jobs/${stopped.id}/retry`, {});
	await server.request("DELETE", "jobs/" + deleted.id);
	await expect(row(page, stopped.id)).toContainText("running"); // though it matches no longer
	await expect(row(page, deleted.id)).toHaveCount(0);
	await expect(row(page, failed.id)).toContainText("failed");
	await expect(header).toContainText("running");
	await server.request("POST", `jobs/${stopped.id}/terminate`, {});
	await expect(row(page, stopped.id)).toContainText("cancelled");
	await expect(header).toContainText("cancelled", { timeout: 2000 }); // it was live again
});

test("a bulk is followed without the watch", async ({ page, server, faults }) => {
	const tag = unique("offline");
	await server.create({ kind: "later", in: "1h", tags: [tag] });
	await page.routeWebSocket(/\/api\/v1\/watch$/, (socket) => void socket.close());
	await page.goto(`/#/jobs?filter=tag:${tag}`);
	await expect(page.getByText(/^Offline since/)).toBeVisible();
	await page.getByLabel("Act on all that match").selectOption("cancel");
	await confirm(page, "Cancel 1 job");
	await expect(page.getByRole("region", { name: "Cancel all that match" })).toContainText("succeeded");
	await expect(page.locator("tbody tr")).toContainText("cancelled"); // the list was read again
	faults.length = 0;
});

test("the browser's buttons turn pages, and close what was asked about another list", async ({ page, server }) => {
	const tag = unique("back");
	const jobs = Array.from({ length: 120 }, (_, i) => ({ kind: "later", in: "1h", args: { i }, tags: [tag] }));
	await server.request("POST", "jobs/batch", { jobs });
	await open(page, `#/jobs?filter=tag:${tag}`);
	const first = page.locator("tbody tr").first();
	const older = page.getByRole("button", { name: "Older" }), newer = page.getByRole("button", { name: "Newer" });
	await expect(first).toContainText('{"i":119}');
	await older.click();
	await expect(first).toContainText('{"i":69}');
	await older.click();
	await expect(first).toContainText('{"i":19}');
	await page.goBack();
	await expect(first).toContainText('{"i":69}');
	await newer.click();
	await expect(first).toContainText('{"i":119}');
	await expect(newer).toHaveCount(0);
	await page.goBack();
	await page.goForward();
	await expect(first).toContainText('{"i":119}');
	await older.click();
	await expect(first).toContainText('{"i":69}');

	await page.getByRole("searchbox").fill(`tag:${tag} kind:nothing`);
	await page.getByRole("searchbox").press("Enter");
	await expect(page.getByText("No job matches")).toBeVisible();
	await page.getByLabel("Act on all that match").selectOption("pause");
	await expect(page.getByRole("dialog")).toContainText("No job matches.");
	await page.goBack();
	await expect(page.getByRole("dialog")).toHaveCount(0);
	await expect(first).toContainText('{"i":69}');
	const remove = page.getByRole("group", { name: "Actions on the selection" }).getByRole("button", { name: "Delete" });
	await first.getByRole("checkbox").check();
	await remove.click();
	await confirm(page, "Delete");
	await expect(first).toContainText('{"i":68}');
	await expect(older).toBeVisible(); // the page was full when it was read
	await page.getByRole("checkbox", { name: "Select all" }).check();
	await remove.click();
	await confirm(page, "Delete");
	await expect(first).toContainText('{"i":19}'); // nothing was left of it: it was read again
});

test("tabs share the settings, and each has its own pause", async ({ page, context }) => {
	await open(page, "#/settings");
	const other = await context.newPage();
	await other.goto(page.url());
	await other.getByLabel("dark").check();
	await expect(page.getByLabel("dark")).toBeChecked();
	await page.getByLabel("Time zone").fill("Asia/Tokyo");
	await page.getByLabel("Time zone").press("Tab");
	await expect(other.getByLabel("Time zone")).toHaveValue("Asia/Tokyo");
	await page.getByRole("button", { name: "Pause refresh" }).click();
	await expect(other.getByRole("button", { name: "Pause refresh" })).toBeVisible();
	await page.reload();
	await expect(page.getByRole("button", { name: "Resume refresh" })).toBeVisible();
	await expect(page.getByLabel("dark")).toBeChecked();
});

test("a list that is left while it is read leaves nothing behind", async ({ page }) => {
	let filters = 0;
	await page.routeWebSocket(/\/api\/v1\/watch$/, (socket) => {
		const server = socket.connectToServer();
		socket.onMessage((text) => {
			const { type, sub } = JSON.parse(String(text));
			if (sub) filters += type === "watch" ? 1 : -1;
			server.send(text);
		});
	});
	let answer = () => {};
	await page.route("**/api/v1/jobs?limit=50*", async (route) => {
		await new Promise<void>((resolve) => (answer = resolve));
		await route.continue().catch(() => {}); // it may have been given up
	});
	await open(page, "#/settings");
	await page.getByRole("link", { name: "Jobs", exact: true }).click();
	await expect(page.getByText("Reading…").first()).toBeVisible();
	await page.getByRole("link", { name: "Settings", exact: true }).click();
	await expect(page.getByRole("heading", { name: "Settings" })).toBeVisible();
	answer();
	await page.getByRole("link", { name: "Queues", exact: true }).click();
	await expect(page.locator('tr[data-row="default"]')).toBeVisible();
	expect(filters).toBe(0);
});

test("messages do not pile up", async ({ page, server }) => {
	const job = await server.create({ kind: "sleep" }, "running");
	await open(page, "#/jobs/" + job.id);
	const retry = page.getByRole("button", { name: "Retry", exact: true });
	for (let i = 0; i < 8; i++) await retry.click({ force: true });
	await expect(page.locator(".toast")).toHaveCount(5, { timeout: 1000 });
	await server.request("POST", `jobs/${job.id}/terminate`, {});
});

test("text is selected in a dialog without closing it", async ({ page, server }) => {
	const job = await server.create({ kind: "later", in: "1h" });
	await open(page, "#/jobs/" + job.id);
	await page.getByRole("button", { name: "Pause", exact: true }).click();
	const reason = page.getByRole("dialog").getByLabel("Reason");
	await reason.fill("a reason that is thought over");
	const box = (await reason.boundingBox())!;
	await page.mouse.move(box.x + 100, box.y + 10);
	await page.mouse.down();
	await page.mouse.move(20, box.y + 10);
	await page.mouse.up();
	await expect(reason).toHaveValue("a reason that is thought over");
	await page.mouse.click(20, 20);
	await expect(page.getByRole("dialog")).toHaveCount(0);
});

test("a page to sign in, in place of an answer, is told apart", async ({ page }) => {
	await open(page, "#/enqueue");
	await page.getByLabel("Kind").fill("later");
	await page.route("**/api/v1/jobs", (route) => route.fulfill({ contentType: "text/html", body: "<h1>Sign in</h1>" }));
	await page.locator("form").getByRole("button", { name: "Enqueue" }).click();
	await expect(page.getByRole("alert")).toContainText("You may have to sign in to this site again");
});

test("a failure that comes after its dialog was closed is told", async ({ page, server }) => {
	const job = await server.create({ kind: "later", in: "1h" });
	let answer = () => {};
	await page.route("**/api/v1/jobs/*/pause", async (route) => {
		await new Promise<void>((resolve) => (answer = resolve));
		await route.fulfill({ status: 500, json: { title: "Internal Server Error", status: 500, detail: "the disk is full" } });
	});
	await open(page, "#/jobs/" + job.id);
	await page.getByRole("button", { name: "Pause", exact: true }).click();
	const asked = page.waitForRequest("**/pause");
	await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
	await asked;
	await page.keyboard.press("Escape");
	await page.getByRole("button", { name: "Cancel", exact: true }).click();
	answer();
	await expect(page.getByText("Pause: later: The disk is full.")).toBeVisible();
	await expect(page.getByRole("dialog", { name: "Cancel: later" })).toBeVisible();
});
