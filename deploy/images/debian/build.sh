#!/usr/bin/env bash
# build.sh SUITE MIRROR DIRECTORY TAG RECIPE-HASH makes a small Debian base image without a registry: debootstrap, trimmed, imported.
# Nothing of the building machine stays in it, package sources included: an image changes by being built anew.
set -euo pipefail

suite=$1 mirror=$2 root=$3 tag=$4 recipe=$5

trap 'rm -rf --one-file-system "$root"' EXIT
rm -rf --one-file-system "$root"
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror"

: >"$root/etc/apt/sources.list"
# Whatever is installed on top leaves its manuals out as well, except the copyright files, which have to stay.
cat >"$root/etc/dpkg/dpkg.cfg.d/90-slim" <<-DPKG
	path-exclude /usr/share/doc/*
	path-include /usr/share/doc/*/copyright
	path-exclude /usr/share/info/*
	path-exclude /usr/share/locale/*
	path-exclude /usr/share/man/*
DPKG
# Maintainer scripts must not start services in an image.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
find "$root/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$root"/usr/share/{info,locale,man}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* \
	"$root"/etc/hostname "$root"/etc/resolv.conf "$root"/etc/machine-id
tar -C "$root" --numeric-owner -c . |
	docker import --change "LABEL odoo-hosting.recipe=$recipe" --change 'CMD ["bash"]' - "$tag"
