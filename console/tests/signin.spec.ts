// A server that wants tokens: the page asks for one, sends it, and asks again when it is no longer accepted.

import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { test as base, expect, confirm, overflow, Server, unique, violations } from "./helpers";
import { build, Program } from "./programs";

const newToken = () => "errand_" + randomBytes(32).toString("base64url");
const tokens = {
	viewer: newToken(),
	admin: newToken(),
	odd: `of my own (100%), ${Math.random()}/+=`,
};

let dir = "", binary = "", url = "";
let program: Program;
const admin = () => new Server(url, tokens.admin);

/** Starts the server, where it was, so that it accepts these tokens. */
async function serve(accepted: Record<string, string>) {
	await program?.end("SIGTERM");
	const tables = Object.entries(accepted).map(([name, token]) => `[token.${name}]\nhash = "${createHash("sha256").update(token).digest("hex")}"\nrole = "${name === "viewer" ? "viewer" : "admin"}"\n`);
	writeFileSync(join(dir, "errand.toml"), `listen = "${url ? new URL(url).host : "127.0.0.1:0"}"\nshutdown_grace = "0s"\n` + tables.join(""));
	program = new Program([binary, "serve", "--config", "errand.toml", "--data", dir + "/"], /listens on (http:\S+?),/, { cwd: dir });
	url = await program.start();
}

const test = base.extend({ baseURL: async ({}, use) => use(url) });

test.beforeAll(async () => {
	test.setTimeout(120_000);
	dir = mkdtempSync(join(tmpdir(), "errand-signin-"));
	binary = process.env.ERRAND_BIN ?? build("./cmd/errand", dir);
	await serve(tokens);
});

test.afterAll(async () => {
	await program.end("SIGTERM");
	rmSync(dir, { recursive: true, force: true });
});

const field = (page: Page) => page.getByLabel("Token");
const button = (page: Page) => page.getByRole("button", { name: "Sign in" });
const live = (page: Page) => page.getByText("Live", { exact: true });

async function signIn(page: Page, token: string, stay = false) {
	await field(page).fill(token);
	if (stay) await page.getByLabel("Stay signed in on this device").check();
	await button(page).click();
}

test("a token is asked for, refused, accepted, kept for the tab, and forgotten", async ({ page, context }) => {
	const asked: string[] = [];
	page.on("request", (r) => r.url().includes("/api/") && asked.push(r.url()));
	await page.goto("/#/queues");
	await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
	await expect(page).toHaveTitle("Sign in · errand");
	await expect(field(page)).toBeFocused();
	await expect(field(page)).toHaveAttribute("autocomplete", "current-password");
	expect(asked).toEqual([url + "/api/v1/me"]); // and nothing else, nor twice
	await expect(page.getByRole("button", { name: "Close" })).toHaveCount(0); // no toast
	await page.keyboard.press("Shift+Tab");
	await page.keyboard.press("g");
	await page.keyboard.press("j");
	expect(page.url()).toContain("#/queues"); // the keys of the page are off

	await signIn(page, tokens.admin.slice(0, -1));
	await expect(page.getByRole("alert")).toHaveText("The server does not accept this token.");
	await expect(field(page)).toHaveAttribute("aria-invalid", "true");
	await expect(field(page)).toBeFocused();
	await signIn(page, "Schlüssel");
	await expect(page.getByRole("alert")).toContainText("No token has such characters in it");

	await signIn(page, ` ${tokens.viewer}\n`); // as it is copied
	await expect(page.getByRole("heading", { name: "Queues" })).toBeVisible();
	await expect(live(page)).toBeVisible();
	await expect(page.getByRole("link", { name: "Enqueue", exact: true })).toHaveCount(0);
	await page.reload();
	await expect(live(page)).toBeVisible();

	const other = await context.newPage();
	await other.goto(url + "/#/settings");
	await expect(field(other)).toBeVisible();
	await signIn(other, tokens.admin);
	await expect(other.getByRole("link", { name: "Enqueue", exact: true })).toBeVisible();
	await expect(other.getByRole("region", { name: "Who you are" })).toContainText("Signed in as admin (admin)");

	await page.getByRole("link", { name: "Settings" }).click();
	await expect(page.getByRole("region", { name: "Who you are" })).toContainText("Signed in as viewer (viewer)");
	await page.getByRole("button", { name: "Sign out" }).click();
	await expect(field(page)).toBeVisible();
	await page.reload();
	await expect(field(page)).toBeVisible();
	expect(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]))).not.toContain("errand_");
	await other.reload();
	await expect(live(other)).toBeVisible(); // it has a token of its own
});

test("who stays signed in is so in all tabs, until one signs out", async ({ page, context }) => {
	const other = await context.newPage();
	await other.goto(url + "/#/queues");
	await expect(field(other)).toBeVisible();
	await page.goto("/#/workers");
	await signIn(page, tokens.admin, true);
	await expect(live(page)).toBeVisible();
	await expect(live(other)).toBeVisible(); // it had waited for one
	const third = await context.newPage();
	await third.goto(url + "/#/settings");
	await expect(live(third)).toBeVisible();
	await third.getByRole("button", { name: "Sign out" }).click();
	for (const p of [page, other, third]) await expect(field(p)).toBeVisible();
	expect(page.url()).toContain("#/workers");
});

