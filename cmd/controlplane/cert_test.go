package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
	"controlplane/internal/certs"
	"controlplane/internal/config"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
)

// certBench is a CA, and what is left of a platform whose API and edges are down.
type certBench struct {
	t    *testing.T
	ca   *acmetest.CA
	desk *certDesk
}

func setupCert(t *testing.T) *certBench {
	t.Helper()
	sealer, err := secrets.NewSealer("0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	host, portText, err := net.SplitHostPort(acmetest.FreeAddress(t))
	require.NoError(t, err)
	port, err := strconv.Atoi(portText)
	require.NoError(t, err)
	b := &certBench{t: t, ca: acmetest.New(t, acmetest.Options{HTTPPort: port, TLSPort: port, DNS: acmetest.Resolver(t)})}
	store := certs.NewStore(pgtest.New(t), sealer)
	client, err := acme.New(acme.Options{
		Directory: b.ca.Directory, Roots: b.ca.Roots, Email: "ops@example.test", BaseDomain: "example.test", ListenHost: host, HTTPPort: port, TLSPort: port,
	}, store)
	require.NoError(t, err)
	b.desk = &certDesk{
		store: store, client: client, base: "example.test", log: slog.New(slog.DiscardHandler),
		hosts: func(context.Context) ([]string, error) { return []string{"shop.test", "store.test"}, nil },
		tell:  func(context.Context, acme.Health) error { return nil },
	}
	return b
}

func (b *certBench) run(args ...string) (string, error) {
	b.t.Helper()
	cmd := newCertCommand(func(context.Context) (*certDesk, func(), error) { return b.desk, func() {}, nil })
	return output(b.t, cmd, args...)
}

func output(t *testing.T, cmd *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCertCommandsWorkWithoutAPIAndEdge(t *testing.T) {
	t.Parallel()
	b := setupCert(t)
	out, err := b.run("list")
	require.NoError(t, err)
	require.Regexp(t, `shop\.test +missing +- +- +-`, out)

	out, err = b.run("dry-run", "shop.test")
	require.NoError(t, err)
	require.Contains(t, out, "shop.test could have a certificate for shop.test")
	out, err = b.run("list", "--json")
	require.NoError(t, err)
	require.NotContains(t, out, "not_after", "nothing was kept")

	out, err = b.run("renew")
	require.NoError(t, err)
	require.Regexp(t, `shop\.test has a new certificate, good until 20\d\d-`, out)
	first, err := b.desk.store.Load(t.Context(), "shop.test")
	require.NoError(t, err)
	out, err = b.run("renew")
	require.NoError(t, err)
	require.Regexp(t, `shop\.test is good until 20\d\d-`, out)
	_, err = b.run("renew", "Shop.test.")
	require.NoError(t, err)
	second, err := b.desk.store.Load(t.Context(), "shop.test")
	require.NoError(t, err)
	require.NotEqual(t, first.Chain, second.Chain, "one that is named is renewed whether it is time or not")
	out, err = b.run("list")
	require.NoError(t, err)
	require.Regexp(t, `shop\.test +valid +20\d\d-`, out)
	require.NotContains(t, out, "PRIVATE")
}

func TestCertCommandsSayWhatFails(t *testing.T) {
	t.Parallel()
	b := setupCert(t)
	asked := b.ca.Orders.Load()
	for _, stranger := range []string{"stranger.test", "a.b.example.test", "example.test"} { // the last has no DNS provider here
		_, err := b.run("renew", stranger)
		require.ErrorContains(t, err, "neither the platform's nor a client's proven domain")
	}
	require.Equal(t, asked, b.ca.Orders.Load())

	b.ca.Trouble(acmetest.RateLimited("too many certificates"))
	out, err := b.run("renew", "shop.test", "store.test")
	require.EqualError(t, err, "2 of 2 failed")
	require.Contains(t, out, "too many certificates")
	out, err = b.run("list")
	require.NoError(t, err)
	require.Regexp(t, `too many certificates.*\(1 failures, next try 20`, out)

	b.desk.client = nil
	_, err = b.run("renew")
	require.ErrorContains(t, err, "ACME_EMAIL")
	_, err = b.run("list")
	require.NoError(t, err)
}

func TestHookEnvironmentHasNoSecrets(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"PATH=/bin", "DNS_HOOK_TOKEN=x"},
		hookEnvironment([]string{"PATH=/bin", "DATA_KEY=k", "DATABASE_URL=u", "DNS_HOOK_TOKEN=x", "MIGRATE_DATABASE_URL=v"}))
}

func TestCertListShowsTheOperatorsFiles(t *testing.T) {
	t.Parallel()
	b := setupCert(t)
	chain, key := acmetest.SelfSigned(t, time.Now(), "example.test", "*.example.test")
	cfg := config.Config{BaseDomain: "example.test", TLS: config.TLS{
		CertFile: filepath.Join(t.TempDir(), "chain.pem"), KeyFile: filepath.Join(t.TempDir(), "key.pem"),
	}}
	require.ErrorContains(t, b.desk.configure(cfg), "EDGE_TLS_CERT_FILE")
	require.NoError(t, os.WriteFile(cfg.TLS.CertFile, chain, 0o600))
	require.NoError(t, os.WriteFile(cfg.TLS.KeyFile, key, 0o600))
	require.NoError(t, b.desk.configure(cfg))
	out, err := b.run("list")
	require.NoError(t, err)
	require.Regexp(t, `\*\.example\.test +valid +20\d\d-`, out)
}
