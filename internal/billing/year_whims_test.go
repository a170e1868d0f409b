package billing_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/tenants"
)

// mishaps turns other switches on each day. Now and then the gateway is gone altogether.
func (y *year) mishaps() {
	y.sim.ClearFaults()
	if y.one(30) {
		y.fault(simulator.Fault{Kind: simulator.APIError502, Before: true})
		return
	}
	for _, f := range []simulator.Fault{
		{Kind: simulator.ChargeDecline, OneIn: 4},
		{Kind: simulator.ChargePaused, OneIn: 12},
		{Kind: simulator.ChargePending, OneIn: 10, Delay: simulator.Duration(6 * time.Hour)},
		{Kind: simulator.AuthorizationRotates, OneIn: 3},
		{Kind: simulator.CustomerFees, OneIn: 40},
		{Kind: simulator.PartialDebit, OneIn: 40, Amount: 700_00},
		{Kind: simulator.PayOnInitialize, OneIn: 20},
		{Kind: simulator.RefundFails, OneIn: 4},
		{Kind: simulator.RefundNeedsAttention, OneIn: 4},
		{Kind: simulator.RefundStuck, OneIn: 4},
		{Kind: simulator.APIError500, OneIn: 25},
		{Kind: simulator.APIError502, OneIn: 25, Before: true},
		{Kind: simulator.APITimeout, OneIn: 25, Delay: 1},
		{Kind: simulator.APITimeout, OneIn: 25, Delay: 1, Before: true},
		{Kind: simulator.APIRateLimited, OneIn: 25, Delay: -1},
		{Kind: simulator.APISlow, OneIn: 25, Delay: 1},
		{Kind: simulator.APIHTML, OneIn: 25},
		{Kind: simulator.APIMalformed, OneIn: 25},
		{Kind: simulator.APIDrop, OneIn: 25},
		{Kind: simulator.APIDrop, OneIn: 25, Before: true},
		{Kind: simulator.LooseTypes, OneIn: 3},
		{Kind: simulator.WebhookDrop, OneIn: 4},
		{Kind: simulator.WebhookDuplicate, OneIn: 5, Amount: 2},
		{Kind: simulator.WebhookReorder, OneIn: 5},
		{Kind: simulator.WebhookDelay, OneIn: 5, Delay: simulator.Duration(20 * time.Hour)},
		{Kind: simulator.WebhookBadSignature, OneIn: 8},
		{Kind: simulator.WebhookOtherKey, OneIn: 8},
		{Kind: simulator.WebhookTamper, OneIn: 8, Amount: 1},
		{Kind: simulator.WebhookBeforeRedirect, OneIn: 2},
		{Kind: simulator.WebhookBeforeAnswer, OneIn: 5},
	} {
		if y.one(2) {
			y.fault(f)
		}
	}
}

// whims is what customers do: some who were sent a link pay by it, others cancel, come back, change their plan, pay early, begin anew.
func (y *year) whims() {
	y.t.Helper()
	for _, reference := range y.references(`WHERE status IN ('pending', 'failed') AND authorization_url IS NOT NULL AND created_at > $1
		AND account_id <> ALL ($2) ORDER BY id`, y.clock().Add(-9*24*time.Hour), y.careless()) {
		if y.one(4) {
			y.payAt(reference, "")
		}
	}
	for _, p := range y.people {
		if p.client == "" && y.day >= p.met && y.one(20) {
			y.begin(p)
		}
	}
	p := y.people[y.rand.IntN(len(y.people))]
	plan := []string{"basic", "business", "enterprise"}[y.rand.IntN(3)]
	switch y.rand.IntN(12) {
	case 0:
		_, _ = y.Cancel(y.t.Context(), p.Principal, y.ip, p.client)
	case 1, 2:
		_, _ = y.Reactivate(y.t.Context(), p.Principal, y.ip, p.client)
	case 3, 4, 5:
		_, _ = y.ChangePlan(y.t.Context(), p.Principal, y.ip, p.client, plan, false)
	case 6:
		if payment, err := y.Initialize(y.t.Context(), p.Principal, y.ip, billing.InitializeInput{PlanID: plan, ClientName: p.client}); err == nil {
			y.payAt(payment.Reference, p.card)
		}
	}
}

// careless are those who don't read what they are sent.
func (y *year) careless() []accounts.ID {
	ids := []accounts.ID{}
	for _, p := range y.people {
		if p.careless {
			ids = append(ids, p.AccountID)
		}
	}
	return ids
}

