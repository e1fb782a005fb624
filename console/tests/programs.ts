// Programs that a test starts, kills and starts again.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory that exists while f runs. */
export async function withDir(f: (dir: string) => Promise<void>) {
	const dir = mkdtempSync(join(tmpdir(), "errand-console-"));
	try {
		await f(dir);
	} finally {
		rmSync(dir, { recursive: true, force: true });
	}
}

/** Builds a program of this repository. */
export function build(path: string, dir: string): string {
	const binary = join(dir, "program");
	execFileSync("go", ["build", "-o", binary, path], { cwd: "..", stdio: "inherit" });
	return binary;
}

export class Program {
	#process: ChildProcess | undefined;

	/** says: what it prints when it is ready; the first group is kept. */
	constructor(readonly argv: string[], readonly says: RegExp, readonly options: { cwd?: string; env?: Record<string, string> } = {}) {}

	start(): Promise<string> {
		const [command, ...args] = this.argv;
		const p = spawn(command!, args, { cwd: this.options.cwd, env: { ...process.env, ...this.options.env } });
		this.#process = p;
		return new Promise((resolve, reject) => {
			let said = "";
			const hear = (data: Buffer) => {
				said += data;
				const found = this.says.exec(said);
				if (found) resolve(found[1]!);
			};
			p.stdout.on("data", hear);
			p.stderr.on("data", hear);
			p.once("exit", (code) => reject(new Error(`${command} ended with ${code}: ${said}`)));
			p.once("error", reject);
		});
	}

	/** Ends it, and waits until it has. Without a signal it is asked to by the end of its input. */
	async end(signal?: NodeJS.Signals) {
		const p = this.#process;
		this.#process = undefined;
		if (!p || p.exitCode !== null || p.signalCode !== null) return;
		const over = new Promise((resolve) => p.once("exit", resolve));
		if (signal) p.kill(signal);
		else p.stdin!.end();
		await over;
	}
}
