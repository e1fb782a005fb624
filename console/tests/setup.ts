// Starts an errand server with a store of its own. It serves the page that was embedded when it was built.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build, Program } from "./programs";

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
	const binary = process.env.ERRAND_BIN ?? build("./cmd/errand", dir);
	const server = new Program([binary, "serve", "--config", "errand.toml", "--data", dir + "/"], /listens on (http:\S+?),/, { cwd: dir });
	process.env.CONSOLE_URL = await server.start();
	process.env.ERRAND_DIR = dir;
	return async () => {
		await server.end("SIGTERM");
		rmSync(dir, { recursive: true, force: true });
	};
}
