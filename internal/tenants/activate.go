package tenants

import (
	"context"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/secrets"
)

// referenceBytes is how much randomness tells one activation without payment from another.
const referenceBytes = 6

// Activate has an administrator start a tenant as if it had been paid for, or try one again that failed. An owner is told how to pay. One
// that is active already, or on its way, is left alone.
// Errors: ErrNotFound, ErrUnpaid, ErrAdminOnly, ErrNoReason, ErrBadReason, ErrConflict.
func (s *Service) Activate(ctx context.Context, p accounts.Principal, ip netip.Addr, name, reason string) (Change, error) {
	reason, err := parseReason(reason)
	if err == nil && reason == "" {
		err = ErrNoReason.WithMessage("Say in reason why the client is activated without a payment")
	}
	return s.command(ctx, request{p, ip, "client.activate", reason}, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		switch {
		case t.State == Active && t.Desired == WantsActive:
			return Change{Tenant: t}, nil
		case t.State == Provisioning:
			op, err := s.ongoing(ctx, tx, t, ProvisionKind)
			return Change{Tenant: t, Operation: op}, err
		case t.State != Pending && t.State != Failed:
			return Change{}, conflict(t, "activated")
		case !p.Admin && t.State == Pending:
			return Change{}, ErrUnpaid
		case !p.Admin:
			return Change{}, ErrAdminOnly.WithMessage("The client is paid for, and our staff are looking after it")
		case err != nil:
			return Change{}, err
		}
		return s.activate(ctx, tx, t)
	})
}

func (s *Service) activate(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
	m := move{from: []State{t.State}, to: Provisioning, reason: "tried again by an administrator"}
	if t.PaidAt == nil {
		m.paidWith = "ADMIN-" + strings.ToUpper(secrets.RandomHex(referenceBytes))
		m.reason = "activated by an administrator"
	}
	t, err := s.moved(ctx, tx, t.ID, m)
	if err != nil {
		return Change{}, err
	}
	return s.next(ctx, tx, t, ProvisionKind)
}
