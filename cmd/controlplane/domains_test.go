package main

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

// Own domains are refused where nobody would issue their certificates: with HTTPS by files, and no CA beside them.
func TestDomainOptions_FollowTheWayToCertificates(t *testing.T) {
	t.Parallel()
	https := map[string]string{"EDGE_TLS_LISTEN": ":443", "EDGE_PUBLIC_URL": "https://erp.example.com", "EDGE_TLS_CERT_FILE": "/c", "EDGE_TLS_KEY_FILE": "/k"}
	for name, tt := range map[string]struct {
		https           bool
		more            map[string]string
		noCA, certified bool
		authority       string
	}{
		"plain HTTP":                {authority: "letsencrypt.org"},
		"files alone":               {https: true, noCA: true, certified: true, authority: "letsencrypt.org"},
		"files, and a CA":           {https: true, more: map[string]string{"ACME_EMAIL": "ops@example.com"}, certified: true, authority: "letsencrypt.org"},
		"files, and a CA elsewhere": {https: true, more: map[string]string{"ACME_EMAIL": "ops@example.com", "ACME_DIRECTORY": "https://ca.test/dir"}, certified: true},
	} {
		environ := map[string]string{"DEBUG": "true", "BASE_DOMAIN": "erp.example.com"}
		if tt.https {
			maps.Copy(environ, https)
		}
		maps.Copy(environ, tt.more)
		c, err := config.Load(environ)
		require.NoError(t, err, name)
		got := domainOptions(c)
		require.Equal(t, tt.noCA, got.NoCA, name)
		require.Equal(t, tt.certified, got.Certified, name)
		require.Equal(t, tt.authority, got.Authority, name)
	}
}
