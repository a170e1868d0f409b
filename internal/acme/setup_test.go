package acme_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/libdns/libdns"
	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
	"controlplane/internal/certs"
	"controlplane/internal/dnsupdate"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // each test removes its own containers
	if server := os.Getenv(hookServer); server != "" {
		if err := hook(server, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A process that is started with hookServer is an operator's hook: it changes the zone of the name server there.
const hookServer = "ACME_TEST_HOOK_SERVER"

// hook does what a hook is asked for by its arguments: add or remove, name, type, value.
func hook(server string, args []string) error {
	provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: server, Key: "edge", Secret: secrets.Secret(os.Getenv(hookServer + "_KEY"))})
	if err != nil || len(args) != 4 {
		return fmt.Errorf("asked for %q: %w", args, err)
	}
	name := strings.TrimSuffix(args[1], ".example.test.")
	change := provider.AppendRecords
	if args[0] == "remove" {
		change = provider.DeleteRecords
	}
	_, err = change(context.Background(), "example.test.", []libdns.Record{libdns.RR{Name: name, Type: args[2], Data: args[3], TTL: time.Minute}})
	return err
}

const dataKey = "0123456789abcdef0123456789abcdef"

// bundle is a keeper of some hosts' certificates, a CA and a clock. No edge runs: the client answers the CA's questions itself.
type bundle struct {
	t      *testing.T
	pool   *pgxpool.Pool
	store  *certs.Store
	ca     *acmetest.CA
	opts   acme.Options
	client *acme.Client
	keeper *acme.Keeper
	log    *strings.Builder

	mu    sync.Mutex
	now   time.Time
	hosts []string
	told  []acme.Health
}

func setup(t *testing.T, hosts []string, change ...func(*acme.Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pgtest.New(t), now: time.Now(), hosts: hosts, log: &strings.Builder{}}
	b.store = b.newStore()
	_, httpPort, _ := net.SplitHostPort(acmetest.FreeAddress(t))
	_, tlsPort, _ := net.SplitHostPort(acmetest.FreeAddress(t))
	b.opts = acme.Options{
		Email: "ops@example.test", BaseDomain: "example.test", ListenHost: "127.0.0.1", HTTPPort: number(t, httpPort), TLSPort: number(t, tlsPort),
	}
	for _, c := range change {
		c(&b.opts)
	}
	var resolver string
	if len(b.opts.DNSResolvers) > 0 {
		resolver = b.opts.DNSResolvers[0]
	} else {
		resolver = acmetest.Resolver(t)
	}
	b.ca = acmetest.New(t, acmetest.Options{
		HTTPPort: b.opts.HTTPPort, TLSPort: b.opts.TLSPort, DNS: resolver, EABKeyID: b.opts.EABKeyID, EABKey: b.opts.EABKey.Reveal(),
	})
	b.opts.Directory, b.opts.Roots = b.ca.Directory, b.ca.Roots
	b.client, b.keeper = b.newKeeper(b.store)
	return b
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

func (b *bundle) newStore() *certs.Store {
	b.t.Helper()
	sealer, err := secrets.NewSealer(dataKey)
	require.NoError(b.t, err)
	return certs.NewStore(b.pool, sealer)
}

// newKeeper returns another edge's keeper, or the first one.
func (b *bundle) newKeeper(store *certs.Store) (*acme.Client, *acme.Keeper) {
	b.t.Helper()
	client, err := acme.New(b.opts, store)
	require.NoError(b.t, err)
	return client, acme.NewKeeper(acme.Deps{
		Store: store, Issuer: client, Now: b.clock,
		Wanted: func() acme.Wanted {
			b.mu.Lock()
			defer b.mu.Unlock()
			return acme.Wanted{Hosts: b.hosts, Complete: true}
		},
		Tell: func(_ context.Context, h acme.Health) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.told = append(b.told, h)
			return nil
		},
		Log: slog.New(slog.NewTextHandler(lockedWriter{b}, nil)),
	})
}

type lockedWriter struct{ b *bundle }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.b.log.Write(p)
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

// troubles returns what operators were told since the last call.
func (b *bundle) troubles() []acme.Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	told := b.told
	b.told = nil
	return told
}

func (b *bundle) look() {
	b.t.Helper()
	require.NoError(b.t, b.keeper.Look(b.t.Context()))
}

func (b *bundle) record(host string) certs.Record {
	b.t.Helper()
	r, err := b.store.Record(b.t.Context(), host)
	require.NoError(b.t, err)
	return r
}

// verified returns the host's certificate after a browser's checks for each name.
func (b *bundle) verified(host string, names ...string) *x509.Certificate {
	b.t.Helper()
	stored, err := b.store.Load(b.t.Context(), host)
	require.NoError(b.t, err)
	pair, err := stored.TLS()
	require.NoError(b.t, err)
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		require.NoError(b.t, err)
		between.AddCert(c)
	}
	for _, name := range names {
		_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: b.ca.Trust, Intermediates: between})
		require.NoError(b.t, err, name)
	}
	return pair.Leaf
}
