package tenants

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// Errors about paging.
var (
	ErrBadLimit = errs.InvalidField("limit", "out_of_range", "limit must be between 1 and 1000")
	ErrBadSkip  = errs.InvalidField("skip", "out_of_range", "skip must be between 0 and 2147483647")
)

// ListFilter narrows a List.
type ListFilter struct {
	State            *State
	IncludeScheduled bool // owners otherwise don't see what is scheduled for deletion; admins always do
	Skip             int
	Limit            int // 1 to 1000; 0: 100
}

// Page is a part of a list and how long the whole is.
type Page struct {
	Tenants []Tenant
	Total   int
}

// List returns the caller's tenants (an admin's are everybody's) in the order they were created, without deleted ones.
// Errors: ErrBadLimit, ErrBadSkip, ErrUnknownState.
func (s *Service) List(ctx context.Context, p accounts.Principal, f ListFilter) (Page, error) {
	if f.Limit == 0 {
		f.Limit = defaultPage
	}
	switch {
	case f.Limit < 1 || f.Limit > maxPage:
		return Page{}, ErrBadLimit
	case f.Skip < 0 || f.Skip > math.MaxInt32:
		return Page{}, ErrBadSkip
	case f.State != nil && !f.State.Known():
		return Page{}, ErrUnknownState
	}
	const match = ` FROM tenants WHERE state <> 'deleted' AND ($1::bigint IS NULL OR account_id = $1) AND ($2::text IS NULL OR state = $2)
		AND ($3 OR state <> 'scheduled_for_deletion')`
	scheduled := f.IncludeScheduled || p.Admin || (f.State != nil && *f.State == Scheduled)
	args := []any{owned(p), f.State, scheduled}

	var page Page
	if err := s.pool.QueryRow(ctx, `SELECT count(*)`+match, args...).Scan(&page.Total); err != nil {
		return Page{}, wrap(err, "count the clients")
	}
	var err error
	page.Tenants, err = many(ctx, s.pool, "list the clients", `SELECT `+columns+match+` ORDER BY id OFFSET $4 LIMIT $5`,
		append(args, f.Skip, f.Limit)...)
	return page, err
}

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
