package tenants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// linksRest is how long links that couldn't be changed are left alone: what is wrong is mostly in the tenant's own database.
const linksRest = time.Hour

// SetPrimaryDomainTx says which domain the links of the tenant, which is locked, are to bear: a proven one of its own, or "" for the platform
// address. They follow by LinksTx.
func (s *Service) SetPrimaryDomainTx(ctx context.Context, tx pgx.Tx, id ID, domain string) (Tenant, error) {
	return one(ctx, tx, "choose the primary domain", `UPDATE tenants SET primary_domain = nullif($2, ''), link_tried_at = NULL, updated_at = $3
		WHERE id = $1 RETURNING `+columns, id, domain, s.now())
}

// LinksTx has the links of the tenant, which is locked, changed to its primary domain if they bear another. It returns nil when nothing is
// to be done, or not now: something else goes on, or there is no whole database; FollowLinks finds it then.
func (s *Service) LinksTx(ctx context.Context, tx pgx.Tx, t Tenant) (*ops.Operation, error) {
	if t.LinkDomain == t.PrimaryDomain || t.State != Active && t.State != Suspended && t.State != Sleeping {
		return nil, nil //nolint:nilnil // none is an answer
	}
	op, err := s.ops.EnqueueTx(ctx, tx, LinksKind, t.ID.Subject(), OperationInput{TenantID: t.ID})
	if errors.Is(err, ops.ErrLive) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, wrap(err, "enqueue "+LinksKind+" of tenant "+t.ID.String())
	}
	return &op, nil
}

// MarkLinkedTx says which domain the tenant's links bear now, and returns the tenant, locked: it may be wanted otherwise by now.
func (s *Service) MarkLinkedTx(ctx context.Context, tx pgx.Tx, id ID, domain string) (Tenant, error) {
	return one(ctx, tx, "note the domain of the links", `UPDATE tenants SET link_domain = nullif($2, domain), link_tried_at = NULL
		WHERE id = $1 RETURNING `+columns, id, domain)
}

// ForgetLinksTx says that nobody knows which domain the tenant's links bear, as after a restore of its database: they are set anew.
func (s *Service) ForgetLinksTx(ctx context.Context, tx pgx.Tx, id ID) error {
	const unknown = "?" // no domain, and not what stands for the platform address
	_, err := tx.Exec(ctx, "UPDATE tenants SET link_domain = $2, link_tried_at = NULL WHERE id = $1", id, unknown)
	return wrap(err, "forget the domain of the links")
}

// NoteLinksFailed leaves the tenant's links alone for an hour.
func (s *Service) NoteLinksFailed(ctx context.Context, id ID) error {
	if _, err := s.pool.Exec(ctx, "UPDATE tenants SET link_tried_at = $2 WHERE id = $1", id, s.now()); err != nil {
		return fmt.Errorf("note that the links of tenant %s can't be changed: %w", id, err)
	}
	return nil
}

// FollowLinks enqueues what LinksTx couldn't, and returns for how many tenants.
func (s *Service) FollowLinks(ctx context.Context) (int, error) {
	rows, err := s.pool.Query(ctx, `SELECT id FROM tenants WHERE primary_domain IS DISTINCT FROM link_domain
		AND state IN ('active', 'suspended', 'sleeping') AND (link_tried_at IS NULL OR link_tried_at < $1) ORDER BY id LIMIT $2`,
		s.now().Add(-linksRest), maxPage)
	if err != nil {
		return 0, wrap(err, "find links that differ")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[ID])
	if err != nil {
		return 0, wrap(err, "find links that differ")
	}
	enqueued := 0
	for _, id := range ids {
		err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
			t, err := s.Lock(ctx, tx, id)
			if err != nil {
				return err
			}
			op, err := s.LinksTx(ctx, tx, t)
			if op != nil {
				enqueued++
			}
			return err
		})
		if err != nil {
			return enqueued, err
		}
	}
	return enqueued, nil
}
