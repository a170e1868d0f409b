#!/usr/bin/env bash
# images.sh [--test] decides where the container images come from and writes their names to $STATE_DIR/images.env.
# IMAGES=pull takes the official ones by digest, IMAGES=build makes them from Debian's packages; auto, the default, pulls where a registry
# answers and builds where none does. --test adds what only tests use: other PostgreSQL versions, a name server.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/mirror.sh
. "$ROOT/scripts/mirror.sh"

IMAGES=${IMAGES:-auto}
WITH_TEST_IMAGES=${1:-}
ENV_FILE=$STATE_DIR/images.env
RECIPES=$ROOT/deploy/images
REGISTRY_SECONDS=8
BUILD_MB=9000
LABEL="odoo-hosting.recipe"
NAMESERVER=odoo-hosting/nameserver:knot

present() { docker image inspect "$1" >/dev/null 2>&1; }

# recipe NAME EXTRA... prints the hash of everything that decides what an image holds: equal hash, no rebuild.
recipe() {
	local name=$1
	shift
	(
		cd "$RECIPES"
		printf '%s\n' "$@"
		find debian "$name" -type f | LC_ALL=C sort | xargs sha256sum
	) | sha256sum | cut -c1-16
}

up_to_date() { [[ $(docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null) == "$2" ]]; }

check_disk() {
	local directory free_mb
	directory=$(docker info -f '{{.DockerRootDir}}')
	[[ -d $directory ]] || return 0
	free_mb=$(df -Pm "$directory" | awk 'NR == 2 { print $4 }')
	((free_mb >= BUILD_MB)) || die "only $free_mb MB free under $directory: building the images needs $BUILD_MB"
}

# base SUITE makes the Debian image that the others build on.
base() {
	local suite=$1 tag=odoo-hosting/debian:$1 hash mirror
	hash=$(recipe debian "$suite")
	up_to_date "$tag" "$hash" && return
	((EUID == 0)) || die "building images needs root for debootstrap: run it as root, or let the engine reach a registry (IMAGES=pull)"
	check_disk
	install_packages debootstrap debian-archive-keyring ca-certificates
	mirror=$(debian_mirror)
	quietly "$STATE_DIR/log/debian-$suite.log" "base image $suite" \
		"$RECIPES/debian/build.sh" "$suite" "$mirror" "$STATE_DIR/build/root-$suite" "$tag" "$hash"
}

# build NAME TAG "SUITE..." ARGUMENT... builds one image from its recipe, unless the engine has it already.
build() {
	local name=$1 tag=$2 suites=$3 context hash suite argument arguments=()
	shift 3
	hash=$(recipe "$name" "$@")
	up_to_date "$tag" "$hash" && return
	for argument in "$@"; do
		arguments+=(--build-arg "$argument")
		case $argument in
		*odoo-hosting/debian:*) base "${argument##*:}" ;;
		esac
	done
	context=$STATE_DIR/build/${tag//[\/:]/-}
	rm -rf "$context"
	cp -r "$RECIPES/$name" "$context"
	for suite in $suites; do
		write_apt_configuration "$suite" "$context"
	done
	quietly "$STATE_DIR/log/${tag//[\/:]/-}.log" "image $tag" \
		env DOCKER_BUILDKIT=0 docker build --network host --force-rm --label "$LABEL=$hash" -t "$tag" "${arguments[@]}" "$context"
	rm -rf "$context"
	# The stages have done their work, and are as large as the image.
	docker image prune -f --filter label=odoo-hosting.stage >/dev/null
}

postgres() {
	local version=$1 suite=$2 base_suite=$3 directory=/var/lib/postgresql/data volume=/var/lib/postgresql/data
	if ((version >= 18)); then
		directory=/var/lib/postgresql/$version/docker volume=/var/lib/postgresql
	fi
	build postgres "odoo-hosting/postgres:$version" "$suite" "BASE=odoo-hosting/debian:$base_suite" "SUITE=$suite" "VERSION=$version" \
		"PGDATA_DIR=$directory" "VOLUME_DIR=$volume"
}

