#!/usr/bin/env bash
# Builds the page, compares it with the one that is committed, and tests it: alone, and in a browser with a real server.
set -euo pipefail
cd "$(dirname "$0")"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
install() {
	echo "Installing $* with apt-get, for the tests of the console."
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
new_enough() { node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null; }

command -v chromium >/dev/null || install chromium
command -v npm >/dev/null || install nodejs npm
if ! new_enough; then # Debian's is older: take that of the package registry
	mkdir -p .node # npm ci empties node_modules
	npm install --silent --no-save --prefix .node node@22.22.0
	PATH="$PWD/.node/node_modules/node/bin:$PATH"
	new_enough || { echo "Node 20.19 or newer is needed; this is $(node --version)." >&2; exit 1; }
fi
npm ci --silent --no-audit --no-fund
npm run --silent check
npm run --silent build
changed=$(git status --porcelain -- dist)
if [ -n "$changed" ]; then
	echo "dist is not what the source makes. Commit what npm run build makes:" >&2
	echo "$changed" >&2
	exit 1
fi
npm test --silent
(cd .. && go build -o "$PWD/bin/errand" ./cmd/errand)
ERRAND_BIN="$PWD/../bin/errand" npm run --silent e2e
