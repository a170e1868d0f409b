package acme_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"
	protocol "github.com/mholt/acmez/v3/acme"
	"github.com/stretchr/testify/require"
)

// closeAccount has the CA close the account that is stored, as its operator or a thief of its key might.
func closeAccount(t *testing.T, b *bundle) {
	t.Helper()
	var account protocol.Account
	files, err := b.store.Files(t.Context(), "acme")
	require.NoError(t, err)
	for _, f := range files {
		value, err := b.store.ReadFile(t.Context(), f.Key)
		require.NoError(t, err)
		switch {
		case strings.HasSuffix(f.Key, ".json") && strings.Contains(f.Key, "/users/"):
			require.NoError(t, json.Unmarshal(value, &account))
		case strings.HasSuffix(f.Key, ".key"):
			account.PrivateKey, err = certmagic.PEMDecodePrivateKey(value)
			require.NoError(t, err)
		}
	}
	require.NotNil(t, account.PrivateKey)
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's
	transport.TLSClientConfig.RootCAs = b.ca.Roots
	client := protocol.Client{Directory: b.ca.Directory, HTTPClient: &http.Client{Transport: transport}}
	account.Status = "deactivated"
	_, err = client.UpdateAccount(t.Context(), account)
	require.NoError(t, err)
}
