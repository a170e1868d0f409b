package pgcluster

import (
	"context"
	"fmt"

	"controlplane/internal/provision"
)

// Inspect reads it all in one statement from the catalogs, which every role may. A tenant's own database isn't among the open ones, whatever
// its owner grants: one of them must not be able to keep the platform from starting.
func (c *Cluster) Inspect(ctx context.Context) (provision.ServerStatus, error) {
	var s provision.ServerStatus
	err := c.pool.QueryRow(ctx, `
		WITH public_acl AS (
			SELECT d.datname, d.datdba, bool_or(a.privilege_type = 'CONNECT') AS connect, bool_or(a.privilege_type IN ('CREATE', 'TEMPORARY')) AS make
			FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
			WHERE a.grantee = 0 AND d.datallowconn GROUP BY 1, 2
		), granted AS (
			SELECT d.datname, d.datdba FROM pg_database d, aclexplode(d.datacl) a
			WHERE a.grantee = to_regrole($1)::oid AND a.privilege_type = 'CONNECT'
		)
		SELECT current_setting('server_version_num')::int, me.rolsuper, me.rolcreatedb, me.rolcreaterole,
		       EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = to_regrole($1)::oid AND m.member = me.oid AND m.admin_option),
		       has_parameter_privilege($3, 'SET'),
		       'postgres' IN (SELECT datname FROM granted) AND 'postgres' NOT IN (SELECT datname FROM public_acl)
		           AND NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'public' AND a.grantee = 0),
		       ARRAY(SELECT datname::text FROM (
		             SELECT datname, datdba FROM public_acl WHERE connect UNION SELECT datname, datdba FROM granted) o
		             WHERE datname <> 'postgres' AND NOT starts_with(coalesce(shobj_description(o.datdba, 'pg_authid'), ''), $2) ORDER BY 1),
		       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
		       (SELECT coalesce(sum(rolconnlimit), 0)::int FROM pg_roles r
		        WHERE rolcanlogin AND rolconnlimit > 0 AND starts_with(shobj_description(r.oid, 'pg_authid'), $2))
		FROM pg_roles me WHERE me.rolname = current_user`, TenantsRole, c.mark("tenant/"), tempFiles).Scan(
		&s.Version, &s.Superuser, &s.CreateDB, &s.CreateRole, &s.TenantsGroup, &s.TempFiles, &s.PostgresClosed, &s.OpenDatabases,
		&s.MaxConnections, &s.TenantsConnections)
	if err != nil {
		return s, classify(fmt.Errorf("inspect the tenants' database server: %w", err))
	}
	return s, nil
}
