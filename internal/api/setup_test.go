package api_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/alerts"
	"controlplane/internal/api"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/billing"
	"controlplane/internal/domains"
	"controlplane/internal/feed"
	"controlplane/internal/idempotency"
	"controlplane/internal/invoicing"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/ratelimit"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const (
	password     = "Correct-Horse1!"
	webhookKey   = "sk_test_for_these_tests"
	cleanupToken = "cleanup-token-for-these-tests"
)

// bundle is a whole API on real services and a real database; only the gateway and the making of an Odoo are doubles.
type bundle struct {
	t         *testing.T
	pool      *pgxpool.Pool
	handler   http.Handler
	accounts  *accounts.Service
	tenants   *tenants.Service
	ops       *ops.Engine
	audit     *audit.Log
	gateway   *gateway
	feed      *feed.Feed
	worker    *worker
	dns       *dnsBook
	transfers *transfers
	log       *lockedBuffer
	spec      *spec
}

// setup gives each test an API of its own. Limits are out of the way unless change puts them back.
func setup(t *testing.T, change ...func(*api.Deps, *api.Options)) *bundle {
	t.Helper()
	return setupOn(t, pgtest.New(t), change...)
}

// setupWithoutDatabase is setup where nothing answers at the database's address. Tokens of other bundles are good here.
func setupWithoutDatabase(t *testing.T) *bundle {
	t.Helper()
	pool, err := postgres.Open(t.Context(), "postgres://nobody@127.0.0.1:1/nothing", postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return setupOn(t, pool)
}

func setupOn(t *testing.T, pool *pgxpool.Pool, change ...func(*api.Deps, *api.Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pool, gateway: newGateway(), log: &lockedBuffer{}}
	log := slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	sealer, err := secrets.NewSealer("a data key for tests that is long enough")
	require.NoError(t, err)
	trail := audit.New(pool)
	b.audit = trail
	b.accounts, err = accounts.New(accounts.Deps{Pool: pool, Audit: trail, Log: log},
		accounts.Options{SigningKey: "a signing key for tests that is long enough"})
	require.NoError(t, err)
	b.ops, err = ops.New(ops.Deps{Pool: pool, Log: log}, ops.Options{})
	require.NoError(t, err)
	b.tenants = tenants.New(tenants.Deps{Pool: pool, Sealer: sealer, Audit: trail, Ops: b.ops}, tenants.Options{})
	b.feed, err = feed.New(feed.Deps{Pool: pool, Log: log}, feed.Options{})
	require.NoError(t, err)
	papers := invoicing.New(invoicing.Deps{Pool: pool, Audit: trail}, invoicing.Options{Seller: invoicing.Party{Name: "Seller Ltd", TaxID: "T-1"}})
	money := billing.New(billing.Deps{
		Pool: pool, Tenants: b.tenants, Ops: b.ops, Gateway: b.gateway, Provisioner: &provisioner{ops: b.ops}, Audit: trail, Log: log, Invoices: papers,
	}, billing.Options{CallbackURL: "https://api.example.com/payment/callback"})
	money.Register()
	b.worker = newWorker(b.tenants)
	b.worker.register(b.ops)

	kept, err := backup.New(backup.Deps{Pool: pool, Ops: b.ops, Tenants: b.tenants}, backup.Options{Prefix: "clients/"})
	require.NoError(t, err)
	desk, err := backup.NewDesk(backup.DeskDeps{Pool: pool, Backups: kept, Tenants: b.tenants, Audit: trail}, backup.DeskOptions{})
	require.NoError(t, err)
	planner, err := backup.NewPlanner(backup.PlannerDeps{Pool: pool, Backups: kept, Log: log}, backup.PlannerOptions{})
	require.NoError(t, err)
	b.dns = &dnsBook{records: map[string][]string{}}
	own, err := domains.New(domains.Deps{Pool: pool, Tenants: b.tenants, Audit: trail, Resolver: b.dns, Log: log},
		domains.Options{Addresses: []netip.Addr{netip.MustParseAddr(edgeAddress)}})
	require.NoError(t, err)
	b.transfers = &transfers{tenants: b.tenants, backups: kept}
	many := 1_000_000
	deps := api.Deps{
		Accounts: b.accounts, Tenants: b.tenants, Billing: money, Invoices: papers, Domains: own, Ops: b.ops, Audit: trail, Limiter: ratelimit.New(pool), Idempotency: idempotency.New(pool, idempotency.Options{}),
		Passwords: resetter{b}, Log: log, Alerts: alerts.New(pool), Feed: b.feed, Schedules: &schedules{}, Cleaner: &cleaner{}, Inspector: b.worker,
		Metrics: metrics{}, Backups: desk, BackupPlans: planner, Zips: b.transfers, Imports: b.transfers,
		Checks: []api.Check{{Name: "database", Probe: pool.Ping}},
	}
	opts := api.Options{
		AppName: "Odoo Cloud Platform", Version: "1.0.0", PublicURL: "https://api.example.com", Docs: api.DocsPublic, CleanupToken: cleanupToken,
		TenantURL:      func(domain string) string { return "http://" + domain + ":8080" },
		CORSOrigins:    []string{" https://app.example.com ", "http://localhost:5173"},
		Rates:          api.Rates{Login: many, Register: many, Refresh: many, Initialize: many, Confirm: many, Reset: many, Progress: many, Ready: many, Cleanup: many, Tickets: many, Backup: many, Download: many, Import: many},
		TransitionWait: 10 * time.Second, Streams: api.StreamLimits{MaxAge: 20 * time.Second},
	}
	for _, c := range change {
		c(&deps, &opts)
	}
	b.handler, err = api.New(deps, opts)
	require.NoError(t, err)
	b.spec = loadSpec(t)
	return b
}

// routes is the handler as what it is.
func (b *bundle) routes() chi.Routes {
	b.t.Helper()
	routes, ok := b.handler.(chi.Routes)
	require.True(b.t, ok)
	return routes
}

// work starts the operations engine until the test ends.
func (b *bundle) work() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(b.t, b.ops.Start(ctx))
	b.t.Cleanup(func() { _ = b.ops.Stop(context.WithoutCancel(ctx)); cancel() })
}

