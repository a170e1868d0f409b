package config_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

func withTLS() map[string]string {
	environ := production()
	maps.Copy(environ, map[string]string{
		"EDGE_TLS_LISTEN": ":443", "ACME_EMAIL": "ops@hosting.ng", "ACME_DNS_SERVER": "10.0.0.53", "ACME_DNS_TSIG_KEY": "edge",
		"ACME_DNS_TSIG_SECRET": "mQ9rT2vX5zB8dF1hJ4kL7nP0sU3wY6aC9eG2iK5mO8o=",
	})
	return environ
}

func TestLoad_HTTPSFromACMEOrFiles(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(withTLS(), config.PartPlatform, config.PartTLS)
	require.NoError(t, err)
	require.True(t, cfg.TLS.UsesACME())
	host, plain, tls := cfg.Ports()
	require.Empty(t, host)
	require.Equal(t, 8080, plain)
	require.Equal(t, 443, tls)

	environ := production()
	maps.Copy(environ, map[string]string{"EDGE_TLS_LISTEN": "127.0.0.1:8443", "EDGE_TLS_CERT_FILE": "/c", "EDGE_TLS_KEY_FILE": "/k"})
	cfg, err = config.Load(environ, config.PartPlatform, config.PartTLS)
	require.NoError(t, err)
	require.False(t, cfg.TLS.UsesACME())

	cfg, err = config.Load(production(), config.PartPlatform, config.PartTLS)
	require.NoError(t, err)
	require.Empty(t, cfg.TLS.Listen, "plain HTTP unless something is asked for")
}

func TestLoad_NamesWhatHTTPSLacks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ name, value, want string }{
		"no certificate":    {"ACME_EMAIL", "", "EDGE_TLS_LISTEN needs a certificate"},
		"no way to DNS":     {"ACME_DNS_SERVER", "", "EDGE_TLS_LISTEN needs a certificate"},
		"two ways to DNS":   {"ACME_DNS_HOOK", "/usr/local/bin/dns", "both set"},
		"unsigned updates":  {"ACME_DNS_TSIG_SECRET", "", "ACME_DNS_SERVER needs ACME_DNS_TSIG_KEY"},
		"a weak algorithm":  {"ACME_DNS_TSIG_ALGORITHM", "hmac-md5", "ACME_DNS_TSIG_ALGORITHM must be one of"},
		"half a binding":    {"ACME_EAB_KEY_ID", "customer-7", "ACME_EAB_KEY_ID and ACME_EAB_HMAC_KEY"},
		"half a pair":       {"EDGE_TLS_CERT_FILE", "/c", "must be set together"},
		"no key":            {"DATA_KEY", "", "EDGE_TLS_LISTEN needs DATA_KEY"},
		"http for browsers": {"EDGE_PUBLIC_URL", "http://erp.hosting.ng", "EDGE_PUBLIC_URL must begin with https://"},
		"no address":        {"ACME_EMAIL", "nobody", "ACME_EMAIL is not valid"},
		"no such roots":     {"ACME_CA_ROOTS_FILE", "/nowhere/roots.pem", "ACME_CA_ROOTS_FILE can't be read"},
	} {
		environ := withTLS()
		environ[tt.name] = tt.value
		_, err := config.Load(environ, config.PartPlatform, config.PartTLS)
		require.ErrorContains(t, err, tt.want, name)
	}
	environ := withTLS()
	environ["ACME_STAGING"], environ["ACME_DIRECTORY"] = "true", "https://ca.hosting.ng/dir"
	_, err := config.Load(environ, config.PartTLS)
	require.ErrorContains(t, err, "can't be set with ACME_DIRECTORY")
}
