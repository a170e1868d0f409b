package billing

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// compareRefunds goes through the refunds that the gateway lists: one that was made at its dashboard, and of which no event came, isn't seen
// in the transaction when it is a part. The ones that we don't have, or have in another state, make their payment be asked about.
func (s *Service) compareRefunds(ctx context.Context, run *ReconcileRun) error {
	filter := RefundFilter{From: run.From, To: run.To}
	for {
		page, err := s.deps.Gateway.RefundsBetween(ctx, filter)
		if err != nil {
			return err
		}
		if err := s.compareRefundPage(ctx, run, page.Refunds); err != nil {
			return err
		}
		if page.Next == "" {
			return nil
		}
		filter.Cursor = page.Next
	}
}

func (s *Service) compareRefundPage(ctx context.Context, run *ReconcileRun, list []Refund) error {
	ours, err := refundedPayments(ctx, s.deps.Pool, run.Mode, list)
	if err != nil {
		return err
	}
	asked := map[string]bool{}
	for _, r := range list {
		known, ok := ours[r.ID]
		switch {
		case !ok && r.Status == GatewayRefundFailed:
			continue // no money went
		case !ok:
			err = saveDifference(ctx, s.deps.Pool, *run, mismatch{
				Kind: differenceRefund, Reference: clipText(fmt.Sprintf("refund/%d", r.ID), 100),
				Theirs: fmt.Sprintf("refund of %d kobo of transaction %d, %s", r.AmountKobo, r.TransactionID, clip(string(r.Status))),
			}, s.now())
		case known.same(r) || asked[known.reference]:
			continue
		default:
			asked[known.reference] = true
			err = s.healOrReport(ctx, run, known.reference)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// knownRefund is our side of a refund at the gateway.
type knownRefund struct {
	gatewayID int64
	reference string      // of the payment
	state     RefundState // "": the payment is ours, the refund isn't known
}

func (k knownRefund) same(r Refund) bool { return k.state == refundStateOf(r.Status) }

// refundedPayments returns, by the gateway's id of a refund, those whose payment is ours.
func refundedPayments(ctx context.Context, q postgres.Querier, mode string, list []Refund) (map[int64]knownRefund, error) {
	ids, transactions, references := make([]int64, len(list)), make([]int64, len(list)), make([]string, len(list))
	for i, r := range list {
		ids[i], transactions[i] = r.ID, r.TransactionID
		if referenceShaped(r.Reference) {
			references[i] = r.Reference
		}
	}
	rows, err := q.Query(ctx, `
		SELECT l.id, p.reference, coalesce(r.state, '')
		FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS l (id, transaction, reference)
		JOIN payments p ON p.mode = $1 AND (p.gateway_id = l.transaction OR p.reference = l.reference)
		LEFT JOIN refunds r ON r.payment_id = p.id AND r.gateway_id = l.id`, mode, ids, transactions, references)
	if err != nil {
		return nil, fmt.Errorf("read the refunds to compare: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (knownRefund, error) {
		var k knownRefund
		err := row.Scan(&k.gatewayID, &k.reference, &k.state)
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the refunds to compare: %w", err)
	}
	ours := make(map[int64]knownRefund, len(found))
	for _, k := range found {
		ours[k.gatewayID] = k
	}
	return ours, nil
}

// compareGivenBack compares what was given back by refunds that are through, of a payment whose refunds were read with the transaction.
func compareGivenBack(c counterpart, f finding) []mismatch {
	var theirs int64
	for _, r := range f.Refunds {
		if r.Status == GatewayRefundProcessed {
			theirs += r.AmountKobo
		}
	}
	if theirs == c.GivenKobo {
		return nil
	}
	return []mismatch{{
		Kind: "refunds", Reference: c.Reference, PaymentID: c.ID, Ours: fmt.Sprintf("%s; %d kobo by refunds", clipText(c.String(), 250), c.GivenKobo),
		Theirs: fmt.Sprintf("%d kobo by refunds", theirs),
	}}
}
