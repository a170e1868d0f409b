package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"controlplane/internal/alerts"
	"controlplane/internal/errs"
)

// reconcileWindow is how far back a run goes: beyond it neither refunds nor disputes are usual, and their events come all the same.
const reconcileWindow = 120 * 24 * time.Hour

const alertDifferences = "reconciliation.differences" // subject "gateway/<mode>"

// Differences about money of payments that we don't know can't go by themselves.
const (
	differenceDispute = "dispute_unknown"
	differenceRefund  = "refund_unknown"
)

// ReconcileRun is one comparison of what the gateway lists with what we have.
type ReconcileRun struct {
	ID           int64
	Mode         string
	From, To     time.Time // when the transactions were made
	StartedAt    time.Time
	FinishedAt   *time.Time // nil: it is going on, or was cut short
	Error        string     // why it isn't complete
	Transactions int64      // at the gateway
	Payments     int64      // of ours that the gateway's list lacked
	Disputes     int64
	Healed       int64 // differences that went away when the gateway's word was applied
	Differences  int64 // that nobody has explained, at its end
}

// Reconcile compares both ways: what was paid there and is unknown or unpaid here, what was paid here and is unknown, unpaid or reversed
// there, amount, currency, mode and fee of everything, refunds and disputes, and that the books have all of it. The remedy for a difference is to apply the gateway's present state as a webhook
// would; what is left after that is a row for administrators, and raises an alert. It holds one page in memory.
func (s *Service) Reconcile(ctx context.Context) (ReconcileRun, error) {
	now := s.now()
	run := ReconcileRun{Mode: s.deps.Gateway.Mode(), From: now.Add(-reconcileWindow), To: now, StartedAt: now}
	if err := insertRun(ctx, s.deps.Pool, &run); err != nil {
		return run, err
	}
	err := s.reconcile(ctx, &run)
	keep, stop := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer stop()
	return run, errors.Join(err, s.finishRun(keep, &run, err))
}

func (s *Service) reconcile(ctx context.Context, run *ReconcileRun) error {
	if err := s.compareTheirs(ctx, run); err != nil {
		return fmt.Errorf("compare the gateway's transactions: %w", err)
	}
	if err := s.compareOurs(ctx, run); err != nil {
		return fmt.Errorf("compare our payments: %w", err)
	}
	if err := s.compareDisputes(ctx, run); err != nil {
		return fmt.Errorf("compare the disputes: %w", err)
	}
	if err := s.compareRefunds(ctx, run); err != nil {
		return fmt.Errorf("compare the refunds: %w", err)
	}
	if err := s.compareBooks(ctx, run); err != nil {
		return fmt.Errorf("compare payments and books: %w", err)
	}
	if err := s.compareAgain(ctx, run); err != nil {
		return fmt.Errorf("look at earlier differences again: %w", err)
	}
	return nil
}

func (s *Service) finishRun(ctx context.Context, run *ReconcileRun, cause error) error {
	now := s.now()
	run.FinishedAt = &now
	if cause != nil {
		run.Error = clipText(cause.Error(), 500)
	}
	var err error
	if run.Differences, err = countDifferences(ctx, s.deps.Pool, run.Mode); err != nil {
		return err
	}
	if err := updateRun(ctx, s.deps.Pool, *run); err != nil {
		return err
	}
	if run.Differences == 0 {
		return alerts.Resolve(ctx, s.deps.Pool, alertDifferences, "gateway/"+run.Mode)
	}
	s.deps.Log.WarnContext(ctx, "the gateway's money and ours differ", "differences", run.Differences, "run", run.ID)
	return alerts.Raise(ctx, s.deps.Pool, alerts.Alert{
		Kind: alertDifferences, Subject: "gateway/" + run.Mode,
		Message: fmt.Sprintf("%d differences between the gateway's money and ours are unexplained.", run.Differences),
	})
}

// compareTheirs goes through the gateway's list, page by page.
func (s *Service) compareTheirs(ctx context.Context, run *ReconcileRun) error {
	filter := TransactionFilter{From: run.From, To: run.To}
	for {
		page, err := s.deps.Gateway.Transactions(ctx, filter)
		if err != nil {
			return err
		}
		if err := s.comparePage(ctx, run, page.Transactions); err != nil {
			return err
		}
		run.Transactions += int64(len(page.Transactions))
		if page.Next == "" {
			return nil
		}
		filter.Cursor = page.Next
	}
}

func (s *Service) comparePage(ctx context.Context, run *ReconcileRun, list []Transaction) error {
	references := make([]string, 0, len(list))
	for _, t := range list {
		if referenceShaped(t.Reference) {
			references = append(references, t.Reference)
		}
	}
	ours, err := listedPayments(ctx, s.deps.Pool, references, run.StartedAt)
	if err != nil {
		return err
	}
	for _, t := range list {
		c, known := ours[t.Reference]
		if !known {
			if err := s.reportUnknown(ctx, run, t); err != nil {
				return err
			}
			continue
		}
		if len(compare(c, &t)) == 0 {
			continue
		}
		if err := s.healOrReport(ctx, run, t.Reference); err != nil {
			return err
		}
	}
	return nil
}

