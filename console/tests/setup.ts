// Starts an errand server with a store of its own. It serves the page that was embedded when it was built.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const settings = `
listen = "127.0.0.1:0"
shutdown_grace = "0s"
concurrency = 50
[command.echo]
argv = ["sh", "-c", 'printf "%s\\n" "$ERRAND_ARGS"; printf "::result %s\\n" "$ERRAND_ARGS"']
[command.fail]
argv = ["sh", "-c", 'printf "%s\\n" "$ERRAND_ARG_TEXT" >&2; exit 3']
max_attempts = 1
[command.steps]
argv = ["sh", "-c", 'echo "a first line"; echo "::progress 3/10 three of ten"; echo "::checkpoint {\\"row\\": 9007199254740993}"; while [ ! -e "go-$ERRAND_ARG_GO" ]; do sleep 0.05; done; echo "a last line"; echo "::progress 10/10 all"']
[command.sleep]
argv = ["sleep", "600"]
grace = "200ms"
[cron]
nightly = "0 3 * * *"
[schedule.registered]
spec = "cron.nightly"
start = 2099-01-01
kind = "echo"
`;

export default async function setup(): Promise<() => Promise<void>> {
	const dir = mkdtempSync(join(tmpdir(), "errand-console-"));
	writeFileSync(join(dir, "errand.toml"), settings);
	let binary = process.env.ERRAND_BIN;
	if (!binary) {
		binary = join(dir, "errand");
		execFileSync("go", ["build", "-o", binary, "../cmd/errand"], { stdio: "inherit" });
	}
	const server = spawn(binary, ["serve", "--config", "errand.toml", "--data", dir + "/"], { cwd: dir });
	const url = await listening(server);
	process.env.ERRAND_DIR = dir;
	process.env.CONSOLE_URL = url;
	return async () => {
		const over = new Promise((resolve) => server.once("exit", resolve));
		server.kill("SIGTERM");
		await over;
		rmSync(dir, { recursive: true, force: true });
	};
}

/** The address on which the server says that it listens. */
function listening(server: ReturnType<typeof spawn>): Promise<string> {
	return new Promise((resolve, reject) => {
		let said = "", complaints = "";
		server.stdout!.on("data", (data) => {
			said += data;
			const found = /listens on (http:\S+?),/.exec(said);
			if (found) resolve(found[1]!);
		});
		server.stderr!.on("data", (data) => (complaints += data));
		server.once("exit", (code) => reject(new Error(`errand serve ended with ${code}: ${complaints}`)));
	});
}
