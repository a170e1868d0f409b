package pgcluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
)

// Adopt gives a copy what two Odoos must not share. Who its users are stays, and so does all that it would send and do: that is decided by
// whoever neutralises it, or doesn't.
func (c *Cluster) Adopt(ctx context.Context, t provision.TenantDatabase, database, url string) error {
	conn, err := c.asTenant(ctx, t, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		all := parameters(provision.Identity{BaseURL: url}, time.Now())
		for _, key := range []string{"database.uuid", "database.secret", "database.create_date", "web.base.url", "web.base.url.freeze", "report.url"} {
			if _, err := tx.Exec(ctx, setParameter, key, all[key]); err != nil {
				return err
			}
		}
		var channels bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass('public.discuss_channel') IS NOT NULL").Scan(&channels); err != nil || !channels {
			return err
		}
		_, err := tx.Exec(ctx, newInvitations)
		return err
	})
	if err != nil {
		return classify(fmt.Errorf("make %s an Odoo of %s: %w", database, t.Name, err))
	}
	return nil
}

// Neutralised reads the mark that `odoo neutralize` leaves as the last.
func (c *Cluster) Neutralised(ctx context.Context, t provision.TenantDatabase) (bool, error) {
	conn, err := c.asOwner(ctx, t)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var mark string
	err = conn.QueryRow(ctx, "SELECT coalesce(max(value), '') FROM public.ir_config_parameter WHERE key = 'database.is_neutralized'").Scan(&mark)
	if err != nil {
		return false, classify(fmt.Errorf("look whether %s is neutralised: %w", t.Name, err))
	}
	return strings.EqualFold(mark, "true"), nil
}
