# Reads this machine's package sources, so that images are built from the mirror that works here. Sourced by images.sh.
# shellcheck shell=bash

# apt_sources prints "URI SUITE" for each enabled Debian source of this machine, in the one-line and the deb822 format alike.
apt_sources() {
	[[ $(. /etc/os-release && printf '%s' "${ID:-}") == debian ]] || return 0
	local file
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[[ -r $file ]] && awk '$1 == "deb" { sub(/\[[^]]*\]/, ""); print $2, $3 }' "$file"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[[ -r $file ]] || continue
		awk '
			function flush(   i, j, n, m, u, s) {
				if (enabled && types ~ /(^| )deb( |$)/) {
					n = split(uris, u, " "); m = split(suites, s, " ")
					for (i = 1; i <= n; i++) for (j = 1; j <= m; j++) print u[i], s[j]
				}
				uris = suites = types = ""; enabled = 1
			}
			BEGIN { enabled = 1 }
			/^[ \t]*#/ { next }
			/^[ \t]*$/ { flush(); next }
			/^[ \t]/ { value = $0 } # goes on where the line before ended
			/^[^ \t]/ { key = tolower($1); value = $0; sub(/^[^:]*:[ \t]*/, "", value) }
			key == "types:" { types = types " " value }
			key == "uris:" { uris = uris " " value }
			key == "suites:" { suites = suites " " value }
			key == "enabled:" { enabled = tolower(value) != "no" }
			END { flush() }
		' "$file"
	done
	return 0
}

# source_of PATTERN prints the first source whose suite matches.
source_of() { apt_sources | awk -v pattern="$1" '$2 ~ pattern && !found++ { print $1 }'; }

# debian_mirror prints the address that serves Debian's packages: DEBIAN_MIRROR, or what this machine itself uses.
debian_mirror() {
	local mirror=${DEBIAN_MIRROR:-}
	[[ -n $mirror ]] || mirror=$(source_of '^[a-z]+$')
	[[ -n $mirror ]] || die "this machine has no Debian package source: set DEBIAN_MIRROR to the URL of one"
	printf '%s\n' "$mirror"
}

# write_apt_configuration SUITE DIRECTORY writes SUITE.list and SUITE.conf for a build: the mirror, updates and security fixes where this
# machine has such a source, and this machine's own ways of reaching it (proxy, time checks). The files don't end up in the image.
write_apt_configuration() {
	local suite=$1 directory=$2 mirror security
	mirror=$(debian_mirror)
	{
		printf 'deb %s %s main\n' "$mirror" "$suite"
		if [[ $suite != sid ]]; then
			security=$(source_of '-security$|/updates$')
			[[ -z $(source_of '-updates$') ]] || printf 'deb %s %s-updates main\n' "$mirror" "$suite"
			[[ -z $security ]] || printf 'deb %s %s-security main\n' "$security" "$suite"
		fi
	} >"$directory/$suite.list"
	{
		apt-config dump 2>/dev/null | grep -E '^Acquire::(Check-|Retries|https?::(Proxy|Timeout))' || true
		# sid's index may be past its date: it is frozen on some mirrors. A build that a crash ends starts again, so dpkg need not sync.
		cat <<-CONF
			Acquire::Check-Valid-Until "false";
			Acquire::Languages "none";
			Dir::Etc::sourcelist "/build/$suite.list";
			Dir::Etc::sourceparts "/build/none";
			DPkg::Options:: "--force-unsafe-io";
		CONF
	} >"$directory/$suite.conf"
}
