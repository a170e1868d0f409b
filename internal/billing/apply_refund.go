package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
)

// applyRefundsTx brings our refunds of a payment, whose row the caller holds, in line with what the gateway said of them; doing it again or
// late changes nothing more. Refunds that we don't know were made at the gateway's dashboard, and are money that went back all the same.
func (s *Service) applyRefundsTx(ctx context.Context, tx pgx.Tx, p Payment, list []Refund) error {
	if len(list) == 0 {
		return nil
	}
	if err := s.lockEnd(ctx, tx, p); err != nil {
		return err
	}
	known, err := refundsOf(ctx, tx, p.ID)
	if err != nil {
		return err
	}
	for _, r := range list {
		if odd := oddRefund(p, r); odd != "" {
			s.deps.Log.WarnContext(ctx, "the gateway told of a refund that can't be this payment's", "reference", p.Reference, "gateway_refund", r.ID, "why", odd)
			continue
		}
		order, ours := matchRefund(known, r)
		if !ours {
			if order, err = s.foreignRefundTx(ctx, tx, p, known, r); err != nil {
				return err
			}
			known = append(known, order)
		}
		moved, changed := moveRefund(order, r, s.now())
		if !changed {
			continue
		}
		if err := s.moveRefundTx(ctx, tx, p, order, moved); err != nil {
			return err
		}
		for i := range known {
			if known[i].ID == moved.ID {
				known[i] = moved
			}
		}
	}
	return s.returnedTx(ctx, tx, p)
}

func oddRefund(p Payment, r Refund) string {
	switch {
	case r.ID == 0 || r.AmountKobo <= 0:
		return "it has no id or no amount"
	case r.Mode != "" && r.Mode != p.Mode:
		return "it is of the other mode"
	case r.Currency != "" && r.Currency != p.Currency:
		return "it is in another currency"
	case r.Reference != "" && r.Reference != p.Reference:
		return "it is of another transaction"
	}
	return ""
}

// matchRefund finds our row for what the gateway has: by its id, by our note, or, should the gateway not repeat the note, because it can
// only be the one that was sent and not found yet.
func matchRefund(known []RefundOrder, r Refund) (RefundOrder, bool) {
	for _, o := range known {
		if o.GatewayID == r.ID {
			return o, true
		}
	}
	for _, o := range known {
		if o.GatewayID == 0 && (o.Note == r.MerchantNote ||
			r.MerchantNote == "" && o.State == RefundRequested && o.Sends > 0 && o.AmountKobo == r.AmountKobo) {
			return o, true
		}
	}
	return RefundOrder{}, false
}

// lockEnd takes the locks that ending what p paid for needs, down to the credits that p used, before credit notes are issued: a credit note's number
// comes after them in everybody's order.
func (s *Service) lockEnd(ctx context.Context, tx pgx.Tx, p Payment) error {
	if p.SubscriptionID == 0 {
		return nil
	}
	if _, _, err := s.lockBoth(ctx, tx, p.TenantID, p.SubscriptionID); err != nil || p.CreditKobo == 0 {
		return err
	}
	return exec(ctx, tx, "lock the credits that were used", `
		SELECT id FROM credits WHERE id IN (SELECT credit_id FROM credit_uses WHERE payment_id = $1 AND returned_at IS NULL) ORDER BY id FOR UPDATE`, p.ID)
}

// foreignRefundTx takes on a refund that was made at the gateway's dashboard. Where nobody says otherwise, what was paid for ends when all of
// it is back.
func (s *Service) foreignRefundTx(ctx context.Context, tx pgx.Tx, p Payment, known []RefundOrder, r Refund) (RefundOrder, error) {
	back := r.AmountKobo
	for _, o := range known {
		if o.State != RefundFailed && !o.ToCredit {
			back += o.AmountKobo
		}
	}
	order := RefundOrder{
		PaymentID: p.ID, Reference: p.Reference, AmountKobo: r.AmountKobo, Currency: p.Currency, State: RefundPending,
		Reason: "made at the gateway", Ends: back >= p.AmountKobo, Note: fmt.Sprintf("gateway %d/%d", p.ID, r.ID), CreatedAt: s.now(),
	}
	var err error
	order.ID, err = insertRefund(ctx, tx, order, s.now().Add(firstCheck))
	return order, err
}

const creditPart = " (what came from credit)"

// moveRefund is what the gateway's word makes of our row. What has ended stays as it is, but for a success after a failure: money went.
func moveRefund(o RefundOrder, r Refund, now time.Time) (RefundOrder, bool) {
	to := refundStateOf(r.Status)
	gaveUp := o.State == RefundFailed && o.GatewayID == 0
	if o.State == RefundProcessed || o.State == RefundFailed && !gaveUp && to != RefundProcessed {
		return o, false
	}
	if o.State == to && o.GatewayID == r.ID && o.GatewayStatus == r.Status {
		return o, false
	}
	o.State, o.GatewayID, o.GatewayStatus, o.Error, o.CompletedAt = to, r.ID, r.Status, "", nil
	if o.AcceptedAt == nil {
		o.AcceptedAt, o.AmountKobo = &now, r.AmountKobo // what the gateway took on counts
	}
	if to.ended() {
		o.CompletedAt = &now
	}
	if to == RefundFailed {
		o.Error = "the gateway couldn't carry it out; the money is ours again"
	}
	return o, true
}

func refundStateOf(status RefundStatus) RefundState {
	switch status {
	case GatewayRefundProcessed:
		return RefundProcessed
	case GatewayRefundFailed:
		return RefundFailed
	case GatewayRefundNeedsAttention:
		return RefundAttention
	case GatewayRefundPending, GatewayRefundProcessing:
	}
	return RefundPending
}

