package billing_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

func TestPaid_ByWebhook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)

	list, _, err := b.History(t.Context(), p, 0, 10)
	require.NoError(t, err)
	require.Equal(t, billing.StatusSuccess, list[0].Status)
	require.NotNil(t, list[0].PaidAt)
	require.NotNil(t, list[0].CompletedAt)
	require.Equal(t, 1, b.count(`payment_events WHERE outcome = 'activated'`))
	require.Equal(t, 1, b.count(`activity_log WHERE action = 'payment.success' AND tenant_id = $1`, client.ID))
}

func TestPaid_ByVerify(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	p, client, payment := b.purchase()
	got, err := b.Confirm(t.Context(), p, payment.Reference)
	require.NoError(t, err)
	require.Equal(t, billing.StatusPending, got.Status)

	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	got, err = b.Confirm(t.Context(), p, payment.Reference)
	require.NoError(t, err)
	require.Equal(t, billing.StatusSuccess, got.Status)
	b.activatedOnce(client.ID, payment.Reference)
}

func TestConfirm_WithTheGatewayDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	p, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.gateway.breakDown(errDown)
	got, err := b.Confirm(t.Context(), p, payment.Reference)
	require.NoError(t, err)
	require.Equal(t, billing.StatusPending, got.Status)
	b.untouched(client.ID)
}

// deliver posts an event to our webhook by hand and returns the status.
func (b *bundle) deliver(body []byte, signature string) int {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.hook, bytes.NewReader(body))
	require.NoError(b.t, err)
	req.Header.Set("X-Paystack-Signature", signature)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	require.NoError(b.t, resp.Body.Close())
	return resp.StatusCode
}

func TestWebhook_FiftyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	body := b.sim.Deliveries()[0].Body
	signature := b.sim.Sign("test", body)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { require.Equal(t, http.StatusOK, b.deliver(body, signature)) })
	}
	wg.Wait()
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	require.Equal(t, 1, b.count(`payment_events`))
	require.Equal(t, 1, b.count(`operations WHERE kind = 'payment_event.apply'`))
}

func TestPaid_EveryWayAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, payment := b.purchase()
	b.advance(time.Minute)
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { _, _ = b.Confirm(t.Context(), p, payment.Reference) })
		wg.Go(func() { _ = b.Poll(t.Context()) })
	}
	wg.Wait()
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	require.Zero(t, b.count(`credits`))
}

func TestPaid_NotAsAsked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, review string
		fault        *simulator.Fault
		alter        func(*billing.Transaction)
	}{
		{"less", "amount differs: paid 100 kobo, asked for 1500000", &simulator.Fault{Kind: simulator.PartialDebit, Amount: 100}, nil},
		{"more", "amount differs: paid 1522500 kobo, asked for 1500000", &simulator.Fault{Kind: simulator.CustomerFees}, nil},
		{"currency", `currency differs: paid in "GHS", asked for "NGN"`, nil, func(t *billing.Transaction) { t.Currency = "GHS" }},
		{"mode", `mode differs: paid in "live", asked in "test"`, nil, func(t *billing.Transaction) { t.Mode = "live" }},
		{"no mode", `mode differs: paid in "", asked in "test"`, nil, func(t *billing.Transaction) { t.Mode = "" }},
		{"reference", `the gateway answered for another reference ("ODOO-OTHER")`, nil, func(t *billing.Transaction) { t.Reference = "ODOO-OTHER" }},
		{"no amount", "amount differs: paid 0 kobo, asked for 1500000", nil, func(t *billing.Transaction) { t.AmountKobo = 0 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if tc.fault != nil {
				require.NoError(t, b.sim.AddFault(*tc.fault))
			}
			b.gateway.alter(tc.alter)
			p, client, payment := b.purchase()
			require.NoError(t, b.sim.Pay(payment.Reference, ""))
			b.settled()
			got, err := b.Confirm(t.Context(), p, payment.Reference)
			require.NoError(t, err)
			require.Equal(t, billing.StatusPending, got.Status)
			require.Equal(t, tc.review, got.Review)
			b.untouched(client.ID)

			p.Admin = true
			list, total, err := b.Reviews(t.Context(), p, 0, 10)
			require.NoError(t, err)
			require.Equal(t, 1, total)
			require.Equal(t, payment.Reference, list[0].Reference)
			require.Equal(t, 1, b.count(`activity_log WHERE action = 'payment.review'`), "noted once")
		})
	}
}

