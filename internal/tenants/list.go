package tenants

import (
	"context"
	"fmt"
	"math"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
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

// Page is a part of a list and how long the whole is. The length of an admin's is exact up to 1000; beyond it may be some seconds old,
// since counting takes longer the more there are.
type Page struct {
	Tenants []Tenant
	Total   int
}

// List returns the caller's tenants (an admin's are everybody's) in the order they were created, without deleted ones. One whose
// scheduled deletion was cancelled is listed again at once.
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
	query := f.listing(p)
	total, err := s.count(ctx, p, query)
	if err != nil {
		return Page{}, err
	}
	page := Page{Total: total}
	if f.Skip >= total && total < countExactly {
		return page, nil
	}
	n := len(query.args)
	args := append(query.args, f.Limit)
	from := ""
	if f.Skip > 0 { // is only read from the index
		from = fmt.Sprintf(" AND id >= (SELECT id FROM tenants WHERE %s ORDER BY id OFFSET $%d LIMIT 1)", query.where, n+2)
		args = append(args, f.Skip)
	}
	page.Tenants, err = many(ctx, s.pool, "list the clients",
		fmt.Sprintf("SELECT "+columns+" FROM tenants WHERE %s%s ORDER BY id LIMIT $%d", query.where, from, n+1), args...)
	return page, err
}

// listing is what a list's conditions are in SQL: only those that apply, so that each shape has its index.
type listing struct {
	where string
	args  []any
}

func (f ListFilter) listing(p accounts.Principal) listing {
	l := listing{where: "state <> 'deleted'"}
	add := func(condition string, arg any) {
		l.args = append(l.args, arg)
		l.where += fmt.Sprintf(" AND "+condition, len(l.args))
	}
	if owner := owned(p); owner != nil {
		add("account_id = $%d", *owner)
	}
	switch {
	case f.State != nil:
		l.where += " AND state = '" + string(*f.State) + "'" // one of ours; as a constant it is planned once
	case !f.IncludeScheduled && !p.Admin:
		l.where += " AND (state <> 'scheduled_for_deletion' OR desired = 'active')"
	}
	return l
}
