package paystack_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
)

// paid opens and pays a transaction, and returns it.
func (b *bundle) paid(t *testing.T, reference string) billing.Transaction {
	t.Helper()
	_, err := b.Initialize(t.Context(), request(reference))
	require.NoError(t, err)
	require.NoError(t, b.sim.Pay(reference, ""))
	tr, err := b.Verify(t.Context(), reference)
	require.NoError(t, err)
	return tr
}

func chargeOf(tr billing.Transaction, reference string) billing.ChargeRequest {
	return billing.ChargeRequest{
		Reference: reference, Email: tr.Authorization.Email, AmountKobo: 500_000, Currency: "NGN", AuthorizationCode: tr.Authorization.Code,
		Metadata: billing.Metadata{AccountID: 5, TenantID: 42, TenantName: "acme"},
	}
}

func TestVerify_ReturnsTheAuthorization(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.paid(t, "ODOO-1").Authorization
	require.True(t, strings.HasPrefix(a.Code.Reveal(), "AUTH_"))
	require.True(t, strings.HasPrefix(a.Signature, "SIG_"))
	require.True(t, a.Reusable)
	require.Equal(t, []string{"ada@example.com", "4081", "visa", "12", "2030", "TEST BANK"},
		[]string{a.Email, a.Last4, a.Brand, a.ExpMonth, a.ExpYear, a.Bank})
	require.NotContains(t, fmt.Sprintf("%+v %#v", a, a), a.Code.Reveal())
}

func TestChargeAuthorization(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.paid(t, "ODOO-1")
	tr, err := b.ChargeAuthorization(t.Context(), chargeOf(first, "ODOO-2"))
	require.NoError(t, err)
	require.Equal(t, billing.GatewaySuccess, tr.Status)
	require.Equal(t, int64(500_000), tr.AmountKobo)
	require.Equal(t, "test", tr.Mode)
	require.Empty(t, tr.ChallengeURL)
	verified, err := b.Verify(t.Context(), "ODOO-2")
	require.NoError(t, err)
	require.Equal(t, verified, tr)

	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.ChargeDecline, Times: 1}))
	tr, err = b.ChargeAuthorization(t.Context(), chargeOf(first, "ODOO-3"))
	require.NoError(t, err)
	require.Equal(t, billing.GatewayFailed, tr.Status)
	require.Equal(t, "Insufficient Funds", tr.GatewayResponse)

	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.ChargePaused, Times: 1}))
	tr, err = b.ChargeAuthorization(t.Context(), chargeOf(first, "ODOO-4"))
	require.NoError(t, err)
	require.Equal(t, billing.GatewayOngoing, tr.Status)
	require.Contains(t, tr.ChallengeURL, "/checkout/")

	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.LooseTypes, Route: "charge", Times: 1}))
	tr, err = b.ChargeAuthorization(t.Context(), chargeOf(first, "ODOO-5"))
	require.NoError(t, err)
	require.Equal(t, int64(500_000), tr.AmountKobo)
}

func TestChargeAuthorization_TellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.paid(t, "ODOO-1")
	other := chargeOf(first, "ODOO-2")
	other.Email = "bob@example.com"
	unknown := chargeOf(first, "ODOO-2")
	unknown.AuthorizationCode = "AUTH_unknown"
	for _, r := range []billing.ChargeRequest{other, unknown} {
		_, err := b.ChargeAuthorization(t.Context(), r)
		require.ErrorIs(t, err, billing.ErrGatewayRefused)
		require.ErrorIs(t, err, billing.ErrAuthorizationUnusable)
		require.NotContains(t, err.Error(), r.AuthorizationCode.Reveal())
	}
	_, err := b.ChargeAuthorization(t.Context(), chargeOf(first, "ODOO-1"))
	require.ErrorIs(t, err, billing.ErrDuplicateReference)
	require.NotErrorIs(t, err, billing.ErrAuthorizationUnusable)
}

func TestCreatingCalls_AreNeverSentTwice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		body   string
	}{{500, `{"status":false,"message":"x"}`}, {502, "<html>"}, {200, "<html>"}, {200, `{"status":true,"data":[]}`}, {200, `{"status":true}`}} {
		c, calls := serve(t, tc.status, tc.body)
		_, err := c.ChargeAuthorization(t.Context(), billing.ChargeRequest{Reference: "ODOO-1", AuthorizationCode: "AUTH_secret"})
		require.Error(t, err)
		require.NotErrorIs(t, err, billing.ErrGatewayRefused)
		require.Equal(t, int32(1), calls.Load())
		_, err = c.Refund(t.Context(), billing.RefundRequest{TransactionID: 7, AmountKobo: 1})
		require.Error(t, err)
		require.NotErrorIs(t, err, billing.ErrGatewayRefused)
		require.Equal(t, int32(2), calls.Load())
	}
	c, _ := serve(t, 400, `{"status":false,"message":"no AUTH_secret1 here"}`)
	_, err := c.ChargeAuthorization(t.Context(), billing.ChargeRequest{Reference: "ODOO-1", AuthorizationCode: "AUTH_secret1"})
	require.ErrorIs(t, err, billing.ErrGatewayRefused)
	require.NotContains(t, err.Error(), "AUTH_secret1")
}

