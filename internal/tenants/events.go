package tenants

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
)

// ErrBadAfter is about the place in a list after which it goes on.
var ErrBadAfter = errs.InvalidField("after", "out_of_range", "after must be 0 or more")

// Event is one move of a tenant, as its owner may read it.
type Event struct {
	ID     int64 // ascending in the order of the moves of one tenant
	At     time.Time
	From   State // "" for its creation
	To     State
	Reason string
}

// Events returns the caller's tenant's moves, oldest first, those after the event with the given id: 0 is from the beginning. limit is 1
// to 1000; 0: 100. Errors: ErrNotFound, ErrBadAfter, ErrBadLimit.
func (s *Service) Events(ctx context.Context, p accounts.Principal, name string, after int64, limit int) ([]Event, error) {
	if limit == 0 {
		limit = defaultPage
	}
	switch {
	case after < 0:
		return nil, ErrBadAfter
	case limit < 1 || limit > maxPage:
		return nil, ErrBadLimit
	}
	t, err := s.Get(ctx, p, name)
	if err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, `SELECT id, at, coalesce(from_state, ''), to_state, reason FROM tenant_events
		WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`, t.ID, after, limit)
	if err != nil {
		return nil, wrap(err, "list the client's events")
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Event])
	return list, wrap(err, "list the client's events")
}
