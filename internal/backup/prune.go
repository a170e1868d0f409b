package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup/retention"
	"controlplane/internal/tenants"
)

// How long backups stay that no rule counts, and the rows of those that are gone.
const (
	hourlyLife = 24 * time.Hour
	manualLife = 30 * 24 * time.Hour
	safetyLife = 7 * 24 * time.Hour
	rowLife    = 90 * 24 * time.Hour
	hourlyRow  = 7 * 24 * time.Hour // there are many of these
	forgotten  = 1000               // at a time
)

// shelf is a tenant's backups that have ended, with what decides about them.
type shelf struct {
	tenant tenants.ID
	rule   retention.Rule
	gone   *time.Time // when the tenant was deleted
	copies []retention.Copy
}

// Prune gives up backups that nobody makes any more, marks dailies as those of their week or month, has what nobody needs any more removed,
// and returns how many backups that were. A client that is deleted leaves its backups for some time, and then none.
func (p *Planner) Prune(ctx context.Context) (removed int, err error) {
	if err := p.deps.Backups.failStuck(ctx); err != nil {
		return 0, err
	}
	shelves, err := p.shelves(ctx)
	if err != nil {
		return 0, err
	}
	var failures []error
	for _, s := range shelves {
		n, err := p.tidy(ctx, s)
		removed += n
		failures = append(failures, err) // one client's trouble isn't another's
	}
	failures = append(failures, p.forget(ctx))
	return removed, errors.Join(failures...)
}

func (p *Planner) shelves(ctx context.Context) ([]*shelf, error) {
	rows, err := p.deps.Pool.Query(ctx, `
		SELECT b.tenant_id, pl.backups_daily, pl.backups_weekly, pl.backups_monthly, t.deleted_at,
			b.id, b.created_at, b.kind, b.state = 'done', b.state = 'done' AND b.broken_at IS NULL, coalesce(b.broken_at, b.finished_at), b.kept, b.weekly, b.monthly
		FROM backups b JOIN tenants t ON t.id = b.tenant_id JOIN plans pl ON pl.id = t.plan_id
		WHERE b.state IN ('done', 'failed') ORDER BY b.tenant_id, b.id`)
	if err != nil {
		return nil, fmt.Errorf("read the backups that there are: %w", err)
	}
	var list []*shelf
	var s shelf
	var c retention.Copy
	var kind Kind
	var stored bool
	_, err = pgx.ForEachRow(rows, []any{
		&s.tenant, &s.rule.Daily, &s.rule.Weekly, &s.rule.Monthly, &s.gone,
		&c.ID, &c.TakenAt, &kind, &stored, &c.Good, &c.BadSince, &c.Kept, &c.Weekly, &c.Monthly,
	}, func() error {
		if len(list) == 0 || list[len(list)-1].tenant != s.tenant {
			list = append(list, &shelf{tenant: s.tenant, rule: s.rule, gone: s.gone})
		}
		c.Daily, c.Full, c.Lifetime = kind == Daily, stored && kind.Full() && kind != Imported, p.lifetime(kind)
		last := list[len(list)-1]
		last.copies = append(last.copies, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the backups that there are: %w", err)
	}
	return list, nil
}

func (p *Planner) lifetime(k Kind) time.Duration {
	switch k {
	case Hourly:
		return hourlyLife
	case Manual, Imported:
		return manualLife
	case Safety:
		return safetyLife
	case Final:
		return p.opts.Final
	case Daily:
	}
	return 0
}

func (p *Planner) tidy(ctx context.Context, s *shelf) (removed int, err error) {
	now := p.deps.Now()
	plan := retention.Make(s.rule, s.copies, now, p.opts.Zone)
	if s.gone != nil && now.Sub(*s.gone) >= p.opts.Final {
		plan = retention.Plan{}
		for _, c := range s.copies {
			plan.Expired = append(plan.Expired, c.ID)
		}
		if err := p.set(ctx, "kept = false", plan.Expired); err != nil { // a client's wish ends with the client
			return 0, err
		}
	}
	if err := errors.Join(p.set(ctx, "weekly = true", plan.Weekly), p.set(ctx, "monthly = true", plan.Monthly)); err != nil {
		return 0, err
	}
	for _, id := range plan.Expired {
		_, err := p.deps.Backups.Delete(ctx, ID(id))
		switch {
		case errors.Is(err, ErrInUse), errors.Is(err, ErrKept), errors.Is(err, ErrNotFound): // since we looked; the next run looks again
		case err != nil:
			return removed, fmt.Errorf("let backup %d of tenant %s go: %w", id, s.tenant, err)
		default:
			removed++
		}
	}
	return removed, nil
}

func (p *Planner) set(ctx context.Context, what string, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := p.deps.Pool.Exec(ctx, "UPDATE backups SET "+what+" WHERE id = ANY($1)", ids); err != nil {
		return fmt.Errorf("set %s: %w", what, err)
	}
	return nil
}

// forget removes the rows of backups that are long gone, after those of what was done with them.
func (p *Planner) forget(ctx context.Context) error {
	now := p.deps.Now()
	for {
		rows, err := p.deps.Pool.Query(ctx, `SELECT id FROM backups WHERE state = 'deleted'
			AND deleted_at < CASE WHEN kind = 'hourly' THEN $1::timestamptz ELSE $2 END ORDER BY deleted_at LIMIT $3`,
			now.Add(-hourlyRow), now.Add(-rowLife), forgotten)
		if err != nil {
			return fmt.Errorf("look for backups that are gone: %w", err)
		}
		gone, err := pgx.CollectRows(rows, pgx.RowTo[ID])
		if err != nil || len(gone) == 0 {
			return err
		}
		subjects := make([]string, 0, len(gone))
		for _, id := range gone {
			subjects = append(subjects, id.Subject())
		}
		if err := p.deps.Backups.ops.ForgetSubjects(ctx, subjects); err != nil {
			return err
		}
		// Clients that were given up before they became copies would speak of theirs for ever.
		if _, err := p.deps.Pool.Exec(ctx, "UPDATE tenants SET copy_of = NULL WHERE copy_of = ANY($1)", gone); err != nil {
			return fmt.Errorf("forget what was to be copied: %w", err)
		}
		if _, err := p.deps.Pool.Exec(ctx, "DELETE FROM backups WHERE id = ANY($1)", gone); err != nil {
			return fmt.Errorf("forget backups that are gone: %w", err)
		}
	}
}