func TestChargeAuthorization_DoesItAllTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.paid(t, "ODOO-1")
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.APIDrop, Route: "charge", Times: 1}))
	_, err := b.ChargeAuthorization(t.Context(), chargeOf(first, "ODOO-2"))
	require.Error(t, err)
	require.NotErrorIs(t, err, billing.ErrGatewayRefused)
	tr, err := b.Verify(t.Context(), "ODOO-2")
	require.NoError(t, err)
	require.Equal(t, billing.GatewaySuccess, tr.Status)
}

func TestRefunds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.paid(t, "ODOO-1")
	ask := billing.RefundRequest{TransactionID: first.ID, AmountKobo: 600_000, Currency: "NGN", MerchantNote: "refund-1"}
	r, err := b.Refund(t.Context(), ask)
	require.NoError(t, err)
	require.Equal(t, billing.GatewayRefundPending, r.Status)
	require.Equal(t, "ODOO-1", r.Reference)
	require.Equal(t, first.ID, r.TransactionID)

	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.APIError500, Route: "refund", Times: 1}))
	ask.MerchantNote, ask.AmountKobo = "refund-2", 900_000
	_, err = b.Refund(t.Context(), ask)
	require.Error(t, err)
	for _, loose := range []bool{false, true} {
		if loose {
			require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.LooseTypes}))
		}
		list, err := b.Refunds(t.Context(), first.ID)
		require.NoError(t, err)
		require.Len(t, list, 2, "it was made all the same")
		require.Equal(t, "refund-2", list[0].MerchantNote)
		require.Equal(t, int64(900_000), list[0].AmountKobo)
		require.Equal(t, "test", list[0].Mode)
		require.NotNil(t, list[0].CreatedAt)
		one, err := b.RefundByID(t.Context(), list[0].ID)
		require.NoError(t, err)
		require.Equal(t, list[0].AmountKobo, one.AmountKobo)
		require.Equal(t, first.ID, one.TransactionID)
	}
	_, err = b.Refund(t.Context(), ask)
	require.ErrorIs(t, err, billing.ErrAlreadyRefunded)
	require.ErrorIs(t, err, billing.ErrGatewayRefused)
	none, err := b.Refunds(t.Context(), 12345)
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = b.RefundByID(t.Context(), 12345)
	require.ErrorIs(t, err, billing.ErrRefundNotFound)

	b.sim.Advance(time.Hour)
	tr, err := b.Verify(t.Context(), "ODOO-1")
	require.NoError(t, err)
	require.Equal(t, billing.GatewayReversed, tr.Status)
}

// The real service has been seen to ignore a filter, and may ignore pages.
func TestRefunds_OfOthersAreLeftOut(t *testing.T) {
	t.Parallel()
	var items []string
	for i := 1; i <= 50; i++ {
		items = append(items, fmt.Sprintf(`{"id":%d,"transaction":%d,"amount":"5","status":"processed","domain":"test"}`, i, 7+i%2))
	}
	c, calls := serve(t, 200, `{"status":true,"data":[`+strings.Join(items, ",")+`]}`)
	list, err := c.Refunds(t.Context(), 7)
	require.NoError(t, err)
	require.Len(t, list, 25)
	require.Equal(t, int32(2), calls.Load(), "the second page is the first one again")

	for _, body := range []string{`{"status":true,"data":{}}`, `{"status":true}`, `{"status":true,"data":[{"id":1}]}`, `{"status":true,"data":[5]}`} {
		c, _ := serve(t, 200, body)
		_, err := c.Refunds(t.Context(), 7)
		require.Error(t, err, body)
	}
}

func TestTransactions_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	var list []simulator.Imported
	for i := range 250 {
		list = append(list, simulator.Imported{
			Domain: "test", Reference: fmt.Sprintf("R%d", i), Email: "ada@example.com", Amount: 5000, Currency: "NGN", PaidAt: at.Add(time.Duration(i) * time.Hour),
		})
	}
	require.NoError(t, b.sim.Import(list...))
	filter := billing.TransactionFilter{From: at.Add(time.Hour), To: at.Add(249 * time.Hour), Status: billing.GatewaySuccess}
	seen := map[string]bool{}
	pages := 0
	for {
		page, err := b.Transactions(t.Context(), filter)
		require.NoError(t, err)
		pages++
		for _, tr := range page.Transactions {
			require.False(t, seen[tr.Reference])
			seen[tr.Reference] = true
			require.Equal(t, at.Add(time.Hour*time.Duration(249-len(seen)+1)), *tr.CreatedAt)
		}
		if filter.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	require.Len(t, seen, 249)
	require.Equal(t, 3, pages)
}

