package billing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// year is a calendar with many customers, who pay, dither and change their minds by chance, and a gateway at which everything goes wrong.
// One goroutine does everything, so that a seed tells the whole of it.
type year struct {
	*calendar
	rand   *rand.Rand
	people []*person
	root   accounts.Principal // who answers for the customers' money
	day    int
}

// person is a customer with one client at a time.
type person struct {
	accounts.Principal
	name     string
	client   string // "": none yet, or it is gone
	met      int    // clients so far
	card     string
	careless bool // pays by card or not at all
}

func setupYear(t *testing.T, seed uint64, people int) *year {
	t.Helper()
	b := setupIdle(t)
	b.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	sealer, err := secrets.NewSealer(dataKey)
	require.NoError(t, err)
	c := &calendar{bundle: b, sealer: sealer, start: time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)}
	c.shared = simulator.NewVirtualClock(c.start)
	c.gatewayInOrder(seed)
	c.wireAll()
	c.Service = billing.New(c.deps, billing.Options{
		CallbackURL: "http://localhost/payment/callback", GatewayTimeout: time.Minute, RunGap: 25 * time.Hour, PollBatch: 1, AtOnce: 1,
	})
	y := &year{calendar: c, rand: seeded(seed), root: c.account("root1")}
	y.root.Admin = true
	for i := range people {
		p := &person{name: fmt.Sprintf("user%d", i)}
		p.Principal, p.careless = y.account(p.name), y.one(3)
		if y.rand.IntN(5) == 0 {
			p.card = cash // can't be charged again
		}
		y.people = append(y.people, p)
	}
	return y
}

func (c *calendar) gatewayInOrder(seed uint64) {
	c.t.Helper()
	sim, err := simulator.New(simulator.Options{
		SecretKeys: []secrets.Secret{gatewayKey}, WebhookURL: c.hook, Clock: c.shared, Seed: seed, InOrder: true, PublicURL: "http://127.0.0.1:1",
	})
	require.NoError(c.t, err)
	c.t.Cleanup(sim.Close)
	client, err := paystack.New(paystack.Options{
		SecretKeys: []secrets.Secret{gatewayKey}, BaseURL: "http://127.0.0.1:1", RetryPause: time.Nanosecond,
		Transport: direct{sim.Handler()},
	})
	require.NoError(c.t, err)
	c.sim, c.gateway = sim, &gateway{Client: client}
}

// direct calls a server without a network.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler: //nolint:errorlint // it is a panic's value
			answer, err = nil, io.ErrUnexpectedEOF
		default:
			panic(v)
		}
	}()
	r = r.Clone(r.Context())
	if r.Host = r.URL.Host; r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// work is what schedules and workers do at one moment.
func (y *year) work() {
	y.t.Helper()
	for y.count(`payments WHERE next_check_at <= $1`, y.clock()) > 0 {
		require.NoError(y.t, y.Poll(y.t.Context()))
	}
	require.NoError(y.t, y.PollRefunds(y.t.Context()))
	_, err := y.Renew(y.t.Context())
	require.NoError(y.t, err)
	y.sweep()
	require.NoError(y.t, y.sim.Settle(y.t.Context()))
	y.drain()
}

// sweep begins the deletions that are due, as internal/cleanup does.
func (y *year) sweep() {
	y.t.Helper()
	now := y.clock()
	scheduled, err := y.tenants.DueDeletions(y.t.Context(), now, 1000)
	require.NoError(y.t, err)
	unpaid, err := y.tenants.DueUnpaid(y.t.Context(), now, 1000)
	require.NoError(y.t, err)
	y.inTx(func(tx pgx.Tx) error {
		for _, id := range scheduled {
			if _, _, err := y.tenants.ClaimDueDeletionTx(y.t.Context(), tx, id, now); err != nil {
				return err
			}
		}
		return nil
	})
	for _, id := range unpaid {
		money, err := y.VerifyOpen(y.t.Context(), id)
		if money || errors.Is(err, billing.ErrGatewayDown) {
			continue
		}
		require.NoError(y.t, err)
		y.inTx(func(tx pgx.Tx) error {
			_, err := y.tenants.DeleteUnpaidTx(y.t.Context(), tx, id, now)
			return err
		})
	}
}

