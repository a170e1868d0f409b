package simulator

import "time"

// RefundState is a refund as it stands.
type RefundState struct {
	ID        int64  `json:"id"`
	Domain    string `json:"domain"`
	Reference string `json:"reference"` // of the transaction
	Amount    int64  `json:"amount"`
	Status    string `json:"status"`
	Note      string `json:"merchant_note"`
}

// Refunds returns all refunds, oldest first.
func (s *Simulator) Refunds() []RefundState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []RefundState{}
	for _, name := range modes() {
		d := s.state.domain(name)
		for _, v := range d.Refunds {
			t, _ := byID(d.Transactions, v.TransactionID)
			out = append(out, RefundState{
				ID: v.ID, Domain: name, Reference: t.Reference, Amount: v.Amount, Status: v.Status, Note: v.MerchantNote,
			})
		}
	}
	return out
}

// DisputeState is a dispute as it stands.
type DisputeState struct {
	ID         int64     `json:"id"`
	Domain     string    `json:"domain"`
	Reference  string    `json:"reference"` // of the transaction
	Amount     int64     `json:"amount"`
	Status     string    `json:"status"`
	Resolution string    `json:"resolution"`
	DueAt      time.Time `json:"due_at"`
}

// Disputes returns all disputes, oldest first.
func (s *Simulator) Disputes() []DisputeState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []DisputeState{}
	for _, name := range modes() {
		d := s.state.domain(name)
		for _, v := range d.Disputes {
			t, _ := byID(d.Transactions, v.TransactionID)
			out = append(out, DisputeState{
				ID: v.ID, Domain: name, Reference: t.Reference, Amount: v.Amount, Status: v.Status, Resolution: v.Resolution, DueAt: v.DueAt,
			})
		}
	}
	return out
}

// subscriptions returns all of them as the API shows them, by mode.
func (s *Simulator) subscriptions() map[string][]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]any{}
	for _, name := range modes() {
		d := s.state.domain(name)
		for _, v := range d.Subscriptions {
			out[name] = append(out[name], v.render(d))
		}
	}
	return out
}

// TransactionState is a transaction as it stands: what a test compares its own books with.
type TransactionState struct {
	ID        int64      `json:"id"`
	Domain    string     `json:"domain"`
	Reference string     `json:"reference"`
	Email     string     `json:"email"`
	Status    string     `json:"status"`
	Amount    int64      `json:"amount"`
	Requested int64      `json:"requested_amount"`
	Fees      int64      `json:"fees"`
	Refunded  int64      `json:"refunded"` // what has gone back
	Currency  string     `json:"currency"`
	PaidAt    *time.Time `json:"paid_at"`
	CreatedAt time.Time  `json:"created_at"`
}

// Transactions returns all transactions, oldest first.
func (s *Simulator) Transactions() []TransactionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []TransactionState{}
	for _, name := range modes() {
		d := s.state.domain(name)
		refunded := map[int64]int64{}
		for _, v := range d.Refunds {
			if v.Status == refundProcessed {
				refunded[v.TransactionID] += v.Amount
			}
		}
		for _, t := range d.Transactions {
			v := TransactionState{
				ID: t.ID, Domain: name, Reference: t.Reference, Email: t.Email, Status: t.Status, Amount: t.Amount, Requested: t.Requested,
				Refunded: refunded[t.ID], Currency: t.Currency, PaidAt: t.PaidAt, CreatedAt: t.CreatedAt,
			}
			if t.Fees != nil {
				v.Fees = *t.Fees
			}
			out = append(out, v)
		}
	}
	return out
}
