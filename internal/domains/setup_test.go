package domains_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/domains"
	"controlplane/internal/domains/resolver"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const base = "hosting.example.net"

var (
	edge4 = netip.MustParseAddr("192.0.2.1")   //nolint:gochecknoglobals // a constant
	edge6 = netip.MustParseAddr("2001:db8::1") //nolint:gochecknoglobals // a constant
)

// bundle is a Service on a database of its own, a real name server on loopback, and a clock that stands still until it is moved.
type bundle struct {
	*domains.Service
	t       *testing.T
	pool    *pgxpool.Pool
	tenants *tenants.Service
	ops     *ops.Engine // only enqueues
	zone    *zone
	ip      netip.Addr

	mu  sync.Mutex
	now time.Time
}

func setup(t *testing.T, change ...func(*domains.Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pgtest.New(t), zone: newZone(t), ip: netip.MustParseAddr("192.0.2.7"), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	log := slog.New(slog.DiscardHandler)
	sealer, err := secrets.NewSealer("0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	b.ops, err = ops.New(ops.Deps{Pool: b.pool, Log: log}, ops.Options{})
	require.NoError(t, err)
	b.tenants = tenants.New(tenants.Deps{Pool: b.pool, Sealer: sealer, Audit: audit.New(b.pool), Ops: b.ops, Now: b.clock}, tenants.Options{BaseDomain: base})
	b.Service = b.another(change...)
	return b
}

// another returns the service of a process with other options.
func (b *bundle) another(change ...func(*domains.Options)) *domains.Service {
	b.t.Helper()
	r, err := resolver.New([]string{b.zone.address})
	require.NoError(b.t, err)
	opts := domains.Options{BaseDomain: base, Reserved: []string{"app.example.org"}, Addresses: []netip.Addr{edge4, edge6}}
	for _, c := range change {
		c(&opts)
	}
	s, err := domains.New(domains.Deps{
		Pool: b.pool, Tenants: b.tenants, Audit: audit.New(b.pool), Resolver: r, Log: slog.New(slog.DiscardHandler), Now: b.clock,
	}, opts)
	require.NoError(b.t, err)
	return s
}

func (b *bundle) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bundle) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// owner makes an account with one active tenant of the same name.
func (b *bundle) owner(name string) (accounts.Principal, tenants.Tenant) {
	b.t.Helper()
	p := accounts.Principal{Username: name, Email: name + "@example.test"}
	err := b.pool.QueryRow(b.t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $2, $2, 'x') RETURNING id`, p.Email, name).Scan(&p.AccountID)
	require.NoError(b.t, err)
	t, err := b.tenants.Create(b.t.Context(), p, b.ip, tenants.CreateInput{Name: name, Email: p.Email})
	require.NoError(b.t, err)
	require.NoError(b.t, postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		if _, err := b.tenants.MarkPaidTx(b.t.Context(), tx, t.ID, "ODOO-"+name); err != nil {
			return err
		}
		if err := b.tenants.MintSecretsTx(b.t.Context(), tx, t.ID); err != nil {
			return err
		}
		return b.tenants.ActivateTx(b.t.Context(), tx, t.ID, tenants.Endpoint{Address: netip.MustParseAddr("10.212.0.2"), HTTPPort: 8069, EventPort: 8072})
	}))
	b.zone.set(t.Domain, "A", edge4.String())
	return p, b.tenant(t.ID)
}

func (b *bundle) tenant(id tenants.ID) tenants.Tenant {
	b.t.Helper()
	t, err := b.tenants.ByID(b.t.Context(), id)
	require.NoError(b.t, err)
	return t
}

func (b *bundle) setState(t tenants.Tenant, from, to tenants.State) {
	b.t.Helper()
	require.NoError(b.t, postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		return b.tenants.MoveTx(b.t.Context(), tx, t.ID, []tenants.State{from}, to, "test")
	}))
}

func (b *bundle) add(p accounts.Principal, t tenants.Tenant, domain string) domains.Domain {
	b.t.Helper()
	_, d, err := b.Add(b.t.Context(), p, b.ip, t.Name, domain)
	require.NoError(b.t, err)
	return d
}

// live adds a domain whose DNS is as it should be.
func (b *bundle) live(p accounts.Principal, t tenants.Tenant, domain string) domains.Domain {
	b.t.Helper()
	d := b.add(p, t, domain)
	b.prove(d)
	b.zone.set(d.Name, "A", edge4.String())
	d = b.verify(p, t, domain)
	require.Equal(b.t, domains.Live, d.Status, d.Reason)
	return d
}

// prove puts a claim's proof into the DNS, beside those that are there.
func (b *bundle) prove(d domains.Domain) { b.zone.add(d.ProofName(), "TXT", `"`+d.ProofValue()+`"`) }

func (b *bundle) verify(p accounts.Principal, t tenants.Tenant, domain string) domains.Domain {
	b.t.Helper()
	d, err := b.Verify(b.t.Context(), p, b.ip, t.Name, domain)
	require.NoError(b.t, err)
	return d
}

// check is the sweep.
func (b *bundle) check() int {
	b.t.Helper()
	n, err := b.CheckDue(b.t.Context())
	require.NoError(b.t, err)
	return n
}

func (b *bundle) of(p accounts.Principal, t tenants.Tenant) []domains.Domain {
	b.t.Helper()
	o, err := b.Of(b.t.Context(), p, t.Name)
	require.NoError(b.t, err)
	return o.Domains
}

func (b *bundle) routed(t tenants.Tenant) []string {
	b.t.Helper()
	r, _, err := tenants.RouteOf(b.t.Context(), b.pool, t.ID)
	require.NoError(b.t, err)
	return r.Domains
}

func (b *bundle) texts(sql string, args ...any) []string {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return list
}

// actions are what the tenant's owner reads of its domains.
func (b *bundle) actions(t tenants.Tenant) []string {
	return b.texts("SELECT action FROM activity_log WHERE tenant_id = $1 AND action LIKE 'client.domain%' ORDER BY id", t.ID)
}

func (b *bundle) told(t tenants.Tenant) []string {
	return b.texts("SELECT kind FROM notices WHERE tenant_id = $1 ORDER BY id", t.ID)
}

// zone is a name server whose records a test changes.
type zone struct {
	t       *testing.T
	address string

	mu      sync.Mutex
	records map[string][]dns.RR // by name and type
	down    bool
}

func newZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{t: t, records: map[string][]dns.RR{}}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	z.address = packets.LocalAddr().String()
	started := make(chan struct{})
	server := &dns.Server{PacketConn: packets, Handler: z, NotifyStartedFunc: func() { close(started) }}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.ShutdownContext(context.WithoutCancel(t.Context())) })
	return z
}

// set replaces the records of a name and type.
func (z *zone) set(name, kind string, values ...string) {
	z.mu.Lock()
	delete(z.records, dns.CanonicalName(name)+kind)
	z.mu.Unlock()
	for _, v := range values {
		z.add(name, kind, v)
	}
}

func (z *zone) add(name, kind, value string) {
	rr, err := dns.NewRR(dns.CanonicalName(name) + " 60 IN " + kind + " " + value)
	require.NoError(z.t, err)
	z.mu.Lock()
	defer z.mu.Unlock()
	key := dns.CanonicalName(name) + kind
	z.records[key] = append(z.records[key], rr)
}

func (z *zone) fail(down bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.down = down
}

func (z *zone) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	answer := new(dns.Msg).SetReply(question)
	name, kind := dns.CanonicalName(question.Question[0].Name), dns.TypeToString[question.Question[0].Qtype]
	answer.Answer = append(append(answer.Answer, z.records[name+"CNAME"]...), z.records[name+kind]...)
	switch {
	case z.down:
		answer = new(dns.Msg).SetRcode(question, dns.RcodeServerFailure)
	case len(answer.Answer) == 0:
		answer.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(answer)
}
