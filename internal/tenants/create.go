package tenants

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"
	"golang.org/x/net/idna"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
)

// CreateInput is what a customer chooses. Domain is only checked for being somebody else's: the platform decides the address.
type CreateInput struct {
	Name   string
	Domain string
	Email  string
	PlanID string // "": basic

	With func(ctx context.Context, tx pgx.Tx, t Tenant) error // is done in the same transaction; may be nil
}

// Create makes an unpaid tenant of the caller's. Nothing outside our own database exists afterwards.
// Errors: ErrBadName, ErrReservedName, ErrBadEmail, ErrBadDomain, ErrUnknownPlan, ErrNameTaken, ErrDomainTaken, ErrTooManyUnpaid.
func (s *Service) Create(ctx context.Context, p accounts.Principal, ip netip.Addr, in CreateInput) (Tenant, error) {
	name, err := ParseName(in.Name)
	if err != nil {
		return Tenant{}, err
	}
	email, err := parseEmail(in.Email)
	if err != nil {
		return Tenant{}, err
	}
	domain, err := normalDomain(in.Domain)
	if err != nil {
		return Tenant{}, err
	}
	planID := cmp.Or(in.PlanID, "basic")

	var t Tenant
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := offered(ctx, tx, planID); err != nil {
			return err
		}
		if err := s.lockQuota(ctx, tx, p.AccountID); err != nil {
			return err
		}
		if err := s.checkDomain(ctx, tx, domain, name); err != nil {
			return err
		}
		t, err = s.insert(ctx, tx, p.AccountID, name, email, planID)
		if err != nil {
			return err
		}
		if err := recordEvent(ctx, tx, t.ID, nil, Pending, "created"); err != nil {
			return err
		}
		if err := s.record(ctx, tx, p, ip, t.ID, "client.create", map[string]any{"name": name, "plan": planID}); err != nil || in.With == nil {
			return err
		}
		return in.With(ctx, tx, t)
	})
	return t, err
}

// lockQuota holds the account's row until the transaction ends, so that parallel creates are counted one after another.
func (s *Service) lockQuota(ctx context.Context, tx pgx.Tx, account accounts.ID) error {
	if _, err := tx.Exec(ctx, `SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE`, account); err != nil {
		return wrap(err, "lock the account")
	}
	var unpaid int
	const count = `SELECT count(*) FROM tenants WHERE account_id = $1 AND paid_at IS NULL AND state IN ($2, $3)`
	if err := tx.QueryRow(ctx, count, account, Pending, Scheduled).Scan(&unpaid); err != nil {
		return wrap(err, "count the unpaid clients")
	}
	if unpaid >= s.maxUnpaid {
		return ErrTooManyUnpaid.WithMessage("You have %d unpaid clients: pay for one of them before you create another", unpaid)
	}
	return nil
}

// checkDomain refuses a domain of the platform's that isn't the new client's own, and one that another client has proven to be its own.
// Any other is ignored: existing front ends send a made-up one, and own domains are added to a client that runs.
func (s *Service) checkDomain(ctx context.Context, q postgres.Querier, domain, name string) error {
	label, inside := platformLabel(domain, s.baseDomain)
	switch {
	case domain == s.platformAddress(name):
		return nil
	case !inside:
		return checkOwnDomain(ctx, q, domain)
	case label == "" || Reserved(label):
		return ErrDomainTaken
	}
	var taken bool
	const find = `SELECT EXISTS (SELECT FROM tenants WHERE domain = $1 AND state <> 'deleted')`
	if err := q.QueryRow(ctx, find, s.platformAddress(label)).Scan(&taken); err != nil {
		return wrap(err, "look for the domain")
	}
	if taken {
		return ErrDomainTaken
	}
	return nil
}

func checkOwnDomain(ctx context.Context, q postgres.Querier, domain string) error {
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		domain = ascii
	}
	var taken bool
	const find = `SELECT EXISTS (SELECT FROM tenant_domains WHERE domain = $1 AND status <> 'pending')`
	if err := q.QueryRow(ctx, find, domain).Scan(&taken); err != nil {
		return wrap(err, "look for the domain")
	}
	if taken {
		return ErrDomainTaken
	}
	return nil
}

func (s *Service) insert(ctx context.Context, tx pgx.Tx, account accounts.ID, name, email, planID string) (Tenant, error) {
	now := s.now()
	t, err := one(ctx, tx, "insert the client", `
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
		RETURNING `+columns,
		account, name, DBName(name), s.platformAddress(name), email, planID, Pending, now.Add(s.paymentDeadline), now)
	switch postgres.UniqueViolation(err) {
	case "tenants_name_taken", "tenants_db_name_taken", "tenants_domain_taken":
		return Tenant{}, ErrNameTaken.WithCause(err)
	}
	return t, err
}

// recordEvent appends to the tenant's history; from is nil for its first state.
func recordEvent(ctx context.Context, tx pgx.Tx, id ID, from *State, to State, reason string) error {
	_, err := tx.Exec(ctx, `INSERT INTO tenant_events (tenant_id, from_state, to_state, reason) VALUES ($1, $2, $3, $4)`,
		id, from, to, reason)
	if err != nil {
		return fmt.Errorf("record the move of tenant %s to %s: %w", id, to, err)
	}
	return nil
}
