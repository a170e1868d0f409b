package pgcluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
)

var _ provision.ClusterInventory = (*Cluster)(nil)

// ClusterObjects reads it all in one statement. Whose a pair is, the role's mark says: a tenant may change the comment of its own
// database. Without a role of ours the database's mark counts, if the database is still the control role's.
func (c *Cluster) ClusterObjects(ctx context.Context) ([]provision.ClusterObject, error) {
	rows, err := c.pool.Query(ctx, `
		SELECT coalesce(r.rolname, d.datname)::text, coalesce(r.oid, 0)::bigint, coalesce(d.oid, 0)::bigint,
		       coalesce(shobj_description(r.oid, 'pg_authid'), ''), coalesce(shobj_description(d.oid, 'pg_database'), ''),
		       coalesce(pg_get_userbyid(d.datdba), '')::text, coalesce(r.rolconnlimit, 0),
		       has_parameter_privilege($2, 'SET') AND NOT EXISTS (SELECT FROM unnest(r.rolconfig) s WHERE starts_with(s, $2 || '='))
		FROM pg_roles r FULL JOIN pg_database d ON d.datname = r.rolname
		WHERE starts_with(shobj_description(r.oid, 'pg_authid'), $1) OR starts_with(shobj_description(d.oid, 'pg_database'), $1)
		ORDER BY 1`, c.mark(""), tempFiles)
	if err != nil {
		return nil, classify(fmt.Errorf("list our databases: %w", err))
	}
	var out []provision.ClusterObject
	var p pair
	_, err = pgx.ForEachRow(rows, []any{&p.name, &p.role, &p.database, &p.roleMark, &p.databaseMark, &p.owner, &p.limit, &p.unbounded}, func() error {
		if o, ours := c.judge(p); ours {
			out = append(out, o)
		}
		return nil
	})
	if err != nil {
		return nil, classify(fmt.Errorf("list our databases: %w", err))
	}
	return out, nil
}

// pair is a role and a database of one name; an oid of 0 means that there is none.
type pair struct {
	name                   string
	role, database         int64
	roleMark, databaseMark string
	owner                  string // of the database
	limit                  int
	unbounded              bool
}

// judge reports what of the pair is ours, by the same rules as check.
func (c *Cluster) judge(p pair) (provision.ClusterObject, bool) {
	ofRole, roleOurs := strings.CutPrefix(p.roleMark, c.mark(""))
	ofDatabase, marked := strings.CutPrefix(p.databaseMark, c.mark(""))
	o := provision.ClusterObject{Object: provision.Object{Name: p.name}}
	if roleOurs {
		o.Role, o.Owner, o.ConnectionLimit = true, ofRole, p.limit
		o.Unbounded = p.unbounded && c.marksTenant(p.roleMark)
		o.Database = p.database != 0 && (p.owner == p.name || p.owner == c.user && (marked || p.databaseMark == ""))
	} else {
		o.Owner = ofDatabase
		o.Database = marked && p.owner == c.user
	}
	o.Kind = provision.KindRole
	if o.Database {
		o.Kind = provision.KindDatabase
	}
	o.ID = fmt.Sprintf("%d/%d", p.role, p.database)
	return o, o.Role || o.Database
}
