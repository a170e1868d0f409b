# Shared by the scripts of this folder: progress lines, errors of one line, and a way to run a long step quietly.
# Sourced, never run.
# shellcheck shell=bash

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE_DIR=${STATE_DIR:-$ROOT/.state}
mkdir -p "$STATE_DIR/log" || exit 1
STATE_DIR=$(cd "$STATE_DIR" && pwd)

say() { printf '==> %s\n' "$*"; }

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# quietly LOG TITLE COMMAND... runs a command with its output in a log file, says every 15 seconds that it is still at it, and shows the
# end of the log when it fails.
quietly() {
	local log=$1 title=$2 start=$SECONDS next=15 pid status=0
	shift 2
	say "$title"
	# In a session of its own, so that Ctrl-C can end all of it: a background job of a script ignores the signal otherwise.
	setsid "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# shellcheck disable=SC2064 # the number as it is now
	trap "kill -- -$pid 2>/dev/null; exit 130" INT TERM
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if ((SECONDS - start >= next)); then
			printf '    %s … %d s\n' "$title" "$next"
			((next += 15))
		fi
	done
	wait "$pid" || status=$?
	trap - INT TERM
	if ((status != 0)); then
		tail -n 25 "$log" | sed 's/^/    | /' >&2
		die "$title: exit code $status after $((SECONDS - start)) s; the whole log is in $log"
	fi
	printf '    %s: done in %d s\n' "$title" "$((SECONDS - start))"
}

on_debian() { [[ -r /etc/debian_version ]] && command -v apt-get >/dev/null; }

# installed PACKAGE... reports whether all of them are installed.
installed() {
	local package
	for package in "$@"; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || return 1
	done
}

# install_packages PACKAGE... installs what is missing, as root on Debian; one at a time, since make runs scripts side by side.
install_packages() {
	installed "$@" && return 0
	on_debian || die "this needs the packages $* and is not a Debian system: install them by hand"
	((EUID == 0)) || die "this needs the packages $*: run it as root once, or install them by hand"
	local lock="${TMPDIR:-/tmp}/odoo-hosting-packages.lock"
	quietly "$STATE_DIR/log/apt-update.log" "apt-get update" flock -o "$lock" apt-get -q update
	quietly "$STATE_DIR/log/apt-install.log" "apt-get install $*" \
		env DEBIAN_FRONTEND=noninteractive flock -o "$lock" apt-get -q -y --no-install-recommends install "$@"
}
