package pgcluster

import (
	"context"
	"fmt"
	"strings"

	"controlplane/internal/errs"
	"controlplane/internal/provision"
)

// errNoRole is returned for a tenant that has no role here.
var errNoRole = errs.New(errs.NotFound, "role_missing", "The client has no database role.")

// marksTenant reports whether a comment is the mark of some tenant of this installation.
func (c *Cluster) marksTenant(comment string) bool {
	return strings.HasPrefix(comment, c.mark("tenant/"))
}

// HasTenant wants the database handed over: a clone that isn't yet holds nothing of the tenant's. Errors: ErrForeign.
func (c *Cluster) HasTenant(ctx context.Context, name, subject string) (bool, error) {
	s, err := c.look(ctx, name)
	if err != nil {
		return false, err
	}
	if err := c.check(name, subject, s); err != nil {
		return false, err
	}
	return s.role.exists && s.database.exists && s.database.owner == name, nil
}

// LimitConnections leaves sessions alone that are beyond the new limit. Errors: ErrForeign.
func (c *Cluster) LimitConnections(ctx context.Context, name, subject string, limit int, lower bool) error {
	s, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	if err := c.check(name, subject, s); err != nil {
		return err
	}
	if !s.role.exists {
		return errNoRole.WithCause(fmt.Errorf("no role %s", name))
	}
	var present int
	if err := c.pool.QueryRow(ctx, "SELECT rolconnlimit FROM pg_roles WHERE rolname = $1", name).Scan(&present); err != nil {
		return classify(fmt.Errorf("read the connection limit of role %s: %w", name, err))
	}
	if present == limit || !lower && present > limit {
		return nil
	}
	return c.exec(ctx, "limit the connections of role "+name, fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT %d", quoteName(name), limit))
}

var _ provision.ClusterEstate = (*Cluster)(nil)
