package pgcluster

import (
	"context"
	"path"
	"strings"

	"controlplane/internal/secrets"
)

// scratchPrefix begins the names of databases that something foreign is loaded into, to be looked at.
func (c *Cluster) scratchPrefix() string { return "odooimport_" + c.installation + "_" }

// BeginScratch makes an empty database, and a role of the same name that owns it and may do nothing else, in the place of what another attempt
// for the subject left. Its queries may write so much beside their tables.
func (c *Cluster) BeginScratch(ctx context.Context, subject string, password secrets.Secret, tempFilesMB int) (name string, err error) {
	name = c.scratchPrefix() + path.Base(subject)
	if err := c.BeginSandbox(ctx, name, subject, password); err != nil {
		return name, err
	}
	return name, c.LimitTempFiles(ctx, name, subject, tempFilesMB)
}

// RemoveScratch removes both; what isn't there is removed.
func (c *Cluster) RemoveScratch(ctx context.Context, subject string) error {
	return c.RemoveTenant(ctx, c.scratchPrefix()+path.Base(subject), subject)
}

// SweepScratch removes those of subjects that nobody works for any more, as live tells, and returns how many databases and roles that were.
func (c *Cluster) SweepScratch(ctx context.Context, live func(ctx context.Context, subject string) (bool, error)) (removed int, err error) {
	objects, err := c.ClusterObjects(ctx)
	if err != nil {
		return 0, err
	}
	for _, o := range objects {
		if !strings.HasPrefix(o.Name, c.scratchPrefix()) {
			continue
		}
		alive, err := live(ctx, o.Owner)
		if err != nil {
			return removed, err
		}
		if alive {
			continue
		}
		if err := c.RemoveTenant(ctx, o.Name, o.Owner); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
