package provision

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

const (
	neutraliseTimeout  = 10 * time.Minute
	neutraliseAttempts = 3
)

// ErrNotNeutralised is for a copy that Odoo's own means couldn't neutralise. It stays in quarantine.
var ErrNotNeutralised = errs.New(errs.Conflict, "not_neutralised", "Odoo couldn't neutralise this copy, so it stays in quarantine; our staff can tell why.")

// NeutraliseWorkflow ends a quarantine for good: with its Odoo stopped, `odoo neutralize` runs on the tenant's database, as the tenant's role
// and still in quarantine, and only when the database itself says that this was done may the Odoo start as others do. What goes wrong leaves
// the tenant in quarantine, running.
func (s *Service) NeutraliseWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: tenants.NeutraliseKind,
		Steps: []ops.Step{
			{Name: "pause", Tx: s.pauseCopy, Undo: s.unpauseCopy},
			{Name: "neutralise", Timeout: neutraliseTimeout, Do: s.neutralise, Tx: s.neutralised, Undo: s.runCopy},
		},
	}
}

func (s *Service) pauseCopy(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	t, err := s.changingTx(ctx, tx, r)
	switch {
	case err != nil || t.QuarantinedAt == nil:
		return err
	case !slices.Contains([]tenants.State{tenants.Active, tenants.Suspended}, t.State) || t.Desired == tenants.WantsDeleted:
		return ops.Unwind(tenants.ErrConflict.WithCause(fmt.Errorf("tenant %s is %s", t.ID, t.State)))
	case t.State == tenants.Suspended:
		return nil
	}
	return s.tenants.MoveTx(ctx, tx, t.ID, []tenants.State{tenants.Active}, tenants.Maintenance, "being neutralised")
}

func (s *Service) unpauseCopy(ctx context.Context, r *ops.Run) error {
	return postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		t, err := s.changingTx(ctx, tx, r)
		if err != nil || t.State != tenants.Maintenance {
			return err
		}
		return s.tenants.MoveTx(ctx, tx, t.ID, []tenants.State{tenants.Maintenance}, tenants.Active, "not neutralised")
	})
}

// neutralise may be repeated, as Odoo's own command may.
func (s *Service) neutralise(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || t.QuarantinedAt == nil {
		return err
	}
	err = s.tryNeutralise(ctx, r, t)
	if err != nil && ctx.Err() == nil && r.Attempt >= neutraliseAttempts && errs.KindOf(err) != errs.Unavailable {
		return ops.Unwind(err)
	}
	return err
}

func (s *Service) tryNeutralise(ctx context.Context, r *ops.Run, t tenants.Tenant) error {
	w, err := s.loadExisting(ctx, t)
	if err != nil {
		return err
	}
	if err := s.stopContainer(ctx, t); err != nil {
		return err
	}
	if err := s.Prepare(ctx, t); err != nil {
		return err
	}
	if err := s.ensureFirewall(ctx); err != nil {
		return outcome(err)
	}
	return outcome(s.runNeutraliser(ctx, s.neutraliser(w, r.ID), TenantDatabase{Name: t.DBName, Subject: t.ID.Subject(), Password: w.secrets.DBPassword}))
}

// neutraliser is the tenant's container but for what it runs.
func (s *Service) neutraliser(w work, id ops.ID) Container {
	c := s.container(w, id)
	c.Name += neutraliserSuffix
	c.Command = neutralising(w.tenant.DBName)
	c.Restart = false
	return c
}

// neutralised ends the quarantine; the Odoo is started as after a suspension.
func (s *Service) neutralised(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	t, err := s.changingTx(ctx, tx, r)
	if err != nil || t.QuarantinedAt == nil {
		return err
	}
	if t, err = s.tenants.EndQuarantineTx(ctx, tx, t.ID, true); err != nil {
		return err
	}
	if t.State == tenants.Maintenance {
		if err := s.tenants.MoveTx(ctx, tx, t.ID, []tenants.State{tenants.Maintenance}, tenants.Active, "neutralised"); err != nil {
			return err
		}
		t.State = tenants.Active
	}
	follow(r, t, false)
	return nil
}

// runCopy starts what was stopped, if it can: what can't be started now is found by the reconciliation.
func (s *Service) runCopy(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || t.State != tenants.Maintenance {
		return err
	}
	if err := s.Run(ctx, t); err != nil {
		s.log.WarnContext(ctx, "a copy that couldn't be neutralised doesn't start either", "tenant", t.ID, "error", err)
	}
	return nil
}

// Adopt makes a database that was restored beside the tenant's, from a backup of another, an Odoo of the tenant's own: with a uuid, a secret
// (which ends all sessions) and an address that nobody else has.
func (s *Service) Adopt(ctx context.Context, t tenants.Tenant, database string) error {
	known, err := s.tenants.Secrets(ctx, t.ID)
	if err != nil {
		return err
	}
	db := TenantDatabase{Name: t.DBName, Subject: t.ID.Subject(), Password: known.DBPassword}
	return s.database.Adopt(ctx, db, database, s.opts.TenantURL(t.PrimaryDomain))
}

// resolvers are what the tenant's container asks for names: in quarantine itself, which doesn't answer. A name could tell somebody something.
func (s *Service) resolvers(t tenants.Tenant) []netip.Addr {
	if t.QuarantinedAt != nil {
		return nowhere()
	}
	return s.opts.DNS
}