# nameserver BASE [SUITE] is built also where a registry answers: no official image is Debian's.
nameserver() { build nameserver "$NAMESERVER" "${2:-}" "BASE=$1" SUITE=trixie; }

build_all() {
	postgres 17 trixie trixie
	if [[ $WITH_TEST_IMAGES == --test ]]; then
		postgres 15 bookworm bookworm
		postgres 18 sid trixie
		nameserver odoo-hosting/debian:trixie trixie
	fi
	build odoo odoo-hosting/odoo:19.0 "bookworm trixie sid" BASE=odoo-hosting/debian:trixie PDF_BASE=odoo-hosting/debian:bookworm
	write_env odoo-hosting/odoo:19.0 odoo-hosting/postgres:17 odoo-hosting/postgres:15 odoo-hosting/postgres:18
}

# registry_answers reports whether the engine can reach a registry: the first line of a pull comes after the manifest did.
registry_answers() {
	local log=$STATE_DIR/log/registry.log start=$SECONDS pid found=1
	docker pull odoo:19.0 >"$log" 2>&1 </dev/null &
	pid=$!
	while ((SECONDS - start < REGISTRY_SECONDS)); do
		if grep -q 'Pulling from' "$log"; then
			found=0
			break
		fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.2
	done
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	return "$found"
}

# pull IMAGE pulls it and prints its name by digest, which can't move.
pull() {
	quietly "$STATE_DIR/log/pull-${1/:/-}.log" "docker pull $1" docker pull "$1" >&2
	docker image inspect -f '{{index .RepoDigests 0}}' "$1"
}

pull_all() {
	local odoo postgres17 postgres15='' postgres18=''
	odoo=$(pull odoo:19.0)
	postgres17=$(pull postgres:17)
	if [[ $WITH_TEST_IMAGES == --test ]]; then
		postgres15=$(pull postgres:15)
		postgres18=$(pull postgres:18)
		nameserver debian:trixie
	fi
	write_env "$odoo" "$postgres17" "$postgres15" "$postgres18"
}

write_env() {
	{
		printf 'ODOO_IMAGE=%s\nPOSTGRES_IMAGE=%s\n' "$1" "$2"
		if [[ $WITH_TEST_IMAGES == --test ]]; then
			printf 'POSTGRES15_IMAGE=%s\nPOSTGRES18_IMAGE=%s\nNAMESERVER_IMAGE=%s\n' "$3" "$4" "$NAMESERVER"
		fi
	} >"$ENV_FILE.new"
	mv "$ENV_FILE.new" "$ENV_FILE"
}

# settled reports whether an earlier run chose pulled images that the engine still has: then no registry is asked again.
settled() {
	local line
	[[ -s $ENV_FILE ]] && grep -q '^ODOO_IMAGE=.*@sha256:' "$ENV_FILE" || return 1
	[[ $WITH_TEST_IMAGES != --test ]] || grep -q '^NAMESERVER_IMAGE=' "$ENV_FILE" || return 1
	while read -r line; do
		present "${line#*=}" || return 1
	done <"$ENV_FILE"
}

main() {
	# One build at a time, also from another clone: the second finds the first one's images.
	exec 9>"${TMPDIR:-/tmp}/odoo-hosting-images-$EUID.lock"
	flock 9
	mkdir -p "$STATE_DIR/build"
	case $IMAGES in
	pull) pull_all ;;
	build) build_all ;;
	auto)
		if settled; then
			return
		elif present odoo-hosting/odoo:19.0 && present odoo-hosting/postgres:17; then
			build_all
		elif registry_answers; then
			pull_all
		else
			say "no registry answers: building the images from Debian's packages"
			build_all
		fi
		;;
	*) die "IMAGES is $IMAGES: it may be auto, pull or build" ;;
	esac
}

main
