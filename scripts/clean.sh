#!/usr/bin/env bash
# Removes everything that is ours: tenants, databases and volumes, the images that were built here, the state folder and the binaries.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# remove_images leaves what a container of another clone still runs on.
remove_images() {
	local image
	docker images --filter 'reference=odoo-hosting/*' --format '{{.Repository}}:{{.Tag}}' | while read -r image; do
		docker rmi "$image" >/dev/null 2>&1 || say "left $image: a container uses it"
	done
	docker image prune -f --filter label=odoo-hosting.stage >/dev/null
}

cd "$ROOT"
if ! timeout 20 docker version >/dev/null 2>&1; then
	die "no Docker engine answers, so what is on it can't be removed: start it (scripts/engine.sh) and try again"
fi
if [[ -s $STATE_DIR/dev.env ]]; then
	"$ROOT/scripts/build.sh"
	bin/controlplane dev clean
fi
remove_images
# Outside the checkout only what we put there goes.
if [[ $STATE_DIR == "$ROOT/.state" ]]; then
	rm -rf "$STATE_DIR"
else
	rm -rf "${STATE_DIR:?}"/{bin,build,log,images.env}
fi
rm -rf "${ROOT:?}/bin"
