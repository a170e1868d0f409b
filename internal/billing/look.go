package billing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"controlplane/internal/postgres"
)

// finding is what the gateway said about one reference, as it is handed from the looking to the applying.
type finding struct {
	Reference   string      `json:"reference"`
	Event       string      `json:"event,omitempty"` // upon which it was looked for, if that is about money going back
	Told        bool        `json:"told,omitempty"`  // an event of that kind came before the payment was applied
	Found       bool        `json:"found"`
	Transaction Transaction `json:"transaction"`
	Refunds     []Refund    `json:"refunds,omitempty"`
	Disputes    []Dispute   `json:"disputes,omitempty"`
}

const maxDisputePages = 10

// look asks the gateway for the present state of a reference, and for the refunds and disputes that belong to it when money went back or an
// event of that name was delivered. What an event says itself never counts, so that late and swapped ones do no harm.
func (s *Service) look(ctx context.Context, reference, event string) (finding, error) {
	f := finding{Reference: reference}
	refunds, disputes := strings.HasPrefix(event, "refund."), strings.HasPrefix(event, "charge.dispute.")
	t, err := s.deps.Gateway.Verify(ctx, reference)
	if errors.Is(err, ErrTransactionNotFound) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("verify %s: %w", reference, err)
	}
	f.Found, f.Transaction = true, t
	if t.ID == 0 || t.Reference != reference {
		return f, nil
	}
	if t.Status == GatewaySuccess || returning(t.Status) {
		before, err := toldBefore(ctx, s.deps.Pool, reference)
		if err != nil {
			return f, err
		}
		f.Told, refunds, disputes = before.refunds || before.disputes, refunds || before.refunds, disputes || before.disputes
	}
	if returning(t.Status) || refunds {
		if f.Refunds, err = s.deps.Gateway.Refunds(ctx, t.ID); err != nil {
			return f, fmt.Errorf("read the refunds of %s: %w", reference, err)
		}
	}
	if t.Status == GatewayReversed || disputes {
		if f.Disputes, err = s.disputesOf(ctx, t.ID); err != nil {
			return f, fmt.Errorf("read the disputes of %s: %w", reference, err)
		}
	}
	return f, nil
}

// lookAfter is look upon a stored event.
func (s *Service) lookAfter(ctx context.Context, event int64) (finding, error) {
	name, reference, err := eventSubject(ctx, s.deps.Pool, event)
	if err != nil {
		return finding{}, fmt.Errorf("read event %d: %w", event, err)
	}
	f, err := s.look(ctx, reference, name)
	if strings.HasPrefix(name, "refund.") || strings.HasPrefix(name, "charge.dispute.") {
		f.Event = name
	}
	return f, err
}

// told is what events have said of money going back.
type told struct{ refunds, disputes bool }

// toldBefore returns what was told of a payment that isn't applied yet. Its events found nothing to apply to then, and don't come again.
func toldBefore(ctx context.Context, q postgres.Querier, reference string) (told, error) {
	var t told
	err := q.QueryRow(ctx, `
		SELECT coalesce(bool_or(e.event LIKE 'refund.%'), false), coalesce(bool_or(e.event LIKE 'charge.dispute.%'), false)
		FROM payment_events e JOIN payments p ON p.reference = e.reference
		WHERE e.reference = $1 AND p.status IN ('pending', 'failed')`, reference).Scan(&t.refunds, &t.disputes)
	if err != nil {
		return t, fmt.Errorf("read what was told of %s: %w", reference, err)
	}
	return t, nil
}

func (s *Service) disputesOf(ctx context.Context, transaction int64) ([]Dispute, error) {
	var list []Dispute
	filter := DisputeFilter{TransactionID: transaction}
	for range maxDisputePages {
		page, err := s.deps.Gateway.Disputes(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, d := range page.Disputes {
			if d.TransactionID == 0 || d.TransactionID == transaction { // should the filter not be heeded
				list = append(list, d)
			}
		}
		if filter.Cursor = page.Next; page.Next == "" {
			return list, nil
		}
	}
	return nil, errors.New("the list of disputes doesn't end")
}
