package tenants

import (
	"context"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
)

// What the commands on a quarantine refuse.
var (
	ErrNotQuarantined = errs.New(errs.Conflict, "not_quarantined", "The client isn't in quarantine.")
	ErrNotConfirmed   = errs.InvalidField("confirm", "not_confirmed", "Say in confirm the name of the client that is to send mail and run its jobs from now on")
)

// Quarantine is what the row says of one, and of how the last one ended.
type Quarantine struct {
	At            *time.Time
	By, Cause     string
	NeutralisedAt *time.Time
}

// Quarantine returns the tenant's.
func (t Tenant) Quarantine() Quarantine {
	return Quarantine{At: t.QuarantinedAt, By: t.QuarantinedBy, Cause: t.QuarantineCause, NeutralisedAt: t.NeutralisedAt}
}

// PutQuarantineTx writes back what the row said before QuarantineTx.
func (s *Service) PutQuarantineTx(ctx context.Context, tx pgx.Tx, id ID, q Quarantine) (Tenant, error) {
	return one(ctx, tx, "put back the client's quarantine", `UPDATE tenants SET quarantined_at = $2, quarantined_by = nullif($3, ''),
		quarantine_cause = nullif($4, ''), neutralised_at = $5, updated_at = $6 WHERE id = $1 RETURNING `+columns,
		id, q.At, q.By, q.Cause, q.NeutralisedAt, s.now())
}

// SetCopyOfTx says of which backup the tenant is to be a copy once it has been provisioned; 0: of none any more.
func (s *Service) SetCopyOfTx(ctx context.Context, tx pgx.Tx, id ID, backup int64) error {
	_, err := tx.Exec(ctx, "UPDATE tenants SET copy_of = nullif($2, 0) WHERE id = $1", id, backup)
	return wrap(err, "note what the client is to be a copy of")
}

// ForgetPasswordTx drops the first password, unread or not, of a tenant whose database has other users now.
func (s *Service) ForgetPasswordTx(ctx context.Context, tx pgx.Tx, id ID) error {
	return updateSecrets(ctx, tx, "forget the password", "UPDATE tenant_secrets SET admin_password = NULL WHERE tenant_id = $1", id)
}

// QuarantineTx keeps the tenant, which has another's data now or is about to, from sending anything and from running jobs by itself. Its
// container follows when it is made the next time; the owner reads cause. A repeat changes who and why.
func (s *Service) QuarantineTx(ctx context.Context, tx pgx.Tx, id ID, by, cause string) error {
	_, err := one(ctx, tx, "put the client into quarantine", `UPDATE tenants SET quarantined_at = $2, quarantined_by = $3,
		quarantine_cause = left($4, 500), neutralised_at = NULL, updated_at = $2 WHERE id = $1 RETURNING `+columns, id, s.now(), by, cause)
	return err
}

// EndQuarantineTx ends it, as by the choice that neutralised tells of, and returns the tenant. Without a quarantine nothing changes.
func (s *Service) EndQuarantineTx(ctx context.Context, tx pgx.Tx, id ID, neutralised bool) (Tenant, error) {
	return one(ctx, tx, "end the client's quarantine", `UPDATE tenants SET
		neutralised_at = CASE WHEN quarantined_at IS NULL THEN neutralised_at WHEN $2 THEN $3::timestamptz END,
		quarantined_at = NULL, quarantined_by = NULL, quarantine_cause = NULL, updated_at = $3
		WHERE id = $1 RETURNING `+columns, id, neutralised, s.now())
}

// Release ends the quarantine of a tenant that is to be a live one: its jobs run, and what it has to send is sent. confirm is its name once
// more. Errors: ErrNotFound, ErrNotQuarantined, ErrNotConfirmed, ErrConflict.
func (s *Service) Release(ctx context.Context, p accounts.Principal, ip netip.Addr, name, confirm string) (Change, error) {
	return s.command(ctx, request{by: p, ip: ip, action: "client.release"}, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		switch {
		case t.QuarantinedAt == nil:
			return Change{}, ErrNotQuarantined
		case confirm != t.Name:
			return Change{}, ErrNotConfirmed
		case t.State != Active && t.State != Suspended:
			return Change{}, conflict(t, "released")
		}
		t, err := s.EndQuarantineTx(ctx, tx, t.ID, false)
		if err != nil || t.State != Active || !t.wanted() {
			return Change{Tenant: t}, err
		}
		return s.next(ctx, tx, t, ResumeKind)
	})
}

// Neutralise has Odoo's own means make a copy harmless for good (no mail servers, no jobs, no payments), which ends the quarantine. One that
// was is left alone. Errors: ErrNotFound, ErrNotQuarantined, ErrConflict.
func (s *Service) Neutralise(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Change, error) {
	return s.command(ctx, request{by: p, ip: ip, action: "client.neutralise"}, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		going, err := s.ongoing(ctx, tx, t, NeutraliseKind)
		switch {
		case err != nil:
			return Change{}, err
		case going != nil, t.NeutralisedAt != nil:
			return Change{Tenant: t, Operation: going}, nil
		case t.QuarantinedAt == nil:
			return Change{}, ErrNotQuarantined
		case t.State != Active && t.State != Suspended:
			return Change{}, conflict(t, "neutralised")
		}
		return s.next(ctx, tx, t, NeutraliseKind)
	})
}
