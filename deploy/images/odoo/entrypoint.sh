#!/usr/bin/env bash
# Starts Odoo: the documented behaviour of the official image. What odoo.conf says about the database wins over HOST, PORT, USER and PASSWORD.
# The connection goes to Odoo in libpq's own variables and never on a command line, where every process of the host could read it.
set -euo pipefail

CONFIG=${ODOO_RC:-/etc/odoo/odoo.conf}
WAIT_SECONDS=30

# configured NAME prints the value that the configuration file gives an option; fails when it gives none, for which Odoo writes False.
configured() {
	local line
	[[ -r $CONFIG ]] || return 1
	line=$(grep -E "^[[:space:]]*$1[[:space:]]*=" "$CONFIG" | tail -n 1) || return 1
	line=${line#*=}
	line=${line#"${line%%[![:space:]]*}"}
	line=${line%"${line##*[![:space:]]}"}
	[[ -n $line && $line != False ]] || return 1
	printf '%s' "$line"
}

# choose OPTION VARIABLE VALUE exports VARIABLE for libpq, unless the configuration file has the option and so decides itself.
choose() {
	if configured "$1" >/dev/null; then
		unset "$2"
	else
		export "$2=$3"
	fi
}

read_connection() {
	if [[ -n ${PASSWORD_FILE:-} ]]; then
		PASSWORD=$(<"$PASSWORD_FILE")
	fi
	choose db_host PGHOST "${HOST:-${DB_PORT_5432_TCP_ADDR:-db}}"
	choose db_port PGPORT "${PORT:-${DB_PORT_5432_TCP_PORT:-5432}}"
	choose db_user PGUSER "${USER:-${DB_ENV_POSTGRES_USER:-${POSTGRES_USER:-odoo}}}"
	choose db_password PGPASSWORD "${PASSWORD:-${DB_ENV_POSTGRES_PASSWORD:-${POSTGRES_PASSWORD:-odoo}}}"
	unset PASSWORD PASSWORD_FILE
}

wait_for_postgres() {
	local host port deadline=$((SECONDS + WAIT_SECONDS))
	host=$(configured db_host) || host=$PGHOST
	port=$(configured db_port) || port=$PGPORT
	until pg_isready -q -t 1 -h "$host" -p "$port"; do
		if ((SECONDS >= deadline)); then
			printf 'error: PostgreSQL at %s:%s did not answer within %s s\n' "$host" "$port" "$WAIT_SECONDS" >&2
			exit 1
		fi
		sleep 0.1
	done
}

start_odoo() {
	read_connection
	if [[ ${1:-} != scaffold ]]; then
		wait_for_postgres
	fi
	exec odoo "$@"
}

case ${1:-odoo} in
-- | odoo) start_odoo "${@:2}" ;;
-*) start_odoo "$@" ;;
*) exec "$@" ;;
esac
