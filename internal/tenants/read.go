package tenants

import (
	"context"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
)

// Get returns a tenant by name if it is the caller's, or the caller is an admin; otherwise ErrNotFound.
func (s *Service) Get(ctx context.Context, p accounts.Principal, name string) (Tenant, error) {
	return get(ctx, s.pool, p, name, "")
}

func get(ctx context.Context, q postgres.Querier, p accounts.Principal, name, lock string) (Tenant, error) {
	if !nameShape.MatchString(name) {
		return Tenant{}, ErrNotFound
	}
	return one(ctx, q, "find the client", `SELECT `+columns+` FROM tenants
		WHERE name = $1 AND state <> 'deleted' AND ($2::bigint IS NULL OR account_id = $2) `+lock, name, owned(p))
}

// Pending returns all unpaid tenants, the one whose deadline is next first. Errors: ErrAdminOnly.
func (s *Service) Pending(ctx context.Context, p accounts.Principal) ([]Tenant, error) {
	if !p.Admin {
		return nil, ErrAdminOnly
	}
	return many(ctx, s.pool, "list the unpaid clients", `SELECT `+columns+` FROM tenants WHERE state = 'pending'
		ORDER BY payment_deadline, id LIMIT $1`, maxPage)
}

// ByID returns any tenant, also a deleted one, for our own jobs.
func (s *Service) ByID(ctx context.Context, id ID) (Tenant, error) { return byID(ctx, s.pool, id) }

func byID(ctx context.Context, q postgres.Querier, id ID) (Tenant, error) {
	return one(ctx, q, "find the tenant", `SELECT `+columns+` FROM tenants WHERE id = $1`, id)
}

// Lock returns a tenant, also a deleted one, and keeps others from changing it until tx ends.
func (s *Service) Lock(ctx context.Context, tx pgx.Tx, id ID) (Tenant, error) {
	return one(ctx, tx, "lock the tenant", `SELECT `+columns+` FROM tenants WHERE id = $1 FOR UPDATE`, id)
}

// LockOwn is Get for a change that goes on in tx: nobody else changes the tenant until that ends.
func (s *Service) LockOwn(ctx context.Context, tx pgx.Tx, p accounts.Principal, name string) (Tenant, error) {
	return get(ctx, tx, p, name, "FOR UPDATE")
}

// UnpaidOf returns the account's pending tenants of a plan ("": of any), oldest first.
func (s *Service) UnpaidOf(ctx context.Context, q postgres.Querier, account accounts.ID, planID string) ([]Tenant, error) {
	return many(ctx, q, "list the account's unpaid clients", `SELECT `+columns+` FROM tenants
		WHERE account_id = $1 AND state = 'pending' AND ($2 = '' OR plan_id = $2) ORDER BY id`, account, planID)
}

// NamesOf returns the names of tenants, also of deleted ones, for lists of what is about them. Ids of nobody are left out.
func (s *Service) NamesOf(ctx context.Context, ids []ID) (map[ID]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, name FROM tenants WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, wrap(err, "find the clients' names")
	}
	names := make(map[ID]string, len(ids))
	var id ID
	var name string
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		names[id] = name
		return nil
	})
	return names, wrap(err, "find the clients' names")
}
