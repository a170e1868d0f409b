#!/usr/bin/env bash
# Makes sure that a Docker engine answers. Where none does, and we are root on Debian, Debian's own is installed and started.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LOG=/var/log/dockerd.log
WAIT_SECONDS=60

answers() { timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null; }

# explain_refusal ends the script when an engine may be there but can't be used by this user, because starting a second one wouldn't help.
explain_refusal() {
	if [[ -n ${DOCKER_HOST:-} ]]; then
		die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST"
	fi
	if ((EUID != 0)); then
		if [[ -S /var/run/docker.sock && ! -w /var/run/docker.sock ]]; then
			die "no right to use /var/run/docker.sock: add $(id -un) to the group docker (usermod -aG docker $(id -un)) and log in again"
		fi
		die "no Docker engine answers: start one, or run this as root on Debian to have it installed"
	fi
	on_debian || die "no Docker engine answers, and this is not Debian: install and start one by hand"
}

start_engine() {
	if [[ -d /run/systemd/system ]]; then
		systemctl enable --now docker >"$LOG" 2>&1 ||
			die "systemctl could not start docker: $(tail -n 1 "$LOG"); see journalctl -u docker"
		return
	fi
	# A session of its own: Ctrl-C in make must not stop the engine and the tenants with it.
	setsid nohup dockerd --log-level warn >>"$LOG" 2>&1 </dev/null &
}

wait_engine() {
	local start=$SECONDS version
	until version=$(answers); do
		if ((SECONDS - start > WAIT_SECONDS)); then
			die "dockerd did not answer within $WAIT_SECONDS s: $(grep -hiE 'failed|error|fatal' "$LOG" | tail -n 1 || true) (log: $LOG)"
		fi
		sleep 0.5
	done
	say "Docker engine $version answers (log: $LOG)"
}

main() {
	if command -v docker >/dev/null && answers >/dev/null; then
		return
	fi
	explain_refusal
	install_packages docker.io iptables ca-certificates
	hash -r
	say "starting the Docker engine"
	if ! answers >/dev/null; then
		start_engine
	fi
	wait_engine
}

main "$@"