// compareOurs asks about each payment of ours in which there is money and that the gateway didn't list.
func (s *Service) compareOurs(ctx context.Context, run *ReconcileRun) error {
	after := PaymentID(0)
	for {
		list, err := unlistedPayments(ctx, s.deps.Pool, *run, after, 100)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, c := range list {
			run.Payments++
			if err := s.healOrReport(ctx, run, c.Reference); err != nil {
				return err
			}
			after = c.ID
		}
	}
}

func (s *Service) compareDisputes(ctx context.Context, run *ReconcileRun) error {
	filter := DisputeFilter{From: run.From, To: run.To}
	for {
		page, err := s.deps.Gateway.Disputes(ctx, filter)
		if err != nil {
			return err
		}
		for _, d := range page.Disputes {
			run.Disputes++
			if err := s.applyDispute(ctx, run, d); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		filter.Cursor = page.Next
	}
}

func (s *Service) applyDispute(ctx context.Context, run *ReconcileRun, d Dispute) error {
	unknown := mismatch{Kind: differenceDispute, Reference: clipText(d.Reference, 100), Theirs: fmt.Sprintf("dispute %d of %d kobo", d.ID, d.AmountKobo)}
	if !referenceShaped(d.Reference) {
		return saveDifference(ctx, s.deps.Pool, *run, unknown, s.now())
	}
	err := s.settleDispute(ctx, d)
	if errors.Is(err, ErrPaymentNotFound) {
		return saveDifference(ctx, s.deps.Pool, *run, unknown, s.now())
	}
	return err
}

// compareAgain looks at differences that this run hasn't met: they are gone, or lie outside what it listed.
func (s *Service) compareAgain(ctx context.Context, run *ReconcileRun) error {
	after := int64(0)
	for {
		left, err := unseenDifferences(ctx, s.deps.Pool, *run, after, 100)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return dropUnseen(ctx, s.deps.Pool, *run, s.now())
		}
		for _, d := range left {
			if err := s.differenceAgain(ctx, run, d); err != nil {
				return err
			}
			after = d.ID
		}
	}
}

func (s *Service) differenceAgain(ctx context.Context, run *ReconcileRun, d Difference) error {
	if d.Kind == differenceDispute || d.Kind == differenceRefund {
		return nil // it can't go by itself
	}
	_, err := paymentByReference(ctx, s.deps.Pool, d.Reference)
	if errors.Is(err, ErrPaymentNotFound) {
		return s.unknownAgain(ctx, run, d)
	}
	if err != nil {
		return err
	}
	return s.healOrReport(ctx, run, d.Reference)
}

// unknownAgain sees whether what was paid there and is unknown here is still so.
func (s *Service) unknownAgain(ctx context.Context, run *ReconcileRun, d Difference) error {
	t, err := s.deps.Gateway.Verify(ctx, d.Reference)
	if errors.Is(err, ErrTransactionNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.reportUnknown(ctx, run, t)
}

func (s *Service) reportUnknown(ctx context.Context, run *ReconcileRun, t Transaction) error {
	if t.Status != GatewaySuccess && !returning(t.Status) {
		return nil // nothing was paid
	}
	return saveDifference(ctx, s.deps.Pool, *run, mismatch{
		Kind: "unknown_here", Reference: clipText(t.Reference, 100), Theirs: describe(t),
	}, s.now())
}

// healOrReport applies what the gateway says of a payment of ours, and reports what differs after that.
func (s *Service) healOrReport(ctx context.Context, run *ReconcileRun, reference string) error {
	before, err := countPayment(ctx, s.deps.Pool, reference)
	if err != nil {
		return err
	}
	f, err := s.look(ctx, reference, "refund.") // refunds belong to the answer, whatever the status says
	if err != nil {
		return err
	}
	if err := s.apply(ctx, f); err != nil {
		if ctx.Err() != nil || errs.KindOf(err) == errs.Unavailable {
			return err
		}
		// One that can't be applied is a difference like others, and doesn't keep the rest from being compared.
		s.deps.Log.ErrorContext(ctx, "a payment's state can't be applied", "reference", reference, "error", err)
	}
	after, err := countPayment(ctx, s.deps.Pool, reference)
	if err != nil {
		return err
	}
	var theirs *Transaction
	if f.Found {
		theirs = &f.Transaction
	}
	found := compare(after, theirs)
	if len(found) == 0 && f.Found {
		found = compareGivenBack(after, f)
	}
	if len(found) == 0 && after != before {
		run.Healed++
	}
	for _, d := range found {
		if err := saveDifference(ctx, s.deps.Pool, *run, d, s.now()); err != nil {
			return err
		}
	}
	return nil
}
