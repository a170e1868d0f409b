package billing

import (
	"context"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// ErrCreditGone is for somebody who pays by credit, which another payment has used in the same moment.
var ErrCreditGone = errs.New(errs.Conflict, "credit_used", "Your credit has just been used for something else. Please try again.")

// usedUp is why money that came in on the strength of a credit buys nothing. It is the customer's credit itself then.
const usedUp = "the credit that was to pay the rest is used up"

// divideCost says what of an amount comes from credit and what the gateway is asked for, which takes no less than leastCharge.
func divideCost(kobo, credit int64, currency string) (gateway, fromCredit int64) {
	fromCredit = max(0, min(kobo, credit))
	if rest, least := kobo-fromCredit, leastCharge(currency); rest > 0 && rest < least {
		fromCredit = max(0, kobo-least)
	}
	return kobo - fromCredit, fromCredit
}

// payFrom divides what p costs, which its AmountKobo is, between its account's credit and the gateway. What needs no gateway is Charged,
// like all that nobody goes to a checkout for.
func payFrom(ctx context.Context, q postgres.Querier, p Payment) (Payment, error) {
	credit, err := spendable(ctx, q, p)
	if err != nil {
		return p, err
	}
	p.AmountKobo, p.CreditKobo = divideCost(p.AmountKobo, credit, p.Currency)
	p.Charged = p.AmountKobo == 0
	return p, nil
}

// keptLeft is what is left of each kept credit of an account: not spent, and neither given back nor claimed by a bank. Only what somebody
// decided to keep is spent; until then it may have to go back.
const keptLeft = `
	SELECT c.id, c.amount_kobo - c.used_kobo
		- (SELECT coalesce(sum(r.amount_kobo), 0) FROM refunds r WHERE r.payment_id = c.payment_id AND r.state <> 'failed' AND NOT r.to_credit)
		- (SELECT coalesce(sum(d.amount_kobo), 0) FROM disputes d WHERE d.payment_id = c.payment_id AND d.outcome <> 'won') AS kobo
	FROM credits c JOIN payments p ON p.id = c.payment_id
	WHERE c.account_id = $1 AND c.currency = $2 AND p.mode = $3 AND c.resolution = 'kept'`

// spendable is how much of the account's credit may pay for what p buys. What open payments of the account's other clients count on isn't
// offered again.
func spendable(ctx context.Context, q postgres.Querier, p Payment) (int64, error) {
	var kobo int64
	err := q.QueryRow(ctx, `
		SELECT greatest(0, (SELECT coalesce(sum(kobo), 0) FROM (`+keptLeft+`) AS l)
			- (SELECT coalesce(sum(o.credit_kobo), 0) FROM payments o
			   WHERE o.account_id = $1 AND o.currency = $2 AND o.mode = $3 AND o.status = 'pending' AND o.tenant_id <> $4))::bigint`,
		p.AccountID, p.Currency, p.Mode, p.TenantID).Scan(&kobo)
	if err != nil {
		return 0, fmt.Errorf("add up the credit of account %s: %w", p.AccountID, err)
	}
	return kobo, nil
}

// spendTx takes from the account's credits, the oldest first, what p counts on; false, with nothing taken, when there is less by now. Locks
// on credits come after those of the subscription.
func (s *Service) spendTx(ctx context.Context, tx pgx.Tx, p Payment) (bool, error) {
	if p.CreditKobo == 0 {
		return true, nil
	}
	if err := exec(ctx, tx, "lock the credits", `SELECT id FROM credits WHERE account_id = $1 AND resolution = 'kept' ORDER BY id FOR UPDATE`, p.AccountID); err != nil {
		return false, err
	}
	rows, err := tx.Query(ctx, keptLeft+` ORDER BY c.id`, p.AccountID, p.Currency, p.Mode)
	if err != nil {
		return false, fmt.Errorf("read the credits: %w", err)
	}
	type left struct{ ID, Kobo int64 }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[left])
	if err != nil {
		return false, fmt.Errorf("read the credits: %w", err)
	}
	total := int64(0)
	for _, c := range list {
		total += c.Kobo
	}
	if total < p.CreditKobo {
		return false, nil
	}
	need := p.CreditKobo
	for _, c := range list {
		part := min(need, c.Kobo)
		if part <= 0 {
			continue
		}
		need -= part
		err := exec(ctx, tx, "spend a credit", `
			WITH used AS (UPDATE credits SET used_kobo = used_kobo + $3 WHERE id = $1)
			INSERT INTO credit_uses (credit_id, payment_id, amount_kobo, used_at) VALUES ($1, $2, $3, $4)`, c.ID, p.ID, part, s.now())
		if err != nil {
			return false, err
		}
	}
	return need == 0, nil
}

// unspendTx gives what p used back to the account's credit, and returns how much that was.
func (s *Service) unspendTx(ctx context.Context, tx pgx.Tx, p Payment) (int64, error) {
	var kobo int64
	err := tx.QueryRow(ctx, `
		WITH back AS (
			UPDATE credit_uses SET returned_at = greatest(used_at, $2) WHERE payment_id = $1 AND returned_at IS NULL RETURNING credit_id, amount_kobo
		), freed AS (
			UPDATE credits c SET used_kobo = used_kobo - b.amount_kobo FROM back b WHERE c.id = b.credit_id
		)
		SELECT coalesce(sum(amount_kobo), 0)::bigint FROM back`, p.ID, s.now()).Scan(&kobo)
	if err != nil {
		return 0, fmt.Errorf("give the credit of %s back: %w", p.Reference, err)
	}
	return kobo, nil
}

// byCredit is what the gateway would say of a payment that it needn't know of.
func (s *Service) byCredit(p Payment) Transaction {
	now := s.now()
	return Transaction{Reference: p.Reference, Mode: p.Mode, Currency: p.Currency, Channel: "credit", PaidAt: &now}
}

// applyCredit pays what needs no gateway. The answer's address is where a checkout would have sent the browser afterwards, so that front
// ends needn't know of credits. Errors: ErrCreditGone.
func (s *Service) applyCredit(ctx context.Context, p Payment) (Payment, error) {
	if err := s.apply(ctx, finding{Reference: p.Reference}); err != nil {
		return p, err
	}
	p, err := paymentByReference(ctx, s.deps.Pool, p.Reference)
	if err != nil {
		return p, err
	}
	if p.Status != StatusSuccess {
		return p, ErrCreditGone
	}
	q := url.Values{"reference": {p.Reference}, "trxref": {p.Reference}}
	p.AuthorizationURL = s.opts.CallbackURL + "?" + q.Encode()
	return p, nil
}
