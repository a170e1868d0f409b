package pgcluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Beside a tenant's database there may be others of its content: "odoo_acme~new", which is being restored into, and
// "odoo_acme~b1767225600_0042", what it was before the restore at that second whose number ends so. No tenant's own can be called like it. They
// are the control role's, so that one that is left over counts as the tenant's, and goes with it.
const (
	sideNew    = "~new"
	sideBefore = "~b"
)

// aside names what a database is called once a restore has taken its place. No two restores of a tenant have the same, and the longest name
// of a tenant's database leaves room for it in the server's 63 bytes.
func aside(name string, at time.Time, restore int64) string {
	return fmt.Sprintf("%s%s%d_%04d", name, sideBefore, at.Unix(), restore%1e4)
}

// BeginRestore makes an empty database that the tenant's role may fill, in the place of what another attempt left, and returns its name.
// Errors: provision.ErrForeign.
func (c *Cluster) BeginRestore(ctx context.Context, name, subject string) (string, error) {
	if err := c.mine(ctx, name, subject); err != nil {
		return "", err
	}
	into := name + sideNew
	if err := c.dropDatabase(ctx, into); err != nil {
		return "", err
	}
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
// cut off. When it was decided on and the restore's number tell it from others; a repeat with the same changes nothing.
func (c *Cluster) SwapRestored(ctx context.Context, name, subject string, at time.Time, restore int64) error {
	if err := c.mine(ctx, name, subject); err != nil {
		return err
	}
	before := aside(name, at, restore)
	restored, err := c.has(ctx, name+sideNew)
	if err != nil {
		return err
	}
	if restored {
		return c.swap(ctx, name, subject, name+sideNew, before)
	}
	done, err := c.has(ctx, before)
	if err != nil {
		return err
	}
	there, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	if !done && there.database.comment != c.insteadOf(subject, before) {
		return fmt.Errorf("nothing was restored beside %s", name)
	}
	return c.open(ctx, name)
}

// insteadOf marks a database that was swapped in: where there was none before, none is put aside that could tell.
func (c *Cluster) insteadOf(subject, before string) string {
	return c.mark(subject) + " instead of " + before
}

// UndoRestore puts back what was there before this restore, if it was swapped, and drops what was restored. A repeat changes nothing.
// Where there was no database before, what was restored stays.
func (c *Cluster) UndoRestore(ctx context.Context, name, subject string, at time.Time, restore int64) error {
	if err := c.mine(ctx, name, subject); err != nil {
		return err
	}
	before := aside(name, at, restore)
	swapped, err := c.has(ctx, before)
	if err != nil {
		return err
	}
	if swapped {
		if err := c.swap(ctx, name, subject, before, name+sideNew); err != nil {
			return err
		}
	}
	if err := c.dropDatabase(ctx, name+sideNew); err != nil {
		return err
	}
	return c.open(ctx, name)
}

// DropRestored drops what was restored and not swapped; the tenant's database isn't touched. A repeat changes nothing.
func (c *Cluster) DropRestored(ctx context.Context, name, subject string) error {
	if err := c.mine(ctx, name, subject); err != nil {
		return err
	}
	return c.dropDatabase(ctx, name+sideNew)
}

func (c *Cluster) has(ctx context.Context, database string) (bool, error) {
	s, err := c.look(ctx, database)
	return s.database.exists, err
}

// swap gives the tenant's name to one database, and the name to to the one that had it.
func (c *Cluster) swap(ctx context.Context, name, subject, from, to string) error {
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
			"ALTER DATABASE "+quoteName(name)+" RENAME TO "+quoteName(to),
			"ALTER DATABASE "+quoteName(to)+" OWNER TO CURRENT_USER",
			"COMMENT ON DATABASE "+quoteName(to)+" IS "+quoteText(c.mark(subject)),
		)
	}
	statements = append(statements,
		"ALTER DATABASE "+quoteName(from)+" RENAME TO "+quoteName(name),
		"ALTER DATABASE "+quoteName(name)+" OWNER TO "+quoteName(name),
		"COMMENT ON DATABASE "+quoteName(name)+" IS "+quoteText(c.insteadOf(subject, to)),
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

// SweepRestores drops what tenants' databases were before restores that are older, and what restores left that ended before and never swapped
// it in. It returns how many. idle tells when a tenant's
// last restore ended, and whether it may be touched at all.
func (c *Cluster) SweepRestores(
	ctx context.Context, before time.Time, idle func(ctx context.Context, subject string) (last time.Time, ok bool, err error),
) (int, error) {
	rows, err := c.pool.Query(ctx, `
		SELECT datname::text, substr(shobj_description(oid, 'pg_database'), length($1::text) + 1) FROM pg_database
		WHERE (datname LIKE '%~b%' OR datname LIKE '%~new') AND starts_with(shobj_description(oid, 'pg_database'), $1::text || 'tenant/')
			AND pg_get_userbyid(datdba) = current_user`, c.mark(""))
	if err != nil {
		return 0, classify(fmt.Errorf("list what restores left: %w", err))
	}
	type side struct{ Name, Subject string }
	sides, err := pgx.CollectRows(rows, pgx.RowToStructByPos[side])
	if err != nil {
		return 0, classify(fmt.Errorf("list what restores left: %w", err))
	}
	dropped := 0
	for _, s := range sides {
		// Asked only now, and for each: a restore that was going on when the list was made is seen, or has ended.
		last, ok, err := idle(ctx, s.Subject)
		if err != nil {
			return dropped, err
		}
		if at, dated := swappedAt(s.Name); dated {
			last = at
		}
		if !ok || !last.Before(before) {
			continue
		}
		if err := c.dropDatabase(ctx, s.Name); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

// swappedAt reads the name that aside gave; what is being restored into has no date.
func swappedAt(name string) (time.Time, bool) {
	_, rest, _ := strings.Cut(name, sideBefore)
	digits, _, _ := strings.Cut(rest, "_")
	second, err := strconv.ParseInt(digits, 10, 64)
	return time.Unix(second, 0), err == nil
}
