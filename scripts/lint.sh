#!/usr/bin/env bash
# lint.sh checks the code and the module files; lint.sh --fmt formats the code instead, and lint.sh --build only builds the linters.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LINT=$STATE_DIR/bin/golangci-lint

cd "$ROOT"
mkdir -p "$STATE_DIR/bin"
quietly "$STATE_DIR/log/lint-build.log" "building golangci-lint" \
	go -C tools build -buildvcs=false -o "$LINT" github.com/golangci/golangci-lint/v2/cmd/golangci-lint

case ${1:-} in
--build) exit ;;
--fmt) exec "$LINT" fmt ;;
esac

failed=0
say "go mod tidy and verify"
go mod tidy -diff 2> >(grep -v '^go: downloading' >&2) || failed=1
go mod verify >/dev/null || failed=1
say "golangci-lint"
"$LINT" run || failed=1
exit "$failed"
