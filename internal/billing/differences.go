package billing

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/alerts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres"
)

// Difference is something in which the gateway and we don't agree, as administrators see it.
type Difference struct {
	ID         int64
	Mode       string
	Kind       string // "unknown_here", "unknown_there", "unpaid_here", "unpaid_there", "reversed_there", "amount", …
	Reference  string
	PaymentID  PaymentID // 0: unknown here
	Ours       string
	Theirs     string
	FirstSeen  time.Time
	LastSeen   time.Time
	ResolvedAt *time.Time
	Resolution string // "gone" or "explained"; "" while it is open
	ResolvedBy string
	Note       string
}

// Differences returns those that are open, or those that were resolved, newest first, and how many there are. Admins only.
func (s *Service) Differences(ctx context.Context, p accounts.Principal, resolved bool, skip, limit int) ([]Difference, int, error) {
	if !p.Admin {
		return nil, 0, ErrAdminOnly
	}
	if badPage(skip, limit) {
		return nil, 0, ErrPageOutOfBounds
	}
	var total int
	err := s.deps.Pool.QueryRow(ctx, `SELECT count(*) FROM reconciliation_differences WHERE (resolved_at IS NOT NULL) = $1`, resolved).Scan(&total)
	if err != nil {
		return nil, 0, fmt.Errorf("count the differences: %w", err)
	}
	list, err := queryDifferences(ctx, s.deps.Pool, `WHERE (d.resolved_at IS NOT NULL) = $1 ORDER BY d.id DESC OFFSET $2 LIMIT $3`, resolved, skip, limit)
	return list, total, err
}

// Runs returns the comparisons, newest first, and how many there were. Admins only.
func (s *Service) Runs(ctx context.Context, p accounts.Principal, skip, limit int) ([]ReconcileRun, int, error) {
	if !p.Admin {
		return nil, 0, ErrAdminOnly
	}
	if badPage(skip, limit) {
		return nil, 0, ErrPageOutOfBounds
	}
	var total int
	if err := s.deps.Pool.QueryRow(ctx, `SELECT count(*) FROM reconciliation_runs`).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the reconciliations: %w", err)
	}
	rows, err := s.deps.Pool.Query(ctx, `
		SELECT id, mode, from_at, to_at, started_at, finished_at, coalesce(error, ''), transactions, payments, disputes, healed, differences
		FROM reconciliation_runs ORDER BY id DESC OFFSET $1 LIMIT $2`, skip, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("list the reconciliations: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ReconcileRun])
	if err != nil {
		return nil, 0, fmt.Errorf("list the reconciliations: %w", err)
	}
	return list, total, nil
}

// Explain closes a difference with a person's words. It opens again when either side says something else. Admins only.
// Errors: ErrAdminOnly, ErrDifferenceGone, ErrExplanationEmpty.
func (s *Service) Explain(ctx context.Context, p accounts.Principal, ip netip.Addr, id int64, note string) error {
	if !p.Admin {
		return ErrAdminOnly
	}
	note = strings.TrimSpace(note)
	if note == "" || len(note) > maxReason {
		return ErrExplanationEmpty
	}
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		var mode, reference string
		err := tx.QueryRow(ctx, `
			UPDATE reconciliation_differences SET resolution = 'explained', resolved_at = $2, resolved_by = $3, note = $4
			WHERE id = $1 AND resolved_at IS NULL RETURNING mode, reference`, id, s.now(), p.Username, note).Scan(&mode, &reference)
		if postgres.NoRows(err) {
			return ErrDifferenceGone
		}
		if err != nil {
			return fmt.Errorf("explain difference %d: %w", id, err)
		}
		var left bool
		err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM reconciliation_differences WHERE mode = $1 AND resolved_at IS NULL)`, mode).Scan(&left)
		if err != nil {
			return fmt.Errorf("look for other differences: %w", err)
		}
		if !left {
			if err := alerts.Resolve(ctx, tx, alertDifferences, "gateway/"+mode); err != nil {
				return err
			}
		}
		return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
			AccountID: int64(p.AccountID), Actor: p.Username, Action: "reconciliation.explain", IP: ip,
			Detail: map[string]any{"difference": id, "reference": reference, "note": note},
		})
	})
}

func queryDifferences(ctx context.Context, q postgres.Querier, where string, args ...any) ([]Difference, error) {
	rows, err := q.Query(ctx, `
		SELECT d.id, d.mode, d.kind, d.reference, coalesce(d.payment_id, 0), d.ours, d.theirs, d.first_seen, d.last_seen, d.resolved_at,
			coalesce(d.resolution, ''), coalesce(d.resolved_by, ''), coalesce(d.note, '')
		FROM reconciliation_differences d `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read differences: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Difference])
	if err != nil {
		return nil, fmt.Errorf("read differences: %w", err)
	}
	return list, nil
}
