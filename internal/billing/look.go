package billing

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// finding is what the gateway said about one reference, as it is handed from the looking to the applying.
type finding struct {
	Reference   string      `json:"reference"`
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
	if returning(t.Status) || strings.HasPrefix(event, "refund.") {
		if f.Refunds, err = s.deps.Gateway.Refunds(ctx, t.ID); err != nil {
			return f, fmt.Errorf("read the refunds of %s: %w", reference, err)
		}
	}
	if t.Status == GatewayReversed || strings.HasPrefix(event, "charge.dispute.") {
		if f.Disputes, err = s.disputesOf(ctx, t.ID); err != nil {
			return f, fmt.Errorf("read the disputes of %s: %w", reference, err)
		}
	}
	return f, nil
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
