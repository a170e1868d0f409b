package pgcluster

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
)

// signals are what Odoo's processes look at before each request to learn that what they remember of parameters is out of date: tables from
// Odoo 19 on, sequences before.
func signals() []string {
	return []string{"orm_signaling_default", "orm_signaling_stable", "base_cache_signaling_default", "base_cache_signaling"}
}

// SetBaseURL works as the tenant's own role, as SetAdminPassword does, and needs no restart: Odoo is told in the same transaction.
func (c *Cluster) SetBaseURL(ctx context.Context, t provision.TenantDatabase, url string) error {
	conn, err := c.asOwner(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for key, value := range map[string]string{"web.base.url": url, "web.base.url.freeze": "True"} {
			if _, err := tx.Exec(ctx, setParameter, key, value); err != nil {
				return err
			}
		}
		return tellOdoo(ctx, tx)
	})
	if err != nil {
		return classify(fmt.Errorf("set the base URL in %s: %w", t.Name, err))
	}
	return nil
}

func tellOdoo(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT relname, relkind = 'S' FROM pg_catalog.pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') AND relname = ANY($1)`, signals())
	if err != nil {
		return err
	}
	sequences := map[string]bool{}
	var name string
	var sequence bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &sequence}, func() error { sequences[name] = sequence; return nil }); err != nil {
		return err
	}
	for name, sequence := range sequences {
		sql := "INSERT INTO public." + quoteName(name) + " DEFAULT VALUES"
		if sequence {
			sql = "SELECT pg_catalog.nextval(" + quoteText("public."+name) + ")"
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
