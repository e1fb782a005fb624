import { defineConfig } from "@playwright/test";

export default defineConfig({
	testDir: "tests",
	globalSetup: "./tests/setup.ts",
	outputDir: "test-results",
	fullyParallel: false,
	workers: 2,
	timeout: 60_000,
	expect: { timeout: 15_000 },
	forbidOnly: !!process.env.CI,
	reporter: [["list"]],
	use: {
		viewport: { width: 1280, height: 900 },
		launchOptions: { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] },
	},
});
