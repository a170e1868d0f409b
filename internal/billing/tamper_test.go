package billing_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// heard is what was logged.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// overheard is the bundle's service with a log that can be read.
func (b *bundle) overheard() (*billing.Service, *heard) {
	h := &heard{}
	deps := b.deps
	deps.Log = slog.New(slog.NewTextHandler(h, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return billing.New(deps, billing.Options{GatewayTimeout: time.Minute}), h
}

// tell delivers an event as the gateway signs it, and applies it if it is to be applied.
func (b *bundle) tell(s *billing.Service, body string) {
	b.t.Helper()
	require.NoError(b.t, s.ReceiveWebhook(b.t.Context(), []byte(body), b.sim.Sign("test", []byte(body))))
	var id int64
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT coalesce(max(id) FILTER (WHERE applied_at IS NULL), 0) FROM payment_events`).Scan(&id))
	if id != 0 {
		require.NoError(b.t, s.ApplyEvent(b.t.Context(), id))
	}
}

// Whoever lies about a payment, or pays something else, changes nothing for the client, and an operator can read who, which and why.
func TestTampering(t *testing.T) {
	t.Parallel()
	type scene struct {
		*bundle
		s       *billing.Service
		owner   accounts.Principal
		client  tenants.Tenant
		payment billing.Payment
	}
	success := func(reference string) string {
		return fmt.Sprintf(`{"event":"charge.success","data":{"id":1,"domain":"test","status":"success","amount":1500000,"currency":"NGN","reference":%q}}`, reference)
	}
	altered := func(change func(*billing.Transaction)) func(c scene) {
		return func(c scene) {
			c.gateway.alter(change)
			require.NoError(c.t, c.sim.Pay(c.payment.Reference, ""))
			c.tell(c.s, success(c.payment.Reference))
		}
	}
	for name, tc := range map[string]struct {
		do   func(c scene)
		says []string // beside the payment's reference
	}{
		"never paid": {func(c scene) { c.tell(c.s, success(c.payment.Reference)) }, nil},
		"less was paid than the event says": {func(c scene) {
			require.NoError(c.t, c.sim.AddFault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 100}))
			require.NoError(c.t, c.sim.Pay(c.payment.Reference, ""))
			c.tell(c.s, success(c.payment.Reference))
		}, []string{"payment needs attention", "amount differs: paid 100 kobo, asked for 1500000", "tenant_id="}},
		"another currency": {altered(func(t *billing.Transaction) { t.Currency = "GHS" }), []string{"payment needs attention", "currency differs", "GHS"}},
		"another mode":     {altered(func(t *billing.Transaction) { t.Mode = "live" }), []string{"payment needs attention", "mode differs", "live"}},
		"an event of the other mode": {func(c scene) {
			c.tell(c.s, fmt.Sprintf(`{"event":"charge.success","data":{"id":1,"domain":"live","reference":%q}}`, c.payment.Reference))
		}, []string{"payment event kept, not applied", "of the other mode"}},
		"the gateway answers for another reference": {
			altered(func(t *billing.Transaction) { t.Reference = "ODOO-00000000FFFF" }),
			[]string{"payment needs attention", "the gateway answered for another reference", "ODOO-00000000FFFF"},
		},
		"the money of somebody else's shop": {func(c scene) {
			require.NoError(c.t, c.sim.Import(simulator.Imported{
				Domain: "test", Reference: "ODOO-0123456789AB", Email: "eve@example.com", Amount: 1_500_000, Currency: "NGN", PaidAt: c.clock(),
			}))
			c.tell(c.s, success("ODOO-0123456789AB"))
		}, []string{"the gateway told of a payment that isn't ours", "ODOO-0123456789AB"}},
		"a reference that is none of ours": {func(c scene) { c.tell(c.s, success("inv-2026-1")) }, []string{"payment event kept, not applied", "not a reference of ours"}},
		"somebody else's account asks": {func(c scene) {
			_, err := c.s.Confirm(c.t.Context(), c.account("eve"), c.payment.Reference)
			require.ErrorIs(c.t, err, billing.ErrPaymentNotFound)
		}, nil},
		"a cheaper plan's payment": {func(c scene) {
			dear := "enterprise"
			_, err := c.tenants.Update(c.t.Context(), c.owner, c.ip, c.client.Name, tenants.UpdateInput{PlanID: &dear})
			require.NoError(c.t, err)
			require.NoError(c.t, c.sim.Pay(c.payment.Reference, ""))
			c.tell(c.s, success(c.payment.Reference))
		}, []string{"payment became a credit", "paid for plan basic, but the client has enterprise", "amount_kobo=1500000"}},
		"signed by another key": {func(c scene) {
			require.NoError(c.t, c.sim.Pay(c.payment.Reference, ""))
			other, err := simulator.New(simulator.Options{SecretKeys: []secrets.Secret{"sk_test_somebody_else"}})
			require.NoError(c.t, err)
			c.t.Cleanup(other.Close)
			body := []byte(success(c.payment.Reference))
			require.ErrorIs(c.t, c.s.ReceiveWebhook(c.t.Context(), body, other.Sign("test", body)), billing.ErrBadSignature)
			require.Zero(c.t, c.count(`payment_events`))
		}, []string{"event refused: it isn't signed with one of our keys", "bytes=", "signed=true"}},
		"not signed": {func(c scene) {
			require.ErrorIs(c.t, c.s.ReceiveWebhook(c.t.Context(), []byte(success(c.payment.Reference)), ""), billing.ErrBadSignature)
		}, []string{"event refused", "signed=false"}},
		"signed, and nothing that can be read": {func(c scene) { c.tell(c.s, `{"event":`) }, []string{"signed event can't be read; kept as it is"}},
		"a refund that isn't one": {func(c scene) {
			c.tell(c.s, fmt.Sprintf(`{"event":"refund.processed","data":{"status":"processed","transaction_reference":%q,"amount":"1500000"}}`, c.payment.Reference))
			require.Zero(c.t, c.count(`refunds`))
		}, nil},
		"a dispute that isn't one": {func(c scene) {
			c.tell(c.s, fmt.Sprintf(`{"event":"charge.dispute.resolve","data":{"id":5,"status":"resolved","transaction":{"reference":%q}}}`, c.payment.Reference))
			require.Zero(c.t, c.count(`disputes`))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupIdle(t)
			b.dropWebhooks()
			owner, client, payment := b.purchase()
			s, log := b.overheard()
			tc.do(scene{bundle: b, s: s, owner: owner, client: client, payment: payment})
			require.Equal(t, tenants.Pending, b.state(client.ID))
			require.Zero(t, b.count(`operations WHERE kind = 'tenant.provision'`))
			require.Zero(t, b.count(`subscriptions`)+b.count(`invoices`)+b.count(`payments WHERE status = 'success' AND purpose <> 'credit'`))
			for _, words := range tc.says {
				require.Contains(t, log.String(), words)
			}
			if tc.says == nil {
				require.NotContains(t, log.String(), "activates")
			}
			require.NotContains(t, log.String(), gatewayKey)
		})
	}
}
