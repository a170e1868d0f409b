package billing_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// outgrows gives a client on the plan business, which is to have basic from the next period on, more data than basic has.
func (c *calendar) outgrows(client tenants.Tenant) {
	c.t.Helper()
	c.exec(`INSERT INTO tenant_disks (tenant_id, database_bytes, filestore_bytes, measured_at) VALUES ($1, $2, 0, now())`, client.ID, int64(12)<<30)
}

// lowered is a customer who pays by links, whose smaller plan begins with the coming period, and who was sent the link for it.
func lowered(t *testing.T) (*calendar, accounts.Principal, tenants.Tenant) {
	t.Helper()
	c, p, client := onPlan(t, "business", cash)
	change, err := c.ChangePlan(t.Context(), p, c.ip, "", "basic", false)
	require.NoError(t, err)
	require.Equal(t, billing.PlanScheduled, change.Outcome)
	c.pass(28*days+12*hours, 12*hours)
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND plan_id = 'basic' AND amount_kobo = 1500000 AND status = 'pending'`))
	return c, p, client
}

// kept checks that a client has stayed on its plan, that its owner was told why in numbers, and that the coming period is due for that plan.
func (c *calendar) kept(p accounts.Principal, client tenants.Tenant, credit int64) {
	c.t.Helper()
	require.Equal(c.t, "business", c.planOf(client.ID))
	v := c.subscription(p)
	require.Equal(c.t, billing.SubscriptionPastDue, v.Status)
	require.Empty(c.t, v.NextPlanID)
	require.Equal(c.t, []int64{4_500_000, credit}, []int64{v.NextKobo, v.CreditKobo})
	var text []byte
	require.NoError(c.t, c.pool.QueryRow(c.t.Context(), `SELECT data FROM notices WHERE kind = 'subscription.plan_kept'`).Scan(&text))
	var data struct {
		Plan, Wanted, Why string
		CreditKobo        int64 `json:"credit_kobo"`
	}
	require.NoError(c.t, json.Unmarshal(text, &data))
	require.Equal(c.t, []string{"business", "basic"}, []string{data.Plan, data.Wanted})
	require.Contains(c.t, data.Why, "12.00 GB")
	require.Equal(c.t, credit, data.CreditKobo)
}

// A link for a smaller plan, paid after the client has outgrown that: it keeps its plan, and the money is part of what that costs.
func TestDowngrade_PaidByAnOlderLink(t *testing.T) {
	t.Parallel()
	c, p, client := lowered(t)
	older := c.link()
	c.outgrows(client)
	c.pay(older)
	c.kept(p, client, 1_500_000)
	require.Equal(t, 1, c.count(`credits WHERE resolution = 'kept' AND amount_kobo = 1500000 AND reason LIKE '%12.00 GB%'`))
	require.Equal(t, 1, c.count(`activity_log WHERE action = 'payment.credit'`))
	require.NoError(t, c.Settle(t.Context(), older), "told again")
	c.kept(p, client, 1_500_000)

	c.pass(12*hours, 12*hours)
	rest := c.link()
	require.NotEqual(t, older, rest)
	require.Equal(t, 1, c.count(`payments WHERE reference = $1 AND plan_id = 'business' AND amount_kobo = 3000000 AND credit_kobo = 1500000`, rest))
	c.pay(rest)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	require.Equal(t, "business", c.planOf(client.ID))
	require.Zero(t, c.balance(ledger.Credit(p.AccountID)))
	require.Zero(t, c.reconcile().Differences)
	c.balanced()
}

// Whoever wants to pay for the smaller plan by hand is refused with the numbers before any money is asked for, and can pay for the other one.
func TestDowngrade_PaidByHand(t *testing.T) {
	t.Parallel()
	c, p, client := lowered(t)
	c.outgrows(client)
	open := c.count(`payments`)
	_, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.ErrorIs(t, err, billing.ErrDowngradeTooSmall)
	require.Contains(t, err.Error(), "12.00 GB")
	require.Equal(t, open, c.count(`payments`))
	c.kept(p, client, 0)
	payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "business", ClientName: "acme"})
	require.NoError(t, err)
	c.pay(payment.Reference)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	c.balanced()
}

// A link isn't made for a plan that has become too small, either.
func TestDowngrade_LinkIsForThePlanThatFits(t *testing.T) {
	t.Parallel()
	c, p, client := lowered(t)
	c.outgrows(client)
	c.pass(4*days, 12*hours)
	c.kept(p, client, 0)
	require.Equal(t, 1, c.count(`payments WHERE reference = $1 AND plan_id = 'business'`, c.link()))
}

// Credit that is enough for the smaller plan alone doesn't make it take effect.
func TestDowngrade_PaidByCredit(t *testing.T) {
	t.Parallel()
	c, p, client := lowered(t)
	c.outgrows(client)
	c.has(p, 1_500_000)
	c.run()
	require.Equal(t, "business", c.planOf(client.ID))
	require.Equal(t, int64(1_500_000), c.subscription(p).CreditKobo, "nothing is spent")
	require.Equal(t, billing.SubscriptionPastDue, c.subscription(p).Status)
}
