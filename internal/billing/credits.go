package billing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/alerts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres"
)

// KeepCredit decides that money of no use for its client stays with us as the customer's credit, which pays for what comes next, and at once
// for what is due; Refund is the other way. Admins only.
// Errors: ErrAdminOnly, ErrCreditNotFound, ErrCreditDecided, ErrExplanationEmpty.
func (s *Service) KeepCredit(ctx context.Context, p accounts.Principal, ip netip.Addr, id int64, note string) error {
	if !p.Admin {
		return ErrAdminOnly
	}
	note = strings.TrimSpace(note)
	if note == "" || len(note) > maxReason {
		return ErrExplanationEmpty
	}
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		var account accounts.ID
		var reference string
		var decided bool
		err := tx.QueryRow(ctx, `
			SELECT c.account_id, p.reference, c.resolution IS NOT NULL FROM credits c JOIN payments p ON p.id = c.payment_id WHERE c.id = $1 FOR UPDATE OF c`,
			id).Scan(&account, &reference, &decided)
		if postgres.NoRows(err) {
			return ErrCreditNotFound
		}
		if err != nil {
			return fmt.Errorf("lock credit %d: %w", id, err)
		}
		if decided {
			return ErrCreditDecided
		}
		if err := exec(ctx, tx, "keep the credit", `
			UPDATE credits SET resolution = 'kept', resolved_at = $2, resolved_by = $3, note = $4 WHERE id = $1`, id, s.now(), p.Username, note); err != nil {
			return err
		}
		if err := errors.Join(alerts.Resolve(ctx, tx, alertUnused, "payment/"+reference), hastenUnpaid(ctx, tx, account, s.now())); err != nil {
			return err
		}
		return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
			AccountID: int64(p.AccountID), Actor: p.Username, Action: "payment.credit.keep", IP: ip,
			Detail: map[string]any{"reference": reference, "credit": id, "customer": int64(account), "note": note},
		})
	})
}
