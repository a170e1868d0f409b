package billing_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
	"controlplane/internal/secrets"
)

// crasher cuts the connection off before the statement of a transaction that it is told, counted from 1, the commit too; 0 is never.
type crasher struct {
	at   atomic.Int64
	seen atomic.Int64
}

func (c *crasher) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if conn.PgConn().TxStatus() == 'I' || c.seen.Add(1) != c.at.Load() {
		return ctx
	}
	cut, cancel := context.WithCancel(ctx)
	cancel()
	return cut
}

func (*crasher) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// crashing is the bundle's service on connections that are cut off.
func (b *bundle) crashing() (*billing.Service, *crasher) {
	b.t.Helper()
	c := &crasher{}
	config := b.pool.Config().Copy()
	config.ConnConfig.Tracer = c
	pool, err := pgxpool.NewWithConfig(b.t.Context(), config)
	require.NoError(b.t, err)
	b.t.Cleanup(pool.Close)
	deps := b.deps
	deps.Pool = pool
	return billing.New(deps, billing.Options{GatewayTimeout: time.Minute, RunGap: 25 * time.Hour}), c
}

// crashEach does something with a crash before each statement, one after the other, until there are no more statements. Each time either
// nothing has changed, or a transaction of several was committed: then those of the next ones have their turn. between is what happens
// after a crash.
func (b *bundle) crashEach(do func(s *billing.Service) error, between func()) {
	b.t.Helper()
	s, c := b.crashing()
	crashes := 0
	for n := int64(1); ; n++ {
		require.Less(b.t, crashes, 400)
		before := b.money()
		c.seen.Store(0)
		c.at.Store(n)
		err := do(s)
		if c.seen.Load() < n {
			require.NoError(b.t, err)
			require.Greater(b.t, crashes, 5, "it takes some statements")
			return
		}
		crashes++
		if b.money() != before {
			n = 0
		}
		between()
	}
}

// money is all that an application could have left half done.
func (b *bundle) money() string {
	b.t.Helper()
	var state string
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `
		SELECT concat_ws(' ', (SELECT string_agg(status || purpose || amount_kobo || refunded_kobo || attempt || coalesce(review, ''), ',' ORDER BY id) FROM payments),
			(SELECT string_agg(name || kobo, ',' ORDER BY name) FROM (SELECT a.name, sum(l.debit_kobo - l.credit_kobo) AS kobo
				FROM ledger_lines l JOIN ledger_accounts a ON a.id = l.ledger_account_id GROUP BY a.name) AS balances),
			(SELECT count(*) FROM ledger_entries), (SELECT string_agg(number, ',' ORDER BY id) FROM invoices),
			(SELECT string_agg(amount_kobo || coalesce(resolution, ''), ',' ORDER BY id) FROM credits),
			(SELECT string_agg(concat_ws('/', status, plan_id, next_plan_id, period_end, stage, announced), ',' ORDER BY id) FROM subscriptions),
			(SELECT string_agg(concat_ws('/', state, desired, plan_id, suspended_by), ',' ORDER BY id) FROM tenants),
			(SELECT string_agg(state, ',' ORDER BY id) FROM refunds), (SELECT string_agg(outcome, ',' ORDER BY id) FROM disputes),
			(SELECT string_agg(kind || (resolved_at IS NULL), ',' ORDER BY kind) FROM alerts), (SELECT count(*) FROM activity_log),
			(SELECT string_agg(kind, ',' ORDER BY kind, id) FROM notices), (SELECT string_agg(kind, ',' ORDER BY id) FROM operations))`).Scan(&state))
	return state
}

