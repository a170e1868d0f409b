package billing_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

func TestInitialize(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.account("ada")
	client := b.client(p, "acme", "business")
	got, err := b.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: "business", BillingCycle: "annual", ClientName: "acme"})
	require.NoError(t, err)
	require.Regexp(t, `^ODOO-[0-9A-F]{12}$`, got.Reference)
	require.Contains(t, got.AuthorizationURL, "/checkout/")
	require.Equal(t, int64(43_200_000), got.AmountKobo)
	require.Equal(t, billing.StatusPending, got.Status)
	require.Equal(t, client.ID, got.TenantID)

	at, err := b.gateway.Verify(t.Context(), got.Reference)
	require.NoError(t, err)
	require.Equal(t, int64(43_200_000), at.AmountKobo)
	require.Equal(t, 1, b.count(`activity_log WHERE action = 'payment.initialize' AND account_id = $1 AND ip = '192.0.2.7'`, p.AccountID))
	b.untouched(client.ID)

	again := b.checkout2(p, "business")
	require.NotEqual(t, got.Reference, again.Reference, "several may be open for one purchase")
}

func (b *bundle) checkout2(p accounts.Principal, plan string) billing.Payment {
	b.t.Helper()
	got, err := b.Initialize(b.t.Context(), p, b.ip, billing.InitializeInput{PlanID: plan})
	require.NoError(b.t, err)
	return got
}

func TestInitialize_Prices(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for plan, want := range map[string][2]int64{
		"basic": {1_500_000, 14_400_000}, "business": {4_500_000, 43_200_000}, "enterprise": {12_000_000, 115_200_000},
	} {
		p := b.account("owner-" + plan)
		b.client(p, "client-"+plan, plan)
		for i, cycle := range []string{"monthly", "annual"} {
			got, err := b.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: plan, BillingCycle: cycle})
			require.NoError(t, err)
			require.Equal(t, want[i], got.AmountKobo, "%s %s", plan, cycle)
		}
	}
}

func TestInitialize_WhichClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob := b.account("ada"), b.account("bob")
	boss := b.account("boss")
	boss.Admin = true
	acme, beta := b.client(ada, "acme", "basic"), b.client(ada, "bakery", "business")
	b.client(bob, "bobs", "basic")

	for _, tc := range []struct {
		name string
		who  accounts.Principal
		in   billing.InitializeInput
		want tenants.ID
		err  error
		kind errs.Kind
	}{
		{"by name", ada, billing.InitializeInput{PlanID: "basic", ClientName: "acme"}, acme.ID, nil, 0},
		{"by name, as typed", ada, billing.InitializeInput{PlanID: "basic", ClientName: " ACME "}, acme.ID, nil, 0},
		{"the only one of the plan", ada, billing.InitializeInput{PlanID: "business"}, beta.ID, nil, 0},
		{"monthly by default", ada, billing.InitializeInput{PlanID: "basic", BillingCycle: ""}, acme.ID, nil, 0},
		{"none of the plan", ada, billing.InitializeInput{PlanID: "enterprise"}, 0, billing.ErrNoUnpaidClient, errs.Invalid},
		{"other plan than the client's", ada, billing.InitializeInput{PlanID: "business", ClientName: "acme"}, 0, billing.ErrPlanMismatch, errs.Conflict},
		{"unknown client", ada, billing.InitializeInput{PlanID: "basic", ClientName: "nobody"}, 0, tenants.ErrNotFound, errs.NotFound},
		{"strange client", ada, billing.InitializeInput{PlanID: "basic", ClientName: "a\x00b"}, 0, tenants.ErrNotFound, errs.NotFound},
		{"somebody else's", ada, billing.InitializeInput{PlanID: "basic", ClientName: "bobs"}, 0, tenants.ErrNotFound, errs.NotFound},
		{"somebody else's, by an admin", boss, billing.InitializeInput{PlanID: "basic", ClientName: "bobs"}, 0, tenants.ErrNotFound, errs.NotFound},
		{"unknown plan", ada, billing.InitializeInput{PlanID: "gold"}, 0, billing.ErrInvalidPlan, errs.Malformed},
		{"no plan", ada, billing.InitializeInput{}, 0, billing.ErrInvalidPlan, errs.Malformed},
		{"plan with NUL", ada, billing.InitializeInput{PlanID: "basic\x00"}, 0, billing.ErrInvalidPlan, errs.Malformed},
		{"unknown cycle", ada, billing.InitializeInput{PlanID: "basic", BillingCycle: "weekly"}, 0, billing.ErrInvalidCycle, errs.Invalid},
		{"cycle in capitals", ada, billing.InitializeInput{PlanID: "basic", BillingCycle: "Monthly"}, 0, billing.ErrInvalidCycle, errs.Invalid},
	} {
		got, err := b.Initialize(t.Context(), tc.who, b.ip, tc.in)
		if tc.err != nil {
			require.ErrorIs(t, err, tc.err, tc.name)
			require.Equal(t, tc.kind, errs.KindOf(err), tc.name)
			continue
		}
		require.NoError(t, err, tc.name)
		require.Equal(t, tc.want, got.TenantID, tc.name)
	}

	b.client(ada, "garage", "basic")
	_, err := b.Initialize(t.Context(), ada, b.ip, billing.InitializeInput{PlanID: "basic"})
	require.ErrorIs(t, err, billing.ErrWhichClient)
}

