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

// LimitTempFiles changes nothing that is as it should be already. Errors: ErrForeign.
func (c *Cluster) LimitTempFiles(ctx context.Context, name, subject string, megabytes int) error {
	if err := c.mine(ctx, name, subject); err != nil {
		return err
	}
	return c.exec(ctx, "limit the temporary files of role "+name, c.limitTempFiles(name, megabytes))
}

// tempFiles is the setting that limits what one query writes beside its tables. Who may set it is up to superuser.sql.
const tempFiles = "temp_file_limit"

// tooManyTempFiles is what the server says to a query that wants to write more; it isn't short of anything.
const tooManyTempFiles = "53400"

// limitTempFiles is SQL that does it if we may; 0 sets nothing. Sessions that there are keep what they began with.
func (c *Cluster) limitTempFiles(role string, megabytes int) string {
	if megabytes == 0 {
		return "SELECT"
	}
	alter := fmt.Sprintf("ALTER ROLE %s SET %s = %d", quoteName(role), tempFiles, megabytes<<10)
	return "DO $do$ BEGIN IF has_parameter_privilege('" + tempFiles + "', 'SET') THEN EXECUTE " + quoteText(alter) + "; END IF; END $do$"
}