// What an event says doesn't count; what the gateway answers does.
func TestWebhook_TamperedAmountChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookTamper, Amount: 1_500_000}))
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 100}))
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.untouched(client.ID)
}

func TestPaid_Twice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, first := b.purchase()
	second := b.checkout(p, client)
	require.NoError(t, b.sim.Pay(second.Reference, ""))
	b.settled()
	require.NoError(t, b.sim.Pay(first.Reference, ""))
	b.settled()
	b.activatedOnce(client.ID, second.Reference)
	require.Equal(t, billing.PurposeCredit, b.payment(first.Reference).Purpose)
	require.Equal(t, billing.StatusSuccess, b.payment(first.Reference).Status)

	_, _, err := b.Credits(t.Context(), p, 0, 10)
	require.ErrorIs(t, err, billing.ErrAdminOnly)
	p.Admin = true
	credits, total, err := b.Credits(t.Context(), p, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.Equal(t, first.Reference, credits[0].Reference)
	require.Equal(t, int64(1_500_000), credits[0].AmountKobo)
	require.Equal(t, "acme", credits[0].TenantName)
	_, _, err = b.Reviews(t.Context(), b.account("bob"), 0, 10)
	require.ErrorIs(t, err, billing.ErrAdminOnly)
}

func TestPaid_TwoReferencesAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	p, client, first := b.purchase()
	references := []string{first.Reference}
	for range 4 {
		references = append(references, b.checkout(p, client).Reference)
	}
	for _, r := range references {
		require.NoError(t, b.sim.Pay(r, ""))
	}
	var wg sync.WaitGroup
	for _, r := range references {
		wg.Go(func() { _, _ = b.Confirm(t.Context(), p, r) })
	}
	wg.Wait()
	require.Equal(t, 1, b.count(`payments WHERE status = 'success' AND purpose = 'activation'`))
	require.Equal(t, 4, b.count(`credits`))
	require.Equal(t, tenants.Provisioning, b.state(client.ID))
}

// The checkout of a cheap plan must not pay for a dear one.
func TestPaid_AfterThePlanWasChanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, payment := b.purchase()
	dear := "enterprise"
	_, err := b.tenants.Update(t.Context(), p, b.ip, client.Name, tenants.UpdateInput{PlanID: &dear})
	require.NoError(t, err)
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	require.Equal(t, tenants.Pending, b.state(client.ID))
	require.Zero(t, b.count(`operations WHERE kind = 'tenant.provision'`))
	require.Equal(t, 1, b.count(`credits WHERE reason = 'paid for plan basic, but the client has enterprise'`))
}

func TestPaid_ForADeletedClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	_, err := b.pool.Exec(t.Context(), `UPDATE tenants SET state = 'deleted', desired = 'deleted', deleted_at = now() WHERE id = $1`, client.ID)
	require.NoError(t, err)
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	require.Equal(t, tenants.Deleted, b.state(client.ID))
	require.Equal(t, 1, b.count(`credits`))
	require.Zero(t, b.count(`operations WHERE kind = 'tenant.provision'`))
}

func TestReversal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	refund := func(status string) {
		require.NoError(t, b.sim.SetStatus(payment.Reference, status))
		b.sim.ClearFaults()
		b.sim.Send("test", "refund."+status, map[string]any{"status": status, "transaction_reference": payment.Reference})
		b.settled()
	}
	b.sim.ClearFaults()
	b.sim.Send("test", "charge.success", map[string]any{"id": 1, "reference": payment.Reference})
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)

	refund("reversal-pending")
	require.Equal(t, billing.StatusSuccess, b.payment(payment.Reference).Status, "a refund that is under way may fail")
	refund("reversed")
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	require.Equal(t, tenants.Provisioning, b.state(client.ID), "what happens to the client is decided elsewhere")

	require.NoError(t, b.sim.SetStatus(payment.Reference, "success"))
	b.sim.Send("test", "charge.success", map[string]any{"id": 2, "reference": payment.Reference})
	b.settled()
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status, "an old success changes nothing after a refund")
	require.Equal(t, 1, b.count(`operations WHERE kind = 'tenant.provision'`))
}

func TestReversal_BeforeWeKnewOfThePayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	p, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	require.NoError(t, b.sim.SetStatus(payment.Reference, "reversed"))
	got, err := b.Confirm(t.Context(), p, payment.Reference)
	require.NoError(t, err)
	require.Equal(t, billing.StatusRefunded, got.Status)
	b.untouched(client.ID)
}

