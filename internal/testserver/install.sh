#!/usr/bin/env bash
# Installs the servers that the tests start: PostgreSQL, Redis and PgBouncer. Where all are there, it does and says nothing.
set -eu

packages=()
has() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; }
has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
has redis-server || packages+=(redis-server)
has pgbouncer || packages+=(pgbouncer)
[ ${#packages[@]} -gt 0 ] || exit 0

sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo -n)
if ! has apt-get || ! "${sudo[@]}" true 2>/dev/null; then
	echo "The tests need servers that are missing here. Please install: ${packages[*]}" >&2
	exit 1
fi
echo "Installing ${packages[*]} with apt-get, for the tests."

apt() {
	# Without a runlevel, packages do not start their services.
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get "$@" >"$log" 2>&1 || {
		cat "$log" >&2
		echo "apt-get failed. Please install by hand: ${packages[*]}" >&2
		exit 1
	}
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt update -qq
if [[ " ${packages[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common ]; then
	# The package would make a cluster that nobody uses.
	apt install -y -qq --no-install-recommends postgresql-common
	"${sudo[@]}" sed -i 's/^#\? *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
fi
apt install -y -qq --no-install-recommends "${packages[@]}"