func TestTransactions_HostileAnswers(t *testing.T) {
	t.Parallel()
	const one = `{"id":5,"reference":"R1","status":"success"}`
	for body, wantNext := range map[string]string{
		`{"status":true,"data":[` + one + `],"meta":{"next":"null"}}`:            "",
		`{"status":true,"data":[` + one + `],"meta":[]}`:                         "",
		`{"status":true,"data":[` + one + `]}`:                                   "",
		`{"status":true,"data":[` + one + `],"meta":{"page":1,"pageCount":2}}`:   "page:2",
		`{"status":true,"data":[` + one + `],"meta":{"page":"2","pageCount":2}}`: "",
		`{"status":true,"data":[` + one + `],"meta":{"next":"abc"}}`:             "abc",
	} {
		c, _ := serve(t, 200, body)
		page, err := c.Transactions(t.Context(), billing.TransactionFilter{})
		require.NoError(t, err, body)
		require.Equal(t, wantNext, page.Next, body)
		require.Len(t, page.Transactions, 1)
	}
	for _, body := range []string{
		`{"status":true,"data":[{"id":5}]}`, `{"status":true,"data":[{"reference":"R1"}]}`, `{"status":true,"data":{}}`,
		`{"status":true,"data":[],"meta":{"next":"again"}}`, `{"status":true,"data":[` + one + `],"meta":{"next":"same"}}`,
	} {
		c, _ := serve(t, 200, body)
		_, err := c.Transactions(t.Context(), billing.TransactionFilter{Cursor: "same"})
		require.Error(t, err, body)
	}
}

func TestDisputes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.paid(t, "ODOO-1")
	id, err := b.sim.OpenDispute("ODOO-1", "fraud", 0)
	require.NoError(t, err)
	for _, loose := range []bool{false, true} {
		if loose {
			require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.LooseTypes}))
		}
		d, err := b.Dispute(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, billing.DisputeAwaitingMerchant, d.Status)
		require.Equal(t, first.ID, d.TransactionID)
		require.Equal(t, "ODOO-1", d.Reference)
		require.Equal(t, int64(1_500_000), d.AmountKobo)
		require.Equal(t, "fraud", d.Category)
		require.Equal(t, "test", d.Mode)
		require.Empty(t, d.Resolution)
		require.NotNil(t, d.DueAt)
		page, err := b.Disputes(t.Context(), billing.DisputeFilter{TransactionID: first.ID, Status: billing.DisputeAwaitingMerchant})
		require.NoError(t, err)
		require.Equal(t, []billing.Dispute{d}, page.Disputes)
		require.Empty(t, page.Next)
	}
	b.sim.Advance(10 * 24 * time.Hour)
	d, err := b.Dispute(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "auto-accepted", d.Resolution)
	require.Equal(t, billing.GatewayReversed, d.TransactionStatus)
	require.NotNil(t, d.ResolvedAt)
	_, err = b.Dispute(t.Context(), 12345)
	require.ErrorIs(t, err, billing.ErrDisputeNotFound)
	page, err := b.Disputes(t.Context(), billing.DisputeFilter{To: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	require.Empty(t, page.Disputes)
}

func TestRefundsBetween_Pages(t *testing.T) {
	t.Parallel()
	page := func(first, n int) string {
		var items []string
		for i := range n {
			items = append(items, fmt.Sprintf(`{"id":%d,"transaction":7,"amount":"5","status":"processed","domain":"test"}`, first+i))
		}
		return `{"status":true,"data":[` + strings.Join(items, ",") + `]}`
	}
	c, _ := serve(t, 200, page(1, 50))
	got, err := c.RefundsBetween(t.Context(), billing.RefundFilter{})
	require.NoError(t, err)
	require.Len(t, got.Refunds, 50)
	require.Equal(t, "2/1", got.Next)
	again, err := c.RefundsBetween(t.Context(), billing.RefundFilter{Cursor: got.Next})
	require.NoError(t, err)
	require.Empty(t, again, "the page's number wasn't heeded")
	c, _ = serve(t, 200, page(51, 3))
	got, err = c.RefundsBetween(t.Context(), billing.RefundFilter{Cursor: got.Next})
	require.NoError(t, err)
	require.Len(t, got.Refunds, 3)
	require.Empty(t, got.Next)
	_, err = c.RefundsBetween(t.Context(), billing.RefundFilter{Cursor: "x"})
	require.Error(t, err)
}
