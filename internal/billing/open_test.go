package billing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

var errNoRoute = errors.New("no route to host")

func TestVerifyOpen_AppliesWhatWasPaid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	p, client, first := b.purchase()
	second := b.checkout(p, client)
	require.NoError(t, b.sim.Pay(second.Reference, ""))
	money, err := b.VerifyOpen(t.Context(), client.ID)
	require.NoError(t, err)
	require.True(t, money)
	b.activatedOnce(client.ID, second.Reference)
	require.Equal(t, billing.StatusPending, b.payment(first.Reference).Status)
}

func TestVerifyOpen_NothingWasPaid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, _ := b.purchase()
	money, err := b.VerifyOpen(t.Context(), client.ID)
	require.NoError(t, err)
	require.False(t, money)
	b.untouched(client.ID)
	none := b.client(b.account("eve"), "other", "basic")
	money, err = b.VerifyOpen(t.Context(), none.ID)
	require.NoError(t, err)
	require.False(t, money, "it has no references at all")
}

func TestVerifyOpen_MoneyThatDoesNotActivateStillCounts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*billing.Transaction)
		later  time.Duration
		want   bool
	}{
		"the bank hasn't answered":         {func(tr *billing.Transaction) { tr.Status = billing.GatewayProcessing }, 0, true},
		"the customer is just paying":      {func(tr *billing.Transaction) { tr.Status = billing.GatewayOngoing }, 0, true},
		"has been paying for days":         {func(tr *billing.Transaction) { tr.Status = billing.GatewayOngoing }, 73 * time.Hour, false},
		"the amount differs":               {func(tr *billing.Transaction) { tr.Status, tr.AmountKobo = billing.GatewaySuccess, 1 }, 0, true},
		"declined":                         {func(tr *billing.Transaction) { tr.Status = billing.GatewayFailed }, 0, false},
		"returned before it was applied":   {func(tr *billing.Transaction) { tr.Status = billing.GatewayReversed }, 0, false},
		"left the checkout":                {func(tr *billing.Transaction) { tr.Status = billing.GatewayAbandoned }, 0, false},
		"a word that we don't know (yet)":  {func(tr *billing.Transaction) { tr.Status = "on-hold" }, 0, false},
		"a refund is under way, unapplied": {func(tr *billing.Transaction) { tr.Status = billing.GatewayReversalPending }, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, client, _ := b.purchase()
			b.gateway.alter(test.change)
			b.advance(test.later)
			money, err := b.VerifyOpen(t.Context(), client.ID)
			require.NoError(t, err)
			require.Equal(t, test.want, money)
			require.Equal(t, tenants.Pending, b.state(client.ID))
		})
	}
}

func TestVerifyOpen_GatewayDownIsNoAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, _ := b.purchase()
	b.gateway.breakDown(errNoRoute)
	_, err := b.VerifyOpen(t.Context(), client.ID)
	require.ErrorIs(t, err, billing.ErrGatewayDown)
	require.ErrorIs(t, err, errNoRoute)
}

func TestOutageBetween(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	began := b.clock()
	owed := func(from, to time.Duration) time.Duration {
		t.Helper()
		d, err := b.OutageBetween(t.Context(), began.Add(from), began.Add(to))
		require.NoError(t, err)
		return d
	}
	require.Zero(t, owed(0, 24*time.Hour))

	b.advance(time.Hour)
	b.gateway.breakDown(errNoRoute)
	_, err := b.VerifyOpen(t.Context(), client.ID)
	require.Error(t, err)
	b.advance(30 * time.Minute)
	_, err = b.VerifyOpen(t.Context(), client.ID)
	require.Error(t, err)
	require.Equal(t, 30*time.Minute, owed(0, 24*time.Hour), "it isn't over")
	b.advance(30 * time.Minute)
	b.gateway.breakDown(billing.ErrTransactionNotFound)
	_, err = b.VerifyOpen(t.Context(), client.ID)
	require.NoError(t, err, "an answer, of sorts")
	b.advance(time.Hour)
	require.Equal(t, time.Hour, owed(0, 24*time.Hour))
	require.Equal(t, 15*time.Minute, owed(0, 75*time.Minute))
	require.Equal(t, 45*time.Minute, owed(75*time.Minute, 24*time.Hour))
	require.Zero(t, owed(2*time.Hour, 24*time.Hour))
	require.Equal(t, 1, b.count(`gateway_outages`))
	require.Equal(t, billing.StatusPending, b.payment(payment.Reference).Status)
}