type provisioner struct{ ops *ops.Engine }

func (p *provisioner) EnqueueTx(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	_, err := p.ops.EnqueueTx(ctx, tx, "tenant.provision", id.Subject(), nil)
	return err
}

type resetter struct{ b *bundle }

func (r resetter) ResetAdminPassword(ctx context.Context, t tenants.Tenant) error {
	fresh := secrets.RandomPassword(16)
	return postgres.InTx(ctx, r.b.pool, func(tx pgx.Tx) error { return r.b.tenants.SetAdminPasswordTx(ctx, tx, t.ID, fresh) })
}

// gateway is a payment provider in memory; what no route needs is the nil interface's.
type gateway struct {
	billing.Gateway
	mu       sync.Mutex
	opened   map[string]billing.InitializeRequest
	paid     map[string]bool
	short    map[string]int64 // kobo that are missing from what was paid
	failWith error
}

func newGateway() *gateway {
	return &gateway{opened: map[string]billing.InitializeRequest{}, paid: map[string]bool{}, short: map[string]int64{}}
}

func (g *gateway) pay(reference string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paid[reference] = true
}

// payWrongly pays less than was asked for.
func (g *gateway) payWrongly(reference string, missingKobo int64) {
	g.pay(reference)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.short[reference] = missingKobo
}

func (g *gateway) Initialize(_ context.Context, r billing.InitializeRequest) (billing.Checkout, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failWith != nil {
		return billing.Checkout{}, g.failWith
	}
	g.opened[r.Reference] = r
	return billing.Checkout{AuthorizationURL: "https://checkout.example.com/" + r.Reference, AccessCode: "x", Reference: r.Reference}, nil
}

func (g *gateway) Verify(_ context.Context, reference string) (billing.Transaction, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, known := g.opened[reference]
	if !known {
		return billing.Transaction{}, billing.ErrTransactionNotFound
	}
	tx := billing.Transaction{ID: 1 << 33, Reference: reference, Mode: "test", Status: billing.GatewayAbandoned, RequestedKobo: r.AmountKobo, Currency: r.Currency}
	if g.paid[reference] {
		tx.Status, tx.AmountKobo = billing.GatewaySuccess, r.AmountKobo-g.short[reference]
	}
	return tx, nil
}

