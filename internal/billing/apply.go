package billing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/alerts"
	"controlplane/internal/audit"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// settle asks the gateway about one payment and applies the answer; webhook, verify and poller all end here. No transaction is open
// while the gateway is asked, so the answer may be old by the time it is applied: applyTx allows for that.
func (s *Service) settle(ctx context.Context, reference string) error {
	f, err := s.look(ctx, reference, "")
	if err != nil {
		return err
	}
	return s.apply(ctx, f)
}

func (s *Service) apply(ctx context.Context, f finding) error {
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		_, err := s.applyTx(ctx, tx, f)
		return err
	})
}

// applyTx brings our row in line with what the gateway said, under a lock on the row; doing it again, late or twice at once changes
// nothing more. It never takes a payment back from paid to unpaid by itself. The result is a line for people.
func (s *Service) applyTx(ctx context.Context, tx pgx.Tx, f finding) (string, error) {
	p, err := lockPayment(ctx, tx, f.Reference)
	if errors.Is(err, ErrPaymentNotFound) {
		s.deps.Log.WarnContext(ctx, "the gateway told of a payment that isn't ours", "reference", f.Reference)
		return "not a payment of ours", nil
	}
	if err != nil {
		return "", err
	}
	if p.AmountKobo == 0 { // the gateway never hears of it
		return s.paidByCreditTx(ctx, tx, p)
	}
	if f.early(p) {
		if err := s.earlyTx(ctx, tx, p, f.Event); err != nil {
			return "", err
		}
	} else if f.Told {
		if err := alerts.Resolve(ctx, tx, alertEarly, "payment/"+p.Reference); err != nil {
			return "", err
		}
	}
	if !f.Found {
		return "unknown to the gateway", s.notFoundTx(ctx, tx, p)
	}
	// What says why money went back comes first, so that the transaction's being reversed is no riddle.
	if returning(f.Transaction.Status) {
		if p, err = s.applyReturnsTx(ctx, tx, p, f); err != nil {
			return "", err
		}
		return s.applyTransactionTx(ctx, tx, p, f.Transaction)
	}
	outcome, err := s.applyTransactionTx(ctx, tx, p, f.Transaction)
	if err != nil || len(f.Refunds)+len(f.Disputes) == 0 {
		return outcome, err
	}
	if p, err = lockPayment(ctx, tx, f.Reference); err != nil {
		return "", err
	}
	_, err = s.applyReturnsTx(ctx, tx, p, f)
	return outcome, err
}

func (s *Service) applyTransactionTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) (string, error) {
	v, note := judge(p, t)
	if note != "" {
		s.deps.Log.WarnContext(ctx, "payment needs attention", "reference", p.Reference, "payment_id", p.ID, "tenant_id", p.TenantID,
			"gateway_status", t.Status, "note", note)
	}
	switch v {
	case paid:
		taken, err := s.unparkTx(ctx, tx, p)
		if err != nil {
			return "", err
		}
		outcome, err := s.paidTx(ctx, tx, p, t)
		if err != nil || !taken {
			return outcome, err
		}
		return outcome, s.bookTakenTx(ctx, tx, p.Reference)
	case suspect:
		return note, s.parkTx(ctx, tx, p, t, note)
	case reversed, reversing:
		return note, s.reverseTx(ctx, tx, p, t, v, note)
	case declined, waiting:
	}
	return "still " + string(t.Status), s.waitTx(ctx, tx, p, t, v)
}

// paidTx is the only way to paid: the first one activates its client, any other one is a credit.
func (s *Service) paidTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) (string, error) {
	if p.Status == StatusSuccess || p.Status == StatusRefunded {
		return "already applied", errors.Join(noteGateway(ctx, tx, p.ID, t), s.bookFeeTx(ctx, tx, p, t))
	}
	switch p.Purpose {
	case PurposeRenewal:
		return s.renewedTx(ctx, tx, p, t)
	case PurposeUpgrade:
		return s.upgradedTx(ctx, tx, p, t)
	case PurposeActivation, PurposeCredit:
	}
	tenant, err := s.deps.Tenants.Lock(ctx, tx, p.TenantID)
	if err != nil {
		return "", err
	}
	reason := ""
	switch {
	case tenant.PlanID != p.PlanID: // a cheaper plan's open reference must not pay for a dearer one
		reason = fmt.Sprintf("paid for plan %s, but the client has %s", p.PlanID, tenant.PlanID)
	case tenant.State != tenants.Pending:
		reason = fmt.Sprintf("the client was %s, not waiting for a payment", tenant.State)
	}
	if bought, err := s.buysTx(ctx, tx, p, t, reason); err != nil || bought != "" {
		return bought, err
	}
	switch activated, err := s.deps.Tenants.MarkPaidTx(ctx, tx, p.TenantID, p.Reference); {
	case err != nil:
		return "", err
	case !activated:
		return "", fmt.Errorf("tenant %s, which was %s, can't be activated", p.TenantID, tenant.State)
	}
	if err := markPaid(ctx, tx, p.ID, t, PurposeActivation, s.now()); err != nil {
		return "", err
	}
	if err := s.deps.Provisioner.EnqueueTx(ctx, tx, p.TenantID); err != nil && !errors.Is(err, ops.ErrLive) {
		return "", fmt.Errorf("start provisioning tenant %s: %w", p.TenantID, err)
	}
	if p, err = s.startTx(ctx, tx, p, t); err != nil {
		return "", err
	}
	if err := s.bookActivationTx(ctx, tx, p, t); err != nil {
		return "", err
	}
	s.deps.Log.InfoContext(ctx, "payment activates its client", "reference", p.Reference, "tenant_id", p.TenantID, "amount_kobo", p.AmountKobo)
	return "activated", s.record(ctx, tx, p, "payment.success", nil)
}

