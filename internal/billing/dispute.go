package billing

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// DisputeOutcome is what a dispute came to.
type DisputeOutcome string

// The outcomes of a dispute.
const (
	OutcomeOpen DisputeOutcome = "open"
	OutcomeWon  DisputeOutcome = "won"
	OutcomeLost DisputeOutcome = "lost"
)

// DisputeCase is our row of a dispute: what a customer's bank claims back.
type DisputeCase struct {
	ID          int64
	GatewayID   int64
	PaymentID   PaymentID
	Reference   string
	AccountID   accounts.ID
	TenantID    tenants.ID
	TenantName  string
	Status      DisputeStatus
	Resolution  string
	Category    string
	AmountKobo  int64 // what the bank wants; once lost, what it got
	ClaimedKobo int64 // as it was first told
	Currency    string
	DueAt       *time.Time // silence until then loses it
	Outcome     DisputeOutcome
	OpenedAt    time.Time
	ResolvedAt  *time.Time
}

// DisputeList returns all disputes, those that are open first, by their deadline, and how many there are. Admins only.
func (s *Service) DisputeList(ctx context.Context, p accounts.Principal, skip, limit int) ([]DisputeCase, int, error) {
	if !p.Admin {
		return nil, 0, ErrAdminOnly
	}
	if badPage(skip, limit) {
		return nil, 0, ErrPageOutOfBounds
	}
	var total int
	if err := s.deps.Pool.QueryRow(ctx, `SELECT count(*) FROM disputes`).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the disputes: %w", err)
	}
	list, err := queryDisputes(ctx, s.deps.Pool, `ORDER BY d.outcome <> 'open', CASE WHEN d.outcome = 'open' THEN d.due_at END, d.id DESC OFFSET $1 LIMIT $2`, skip, limit)
	return list, total, err
}

// outcomeOf reads a resolved dispute. A transaction that was reversed tells of a loss whatever the resolution is called.
func outcomeOf(d Dispute) DisputeOutcome {
	switch {
	case d.Status != DisputeResolved && d.Status != "archived":
		return OutcomeOpen
	case d.Resolution == "declined":
		return OutcomeWon
	case strings.HasSuffix(d.Resolution, "accepted") || d.TransactionStatus == GatewayReversed:
		return OutcomeLost
	case d.Status == "archived":
		return OutcomeWon // nothing was taken
	}
	return OutcomeOpen // resolved, and nobody says how: a person has to look
}

// mergeDispute is what the gateway's word makes of our row; a zero row is a dispute that is new to us. What has ended stays as it is.
func mergeDispute(row DisputeCase, d Dispute, now time.Time) (DisputeCase, bool) {
	if row.ID != 0 && row.Outcome != OutcomeOpen {
		return row, false
	}
	after := row
	after.GatewayID, after.Status, after.Resolution, after.Category, after.Outcome = d.ID, d.Status, clip(d.Resolution), clip(d.Category), outcomeOf(d)
	after.Status = DisputeStatus(clip(string(d.Status)))
	if d.AmountKobo > 0 {
		after.AmountKobo = d.AmountKobo
	}
	if d.DueAt != nil {
		after.DueAt = d.DueAt
	}
	if row.ID == 0 {
		after.ClaimedKobo, after.OpenedAt = after.AmountKobo, now
		if d.CreatedAt != nil {
			after.OpenedAt = *d.CreatedAt
		}
	}
	if after.Outcome != OutcomeOpen {
		after.ResolvedAt = &now
		if d.ResolvedAt != nil {
			after.ResolvedAt = d.ResolvedAt
		}
	}
	same := row.ID != 0 && row.Status == after.Status && row.Outcome == after.Outcome && row.AmountKobo == after.AmountKobo &&
		row.Category == after.Category && row.Resolution == after.Resolution && sameMoment(row.DueAt, after.DueAt)
	return after, !same
}

func sameMoment(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

const disputeColumns = `d.id, d.gateway_id, d.payment_id, p.reference, p.account_id, p.tenant_id, t.name, d.status, d.resolution, d.category,
	d.amount_kobo, d.claimed_kobo, d.currency, d.due_at, d.outcome, d.opened_at, d.resolved_at`

func queryDisputes(ctx context.Context, q postgres.Querier, where string, args ...any) ([]DisputeCase, error) {
	rows, err := q.Query(ctx, `SELECT `+disputeColumns+` FROM disputes d JOIN payments p ON p.id = d.payment_id JOIN tenants t ON t.id = p.tenant_id `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read disputes: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DisputeCase])
	if err != nil {
		return nil, fmt.Errorf("read disputes: %w", err)
	}
	return list, nil
}

// saveDispute inserts a row without an id, and returns it with one.
func saveDispute(ctx context.Context, tx pgx.Tx, d DisputeCase, now time.Time) (DisputeCase, error) {
	err := tx.QueryRow(ctx, `
		INSERT INTO disputes (gateway_id, payment_id, status, resolution, category, amount_kobo, claimed_kobo, currency, due_at, outcome, opened_at,
		                      resolved_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (payment_id, gateway_id) DO UPDATE SET status = EXCLUDED.status, resolution = EXCLUDED.resolution, category = EXCLUDED.category,
			amount_kobo = EXCLUDED.amount_kobo, due_at = EXCLUDED.due_at, outcome = EXCLUDED.outcome, resolved_at = EXCLUDED.resolved_at,
			updated_at = EXCLUDED.updated_at
		RETURNING id`, d.GatewayID, d.PaymentID, d.Status, d.Resolution, d.Category, d.AmountKobo, d.ClaimedKobo, d.Currency, d.DueAt, d.Outcome,
		d.OpenedAt, d.ResolvedAt, now).Scan(&d.ID)
	if err != nil {
		return DisputeCase{}, fmt.Errorf("store the dispute: %w", err)
	}
	return d, nil
}