test("with a token that is revoked the form comes back, and nothing is lost", async ({ page, faults }) => {
	test.setTimeout(60_000);
	const tag = unique("revoked");
	await admin().create({ kind: "later", in: "1h", tags: [tag] });
	await admin().request("POST", "queues/errand/pause", {}); // so that the bulk below waits
	const soon = newToken();
	await serve({ ...tokens, soon });
	await page.goto(`/#/jobs?filter=tag:${tag}`);
	await signIn(page, soon);
	await expect(live(page)).toBeVisible();
	await page.getByLabel("Act on all that match").selectOption("cancel");
	await confirm(page, "Cancel 1 job");
	await page.getByRole("link", { name: "Enqueue", exact: true }).click();
	await page.getByLabel("Kind").fill("later");
	await page.getByLabel("Args").fill('{"typed": 1}');
	await page.getByLabel("When").selectOption("in");
	await page.getByLabel("In how long").fill("1h");

	let refused = 0;
	page.on("response", (r) => r.status() === 401 && refused++);
	await serve(tokens);
	await expect(field(page)).toBeVisible();
	await expect(page.getByText("The token that was used here is no longer accepted.")).toBeVisible();
	expect(page.url()).toContain("#/enqueue");
	await expect(page.getByRole("link")).toHaveCount(2); // to the content, and the page's name
	const before = refused;
	await page.waitForTimeout(3000);
	expect(refused).toBe(before); // nothing is asked with it any more

	await signIn(page, tokens.odd); // not all of it can be in the name of a subprotocol
	await expect(live(page)).toBeVisible();
	const bar = page.getByRole("region", { name: "Cancel all that match" });
	await expect(bar).toContainText("ready");
	await expect(page.getByLabel("Args")).toHaveValue('{"typed": 1}');
	await page.locator("form").getByRole("button", { name: "Enqueue" }).click();
	await expect(page.getByRole("heading", { level: 1, name: "later" })).toBeVisible();
	await admin().request("POST", "queues/errand/resume", {});
	await expect(bar).toContainText("succeeded");

	await page.getByRole("link", { name: "Enqueue", exact: true }).click();
	await expect(page.getByLabel("Args")).toHaveValue(""); // it was sent
	faults.length = 0; // the browser complains of connections that were refused
});

test("a token of long ago is asked about once", async ({ page }) => {
	await page.addInitScript((token) => localStorage.setItem("errand.token", token), newToken());
	const asked: string[] = [];
	page.on("request", (r) => r.url().includes("/api/") && asked.push(r.url()));
	await page.goto("/#/");
	await expect(page.getByText("The token that was used here is no longer accepted.")).toBeVisible();
	expect(asked).toEqual([url + "/api/v1/me"]);
});

test("who is not let in by something else than tokens is told so", async ({ page, faults }) => {
	await page.route("**/api/v1/me", (route) => route.fulfill({ status: 401, json: { title: "Unauthorized", status: 401, detail: "authentication is required" } }));
	await page.addInitScript((token) => localStorage.setItem("errand.token", token), tokens.viewer);
	await page.goto("/#/queues");
	await expect(page.getByText("The server does not know who you are.")).toBeVisible();
	await expect(field(page)).toHaveCount(0);
	await page.getByRole("button", { name: "Go on" }).click();
	await expect(page.getByRole("alert")).toHaveText("Authentication is required.");
	await page.unroute("**/api/v1/me");
	await page.getByRole("button", { name: "Go on" }).click();
	await expect(live(page)).toBeVisible();

	// Something on the way takes over, and does not want the token.
	await page.route("**/api/v1/me", (route) =>
		route.request().headers().authorization
			? route.fulfill({ status: 401, headers: { "WWW-Authenticate": "Basic" }, json: {} })
			: route.fulfill({ json: { name: "ann", role: "operator", read_only: false, version: "" } }),
	);
	await page.route("**/api/v1/queues", (route) => route.fulfill({ json: { queues: [] } }));
	await page.reload();
	await page.getByRole("button", { name: "Go on" }).click();
	await expect(page.getByRole("link", { name: "Enqueue", exact: true })).toBeVisible();
	faults.length = 0; // the server itself has refused connections without a token
});

for (const theme of ["light", "dark"] as const) {
	for (const [size, width] of [["wide", 1280], ["phone", 360]] as const) {
		test(`the form in ${theme}, ${size}`, async ({ page }, info) => {
			await page.setViewportSize({ width, height: 740 });
			await page.addInitScript((theme) => localStorage.setItem("errand.console", JSON.stringify({ theme })), theme);
			await page.goto("/");
			for (const step of ["signin", "signin-refused"]) {
				await expect(field(page)).toBeVisible();
				expect(await overflow(page)).toBeLessThanOrEqual(0);
				expect(await violations(page)).toEqual([]);
				if (process.env.SCREENSHOTS) await page.screenshot({ path: join(info.project.outputDir, "screens", `${step}-${theme}-${size}.png`), fullPage: true });
				await signIn(page, "wrong");
				await expect(page.getByRole("alert")).toBeVisible();
			}
		});
	}
}
