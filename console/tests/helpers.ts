import { writeFileSync } from "node:fs";
import { join } from "node:path";
import axe from "axe-core";
import { test as base, expect, type Page } from "@playwright/test";

/** Requests to the server, besides those of the page. */
export class Server {
	constructor(readonly url: string, readonly token = "") {}

	async request(method: string, path: string, body?: unknown): Promise<any> {
		const response = await fetch(`${this.url}/api/v1/${path}`, {
			method,
			headers: { ...(body !== undefined && { "Content-Type": "application/json" }), ...(this.token && { Authorization: "Bearer " + this.token }) },
			body: typeof body === "string" ? body : body === undefined ? undefined : JSON.stringify(body),
		});
		const text = await response.text();
		if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
		return text ? JSON.parse(text) : undefined;
	}

	/** Creates a job, and waits for a state of it if one is given. */
	async create(job: object | string, state?: string): Promise<any> {
		const made = await this.request("POST", "jobs", job);
		return state ? this.reaches(made.id, state) : made;
	}

	async reaches(id: string, state: string): Promise<any> {
		let job: any;
		await expect(async () => {
			job = await this.request("GET", "jobs/" + id);
			expect(job.state).toBe(state);
		}).toPass({ timeout: 10_000, intervals: [50] });
		return job;
	}

	/** Makes a schedule, or sets its plan. */
	schedule(name: string, plan: object): Promise<any> {
		return this.request("PUT", "schedules/" + encodeURIComponent(name), { job: { kind: "echo" }, ...plan });
	}

	/** Does a verb to a schedule. */
	toSchedule(name: string, verb: string, body: object = {}): Promise<any> {
		return this.request("POST", `schedules/${encodeURIComponent(name)}/${verb}`, body);
	}

	/** Lets the jobs of kind steps with this value of go come to their end. */
	letGo(go: string) {
		writeFileSync(join(process.env.ERRAND_DIR!, "go-" + go), "");
	}
}

interface Fixtures {
	server: Server;
	/** What the page wrote to its console as errors, and whatever it should not have done. */
	faults: string[];
}

export const test = base.extend<Fixtures>({
	baseURL: async ({}, use) => use(process.env.CONSOLE_URL),
	server: async ({}, use) => use(new Server(process.env.CONSOLE_URL!)),
	faults: [
		async ({ page, baseURL }, use) => {
			const faults: string[] = [];
			page.on("pageerror", (e) => faults.push(`error: ${e.message}`));
			page.on("dialog", (d) => {
				faults.push(`dialog: ${d.message()}`);
				void d.dismiss();
			});
			// Answers such as 404 are logged by the browser itself; violations of the security policy are, too.
			page.on("console", (m) => {
				if (m.type() === "error" && !m.text().startsWith("Failed to load resource")) faults.push(`console: ${m.text()}`);
			});
			page.on("request", (r) => {
				if (!r.url().startsWith(baseURL!) && !r.url().startsWith("data:")) faults.push(`foreign request: ${r.url()}`);
			});
			await use(faults);
			expect(faults).toEqual([]);
		},
		{ auto: true },
	],
});

export { expect };

/** Opens a screen and waits until the page is live. */
export async function open(page: Page, hash: string) {
	await page.goto("/" + hash);
	await expect(page.getByText("Live", { exact: true })).toBeVisible();
}

/** Confirms the dialog that is open, with a reason. */
export async function confirm(page: Page, button: string | RegExp, reason?: string) {
	const dialog = page.getByRole("dialog");
	await expect(dialog).toBeVisible();
	if (reason !== undefined) await dialog.getByLabel("Reason").fill(reason);
	await dialog.getByRole("button", { name: button }).click();
	await expect(dialog).toHaveCount(0);
}

/** What axe finds that is serious or critical. */
export async function violations(page: Page) {
	if (await page.evaluate(() => !("axe" in window))) await page.evaluate(axe.source);
	const found = await page.evaluate(() => (window as unknown as { axe: typeof axe }).axe.run({ resultTypes: ["violations"] }));
	const bad = found.violations.filter((v) => v.impact === "serious" || v.impact === "critical");
	return bad.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ") + " " + n.failureSummary).join("; ")}`);
}

/** By how many pixels the page is wider than the window. */
export const overflow = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

/** The row of a job in a list. */
export const row = (page: Page, id: string) => page.locator(`tr[data-row="${id}"]`);

/** Makes names that no other test has. */
export const unique = (name: string) => `${name}-${Math.random().toString(36).slice(2, 10)}`;