// begin makes a customer's next client and pays for it, as far as the gateway allows.
func (y *year) begin(p *person) {
	y.t.Helper()
	plan := []string{"basic", "basic", "business", "enterprise"}[y.rand.IntN(4)]
	cycle := "monthly"
	if y.one(3) {
		cycle = "annual"
	}
	p.met++
	p.client = fmt.Sprintf("%s-%d", p.name, p.met)
	y.client(p.Principal, p.client, plan)
	payment, err := y.Initialize(y.t.Context(), p.Principal, y.ip, billing.InitializeInput{PlanID: plan, BillingCycle: cycle, ClientName: p.client})
	if err == nil {
		y.payAt(payment.Reference, p.card)
	}
}

// payAt pays with a card, by itself or on the checkout page. It may be paid already, or be closed: that is the customer's affair.
func (y *year) payAt(reference, card string) {
	y.t.Helper()
	if card != "" || !y.one(3) {
		_ = y.sim.Pay(reference, card)
		return
	}
	var address string
	require.NoError(y.t, y.pool.QueryRow(y.t.Context(), `SELECT authorization_url FROM payments WHERE reference = $1`, reference).Scan(&address))
	form := url.Values{"action": {"card"}, "card": {"4084084084084081"}}
	r := httptest.NewRequestWithContext(y.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	y.sim.Handler().ServeHTTP(w, r)
	require.Equal(y.t, http.StatusSeeOther, w.Code)
}

// office is what administrators, banks and people at the gateway's dashboard do in a day.
func (y *year) office() {
	y.t.Helper()
	ctx := y.t.Context()
	refund := func(reference string, kobo int64) {
		if reference != "" {
			_, _ = y.Refund(ctx, y.root, y.ip, billing.RefundInput{Reference: reference, AmountKobo: kobo, Reason: fmt.Sprintf("day %d", y.day)})
		}
	}
	const recent = `WHERE p.status = 'success' AND p.amount_kobo > 0 AND p.completed_at > $1 AND NOT EXISTS (SELECT FROM disputes d WHERE d.payment_id = p.id)`
	month := y.clock().Add(-30 * 24 * time.Hour)
	if y.one(4) {
		refund(y.any(recent, month), []int64{0, 50_000, 123_456}[y.rand.IntN(3)])
	}
	if y.one(15) {
		y.atTheDashboard(y.any(recent, month))
	}
	if reference := y.any(recent+` AND NOT EXISTS (SELECT FROM refunds r WHERE r.payment_id = p.id)`, month); y.one(10) && reference != "" {
		_, err := y.sim.OpenDispute(reference, "", 0)
		require.NoError(y.t, err)
	}
	for _, d := range y.sim.Disputes() {
		if d.Status != "resolved" && y.one(4) {
			require.NoError(y.t, y.sim.DecideDispute(d.ID, y.one(2)))
		}
	}
	for _, r := range y.sim.Refunds() {
		if r.Status != "processed" && r.Status != "failed" && y.one(4) {
			require.NoError(y.t, y.sim.FinishRefund(r.ID, []string{"processed", "processed", "failed"}[y.rand.IntN(3)]))
		}
	}
	for _, reference := range y.references(`WHERE p.review IS NOT NULL AND p.status IN ('pending', 'failed') ORDER BY id`) {
		if y.one(3) {
			refund(reference, 0)
		}
	}
	y.decideCredits(refund)
}

func (y *year) decideCredits(refund func(string, int64)) {
	y.t.Helper()
	credits, _, err := y.Credits(y.t.Context(), y.root, 0, 1000)
	require.NoError(y.t, err)
	for _, c := range credits {
		switch y.rand.IntN(12) {
		case 0:
			refund(c.Reference, 0)
		case 1:
			err := y.KeepCredit(y.t.Context(), y.root, y.ip, c.ID, "the customer wants it so")
			require.True(y.t, err == nil || errors.Is(err, billing.ErrCreditDecided) || errors.Is(err, billing.ErrCreditNotFound), err)
		}
	}
}

// atTheDashboard gives back a part of a payment of which nothing has gone back yet, behind our back.
func (y *year) atTheDashboard(reference string) {
	y.t.Helper()
	for _, t := range y.sim.Transactions() {
		if t.Reference == reference && t.Refunded == 0 {
			_, _ = y.gateway.Refund(y.t.Context(), billing.RefundRequest{TransactionID: t.ID, AmountKobo: 20_000, Currency: t.Currency})
		}
	}
}

// partings forgets clients that are gone, so that their customers may come again.
func (y *year) partings() {
	y.t.Helper()
	rows, err := y.pool.Query(y.t.Context(), `SELECT name FROM tenants WHERE state NOT IN ($1, $2)`, tenants.Deleted, tenants.Deleting)
	require.NoError(y.t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(y.t, err)
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	for _, p := range y.people {
		if !there[p.client] {
			p.client = ""
		}
	}
}
