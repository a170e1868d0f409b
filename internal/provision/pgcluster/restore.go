package pgcluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Beside a tenant's database there may be others of its content: "odoo_acme~new", which is being restored into, and "odoo_acme~b1767225600",
// what it was before a restore at that second. No tenant's own can be called like it. They are the control role's, so that one that is
// left over counts as the tenant's, and goes with it.
const (
	sideNew    = "~new"
	sideBefore = "~b"
)

// BeginRestore makes an empty database that the tenant's role may fill, in the place of what an earlier restore left, and returns its name.
// Errors: provision.ErrForeign.
func (c *Cluster) BeginRestore(ctx context.Context, name, subject string) (string, error) {
	if err := c.mine(ctx, name, subject); err != nil {
		return "", err
	}
	if err := c.dropSides(ctx, name); err != nil {
		return "", err
	}
	into := name + sideNew
	create := fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C'", quoteName(into))
	if err := c.exec(ctx, "make database "+into, create); err != nil {
		return "", err
	}
	err := c.execTx(ctx, "close database "+into,
		"REVOKE CONNECT, TEMPORARY ON DATABASE "+quoteName(into)+" FROM PUBLIC",
		"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE "+quoteName(into)+" TO "+quoteName(name),
		"COMMENT ON DATABASE "+quoteName(into)+" IS "+quoteText(c.mark(subject)),
	)
	if err != nil {
		return "", err
	}
	return into, c.in(ctx, into, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "GRANT CREATE ON SCHEMA public TO "+quoteName(name), pgx.QueryExecModeSimpleProtocol)
		return err
	})
}

// mine returns ErrForeign unless the role is the subject's. Its database may be missing: that is what backups are for.
func (c *Cluster) mine(ctx context.Context, name, subject string) error {
	s, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	if !s.role.exists {
		return errNoRole.WithCause(fmt.Errorf("no role %s", name))
	}
	return c.check(name, subject, s)
}

// SwapRestored puts what was restored in the tenant's database's place, in one transaction, and keeps that beside it. Whoever is connected is
// cut off. A repeat changes nothing.
func (c *Cluster) SwapRestored(ctx context.Context, name, subject string, now time.Time) error {
	if err := c.mine(ctx, name, subject); err != nil {
		return err
	}
	sides, err := c.sides(ctx, name)
	if err != nil {
		return err
	}
	if sides.restored == "" {
		if sides.before == "" {
			return fmt.Errorf("nothing was restored beside %s", name)
		}
		return c.open(ctx, name)
	}
	return c.swap(ctx, name, subject, sides.restored, name+sideBefore+strconv.FormatInt(now.Unix(), 10))
}

// UndoRestore puts back what was there before, if it was swapped, and drops what was restored. A repeat changes nothing.
func (c *Cluster) UndoRestore(ctx context.Context, name, subject string) error {
	if err := c.mine(ctx, name, subject); err != nil {
		return err
	}
	sides, err := c.sides(ctx, name)
	if err != nil {
		return err
	}
	if sides.restored == "" && sides.before != "" {
		if err := c.swap(ctx, name, subject, sides.before, name+sideNew); err != nil {
			return err
		}
	}
	if err := c.dropDatabase(ctx, name+sideNew); err != nil {
		return err
	}
	return c.open(ctx, name)
}

// swap gives the tenant's name to one database, and aside to the one that had it.
func (c *Cluster) swap(ctx context.Context, name, subject, from, aside string) error {
	there, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	statements := []string{}
	for _, database := range []string{name, from} {
		if database == name && !there.database.exists {
			continue
		}
		if err := c.shut(ctx, database); err != nil {
			return err
		}
	}
	if there.database.exists {
		statements = append(statements,
			"ALTER DATABASE "+quoteName(name)+" RENAME TO "+quoteName(aside),
			"ALTER DATABASE "+quoteName(aside)+" OWNER TO CURRENT_USER",
			"COMMENT ON DATABASE "+quoteName(aside)+" IS "+quoteText(c.mark(subject)),
		)
	}
	statements = append(statements,
		"ALTER DATABASE "+quoteName(from)+" RENAME TO "+quoteName(name),
		"ALTER DATABASE "+quoteName(name)+" OWNER TO "+quoteName(name),
		"COMMENT ON DATABASE "+quoteName(name)+" IS "+quoteText(c.mark(subject)),
		"ALTER DATABASE "+quoteName(name)+" ALLOW_CONNECTIONS true",
	)
	return c.execTx(ctx, "put "+from+" in the place of "+name, statements...)
}

// shut ends the sessions of a database, and lets nobody in.
func (c *Cluster) shut(ctx context.Context, database string) error {
	if err := c.exec(ctx, "close database "+database, "ALTER DATABASE "+quoteName(database)+" ALLOW_CONNECTIONS false"); err != nil {
		return err
	}
	return c.exec(ctx, "end the sessions of database "+database,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = "+quoteText(database))
}

// open lets the tenant into its database again, if there is one.
func (c *Cluster) open(ctx context.Context, name string) error {
	err := c.exec(ctx, "open database "+name, "ALTER DATABASE "+quoteName(name)+" ALLOW_CONNECTIONS true")
	if pgCode(err) == "3D000" {
		return nil
	}
	return err
}

// sides are the databases beside a tenant's; "" for none.
type sides struct{ restored, before string }

func (c *Cluster) sides(ctx context.Context, name string) (sides, error) {
	var s sides
	for _, database := range []struct {
		pattern string
		into    *string
	}{{sideNew, &s.restored}, {sideBefore, &s.before}} {
		err := c.pool.QueryRow(ctx, "SELECT coalesce(max(datname), '')::text FROM pg_database WHERE starts_with(datname, $1)", name+database.pattern).Scan(database.into)
		if err != nil {
			return s, classify(fmt.Errorf("look beside database %s: %w", name, err))
		}
	}
	return s, nil
}

// dropSides drops what restores left beside a tenant's database.
func (c *Cluster) dropSides(ctx context.Context, name string) error {
	rows, err := c.pool.Query(ctx, "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1) AND pg_has_role(datdba, 'MEMBER')", name+"~")
	if err != nil {
		return classify(fmt.Errorf("look beside database %s: %w", name, err))
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return classify(fmt.Errorf("look beside database %s: %w", name, err))
	}
	for _, side := range names {
		if err := c.dropDatabase(ctx, side); err != nil {
			return err
		}
	}
	return nil
}

// SweepRestores drops what tenants' databases were before restores that are older, and returns how many.
func (c *Cluster) SweepRestores(ctx context.Context, before time.Time) (int, error) {
	rows, err := c.pool.Query(ctx, `
		SELECT datname::text FROM pg_database
		WHERE datname LIKE '%~b%' AND starts_with(shobj_description(oid, 'pg_database'), $1) AND pg_get_userbyid(datdba) = current_user`, c.mark("tenant/"))
	if err != nil {
		return 0, classify(fmt.Errorf("list what was before restores: %w", err))
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, classify(fmt.Errorf("list what was before restores: %w", err))
	}
	dropped := 0
	for _, name := range names {
		_, digits, _ := strings.Cut(name, sideBefore)
		second, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || !time.Unix(second, 0).Before(before) {
			continue
		}
		if err := c.dropDatabase(ctx, name); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}