// buysTx spends the credit that p counts on, unless reason says why p can't be used. When p buys nothing its money becomes a credit; the
// result says so then, and is "" otherwise.
func (s *Service) buysTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, reason string) (string, error) {
	if reason == "" {
		spent, err := s.spendTx(ctx, tx, p)
		if err != nil || spent {
			return "", err
		}
		reason = usedUp
	}
	if p.AmountKobo == 0 {
		return "nothing was paid: " + reason, exec(ctx, tx, "close a payment by credit", `
			UPDATE payments SET status = 'failed', next_check_at = NULL, last_checked_at = $2 WHERE id = $1`, p.ID, s.now())
	}
	return "credit: " + reason, s.creditTx(ctx, tx, p, t, reason)
}

// paidByCreditTx is for a payment for which the account's credit is enough. One that failed stays so: nobody paid anything.
func (s *Service) paidByCreditTx(ctx context.Context, tx pgx.Tx, p Payment) (string, error) {
	if p.Status != StatusPending {
		return "already applied", nil
	}
	return s.paidTx(ctx, tx, p, s.byCredit(p))
}

func (s *Service) creditTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, reason string) error {
	if err := markPaid(ctx, tx, p.ID, t, PurposeCredit, s.now()); err != nil {
		return err
	}
	if err := insertCredit(ctx, tx, p, reason, s.now()); err != nil {
		return err
	}
	if err := s.bookCreditTx(ctx, tx, p, t); err != nil {
		return err
	}
	if err := s.undecidedTx(ctx, tx, p, reason); err != nil {
		return err
	}
	s.deps.Log.WarnContext(ctx, "payment became a credit", "reference", p.Reference, "tenant_id", p.TenantID, "amount_kobo", p.AmountKobo, "reason", reason)
	return s.record(ctx, tx, p, "payment.credit", map[string]any{"reason": reason})
}

// undecidedTx puts a credit before a person. What only lacked the rest of its price, or came for a plan that the client has outgrown, is kept
// without one: its owner wanted to pay for this client, and does with the next attempt.
func (s *Service) undecidedTx(ctx context.Context, tx pgx.Tx, p Payment, reason string) error {
	if reason == usedUp || strings.HasPrefix(reason, outgrown) {
		return errors.Join(decideCredit(ctx, tx, p.ID, "kept", s.now()), hastenUnpaid(ctx, tx, p.AccountID, s.now()))
	}
	return alerts.Raise(ctx, tx, alerts.Alert{
		Kind: alertUnused, Subject: "payment/" + p.Reference,
		Message: fmt.Sprintf("%d kobo of payment %s are to be given back or kept as a credit: %s.", p.AmountKobo, p.Reference, reason),
	})
}

// parkTx keeps the row as it is and puts it before a person. A later answer that does match is still applied.
func (s *Service) parkTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, why string) error {
	if p.Status != StatusPending && p.Status != StatusFailed {
		return nil
	}
	if err := park(ctx, tx, p.ID, t, why, s.now()); err != nil {
		return err
	}
	if p.Review == why {
		return nil
	}
	if err := s.parkedTx(ctx, tx, p, t, why); err != nil {
		return err
	}
	return s.record(ctx, tx, p, "payment.review", map[string]any{"reason": why})
}

// waitTx schedules the next look, or closes a reference that nobody paid for long enough. Closing is only for our list: a later
// success is still applied.
func (s *Service) waitTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, v verdict) error {
	if p.Status == StatusSuccess || p.Status == StatusRefunded {
		return nil // an answer from before the payment
	}
	status := StatusPending
	if v == declined {
		status = StatusFailed
	}
	next := s.nextCheck(p)
	if next == nil {
		status = StatusFailed
	}
	return schedule(ctx, tx, p.ID, t.Status, status, next, s.now())
}

// notFoundTx: an initialize may still be in flight, so an unknown reference is looked for again for a while.
func (s *Service) notFoundTx(ctx context.Context, tx pgx.Tx, p Payment) error {
	if p.Status == StatusSuccess || p.Status == StatusRefunded {
		s.deps.Log.ErrorContext(ctx, "the gateway doesn't know a payment that it told us was paid", "reference", p.Reference)
		return nil
	}
	next := s.nextCheck(p)
	if p.AuthorizationURL == "" && s.now().Sub(p.CreatedAt) > time.Hour {
		next = nil
	}
	status := p.Status
	if next == nil {
		status = StatusFailed
	}
	return schedule(ctx, tx, p.ID, "", status, next, s.now())
}

func (s *Service) record(ctx context.Context, tx pgx.Tx, p Payment, action string, detail map[string]any) error {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["reference"], detail["amount_kobo"], detail["currency"] = p.Reference, p.AmountKobo, p.Currency
	return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
		Actor: accounts.System().Username, TenantID: int64(p.TenantID), Action: action, Detail: detail,
	})
}
