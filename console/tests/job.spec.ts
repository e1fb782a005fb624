// One job's page, and the form that makes one.

import { test, expect, open, confirm, unique } from "./helpers";

const header = "header[aria-label=Job]";

test("a job is followed from its start to its end", async ({ page, server }) => {
	const go = unique("follow");
	const job = await server.create({ kind: "steps", args: { go }, tags: ["a tag"], metadata: { source: "import" } }, "running");
	await open(page, "#/jobs/" + job.id);
	await expect(page.getByRole("heading", { level: 1, name: "steps" })).toBeVisible();
	await expect(page.locator(header)).toContainText("running");
	await expect(page.getByRole("progressbar").first()).toHaveAttribute("aria-valuenow", "30");
	await expect(page.getByRole("log")).toContainText("a first line");
	await expect(page.getByText('9007199254740993')).toBeVisible(); // the checkpoint
	await expect(page.getByText("Attempt 1 started")).toBeVisible();
	await expect(page.getByText("Why is this job not running?")).toHaveCount(0);
	await expect(page.getByRole("link", { name: "a tag" })).toHaveAttribute("href", "#/jobs?filter=tag%3A%22a+tag%22");

	server.letGo(go);
	await expect(page.locator(header)).toContainText("succeeded");
	await expect(page.getByRole("log")).toContainText("a last line");
	await expect(page.getByText("Last run started")).toBeVisible();
});

test("big integers stay as they are, folded and copied", async ({ page, server, context }) => {
	await context.grantPermissions(["clipboard-read", "clipboard-write"]);
	const args = '{"customer":12345678901234567890,"amount":1.10,"deep":{"a":{"b":[9007199254740993]}}}';
	const job = await server.create(`{"kind":"echo","args":${args}}`, "succeeded");
	await open(page, "#/jobs/" + job.id);
	const panel = page.locator("section").filter({ has: page.getByRole("heading", { name: "Args" }) });
	await expect(panel).toContainText("12345678901234567890");
	await expect(panel).toContainText("1.10");
	await expect(panel).not.toContainText("9007199254740993"); // folded
	await panel.getByText("a: { 1 }").click();
	await panel.getByText("b: [ 1 ]").click();
	await expect(panel).toContainText("9007199254740993");
	await panel.getByRole("button", { name: "Copy Args" }).click();
	await expect(panel.getByText("Copied")).toBeVisible();
	const copied = await page.evaluate(() => navigator.clipboard.readText());
	expect(copied.replace(/\s/g, "")).toBe(args);
	await expect(page.locator("section").filter({ has: page.getByRole("heading", { name: "Result" }) })).toContainText("12345678901234567890");

	// Over plain HTTP there is no clipboard API.
	await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
	const id = page.getByRole("button", { name: "Copy the ID" });
	await id.click();
	await expect(id).toHaveText("Copied");
});

test("why it is not running is told, and goes away", async ({ page, server }) => {
	const go = unique("why");
	const first = await server.create({ kind: "steps", args: { go } }, "running");
	const job = await server.create({ kind: "echo", args: {}, queue: unique("q"), after: [first.id] });
	await server.request("POST", `queues/${job.queue}/pause`, { reason: "stocktaking" });
	await open(page, "#/jobs/" + job.id);
	const why = page.getByRole("region", { name: "Why is this job not running?" });
	await expect(why).toContainText("It waits for 1 other job to end.");
	await expect(why).toContainText("stocktaking");
	await expect(why.getByRole("link", { name: first.id })).toBeVisible();
	await expect(page.getByRole("region", { name: "Waits for" })).toContainText("running");

	server.letGo(go);
	await expect(why).not.toContainText("It waits for");
	await server.request("POST", `queues/${job.queue}/resume`, {});
	await expect(page.locator(header)).toContainText("succeeded");
	await expect(why).toHaveCount(0);
});

