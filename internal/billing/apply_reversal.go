package billing

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
)

// What operators are told of single payments; subjects are "payment/<reference>".
const (
	alertUnused = "payment.unused" // paid for nothing: to be given back or kept as a credit
	alertReview = "payment.review" // not as it was asked for
	alertEarly  = "payment.early"  // an event tells that money goes back which hasn't come; gone when it has come
)

// early reports whether an event was about the return of money that hasn't come, as far as the gateway says.
func (f finding) early(p Payment) bool {
	came := f.Found && (f.Transaction.Status == GatewaySuccess || returning(f.Transaction.Status))
	return f.Event != "" && !came && p.Status != StatusSuccess && p.Status != StatusRefunded
}

// earlyTx puts before a person what can't be applied yet. The event is kept, and what it is about is read when the payment comes: see toldBefore.
func (s *Service) earlyTx(ctx context.Context, tx pgx.Tx, p Payment, event string) error {
	s.deps.Log.WarnContext(ctx, "the gateway tells of the return of money that hasn't come", "reference", p.Reference, "tenant_id", p.TenantID, "event", event)
	return alerts.Raise(ctx, tx, alerts.Alert{
		Kind: alertEarly, Subject: "payment/" + p.Reference,
		Message: "The gateway has sent " + clip(event) + " for payment " + p.Reference + ", of which it says that it isn't paid.",
	})
}

// reversedNote is the review of a payment that went back without a refund or a dispute that says why.
const reversedNote = "the gateway has returned the money"

// reverseTx notes that money is going back. What a client does without its money is for a person, or for dunning, to decide.
func (s *Service) reverseTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, v verdict, note string) error {
	explained, err := s.explained(ctx, tx, p.ID)
	if err != nil {
		return err
	}
	if v == reversing || explained { // full or partial, and it may fail: nothing is final
		if p.Status == StatusSuccess || p.Status == StatusRefunded {
			return errors.Join(noteGateway(ctx, tx, p.ID, t), s.bookFeeTx(ctx, tx, p, t))
		}
		return s.parkTx(ctx, tx, p, t, note)
	}
	if p.Status == StatusRefunded {
		return s.bookFeeTx(ctx, tx, p, t)
	}
	if err := markRefunded(ctx, tx, p, t, reversedNote, s.now()); err != nil {
		return err
	}
	if err := errors.Join(s.bookReversalTx(ctx, tx, p), s.bookFeeTx(ctx, tx, p, t)); err != nil {
		return err
	}
	if err := alerts.Raise(ctx, tx, alerts.Alert{
		Kind: alertReview, Subject: "payment/" + p.Reference,
		Message: "The gateway has returned the money of " + p.Reference + ", and there is neither a refund nor a dispute.",
	}); err != nil {
		return err
	}
	return s.record(ctx, tx, p, "payment.refunded", map[string]any{"before": string(p.Status)})
}

// returning reports whether the gateway says that money went back, or is going back.
func returning(status GatewayStatus) bool {
	return status == GatewayReversed || status == GatewayReversalPending
}

// applyReturnsTx applies what is known of money going back, and returns the payment as it is then. What was never applied is in the books
// as received first, or it would go without having come.
func (s *Service) applyReturnsTx(ctx context.Context, tx pgx.Tx, p Payment, f finding) (Payment, error) {
	if len(f.Refunds)+len(f.Disputes) == 0 {
		return p, nil
	}
	if p.Status != StatusSuccess && p.Status != StatusRefunded {
		if !returning(f.Transaction.Status) && f.Transaction.Status != GatewaySuccess {
			return p, nil // nothing has come in: nothing can go back
		}
		if err := s.receivedTx(ctx, tx, &p, f.Transaction); err != nil {
			return p, err
		}
	}
	if err := s.applyRefundsTx(ctx, tx, p, f.Refunds); err != nil {
		return p, err
	}
	p, err := lockPayment(ctx, tx, p.Reference)
	if err != nil {
		return p, err
	}
	if err := s.applyDisputesTx(ctx, tx, p, f.Disputes); err != nil {
		return p, err
	}
	return lockPayment(ctx, tx, p.Reference)
}

// receivedTx keeps the books of money that came and that nothing was done for.
func (s *Service) receivedTx(ctx context.Context, tx pgx.Tx, p *Payment, t Transaction) error {
	if p.ReceivedKobo > 0 || t.Reference != p.Reference || t.Mode != p.Mode || t.Currency != p.Currency || t.AmountKobo <= 0 {
		return nil
	}
	p.ReceivedKobo = t.AmountKobo
	if err := exec(ctx, tx, "note what was received", `UPDATE payments SET received_kobo = $2, gateway_id = coalesce(gateway_id, nullif($3::bigint, 0)) WHERE id = $1`,
		p.ID, t.AmountKobo, t.ID); err != nil {
		return err
	}
	return errors.Join(s.bookParkedTx(ctx, tx, *p, t.AmountKobo), s.bookFeeTx(ctx, tx, *p, t))
}

// explained reports whether refunds or disputes say why money of a payment goes back.
func (s *Service) explained(ctx context.Context, tx pgx.Tx, id PaymentID) (bool, error) {
	var yes bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM refunds WHERE payment_id = $1 AND state <> 'failed')
			OR EXISTS (SELECT FROM disputes WHERE payment_id = $1 AND outcome <> 'won')`, id).Scan(&yes)
	return yes, err
}

// explainReversalTx takes back what was done when nobody knew why the money went.
func (s *Service) explainReversalTx(ctx context.Context, tx pgx.Tx, p Payment) error {
	if err := s.bookExplainedTx(ctx, tx, p); err != nil {
		return err
	}
	if err := exec(ctx, tx, "end the review", `UPDATE payments SET review = NULL WHERE id = $1`, p.ID); err != nil {
		return err
	}
	return alerts.Resolve(ctx, tx, alertReview, "payment/"+p.Reference)
}

// parkedTx keeps the books of money that came, but not as it was asked for: nobody can say yet whose it is.
func (s *Service) parkedTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, why string) error {
	if t.Status == GatewaySuccess {
		if err := s.receivedTx(ctx, tx, &p, t); err != nil {
			return err
		}
	}
	return alerts.Raise(ctx, tx, alerts.Alert{
		Kind: alertReview, Subject: "payment/" + p.Reference, Message: "Payment " + p.Reference + " isn't as it was asked for: " + why + ".",
	})
}

// unparkTx is for a payment that was parked and turns out to be as it was asked for; taken means that the books had its money.
func (s *Service) unparkTx(ctx context.Context, tx pgx.Tx, p Payment) (taken bool, err error) {
	if p.Review == "" || p.Status == StatusSuccess || p.Status == StatusRefunded {
		return false, nil
	}
	if p.ReceivedKobo > 0 {
		if err := exec(ctx, tx, "forget what was parked", `UPDATE payments SET received_kobo = NULL WHERE id = $1`, p.ID); err != nil {
			return false, err
		}
		if err := s.bookUnparkedTx(ctx, tx, p); err != nil {
			return false, err
		}
	}
	return p.ReceivedKobo > 0, alerts.Resolve(ctx, tx, alertReview, "payment/"+p.Reference)
}
