package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
)

const alertDispute = "dispute.open" // subject "dispute/<payment reference>/<the gateway's id>"

// applyDisputesTx brings our disputes of a payment, whose row the caller holds, in line with what the gateway said; doing it again or late
// changes nothing more. Whether to fight a dispute is decided at the gateway's dashboard; here its deadline is told.
func (s *Service) applyDisputesTx(ctx context.Context, tx pgx.Tx, p Payment, list []Dispute) error {
	if len(list) == 0 {
		return nil
	}
	if err := s.lockEnd(ctx, tx, p); err != nil {
		return err
	}
	known, err := queryDisputes(ctx, tx, `WHERE d.payment_id = $1`, p.ID)
	if err != nil {
		return err
	}
	for _, d := range list {
		if odd := oddDispute(p, d); odd != "" {
			s.deps.Log.WarnContext(ctx, "the gateway told of a dispute that can't be this payment's", "reference", p.Reference, "gateway_dispute", d.ID, "why", odd)
			continue
		}
		before := DisputeCase{PaymentID: p.ID, Reference: p.Reference, Currency: p.Currency, AmountKobo: p.AmountKobo}
		for _, k := range known {
			if k.GatewayID == d.ID {
				before = k
			}
		}
		if err := s.applyDisputeTx(ctx, tx, p, before, d); err != nil {
			return err
		}
	}
	return s.returnedTx(ctx, tx, p)
}

func oddDispute(p Payment, d Dispute) string {
	switch {
	case d.ID == 0:
		return "it has no id"
	case d.Reference != "" && d.Reference != p.Reference:
		return "it is of another transaction"
	case d.Mode != "" && d.Mode != p.Mode:
		return "it is of the other mode"
	case d.Currency != "" && d.Currency != p.Currency:
		return "it is in another currency"
	}
	return ""
}

func (s *Service) applyDisputeTx(ctx context.Context, tx pgx.Tx, p Payment, before DisputeCase, d Dispute) error {
	after, changed := mergeDispute(before, d, s.now())
	if !changed {
		return nil
	}
	after, err := saveDispute(ctx, tx, after, s.now())
	if err != nil {
		return err
	}
	if p.Status == StatusSuccess || p.Status == StatusRefunded || p.ReceivedKobo > 0 { // what never came in was never posted
		if err := s.bookDisputeTx(ctx, tx, p, before, after); err != nil {
			return err
		}
	}
	if err := s.alertDisputeTx(ctx, tx, after); err != nil {
		return err
	}
	if after.Outcome == OutcomeLost {
		if err := s.lostTx(ctx, tx, p, after); err != nil {
			return err
		}
	}
	s.deps.Log.WarnContext(ctx, "a bank disputes a payment", "reference", p.Reference, "tenant_id", p.TenantID, "amount_kobo", after.AmountKobo,
		"status", after.Status, "outcome", after.Outcome, "due_at", after.DueAt)
	if before.ID != 0 && before.Outcome == after.Outcome {
		return nil
	}
	return s.record(ctx, tx, p, "dispute."+string(after.Outcome), map[string]any{"dispute": after.GatewayID, "disputed_kobo": after.AmountKobo})
}

func (s *Service) alertDisputeTx(ctx context.Context, tx pgx.Tx, d DisputeCase) error {
	subject := fmt.Sprintf("dispute/%s/%d", d.Reference, d.GatewayID)
	if d.Outcome != OutcomeOpen {
		return alerts.Resolve(ctx, tx, alertDispute, subject)
	}
	due := "the gateway names no deadline"
	if d.DueAt != nil {
		due = "without an answer by " + d.DueAt.UTC().Format(time.RFC3339) + " it is lost"
	}
	return alerts.Raise(ctx, tx, alerts.Alert{
		Kind: alertDispute, Subject: subject,
		Message: fmt.Sprintf("A bank claims back %d kobo of payment %s (%s): %s.", d.AmountKobo, d.Reference, d.Category, due),
	})
}

// settleDispute applies one dispute by itself, or with its payment where that isn't applied yet. Errors: ErrPaymentNotFound.
func (s *Service) settleDispute(ctx context.Context, d Dispute) error {
	p, err := paymentByReference(ctx, s.deps.Pool, d.Reference)
	if err != nil {
		return err
	}
	if p.Status != StatusSuccess && p.Status != StatusRefunded && p.ReceivedKobo == 0 {
		f, err := s.look(ctx, d.Reference, "charge.dispute.create")
		if err != nil {
			return err
		}
		f.Event = "a dispute"
		return s.apply(ctx, f)
	}
	return s.inPayment(ctx, d.Reference, func(tx pgx.Tx, p Payment) error { return s.applyDisputesTx(ctx, tx, p, []Dispute{d}) })
}
