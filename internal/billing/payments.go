package billing

import (
	"context"
	"math"
	"strings"
	"time"

	"controlplane/internal/accounts"
)

// Confirm asks the gateway about one of the caller's payments now, applies the answer and returns the present state. When the
// gateway doesn't answer, what we know is returned: the poller goes on asking. Errors: ErrPaymentNotFound.
func (s *Service) Confirm(ctx context.Context, p accounts.Principal, reference string) (Payment, error) {
	payment, err := s.own(ctx, p, reference)
	if err != nil || payment.Status == StatusSuccess || payment.Status == StatusRefunded {
		return payment, err
	}
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	if err := s.settle(call, payment.Reference); err != nil {
		s.deps.Log.WarnContext(ctx, "confirm a payment", "reference", payment.Reference, "error", err)
	}
	return s.own(ctx, p, payment.Reference)
}

func (s *Service) own(ctx context.Context, p accounts.Principal, reference string) (Payment, error) {
	payment, err := s.ByReference(ctx, reference)
	if err == nil && payment.AccountID != p.AccountID {
		return Payment{}, ErrPaymentNotFound
	}
	return payment, err
}

// ByReference returns anybody's payment, for callers that know its unguessable reference and show none of its personal data.
// An unpaid one is looked at by the poller soon, so that a customer who returns from checkout needn't wait for a webhook.
func (s *Service) ByReference(ctx context.Context, reference string) (Payment, error) {
	if !referenceShaped(reference) {
		return Payment{}, ErrPaymentNotFound
	}
	payment, err := paymentByReference(ctx, s.deps.Pool, reference)
	if err != nil || payment.Status != StatusPending {
		return payment, err
	}
	return payment, hasten(ctx, s.deps.Pool, payment.ID, s.now(), 5*time.Second)
}

// referenceShaped keeps what PostgreSQL can't even compare (NUL, broken UTF-8) away from it.
func referenceShaped(reference string) bool {
	digits, ok := strings.CutPrefix(reference, "ODOO-")
	return ok && len(digits) == 12 && strings.Trim(digits, "0123456789ABCDEF") == ""
}

// History returns the caller's payments, newest first, and how many there are. Errors: ErrPageOutOfBounds.
func (s *Service) History(ctx context.Context, p accounts.Principal, skip, limit int) ([]Payment, int, error) {
	if badPage(skip, limit) {
		return nil, 0, ErrPageOutOfBounds
	}
	return listPayments(ctx, s.deps.Pool, p.AccountID, skip, limit)
}

// Reviews returns the payments that a person has to look at, oldest first. Admins only.
func (s *Service) Reviews(ctx context.Context, p accounts.Principal, skip, limit int) ([]Payment, int, error) {
	if !p.Admin {
		return nil, 0, ErrAdminOnly
	}
	if badPage(skip, limit) {
		return nil, 0, ErrPageOutOfBounds
	}
	return listReviews(ctx, s.deps.Pool, skip, limit)
}

// Credits returns the money that was paid and activated nothing, newest first, and how many there are. Admins only.
func (s *Service) Credits(ctx context.Context, p accounts.Principal, skip, limit int) ([]Credit, int, error) {
	if !p.Admin {
		return nil, 0, ErrAdminOnly
	}
	if badPage(skip, limit) {
		return nil, 0, ErrPageOutOfBounds
	}
	return listCredits(ctx, s.deps.Pool, skip, limit)
}

func badPage(skip, limit int) bool {
	return skip < 0 || skip > math.MaxInt32 || limit < 1 || limit > 1000
}
