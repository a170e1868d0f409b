package pgcluster

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

// sparesLock is the advisory lock that one process at a time makes spares under; any constant of our own will do.
const sparesLock = 0x6f646f6f7370

func spareSubject(template string) string { return "spare/" + template }

// EnsureSpares makes and drops clones that belong to nobody yet. A spare is a database whose objects already belong to a role of its
// name, so that taking it is renaming two things. The database's mark comes last and says that it is complete; without it, the pair is
// what a crash left, and goes.
func (c *Cluster) EnsureSpares(ctx context.Context, template string, count int) error {
	lock, err := c.pool.Acquire(ctx)
	if err != nil {
		return classify(fmt.Errorf("connect to make spares: %w", err))
	}
	defer lock.Release()
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock($1)", sparesLock); err != nil {
		return classify(fmt.Errorf("wait for the lock of spares: %w", err))
	}
	defer func() { _, _ = lock.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", sparesLock) }()
	complete, broken, err := c.spares(ctx, template)
	if err != nil {
		return err
	}
	for len(complete) > count {
		broken, complete = append(broken, complete[0]), complete[1:]
	}
	for _, name := range broken {
		if err := c.drop(ctx, name, state{role: object{exists: true}, database: object{exists: true}}); err != nil {
			return err
		}
	}
	for range count - len(complete) {
		if err := c.makeSpare(ctx, template); err != nil {
			return err
		}
	}
	return nil
}

// spares lists a template's spares by the marks of their roles, which exist from first to last.
func (c *Cluster) spares(ctx context.Context, template string) (complete, broken []string, err error) {
	rows, err := c.pool.Query(ctx, `
		SELECT r.rolname, coalesce(shobj_description(d.oid, 'pg_database') = $1 AND d.datallowconn, false)
		FROM pg_roles r LEFT JOIN pg_database d ON d.datname = r.rolname
		WHERE shobj_description(r.oid, 'pg_authid') = $1 ORDER BY 1`, c.mark(spareSubject(template)))
	if err != nil {
		return nil, nil, classify(fmt.Errorf("list spares of %s: %w", template, err))
	}
	var name string
	var whole bool
	_, err = pgx.ForEachRow(rows, []any{&name, &whole}, func() error {
		if whole {
			complete = append(complete, name)
		} else {
			broken = append(broken, name)
		}
		return nil
	})
	if err != nil {
		return nil, nil, classify(fmt.Errorf("list spares of %s: %w", template, err))
	}
	return complete, broken, nil
}

func (c *Cluster) makeSpare(ctx context.Context, template string) error {
	name := "odoospare_" + c.installation + "_" + secrets.RandomHex(4)
	if err := c.createRole(ctx, name, spareSubject(template), "NOLOGIN", c.grantTenants(name)); err != nil {
		return err
	}
	if err := c.ensureClone(ctx, name, template, "unfinished", object{}); err != nil {
		return err
	}
	err := c.in(ctx, name, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, reassign(c.templateOwner(), name), pgx.QueryExecModeSimpleProtocol)
		return err
	})
	if err != nil {
		return fmt.Errorf("prepare spare %s: %w", name, err)
	}
	return c.exec(ctx, "mark spare "+name, "COMMENT ON DATABASE "+quoteName(name)+" IS "+quoteText(c.mark(spareSubject(template))))
}

// takeSpare turns a spare into the tenant's role and closed database, all in one transaction, and reports whether there was one. Two
// takers never get the same: each locks its choice.
func (c *Cluster) takeSpare(ctx context.Context, t provision.TenantDatabase, attributes string) (bool, error) {
	taken := false
	err := pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		var spare string
		err := tx.QueryRow(ctx, `
			SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.rolname = d.datname
			WHERE shobj_description(d.oid, 'pg_database') = $1 AND shobj_description(r.oid, 'pg_authid') = $1 AND d.datallowconn
			  AND pg_try_advisory_xact_lock(d.oid::bigint)
			LIMIT 1`, c.mark(spareSubject(t.Template))).Scan(&spare)
		if err == pgx.ErrNoRows { //nolint:errorlint // never wrapped here
			return nil
		}
		if err != nil {
			return err
		}
		name := quoteName(t.Name)
		_, err = tx.Exec(ctx, "ALTER DATABASE "+quoteName(spare)+" RENAME TO "+name+
			"; ALTER ROLE "+quoteName(spare)+" RENAME TO "+name+
			"; ALTER ROLE "+name+" "+attributes+
			"; "+c.limitTempFiles(t.Name, t.TempFilesMB)+
			"; COMMENT ON ROLE "+name+" IS "+quoteText(c.mark(t.Subject))+
			"; COMMENT ON DATABASE "+name+" IS "+quoteText(c.mark(t.Subject)), pgx.QueryExecModeSimpleProtocol)
		taken = err == nil
		return err
	})
	if pgCode(err) == "3D000" || pgCode(err) == "42704" { // somebody was quicker
		return false, nil
	}
	if err != nil {
		return false, classify(fmt.Errorf("take a spare for %s: %w", t.Name, err))
	}
	return taken, nil
}
