package billing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

const (
	refundLease  = 2 * time.Minute  // how long a refund is left to whoever works on it; far above the calls' own bounds
	refundGrace  = 10 * time.Minute // no request is under way for longer: what isn't known there by then never arrived
	refundLook   = 20 * time.Second // between looks for one whose fate is unknown
	refundSends  = 3
	refundBatch  = 20
	maxReason    = 500
	notReceived  = "the gateway never received it"
	refundRefuse = "the gateway refused it"
)

// Refund gives money of a payment back. Admins only. The wish is committed before the gateway hears of it; when its answer gets lost, the
// refund is looked for there, and never sent again while it may be on its way. The answer is the state after the first attempt. What the
// payment paid for ends, if it does, when the money is back: until then the refund may fail.
// Errors: ErrAdminOnly, ErrPaymentNotFound, ErrNothingToRefund, ErrRefundRunning, ErrRefundRepeated, ErrRefundTooMuch,
// ErrRefundWhole, ErrRefundReason, ErrRefundWrongMode, ErrGatewayDown.
func (s *Service) Refund(ctx context.Context, p accounts.Principal, ip netip.Addr, in RefundInput) (RefundOrder, error) {
	if !p.Admin {
		return RefundOrder{}, ErrAdminOnly
	}
	in.Reason = strings.TrimSpace(in.Reason)
	if in.Reason == "" || len(in.Reason) > maxReason {
		return RefundOrder{}, ErrRefundReason
	}
	if in.AmountKobo < 0 {
		return RefundOrder{}, ErrRefundNegative
	}
	if !referenceShaped(in.Reference) {
		return RefundOrder{}, ErrPaymentNotFound
	}
	if err := s.settleFor(ctx, in.Reference); err != nil { // what the gateway has given back already counts
		return RefundOrder{}, err
	}
	order, err := s.orderRefund(ctx, p, ip, in)
	if err != nil || order.ToCredit {
		return order, err
	}
	// From here on the poller finishes it, whatever happens to the caller.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.GatewayTimeout)
	defer cancel()
	if err := s.sendRefund(call, order); err != nil {
		s.deps.Log.WarnContext(ctx, "the outcome of a refund isn't known yet", "refund_id", order.ID, "reference", order.Reference, "error", err)
	}
	return refundByID(ctx, s.deps.Pool, order.ID)
}

// settleFor brings a payment up to date before somebody decides about its money.
func (s *Service) settleFor(ctx context.Context, reference string) error {
	payment, err := paymentByReference(ctx, s.deps.Pool, reference)
	if err != nil {
		return err
	}
	switch {
	case payment.Mode != s.deps.Gateway.Mode():
		return ErrRefundWrongMode
	case payment.AmountKobo == 0:
		return nil // the gateway knows nothing of it
	}
	return s.settleNow(ctx, reference)
}

func (s *Service) orderRefund(ctx context.Context, p accounts.Principal, ip netip.Addr, in RefundInput) (RefundOrder, error) {
	var order RefundOrder
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		payment, err := lockPayment(ctx, tx, in.Reference)
		if err != nil {
			return err
		}
		if payment.AmountKobo == 0 {
			order, err = s.refundCreditTx(ctx, tx, p, ip, payment, in)
			return err
		}
		left, err := refundable(ctx, tx, payment.ID)
		if err != nil {
			return err
		}
		amount := in.AmountKobo
		if amount == 0 {
			amount = left
		}
		switch {
		case left <= 0:
			return ErrNothingToRefund
		case amount > left:
			return ErrRefundTooMuch
		}
		now := s.now()
		order = RefundOrder{
			PaymentID: payment.ID, Reference: payment.Reference, AmountKobo: amount, Currency: payment.Currency, State: RefundRequested,
			Reason: in.Reason, RequestedBy: p.Username, Ends: in.End == nil && amount == left || in.End != nil && *in.End, Note: "refund " + secrets.RandomHex(10), CreatedAt: now,
		}
		if order.ID, err = insertRefund(ctx, tx, order, now.Add(refundLease)); err != nil {
			return err
		}
		return s.recordRefund(ctx, tx, p, ip, payment, order)
	})
	switch postgres.UniqueViolation(err) {
	case "refunds_one_requested":
		return RefundOrder{}, ErrRefundRunning
	case "refunds_not_repeated":
		return RefundOrder{}, ErrRefundRepeated
	}
	return order, err
}