func TestInitialize_OnlyWhilePending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	_, err := b.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: "basic", ClientName: client.Name})
	require.ErrorIs(t, err, billing.ErrNotPayable)
	_, err = b.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: "basic"})
	require.ErrorIs(t, err, billing.ErrNoUnpaidClient)
}

func TestInitialize_GatewayTrouble(t *testing.T) {
	t.Parallel()
	for _, kind := range []simulator.FaultKind{simulator.APIError500, simulator.APIError502, simulator.APIMalformed, simulator.APITimeout} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p := b.account("ada")
			client := b.client(p, "acme", "basic")
			require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: kind, Route: "initialize", Times: 1}))
			_, err := b.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: "basic"})
			require.ErrorIs(t, err, billing.ErrGatewayDown)
			require.Equal(t, errs.Unavailable, errs.KindOf(err))
			require.Equal(t, 1, b.count(`payments WHERE status = 'pending' AND next_check_at IS NOT NULL`), "it may exist there")

			payment := b.checkout2(p, "basic")
			require.NoError(t, b.sim.Pay(payment.Reference, ""))
			b.settled()
			b.activatedOnce(client.ID, payment.Reference)
		})
	}
}

func TestInitialize_Refused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.account("ada")
	b.client(p, "acme", "basic")
	p.Email = "ada@host.local"
	_, err := b.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: "basic"})
	require.ErrorIs(t, err, billing.ErrPaymentRefused)
	var shown *errs.Error
	require.ErrorAs(t, err, &shown)
	require.NotContains(t, shown.Message, "Passed", "the gateway's words stay in the log")
	require.Equal(t, 1, b.count(`payments WHERE status = 'failed' AND next_check_at IS NULL`))
}

func TestInitialize_RateLimitedGatewayIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.APIRateLimited, Route: "initialize", Times: 1}))
	_, _, payment := b.purchase()
	require.NotEmpty(t, payment.AuthorizationURL)
}

// A payment can be complete before its initialize has answered.
func TestWebhook_BeforeInitializeAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.PayOnInitialize, Times: 1}))
	_, client, payment := b.purchase()
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	require.Equal(t, billing.StatusSuccess, b.payment(payment.Reference).Status)
}

func TestHistory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, _, first := b.purchase()
	b.advance(time.Second)
	second := b.checkout2(p, "basic")
	other := b.account("bob")

	list, total, err := b.History(t.Context(), p, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 2, total)
	require.Equal(t, []string{second.Reference, first.Reference}, []string{list[0].Reference, list[1].Reference})
	require.Equal(t, "acme", list[0].TenantName)
	list, total, err = b.History(t.Context(), p, 1, 1)
	require.NoError(t, err)
	require.Equal(t, 2, total)
	require.Len(t, list, 1)
	list, total, err = b.History(t.Context(), other, 0, 10)
	require.NoError(t, err)
	require.Zero(t, total)
	require.Empty(t, list)
	for _, bad := range [][2]int{{-1, 10}, {0, 0}, {0, 1001}, {1 << 40, 10}} {
		_, _, err = b.History(t.Context(), p, bad[0], bad[1])
		require.ErrorIs(t, err, billing.ErrPageOutOfBounds)
	}
}

func TestConfirm_OnlyOnesOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, payment := b.purchase()
	other := b.account("bob")
	_, err := b.Confirm(t.Context(), other, payment.Reference)
	require.ErrorIs(t, err, billing.ErrPaymentNotFound)
	for _, bad := range []string{"", "ODOO-", "ODOO-000000000000", "odoo-0123456789ab", "ODOO-0123456789AB\x00", "..", strings.Repeat("A", 10_000), payment.Reference + " "} {
		_, err = b.Confirm(t.Context(), other, bad)
		require.ErrorIs(t, err, billing.ErrPaymentNotFound, bad[:min(len(bad), 20)])
	}
}
