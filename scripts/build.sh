#!/usr/bin/env bash
# Builds bin/controlplane, static, as it also runs inside a container. The first build compiles every dependency and takes minutes.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v go >/dev/null || die "go is missing: install Go $(awk '$1 == "go" { print $2 }' "$ROOT/go.mod") or newer"
cd "$ROOT"
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
export CGO_ENABLED=0
quietly "$STATE_DIR/log/build.log" "building bin/controlplane $version" \
	go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o bin/controlplane ./cmd/controlplane

# The object store of dev and of the tests.
quietly "$STATE_DIR/log/build-s3.log" "building bin/versitygw" \
	go -C tools/s3 build -trimpath -buildvcs=false -ldflags "-s -w" -o "$ROOT/bin/versitygw" github.com/versity/versitygw/cmd/versitygw
