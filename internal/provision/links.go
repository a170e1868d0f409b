package provision

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// linksAlert is the kind of the alert about links that can't be changed.
const linksAlert = "tenant.links"

// LinksWorkflow has the links that a tenant's Odoo makes (in mails, documents and invitations) bear its primary domain. Like a reset of the
// password it is given up rather than held; an hour later it is tried again.
func (s *Service) LinksWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: tenants.LinksKind, Preemptible: true,
		Steps: []ops.Step{{Name: "links", Timeout: resetTimeout, Do: s.setLinks, Tx: s.linked, Undo: s.linksFailed}},
	}
}

func (s *Service) setLinks(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || !resettable(t.State) {
		return err
	}
	known, err := s.tenants.Secrets(ctx, t.ID)
	if err != nil {
		return err
	}
	db := TenantDatabase{Name: t.DBName, Subject: t.ID.Subject(), Password: known.DBPassword}
	err = s.database.SetBaseURL(ctx, db, s.opts.TenantURL(t.PrimaryDomain))
	switch {
	case err == nil:
		return r.Set("domain", t.PrimaryDomain)
	case r.Attempt >= resetAttempts && errs.KindOf(err) != errs.Unavailable:
		return ops.Unwind(err)
	}
	return outcome(err)
}

func (s *Service) linked(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var domain string
	if found, err := r.Get("domain", &domain); err != nil || !found {
		return err
	}
	var in tenants.OperationInput
	if err := r.Input(&in); err != nil {
		return err
	}
	t, err := s.tenants.MarkLinkedTx(ctx, tx, in.TenantID, domain)
	if err != nil {
		return err
	}
	if t.LinkDomain != t.PrimaryDomain { // chosen anew meanwhile
		r.Follow(tenants.LinksKind, tenants.OperationInput{TenantID: t.ID})
	}
	return alerts.Resolve(ctx, tx, linksAlert, r.Subject)
}

func (s *Service) linksFailed(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil {
		return err
	}
	if err := s.tenants.NoteLinksFailed(ctx, t.ID); err != nil {
		return err
	}
	return alerts.Raise(ctx, s.pool, alerts.Alert{
		Kind: linksAlert, Subject: r.Subject,
		Message: fmt.Sprintf("The Odoo of client %q doesn't take %s as the address of its links; see operation %d", t.Name, t.PrimaryDomain, r.ID),
	})
}
