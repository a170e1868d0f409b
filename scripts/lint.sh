#!/usr/bin/env bash
# lint.sh checks the code and the module files; lint.sh --fmt formats the code instead.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LINT=$STATE_DIR/bin/golangci-lint

cd "$ROOT"
mkdir -p "$STATE_DIR/bin"
quietly "$STATE_DIR/log/lint-build.log" "building golangci-lint" \
	go -C tools build -buildvcs=false -o "$LINT" github.com/golangci/golangci-lint/v2/cmd/golangci-lint

if [[ ${1:-} == --fmt ]]; then
	exec "$LINT" fmt
fi

failed=0
say "go mod tidy and verify"
go mod tidy -diff || failed=1
go mod verify >/dev/null || failed=1
say "golangci-lint"
"$LINT" run || failed=1
exit "$failed"
