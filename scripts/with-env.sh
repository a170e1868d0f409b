#!/usr/bin/env bash
# with-env.sh COMMAND... runs a command that knows the images and the built binary, as the tests and the benchmark need it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ -s $STATE_DIR/images.env ]] || die "$STATE_DIR/images.env is missing: run scripts/images.sh first"
set -a
# shellcheck disable=SC1091
. "$STATE_DIR/images.env"
export CONTROLPLANE_BIN=$ROOT/bin/controlplane
set +a
cd "$ROOT"
exec "$@"