func (g *gateway) VerifySignature(body []byte, signature string) bool { return sign(body) == signature }

func (g *gateway) DecodeEvent(body []byte) (billing.Event, error) {
	var e struct {
		Event string `json:"event"`
		Data  struct {
			Reference string `json:"reference"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Event == "" {
		return billing.Event{}, errors.New("not an event")
	}
	return billing.Event{Name: e.Event, Key: e.Event + "/" + e.Data.Reference, Mode: "test", Reference: e.Data.Reference}, nil
}

func (g *gateway) Mode() string { return "test" }

func sign(body []byte) string {
	mac := hmac.New(sha512.New, []byte(webhookKey))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// answer is what the API said.
type answer struct {
	t      *testing.T
	Status int
	Header http.Header
	Body   []byte
}

func (a answer) json(into any) {
	a.t.Helper()
	require.NoError(a.t, json.Unmarshal(a.Body, into), "%s", a.Body)
}

func (a answer) object() map[string]any {
	a.t.Helper()
	var out map[string]any
	a.json(&out)
	return out
}

// detail is what front ends show; it must be a readable string.
func (a answer) detail() string {
	a.t.Helper()
	text, ok := a.object()["detail"].(string)
	require.True(a.t, ok, "detail is no string: %s", a.Body)
	return text
}

// request is a call to be made.
type request struct {
	method, path, token, contentType, body string
	header                                 http.Header
	from                                   string
}

// do calls the API. No answer may be a 500.
func (b *bundle) do(r request) answer {
	b.t.Helper()
	a := b.raw(r)
	require.NotEqual(b.t, http.StatusInternalServerError, a.Status, "%s %s: %s\n%s", r.method, r.path, a.Body, b.log)
	return a
}

// raw calls the API and checks the answer against the OpenAPI description.
func (b *bundle) raw(r request) answer {
	b.t.Helper()
	body := strings.NewReader(r.body)
	req := httptest.NewRequestWithContext(b.t.Context(), r.method, r.path, body)
	for k, v := range r.header {
		req.Header[k] = v
	}
	if r.from != "" {
		req.RemoteAddr = r.from
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, req)
	res := w.Result()
	defer func() { _ = res.Body.Close() }()
	a := answer{t: b.t, Status: res.StatusCode, Header: res.Header, Body: w.Body.Bytes()}
	b.spec.check(b.t, b.routes(), req, r.body, a)
	return a
}

func (b *bundle) get(path, token string) answer {
	b.t.Helper()
	return b.do(request{method: http.MethodGet, path: path, token: token})
}

func (b *bundle) post(path, token, body string) answer {
	b.t.Helper()
	return b.do(request{method: http.MethodPost, path: path, token: token, contentType: "application/json", body: body})
}

func (b *bundle) patch(path, token, body string) answer {
	b.t.Helper()
	return b.do(request{method: http.MethodPatch, path: path, token: token, contentType: "application/json", body: body})
}

// user signs up and logs in.
func (b *bundle) user(name string) (token string) {
	b.t.Helper()
	a := b.post("/api/auth/register", "", `{"email":"`+name+`@example.com","username":"`+name+`","password":"`+password+`"}`)
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	return b.login(name)
}

func (b *bundle) login(name string) (token string) {
	b.t.Helper()
	a := b.post("/api/auth/login", "", `{"username":"`+name+`","password":"`+password+`"}`)
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	token, _ = a.object()["access_token"].(string)
	return token
}

func adminInput(name string) accounts.RegisterInput {
	return accounts.RegisterInput{Email: name + "@example.com", Username: name, Password: password}
}

// admin makes an administrator, as an operator would, and logs in.
func (b *bundle) admin() (token string) {
	b.t.Helper()
	const name = "root1"
	_, err := b.accounts.CreateAdmin(b.t.Context(), adminInput(name))
	require.NoError(b.t, err)
	return b.login(name)
}

// client creates a client.
func (b *bundle) client(token, name string) {
	b.t.Helper()
	a := b.post("/api/clients", token, `{"name":"`+name+`","email":"owner@example.com"}`)
	require.Equal(b.t, http.StatusCreated, a.Status, "%s", a.Body)
}

// count returns how many rows a table has, to show that a refused request changed nothing.
func (b *bundle) count(table string) (n int) {
	b.t.Helper()
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}