func (s *Service) recordRefund(ctx context.Context, tx pgx.Tx, p accounts.Principal, ip netip.Addr, payment Payment, order RefundOrder) error {
	return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
		AccountID: int64(p.AccountID), Actor: p.Username, TenantID: int64(payment.TenantID), Action: "payment.refund", IP: ip,
		Detail: map[string]any{
			"reference": payment.Reference, "refund": int64(order.ID), "amount_kobo": order.AmountKobo, "currency": payment.Currency, "reason": order.Reason,
			"end_subscription": order.Ends, "to_credit": order.ToCredit,
		},
	})
}

// refundCreditTx gives back a payment that came from credit alone: to the credit, at once. The credit itself can be given back after that.
func (s *Service) refundCreditTx(ctx context.Context, tx pgx.Tx, p accounts.Principal, ip netip.Addr, payment Payment, in RefundInput) (RefundOrder, error) {
	switch {
	case payment.Status != StatusSuccess:
		return RefundOrder{}, ErrNothingToRefund
	case in.AmountKobo != 0 && in.AmountKobo != payment.CreditKobo:
		return RefundOrder{}, ErrRefundWhole
	}
	order := RefundOrder{Reason: in.Reason, RequestedBy: p.Username, Ends: in.End == nil || *in.End}
	if err := s.lockEnd(ctx, tx, payment); err != nil {
		return order, err
	}
	if order.Ends {
		if err := s.endPaidTx(ctx, tx, payment, in.Reason); err != nil {
			return order, err
		}
	}
	order, err := s.giveCreditBackTx(ctx, tx, payment, order)
	if err != nil {
		return order, err
	}
	if order.ID == 0 {
		return order, ErrNothingToRefund
	}
	if err := setAllRefunded(ctx, tx, payment, order.AmountKobo, s.now()); err != nil {
		return order, err
	}
	return order, s.recordRefund(ctx, tx, p, ip, payment, order)
}

// sendRefund does what is due of a requested refund: looks for it when it may be there, sends it when it can't be. An error means that
// nothing is known yet.
func (s *Service) sendRefund(ctx context.Context, order RefundOrder) error {
	transaction, err := gatewayID(ctx, s.deps.Pool, order.PaymentID)
	if err != nil {
		return err
	}
	if order.Sends > 0 {
		done, err := s.findRefund(ctx, order, transaction)
		if err != nil || done {
			return err
		}
	}
	if order.Sends >= refundSends {
		return s.failRefund(ctx, order, notReceived)
	}
	now := s.now()
	claimed, err := markSent(ctx, s.deps.Pool, order, now, now.Add(refundLease))
	if err != nil || !claimed {
		return err
	}
	r, err := s.deps.Gateway.Refund(ctx, RefundRequest{
		TransactionID: transaction, AmountKobo: order.AmountKobo, Currency: order.Currency, MerchantNote: order.Note,
	})
	keep, stop := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer stop()
	switch {
	case err == nil:
		r.MerchantNote = order.Note // an answer may leave it out
		return s.applyRefunds(keep, order.Reference, []Refund{r})
	case errors.Is(err, ErrGatewayRefused) && order.Sends == 0:
		s.deps.Log.WarnContext(ctx, "the gateway refused a refund", "refund_id", order.ID, "reference", order.Reference, "error", err)
		return s.failRefund(keep, order, refundRefuse)
	}
	// A refusal of a repeat may mean that the first one has arrived: that is looked for as well.
	return errors.Join(err, postponeRefund(keep, s.deps.Pool, order.ID, s.now().Add(refundLook)))
}