func TestWebhook_Refusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := []byte(`{"event":"charge.success","data":{"id":1,"reference":"ODOO-0123456789AB"}}`)
	require.Equal(t, http.StatusUnauthorized, b.deliver(body, ""))
	require.Equal(t, http.StatusUnauthorized, b.deliver(body, b.sim.Sign("test", append(body, '\n'))))
	require.Zero(t, b.count(`payment_events`))
}

func TestWebhook_OddEventsAreKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for body, outcome := range map[string]string{
		`{"event":"something.new","data":{}}`:                                                        "not about a payment",
		`{"event":"charge.success","data":{"id":1,"reference":"inv-1"}}`:                             "not a reference of ours",
		`{"event":"charge.success","data":{"id":2,"domain":"live","reference":"ODOO-0123456789AB"}}`: "of the other mode",
		`{"event":"charge.success","data":{"id":3,"reference":"ODOO-0123456789AB"}}`:                 "not a payment of ours",
		`not json`:                             "not about a payment",
		"{\"event\":\"a\\u0000b\",\"data\":5}": "not about a payment",
		`[1]`:                                  "not about a payment",
		`{"event":"subscription.expiring_cards","data":[{"brand":"visa"}]}`: "not about a payment",
	} {
		for range 2 {
			require.Equal(t, http.StatusOK, b.deliver([]byte(body), b.sim.Sign("test", []byte(body))), body)
		}
		b.settled()
		require.Equal(t, 1, b.count(`payment_events WHERE body = $1 AND outcome = $2`, []byte(body), outcome), body)
	}
}

func TestWebhook_DatabaseDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	nowhere, err := postgres.Open(t.Context(), "postgres://nobody@127.0.0.1:1/nothing", postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(nowhere.Close)
	b.deps.Pool = nowhere
	cut := billing.New(b.deps, billing.Options{})
	body := []byte(`{"event":"charge.success","data":{"id":1,"reference":"ODOO-0123456789AB"}}`)
	require.ErrorIs(t, cut.ReceiveWebhook(t.Context(), body, b.sim.Sign("test", body)), billing.ErrEventsDown)
	require.ErrorIs(t, cut.ReceiveWebhook(t.Context(), body, "00"), billing.ErrBadSignature)
}

// A crash or an error between any two statements leaves the payment unpaid and the event unapplied; the next attempt does it all.
func TestApply_IsAllOrNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	var mu sync.Mutex
	failures := 3
	b.provisioner = func() error {
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			return errors.New("no queue")
		}
		return nil
	}
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	require.Equal(t, 1, b.count(`activity_log WHERE action = 'payment.success'`))
}

func TestWebhook_GatewayDownForAWhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	b.gateway.breakDown(errDown)
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.eventually(func() bool {
		return b.count(`operations WHERE kind = 'payment_event.apply' AND attempt > $1`, ops.DefaultMaxAttempts) == 1
	})
	b.untouched(client.ID)
	b.gateway.breakDown(nil)
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
}

func TestForgetApplied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	const applied = `operations WHERE kind = 'payment_event.apply'`
	b.eventually(func() bool { return b.count(applied+` AND state = 'done'`) == 1 })
	require.NoError(t, b.ForgetApplied(t.Context()))
	require.Equal(t, 1, b.count(applied))

	b.advance(31 * 24 * time.Hour)
	require.NoError(t, b.ForgetApplied(t.Context()))
	require.Zero(t, b.count(applied))
	require.Equal(t, 1, b.count(`payment_events WHERE outcome = 'activated' AND applied_at IS NOT NULL`))
	b.activatedOnce(client.ID, payment.Reference)
}

func TestWebhook_SwappedAndLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookReorder, Times: 1}))
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookDuplicate, Amount: 3}))
	for i := range 3 {
		p := b.account(fmt.Sprintf("owner%d", i))
		require.NoError(t, b.sim.Pay(b.checkout(p, b.client(p, fmt.Sprintf("client%d", i), "basic")).Reference, ""))
	}
	b.settled()
	require.Equal(t, 3, b.count(`tenants WHERE state = 'provisioning'`))
	require.Equal(t, 3, b.count(`operations WHERE kind = 'tenant.provision'`))
}
