package simulator

import (
	"net/http"
	"strconv"
)

// timeline takes an id or a reference.
func (s *Simulator) timeline(d *store, _ string, r *http.Request) answer {
	wanted := r.PathValue("id")
	t := d.byReference[wanted]
	if id, err := strconv.ParseInt(wanted, 10, 64); err == nil && t == nil {
		t, _ = byID(d.Transactions, id)
	}
	if t == nil {
		return failure(http.StatusNotFound, "Transaction not found", "transaction_not_found", "")
	}
	return success("Timeline retrieved", t.log())
}

func (s *Simulator) totals(d *store, _ string, r *http.Request) answer {
	var count, volume int64
	byCurrency := map[string]int64{}
	for _, t := range d.Transactions {
		if t.PaidAt != nil && within(t.CreatedAt, r.URL.Query()) {
			count, volume = count+1, volume+t.Amount
			byCurrency[t.Currency] += t.Amount
		}
	}
	list := []any{}
	for _, currency := range []string{"NGN", "GHS", "ZAR", "KES", "USD", "XOF"} {
		if amount, ok := byCurrency[currency]; ok {
			list = append(list, map[string]any{"currency": currency, "amount": amount})
		}
	}
	return success("Transaction totals", map[string]any{
		"total_transactions": count, "unique_customers": len(d.Customers), "total_volume": volume, "total_volume_by_currency": list,
		"pending_transfers": 0, "pending_transfers_by_currency": []any{},
	})
}

// balance is what was paid less fees, refunds and lost disputes; nothing is ever settled.
func (s *Simulator) balance(d *store, _ string, _ *http.Request) answer {
	sums := map[string]int64{"NGN": 0}
	for _, t := range d.Transactions {
		if t.PaidAt == nil {
			continue
		}
		kept := t.Amount - d.refunded(t, false)
		if t.Lost {
			kept = 0
		}
		sums[t.Currency] += kept - *t.Fees
	}
	list := []any{}
	for _, currency := range []string{"NGN", "GHS", "ZAR", "KES", "USD", "XOF"} {
		if sum, ok := sums[currency]; ok {
			list = append(list, map[string]any{"currency": currency, "balance": sum})
		}
	}
	return success("Balances retrieved", list)
}
