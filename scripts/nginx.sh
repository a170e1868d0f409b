#!/usr/bin/env bash
# nginx.sh prints the path of Debian's nginx, which "make bench" compares the edge with. It is unpacked into the state folder, not installed: a
# package that is installed would start a server.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if command -v nginx >/dev/null; then
	command -v nginx
	exit
fi
folder=$STATE_DIR/build/nginx
binary=$folder/root/usr/sbin/nginx
if [[ ! -x $binary ]]; then
	on_debian || die "install nginx by hand: this is not a Debian system"
	mkdir -p "$folder"
	cd "$folder"
	apt-get -q -o APT::Sandbox::User=root download nginx >"$STATE_DIR/log/nginx.log" 2>&1 || {
		apt-get -q update >>"$STATE_DIR/log/nginx.log" 2>&1
		apt-get -q -o APT::Sandbox::User=root download nginx >>"$STATE_DIR/log/nginx.log" 2>&1
	} || die "nginx can't be downloaded; see $STATE_DIR/log/nginx.log"
	dpkg-deb -x nginx_*.deb root
fi
printf '%s\n' "$binary"