// Money for an unpaid client that is to be deleted, or for another plan than it has, is kept and told of; it starts nothing, and keeps nobody.
func TestMoneyForWhatIsNotPaidFor(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(b *bundle, p accounts.Principal, client tenants.Tenant){
		"scheduled for deletion": func(b *bundle, p accounts.Principal, client tenants.Tenant) {
			_, err := b.tenants.ScheduleDeletion(b.t.Context(), p, b.ip, client.Name, 12)
			require.NoError(b.t, err)
		},
		"another plan": func(b *bundle, p accounts.Principal, client tenants.Tenant) {
			_, err := b.tenants.ChangePlan(b.t.Context(), p, b.ip, client.Name, "business")
			require.NoError(b.t, err)
		},
		"deleted": func(b *bundle, p accounts.Principal, client tenants.Tenant) {
			boss := p
			boss.Admin = true
			_, err := b.tenants.Delete(b.t.Context(), boss, b.ip, client.Name, tenants.DeleteInput{})
			require.NoError(b.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p, client, payment := b.purchase()
			meanwhile(b, p, client)
			before := b.state(client.ID)
			require.NoError(t, b.sim.Pay(payment.Reference, ""))
			b.settled()
			require.Equal(t, before, b.state(client.ID))
			require.Equal(t, billing.PurposeCredit, b.payment(payment.Reference).Purpose)
			require.Equal(t, 1, b.count(`credits WHERE resolution IS NULL`))
			require.Equal(t, 1, b.alerts("payment.unused"))
			require.Zero(t, b.count(`operations WHERE kind = 'tenant.provision'`))
			require.Zero(t, b.count(`subscriptions`))

			money, err := b.VerifyOpen(t.Context(), client.ID)
			require.NoError(t, err)
			require.False(t, money, "it is a credit, and no reason to keep the client")
			b.advance(30 * 24 * time.Hour)
			require.NoError(t, postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
				if before == tenants.Scheduled {
					_, _, err := b.tenants.ClaimDueDeletionTx(t.Context(), tx, client.ID, b.clock())
					return err
				}
				_, err := b.tenants.DeleteUnpaidTx(t.Context(), tx, client.ID, b.clock())
				return err
			}))
			require.Equal(t, tenants.Deleted, b.state(client.ID))
			require.Equal(t, 1, b.count(`credits WHERE resolution IS NULL`), "the money is still the customer's")
		})
	}
}

// Money that comes after the deadline brings a client back as long as its deletion hasn't begun, and is a credit from then on.
func TestMoneyForAClientThatIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, begun := range map[string]bool{"before the deletion begins": false, "once it has begun": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCalendar(t)
			_, client := c.customer(cash)
			c.pass(28*days+28*days, 12*hours)
			require.Equal(t, tenants.Scheduled, c.state(client.ID))
			link := c.link()
			c.advance(4 * days)
			if begun {
				require.NoError(t, postgres.InTx(t.Context(), c.pool, func(tx pgx.Tx) error {
					claimed, _, err := c.tenants.ClaimDueDeletionTx(t.Context(), tx, client.ID, c.clock())
					require.True(t, claimed)
					return err
				}))
				c.settled()
			}
			require.NoError(t, c.sim.Pay(link, ""))
			c.settled()
			if !begun {
				require.Equal(t, tenants.Active, c.state(client.ID))
				require.Zero(t, c.count(`credits`))
				return
			}
			require.Equal(t, tenants.Deleted, c.state(client.ID))
			require.Equal(t, 1, c.count(`credits WHERE resolution IS NULL`))
		})
	}
}