func TestApply_CrashBetweenAnyTwoStatements(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	apply := func() {
		before := b.money()
		b.crashEach(func(s *billing.Service) error { return s.Settle(t.Context(), payment.Reference) }, func() { require.Equal(t, before, b.money()) })
	}
	apply()
	b.activatedOnce(client.ID, payment.Reference)
	require.Equal(t, 1, b.count(`invoices`))

	transaction, err := b.gateway.Verify(t.Context(), payment.Reference)
	require.NoError(t, err)
	_, err = b.gateway.Refund(t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: 600_000, Currency: "NGN"})
	require.NoError(t, err)
	apply()
	require.Equal(t, 1, b.count(`refunds WHERE state = 'pending'`))
	require.NoError(t, b.sim.FinishRefund(b.sim.Refunds()[0].ID, "processed"))

	_, err = b.gateway.Refund(t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: 900_000, Currency: "NGN"})
	require.NoError(t, err)
	require.NoError(t, b.sim.FinishRefund(b.sim.Refunds()[1].ID, "processed"))
	apply()
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	require.Zero(t, b.balance(ledger.RefundsInTransit))
	require.Equal(t, 2, b.count(`invoices WHERE credits_id IS NOT NULL`))
	require.Zero(t, b.balance(ledger.Revenue, ledger.VAT))
}

// A thousand deliveries, true and forged, are one event.
func TestWebhook_AThousandDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	body := b.sim.Deliveries()[0].Body
	signature := b.sim.Sign("test", body)
	other, err := simulator.New(simulator.Options{SecretKeys: []secrets.Secret{"sk_test_somebody_else"}})
	require.NoError(t, err)
	t.Cleanup(other.Close)
	forged := other.Sign("test", body)
	var log *heard
	b.Service, log = b.overheard()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 40)
	for i := range 1000 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if i%4 == 3 {
				require.Equal(t, http.StatusUnauthorized, b.deliver(body, forged))
				return
			}
			require.Equal(t, http.StatusOK, b.deliver(body, signature))
		})
	}
	wg.Wait()
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	require.Equal(t, 1, b.count(`payment_events`))
	require.Equal(t, 1, b.count(`ledger_entries WHERE kind = 'payment'`))
	require.Equal(t, 250, strings.Count(log.String(), "event refused: it isn't signed with one of our keys"))
}

// BenchmarkApply stores the events of as many customers' first payments and reports how many are applied per second: the gateway asked, the
// client activated, its subscription begun, its invoice and the books written. Run it with -benchtime=1x.
func BenchmarkApply(b *testing.B) {
	const total = 1000
	w := setupIdle(b)
	list := make([]simulator.Imported, total)
	for i := range list {
		p := w.account(fmt.Sprintf("user%d", i))
		w.client(p, fmt.Sprintf("client-%d", i), "basic")
		list[i] = simulator.Imported{
			Domain: "test", Reference: fmt.Sprintf("ODOO-%012X", i+1), Email: p.Email, Amount: 1_500_000, Currency: "NGN", PaidAt: w.clock(),
		}
	}
	require.NoError(b, w.sim.Import(list...))
	w.exec(`INSERT INTO payments (account_id, tenant_id, plan_id, billing_cycle, amount_kobo, currency, mode, email, reference)
		SELECT account_id, id, plan_id, 'monthly', 1500000, 'NGN', 'test', email, 'ODOO-' || upper(lpad(to_hex(row_number() OVER (ORDER BY id)), 12, '0'))
		FROM tenants`)
	for i := range total {
		body := fmt.Appendf(nil, `{"event":"charge.success","data":{"id":%d,"domain":"test","reference":"ODOO-%012X"}}`, i+1, i+1)
		require.NoError(b, w.ReceiveWebhook(b.Context(), body, w.sim.Sign("test", body)))
	}
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		require.NoError(b, w.ops.Start(b.Context()))
		require.Eventually(b, func() bool { return w.count(`payment_events WHERE applied_at IS NULL`) == 0 }, 5*time.Minute, 50*time.Millisecond)
		b.ReportMetric(total/time.Since(began).Seconds(), "events/s")
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		require.NoError(b, w.ops.Stop(ctx))
		cancel()
	}
	require.Equal(b, total, w.count(`payments WHERE status = 'success' AND purpose = 'activation'`))
}