func (y *year) inTx(fn func(tx pgx.Tx) error) {
	y.t.Helper()
	require.NoError(y.t, postgres.InTx(y.t.Context(), y.pool, fn))
}

// queued is an operation that nobody has done yet.
type queued struct {
	id      int64
	kind    string
	subject string
	input   []byte
}

// drain does what is in the queue, oldest first, until there is no more, or only what the gateway doesn't let be done: that is left for the
// next time.
func (y *year) drain() {
	y.t.Helper()
	failed := map[int64]int{}
	for {
		rows, err := y.pool.Query(y.t.Context(), `SELECT id, kind, subject, input FROM operations WHERE state = 'running' ORDER BY id`)
		require.NoError(y.t, err)
		list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o queued, err error) {
			return o, row.Scan(&o.id, &o.kind, &o.subject, &o.input)
		})
		require.NoError(y.t, err)
		done := 0
		for _, o := range list {
			if failed[o.id] == 3 {
				continue
			}
			done++
			if err := y.perform(o); err != nil {
				failed[o.id]++
			}
		}
		if done == 0 {
			return
		}
	}
}

// perform does one operation, unless another one waits for its place, and lets that begin.
func (y *year) perform(o queued) error {
	y.t.Helper()
	var input struct {
		EventID  int64      `json:"event_id"`
		TenantID tenants.ID `json:"tenant_id"`
	}
	require.NoError(y.t, json.Unmarshal(o.input, &input))
	if input.EventID != 0 {
		if err := y.ApplyEvent(y.t.Context(), input.EventID); err != nil {
			return err
		}
	}
	y.inTx(func(tx pgx.Tx) error {
		var waiting bool
		if err := tx.QueryRow(y.t.Context(), `SELECT EXISTS (SELECT FROM operations WHERE subject = $1 AND state = 'queued')`, o.subject).Scan(&waiting); err != nil {
			return err
		}
		if end := y.ends()[o.kind]; end != nil && (!waiting || o.kind == tenants.ProvisionKind || o.kind == tenants.DeleteKind) {
			if err := end(y.t.Context(), tx, input.TenantID); err != nil {
				return fmt.Errorf("%s of %s: %w", o.kind, o.subject, err)
			}
		}
		if _, err := tx.Exec(y.t.Context(), `UPDATE operations SET state = 'done', finished_at = now() WHERE id = $1`, o.id); err != nil {
			return err
		}
		_, err := tx.Exec(y.t.Context(), `UPDATE operations SET state = 'running' WHERE subject = $1 AND state = 'queued'`, o.subject)
		return err
	})
	return nil
}

// pass lets time go by in steps, with what is due done at the end of each.
func (y *year) pass(d, every time.Duration) {
	y.t.Helper()
	for left := d; left > 0; left -= every {
		y.sim.Advance(min(every, left))
		y.work()
	}
}

// one is true once in n, by chance.
func (y *year) one(n int) bool { return y.rand.IntN(n) == 0 }

// references are those of the payments that a condition chooses.
func (y *year) references(where string, args ...any) []string {
	y.t.Helper()
	rows, err := y.pool.Query(y.t.Context(), `SELECT p.reference FROM payments p `+where, args...)
	require.NoError(y.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(y.t, err)
	return list
}

// any chooses one of the payments that a condition chooses, or "".
func (y *year) any(where string, args ...any) string {
	y.t.Helper()
	list := y.references(where+` ORDER BY p.id`, args...)
	if len(list) == 0 {
		return ""
	}
	return list[y.rand.IntN(len(list))]
}