// findRefund looks for a refund that was sent. It reports whether there is nothing more to do for now.
func (s *Service) findRefund(ctx context.Context, order RefundOrder, transaction int64) (done bool, err error) {
	list, err := s.deps.Gateway.Refunds(ctx, transaction)
	if err != nil {
		return false, fmt.Errorf("look for refund %d: %w", order.ID, err)
	}
	if err := s.applyRefunds(ctx, order.Reference, list); err != nil {
		return false, err
	}
	current, err := refundByID(ctx, s.deps.Pool, order.ID)
	if err != nil || current.State != RefundRequested {
		return true, err
	}
	if order.SentAt != nil && s.now().Sub(*order.SentAt) < refundGrace {
		return true, postponeRefund(ctx, s.deps.Pool, order.ID, s.now().Add(refundLook))
	}
	return false, nil
}

func (s *Service) applyRefunds(ctx context.Context, reference string, list []Refund) error {
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		p, err := lockPayment(ctx, tx, reference)
		if err != nil {
			return err
		}
		return s.applyRefundsTx(ctx, tx, p, list)
	})
}

// PollRefunds finishes refunds whose fate is unknown and asks how far the others are. Replicas may run it at once: each row is claimed.
func (s *Service) PollRefunds(ctx context.Context) error {
	for range maxPollRounds {
		due, err := claimRefunds(ctx, s.deps.Pool, s.deps.Gateway.Mode(), s.now(), refundLease, refundBatch)
		if err != nil {
			return fmt.Errorf("claim the refunds to look at: %w", err)
		}
		for _, order := range due {
			if err := s.pollRefund(ctx, order); err != nil {
				return err
			}
		}
		if len(due) < refundBatch {
			return nil
		}
	}
	return nil
}

// pollRefund returns only errors of our own database; a gateway that is down is normal here.
func (s *Service) pollRefund(ctx context.Context, order RefundOrder) error {
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	if order.State == RefundRequested {
		if err := s.sendRefund(call, order); err != nil {
			s.deps.Log.WarnContext(ctx, "the outcome of a refund isn't known yet", "refund_id", order.ID, "reference", order.Reference, "error", err)
			return postponeRefund(ctx, s.deps.Pool, order.ID, s.now().Add(refundLook))
		}
		return nil
	}
	if err := s.settleRefund(call, order); err != nil {
		s.deps.Log.WarnContext(ctx, "look at a refund", "refund_id", order.ID, "reference", order.Reference, "error", err)
		return postponeRefund(ctx, s.deps.Pool, order.ID, s.now().Add(gatewayPause))
	}
	return nil
}

func (s *Service) settleRefund(ctx context.Context, order RefundOrder) error {
	r, err := s.deps.Gateway.RefundByID(ctx, order.GatewayID)
	if err != nil {
		return fmt.Errorf("fetch refund %d: %w", order.ID, err)
	}
	if err := s.applyRefunds(ctx, order.Reference, []Refund{r}); err != nil {
		return err
	}
	// Again after as long as it has been going on, but at least 15 s and at most six hours: it is the bank's time.
	age := s.now().Sub(order.CreatedAt)
	return postponeRefund(ctx, s.deps.Pool, order.ID, s.now().Add(min(max(age, firstCheck), 6*time.Hour)))
}

// RefundList returns all refunds, newest first, and how many there are. Admins only.
func (s *Service) RefundList(ctx context.Context, p accounts.Principal, skip, limit int) ([]RefundOrder, int, error) {
	if !p.Admin {
		return nil, 0, ErrAdminOnly
	}
	if badPage(skip, limit) {
		return nil, 0, ErrPageOutOfBounds
	}
	return listRefunds(ctx, s.deps.Pool, skip, limit)
}
