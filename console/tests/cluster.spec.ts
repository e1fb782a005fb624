// Two servers on one PostgreSQL: what is done through one is seen in a page of the other.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, expect } from "@playwright/test";
import { row, Server } from "./helpers";
import { build, Program, withDir } from "./programs";

const settings = `
listen = "127.0.0.1:0"
shutdown_grace = "0s"
[command.steps]
argv = ["sh", "-c", 'echo "a first line"; echo "::progress 3/10 three of ten"; while [ ! -e go ]; do sleep 0.05; done; echo "a last line"']
`;

test("a job of one server is seen live in the page of another", async ({ page }) => {
	test.setTimeout(120_000);
	await withDir(async (dir) => {
		writeFileSync(join(dir, "errand.toml"), settings);
		const binary = process.env.ERRAND_BIN ?? build("./cmd/errand", dir);
		const postgres = new Program(["go", "run", "./internal/testserver/run"], /(postgres:\S+)/, { cwd: ".." });
		const programs: Program[] = [postgres];
		const serve = async (...flags: string[]) => {
			const program = new Program([binary, "serve", "--config", "errand.toml", ...flags], /listens on (http:\S+?),/, { cwd: dir, env: { ERRAND_DATABASE: url } });
			programs.unshift(program);
			return new Server(await program.start());
		};
		let url = "";
		try {
			url = await postgres.start();
			const does = await serve();
			const shows = await serve("--api-only");

			await page.goto(shows.url + "/#/jobs?filter=kind:steps");
			await expect(page.getByText("Live", { exact: true })).toBeVisible();
			const job = await does.create({ kind: "steps" }, "running");
			await page.getByRole("button", { name: "1 new", exact: true }).click();
			await expect(row(page, job.id)).toContainText("running");
			await expect(row(page, job.id)).toContainText("30");
			await row(page, job.id).getByRole("link").first().click();
			await expect(page.getByRole("log")).toContainText("a first line");

			writeFileSync(join(dir, "go"), "");
			await expect(page.locator("header[aria-label=Job]")).toContainText("succeeded");
			await expect(page.getByRole("log")).toContainText("a last line");
			await expect(page.getByText("Live", { exact: true })).toBeVisible();
		} finally {
			for (const program of programs) await program.end(program === postgres ? undefined : "SIGKILL");
		}
	});
});
