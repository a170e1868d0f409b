package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
	"controlplane/internal/alerts"
	"controlplane/internal/config"
	"controlplane/internal/postgres/pgtest"
)

func TestOpenTLS_IsOffByDefault(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(map[string]string{"DEBUG": "true"})
	require.NoError(t, err)
	tls, err := openTLS(cfg, nil)
	require.NoError(t, err)
	require.Nil(t, tls)
}

func TestOpenTLS_TakesWhatIsConfigured(t *testing.T) {
	t.Parallel()
	environ := map[string]string{
		"DEBUG": "true", "BASE_DOMAIN": "example.test", "DATA_KEY": "0123456789abcdef0123456789abcdef", "EDGE_LISTEN": "127.0.0.1:8080",
		"EDGE_TLS_LISTEN": "127.0.0.1:8443", "EDGE_PUBLIC_URL": "https://example.test:8443", "EDGE_STATE_FILE": filepath.Join(t.TempDir(), "routes.json"),
		"ACME_EMAIL": "ops@example.test", "ACME_DNS_HOOK": "/usr/local/bin/dns", "ACME_STAGING": "true",
	}
	cfg, err := config.Load(environ, config.PartTLS)
	require.NoError(t, err)
	tls, err := openTLS(cfg, nil)
	require.NoError(t, err)
	require.Equal(t, "8443", tls.PublicPort)
	require.Equal(t, acme.LetsEncryptStaging, tls.ACME.Directory())
	require.True(t, tls.ACME.IssuesPlatform())
	require.DirExists(t, filepath.Join(filepath.Dir(environ["EDGE_STATE_FILE"]), "edge-certificates"))

	roots := filepath.Join(t.TempDir(), "roots.pem")
	chain, _ := acmetest.SelfSigned(t, time.Now(), "ca.test")
	require.NoError(t, os.WriteFile(roots, chain, 0o600))
	cfg.TLS.Staging, cfg.TLS.Directory, cfg.TLS.RootsFile = false, "https://ca.test/dir", roots
	tls, err = openTLS(cfg, nil)
	require.NoError(t, err)
	require.Equal(t, "https://ca.test/dir", tls.ACME.Directory())

	require.NoError(t, os.WriteFile(roots, []byte("no PEM"), 0o600))
	_, err = openTLS(cfg, nil)
	require.ErrorContains(t, err, "ACME_CA_ROOTS_FILE")
	cfg.TLS.RootsFile, cfg.TLS.DNSHook, cfg.TLS.DNSServer, cfg.TLS.DNSKey, cfg.TLS.DNSSecret = "", "", "ns.test", "edge", "no base64!"
	_, err = openTLS(cfg, nil)
	require.ErrorContains(t, err, "ACME_DNS_SERVER")
	require.NotContains(t, err.Error(), "no base64!")
}

func TestTellCertificate_OpensAndClosesOneAlert(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	open := func() []alerts.Record {
		list, err := alerts.New(pool).List(t.Context(), alerts.Filter{Kind: alertCertificate, Limit: 10})
		require.NoError(t, err)
		return list
	}
	for range 2 {
		require.NoError(t, tellCertificate(t.Context(), pool, acme.Health{Host: "shop.test", Trouble: "It expires."}))
	}
	require.Len(t, open(), 1)
	require.Equal(t, "certificate/shop.test", open()[0].Subject)
	require.NoError(t, tellCertificate(t.Context(), pool, acme.Health{Host: "shop.test"}))
	require.Empty(t, open())
}
