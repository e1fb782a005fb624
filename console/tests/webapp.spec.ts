// The status page of examples/webapp in a browser.

import { join } from "node:path";
import { test, expect } from "@playwright/test";
import { build, Program, withDir } from "./programs";

test("the page of the jobs is live, runs a job, and goes on after a kill", async ({ page }) => {
	test.setTimeout(120_000);
	await withDir(async (dir) => {
		const binary = build("./examples/webapp", dir);
		const program = (addr: string) => new Program([binary, "-addr", addr, "-data", join(dir, "data")], /listening url=http:\/\/(\S+)/);
		let app = program("127.0.0.1:0");
		try {
			const addr = await app.start();
			await page.goto(`http://${addr}/@jobs`);
			const line = page.locator("tr", { hasText: "main.slow" });
			await expect(line).toContainText("IDLE");
			await expect(line).toContainText("never");
			await line.getByRole("button", { name: /Run/ }).click();
			await expect(line).toContainText("RUNNING");
			await expect(line).not.toContainText("never");
			await expect(line).toContainText("IDLE", { timeout: 30_000 }); // without a reload
			const daily = page.locator("tr", { hasText: "main.reminders" });
			await daily.getByRole("button", { name: /Run/ }).click();
			await expect(daily).not.toContainText("never");
			const prev = await daily.locator("td").nth(1).textContent();

			await app.end("SIGKILL");
			app = program(addr);
			await app.start();
			await page.reload();
			await expect(daily).toContainText("IDLE");
			expect(await daily.locator("td").nth(1).textContent()).toBe(prev);
			await expect(page.locator("tr", { hasText: "main.broken" })).toContainText("@every 30s");
		} finally {
			await app.end("SIGKILL");
		}
	});
});