test("each action is done with its reason, and refused with another", async ({ page, server }) => {
	const job = await server.create({ kind: "sleep" }, "running");
	await open(page, "#/jobs/" + job.id);
	const actions = page.getByRole("group", { name: "Actions" });
	const click = (name: string) => actions.getByRole("button", { name, exact: true }).click();

	await expect(actions.getByRole("button", { name: "Retry" })).toHaveAttribute("aria-disabled", "true");
	await actions.getByRole("button", { name: "Retry" }).click({ force: true }); // it looks disabled, and says why
	await expect(page.getByText("Retry: It runs.")).toBeVisible();

	await click("Pause");
	await confirm(page, "Pause", "lunch");
	await expect(page.locator(header)).toContainText(/paused/);
	await expect(page.getByText("Pause by anonymous", { exact: true })).toBeVisible();
	await expect(page.locator(header)).toContainText("lunch");
	await click("Resume");
	await confirm(page, "Resume");
	await expect(page.getByText("Resume by anonymous", { exact: true })).toBeVisible();
	await expect(page.locator(header)).toContainText("running");
	await click("Cancel");
	await confirm(page, "Cancel", "enough");
	await expect(page.locator(header)).toContainText("cancelled");
	await click("Retry");
	await confirm(page, "Retry");
	await expect(page.locator(header)).toContainText("running"); // it is followed again
	await click("Terminate");
	await confirm(page, "Terminate", "now");
	await expect(page.locator(header)).toContainText("cancelled");
	await click("Delete");
	await confirm(page, "Delete");
	await expect(page.getByText("This job is no longer there")).toBeVisible();
});

test("a failed attempt is shown, and its log by level", async ({ page, server }) => {
	const job = await server.create({ kind: "fail", args: { text: "first\nsecond line" } }, "failed");
	await open(page, "#/jobs/" + job.id);
	const attempts = page.getByRole("region", { name: "Attempts that failed" });
	await expect(attempts).toContainText("Attempt 1");
	await expect(attempts).toContainText("second line");
	await expect(page.getByRole("log")).toContainText("attempt");
	await page.getByLabel("Level").selectOption("ERROR");
	await expect(page.getByRole("log").locator("[data-level=WARN]")).toHaveCount(0);
	await expect(page.getByRole("log").locator("[data-level=ERROR]")).toHaveCount(1);
});

test("a job that is not there is said so", async ({ page }) => {
	await open(page, "#/jobs/00000000-0000-0000-0000-000000000000");
	await expect(page.getByText("There is no such job")).toBeVisible();
	await page.goto("/#/jobs/nonsense");
	await expect(page.getByRole("alert")).toContainText("The job could not be read.");
});

test("a job is enqueued, checked while it is typed and by the server", async ({ page, server }) => {
	await open(page, "#/enqueue");
	await page.getByLabel("Kind").fill("echo");
	const args = page.getByLabel("Args");
	await args.fill('{\n  "n": 1,\n}');
	await expect(page.getByText("Line 3, column 1: expected a key in double quotes.")).toBeVisible();
	await expect(args).toHaveAttribute("aria-invalid", "true");
	const submit = page.locator("form").getByRole("button", { name: "Enqueue" });
	await expect(submit).toBeDisabled();
	await args.fill('{"n": 12345678901234567890}');
	await page.getByLabel("Priority").fill("high");
	await page.getByLabel("Timeout").fill("soon");
	await submit.click();
	await expect(page.getByText("expected a duration such as 1m30s")).toBeVisible();
	await expect(page.getByLabel("Priority")).toHaveAttribute("aria-invalid", "true");
	await page.getByLabel("Priority").fill("5");
	await page.getByLabel("Timeout").fill("1m");
	await page.getByLabel("When").selectOption("in");
	await page.getByLabel("In how long").fill("1h");
	await page.getByLabel("Tags").fill("one, two");
	const key = unique("key");
	await page.getByLabel("Unique key").fill(key);
	await submit.click();
	await expect(page.getByRole("heading", { level: 1, name: "echo" })).toBeVisible();
	await expect(page.getByText("The job was created.")).toBeVisible();
	const id = page.url().split("/").pop()!;
	const job = await server.request("GET", "jobs/" + id);
	expect(job).toMatchObject({ state: "scheduled", priority: 5, timeout: "1m0s", tags: ["one", "two"], unique: { key } });
	await expect(page.getByText("12345678901234567890").first()).toBeVisible();

	await page.getByRole("link", { name: "Enqueue a copy" }).click();
	await expect(page.getByLabel("Kind")).toHaveValue("echo");
	await expect(page.getByLabel("Args")).toHaveValue('{\n  "n": 12345678901234567890\n}');
	await page.getByLabel("Unique key").fill(key);
	await submit.click();
	await expect(page.getByText("No job was created: this one holds the unique key.")).toBeVisible();
	expect(page.url()).toContain(id);
});
