#!/usr/bin/env bash
# test.sh [PACKAGE...] runs the linters and the Go tests against a PostgreSQL of their own, which is gone afterwards. With packages named it
# runs the tests of those alone.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Started again inside with-env.sh, so that the images are known.
if [[ -z ${CONTROLPLANE_BIN:-} ]]; then
	exec "$ROOT/scripts/with-env.sh" "${BASH_SOURCE[0]}" "$@"
fi

NAME=odoo-hosting-test-$$-$RANDOM
OWNER_LABEL="odoo-hosting.test-owner"

remove_database() { docker rm -f -v "$NAME" >/dev/null 2>&1 || true; }

# remove_leftovers removes the databases of runs that were killed: no process has their number any more.
remove_leftovers() {
	local id owner
	docker ps -a --filter "label=$OWNER_LABEL" --format "{{.ID}} {{.Label \"$OWNER_LABEL\"}}" | while read -r id owner; do
		[[ -d /proc/$owner ]] || docker rm -f -v "$id" >/dev/null 2>&1 || true
	done
}

start_database() {
	local start=$SECONDS address
	POSTGRES_PASSWORD=$(tr -dc a-f0-9 </dev/urandom | head -c 32 || true)
	export POSTGRES_PASSWORD
	docker run -d --rm --name "$NAME" --label "$OWNER_LABEL=$$" --env POSTGRES_PASSWORD --publish 127.0.0.1::5432 --shm-size 256m \
		"$POSTGRES_IMAGE" -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=500 >/dev/null
	address=$(docker port "$NAME" 5432/tcp | head -n 1)
	export TEST_DATABASE_URL="postgres://postgres:$POSTGRES_PASSWORD@$address/postgres?sslmode=disable"
	unset POSTGRES_PASSWORD
	# Over TCP: the server that makes the cluster listens on a socket only, and answers before the real one does.
	until docker exec "$NAME" pg_isready -q -h 127.0.0.1; do
		((SECONDS - start < 60)) || die "the test database did not start: $(docker logs "$NAME" 2>&1 | tail -n 1)"
		sleep 0.3
	done
}

run_tests() {
	local title=$1 start=$SECONDS
	shift
	say "$title"
	go test -timeout 40m "$@" || return 1
	printf '    %s: done in %d s\n' "$title" "$((SECONDS - start))"
}

main() {
	local failed=()
	trap remove_database EXIT
	trap 'exit 130' INT TERM
	remove_leftovers
	command -v curl >/dev/null || install_packages curl # the README's walk-through is followed to the letter
	start_database
	if (($# > 0)); then
		run_tests "go test $*" "$@"
		return
	fi
	"$ROOT/scripts/lint.sh" || failed+=(lint)
	# The whole-system tests run alone: they measure and race real containers, which other tests would slow down.
	run_tests "tests of the packages" -p 2 ./cmd/... ./internal/... ./migrations/... || failed+=("the packages' tests")
	run_tests "tests of the whole system" -p 1 ./test/... || failed+=("the whole-system tests")
	((${#failed[@]} == 0)) || die "failed: $(printf '%s; ' "${failed[@]}")see above"
	say "all passed in $SECONDS s"
}

main "$@"