func (s *Service) moveRefundTx(ctx context.Context, tx pgx.Tx, p Payment, before, after RefundOrder) error {
	var next *time.Time
	if !after.State.ended() {
		at := s.now().Add(firstCheck)
		next = &at
	}
	if err := saveRefund(ctx, tx, after, next); err != nil {
		return err
	}
	ends := after.Ends && after.State == RefundProcessed && before.State != RefundProcessed
	if ends {
		if err := s.endPaidTx(ctx, tx, p, after.Reason); err != nil {
			return err
		}
	}
	if err := s.bookRefundTx(ctx, tx, p, before, after); err != nil {
		return err
	}
	if ends {
		// With the refund's own words it would be taken for a repeat of it when both are of the same amount.
		order := RefundOrder{Reason: clipText(after.Reason, maxReason-len(creditPart)) + creditPart, RequestedBy: after.RequestedBy}
		if _, err := s.giveCreditBackTx(ctx, tx, p, order); err != nil {
			return err
		}
	}
	if err := s.alertRefundTx(ctx, tx, after); err != nil || before.State == after.State {
		return err
	}
	s.deps.Log.InfoContext(ctx, "refund", "refund_id", after.ID, "reference", p.Reference, "amount_kobo", after.AmountKobo, "state", after.State)
	return s.record(ctx, tx, p, "refund."+string(after.State), map[string]any{"refund": int64(after.ID), "refunded_kobo": after.AmountKobo})
}

func (s *Service) alertRefundTx(ctx context.Context, tx pgx.Tx, o RefundOrder) error {
	subject := fmt.Sprintf("refund/%d", o.ID)
	switch o.State {
	case RefundAttention:
		return alerts.Raise(ctx, tx, alerts.Alert{
			Kind: "refund.attention", Subject: subject,
			Message: fmt.Sprintf("The refund of %s waits for the customer's bank details at the gateway's dashboard.", o.Reference),
		})
	case RefundFailed:
		if err := alerts.Raise(ctx, tx, alerts.Alert{
			Kind: "refund.failed", Subject: subject,
			Message: fmt.Sprintf("The refund of %d kobo of %s came to nothing: %s.", o.AmountKobo, o.Reference, o.Error),
		}); err != nil {
			return err
		}
	case RefundProcessed:
		if err := alerts.Resolve(ctx, tx, "refund.failed", subject); err != nil {
			return err
		}
	case RefundRequested, RefundPending:
	}
	if o.State == RefundPending {
		return nil
	}
	return alerts.Resolve(ctx, tx, "refund.attention", subject)
}

// failRefund ends a refund that the gateway doesn't have.
func (s *Service) failRefund(ctx context.Context, order RefundOrder, why string) error {
	return s.inPayment(ctx, order.Reference, func(tx pgx.Tx, p Payment) error {
		current, err := refundByID(ctx, tx, order.ID)
		if err != nil || current.State != RefundRequested {
			return err
		}
		failed, now := current, s.now()
		failed.State, failed.Error, failed.CompletedAt = RefundFailed, why, &now
		return s.moveRefundTx(ctx, tx, p, current, failed)
	})
}

// returnedTx adds up what went back of a payment, whose row the caller holds, and marks it as refunded once that is all of it.
func (s *Service) returnedTx(ctx context.Context, tx pgx.Tx, before Payment) error {
	back, err := returned(ctx, tx, before.ID)
	if err != nil || back == before.RefundedKobo && before.Status == StatusRefunded && before.Review == "" {
		return err
	}
	if back > 0 && before.Status == StatusRefunded && before.Review == reversedNote {
		if err := s.explainReversalTx(ctx, tx, before); err != nil {
			return err
		}
	}
	all := before.AmountKobo
	if before.ReceivedKobo > 0 {
		all = before.ReceivedKobo
	}
	if back < all {
		return setRefunded(ctx, tx, before.ID, back)
	}
	if err := setAllRefunded(ctx, tx, before, back, s.now()); err != nil || before.Status == StatusRefunded {
		return err
	}
	if err := s.creditGoneTx(ctx, tx, before); err != nil {
		return err
	}
	for _, kind := range []string{alertUnused, alertReview} {
		if err := alerts.Resolve(ctx, tx, kind, "payment/"+before.Reference); err != nil {
			return err
		}
	}
	return s.record(ctx, tx, before, "payment.refunded", map[string]any{"before": string(before.Status), "refunded_kobo": back})
}

// creditGoneTx settles the credit that a payment became, since its money is with its payer again. What was spent of it is owed to us.
func (s *Service) creditGoneTx(ctx context.Context, tx pgx.Tx, p Payment) error {
	var spent int64
	if err := tx.QueryRow(ctx, `SELECT coalesce(sum(used_kobo), 0)::bigint FROM credits WHERE payment_id = $1`, p.ID).Scan(&spent); err != nil {
		return fmt.Errorf("read what was spent of %s: %w", p.Reference, err)
	}
	if spent > 0 {
		if err := alerts.Raise(ctx, tx, alerts.Alert{
			Kind: alertOverdraw, Subject: "payment/" + p.Reference,
			Message: fmt.Sprintf("Payment %s went back in full, although %d kobo of it were spent as credit.", p.Reference, spent),
		}); err != nil {
			return err
		}
	}
	return decideCredit(ctx, tx, p.ID, "refunded", s.now())
}

// inPayment is for changes that need the payment's lock and nothing else.
func (s *Service) inPayment(ctx context.Context, reference string, fn func(tx pgx.Tx, p Payment) error) error {
	return pgx.BeginFunc(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		p, err := lockPayment(ctx, tx, reference)
		if err != nil {
			return err
		}
		return fn(tx, p)
	})
}
