#!/usr/bin/env bash
# browser.sh installs Chromium, in which tests look at pages as people see them, and the tool that tells it which certificates to trust.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if command -v chromium >/dev/null && command -v certutil >/dev/null; then
	exit
fi
install_packages chromium libnss3-tools
