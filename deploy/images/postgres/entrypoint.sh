#!/usr/bin/env bash
# Starts PostgreSQL, and makes the cluster first where there is none: the documented behaviour of the official image.
set -euo pipefail

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# from_file NAME [DEFAULT] sets NAME from the file that NAME_FILE names, so that a secret need not be in the environment.
from_file() {
	local name=$1 file_name=$1_FILE
	if [[ -n ${!name:-} && -n ${!file_name:-} ]]; then
		die "$name and $file_name are both set"
	fi
	if [[ -n ${!file_name:-} ]]; then
		printf -v "$name" '%s' "$(<"${!file_name}")"
	else
		printf -v "$name" '%s' "${!name:-${2:-}}"
	fi
	export "${name?}"
	unset "$file_name"
}

prepare_directories() {
	mkdir -p "$PGDATA" /var/run/postgresql
	chmod 0700 "$PGDATA" 2>/dev/null || true
	if ((EUID == 0)); then
		find "$PGDATA" ! -user postgres -exec chown postgres '{}' +
		chown postgres:postgres /var/run/postgresql
		chmod 3777 /var/run/postgresql
	fi
}

read_settings() {
	from_file POSTGRES_PASSWORD
	from_file POSTGRES_USER postgres
	from_file POSTGRES_DB "$POSTGRES_USER"
	from_file POSTGRES_INITDB_ARGS
	: "${POSTGRES_HOST_AUTH_METHOD:=}"
	if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
		die "the database is uninitialised and POSTGRES_PASSWORD is empty: set it (or POSTGRES_HOST_AUTH_METHOD=trust, which lets everybody in)"
	fi
}

make_cluster() {
	local args=()
	# The variable holds a command line, quotes and all, as with the official image.
	eval "args=($POSTGRES_INITDB_ARGS)"
	if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
		args+=(--waldir "$POSTGRES_INITDB_WALDIR")
	fi
	if [[ -n $POSTGRES_PASSWORD ]]; then
		initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${args[@]}"
	else
		initdb --username="$POSTGRES_USER" "${args[@]}"
	fi
	printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
}

run_sql() {
	PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD} PGHOST='' PGHOSTADDR='' \
		psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc "$@"
}

run_init_files() {
	local file
	for file in /docker-entrypoint-initdb.d/*; do
		case $file in
		*.sh)
			if [[ -x $file ]]; then
				"$file"
			else
				# shellcheck disable=SC1090
				. "$file"
			fi
			;;
		*.sql) run_sql --dbname "$POSTGRES_DB" -f "$file" ;;
		*.sql.gz) gunzip -c "$file" | run_sql --dbname "$POSTGRES_DB" ;;
		*) [[ ! -e $file ]] || printf 'ignoring %s\n' "$file" ;;
		esac
	done
}

# initialise makes the cluster and fills it through a server that listens on its socket only, so that nobody sees it half made.
initialise() {
	read_settings
	make_cluster
	PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -w start -o "$(printf '%q ' "$@" -c listen_addresses='' -p "${PGPORT:-5432}")"
	if [[ $POSTGRES_DB != postgres ]]; then
		run_sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
	fi
	run_init_files
	PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
}

wants_help() {
	local arg
	for arg in "$@"; do
		case $arg in
		-'?' | --help | --describe-config | -V | --version) return 0 ;;
		esac
	done
	return 1
}

if [[ ${1:-} == -* ]]; then
	set -- postgres "$@"
fi
if [[ ${1:-} == postgres ]] && ! wants_help "$@"; then
	prepare_directories
	if ((EUID == 0)); then
		# As the official image does: a password file need only be readable for root.
		[[ -s $PGDATA/PG_VERSION ]] || read_settings
		exec setpriv --reuid=postgres --regid=postgres --init-groups "${BASH_SOURCE[0]}" "$@"
	fi
	if [[ ! -s $PGDATA/PG_VERSION ]]; then
		initialise "${@:2}"
	fi
fi
exec "$@"
