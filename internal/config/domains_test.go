package config_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

func TestDomains(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(map[string]string{
		"DEBUG": "true", "EDGE_ADDRESSES": "192.0.2.1,2001:db8::1", "DOMAIN_RESOLVERS": "127.0.0.1:5353,9.9.9.9",
		"API_PUBLIC_URL": "https://api.example.com:8443", "FRONTEND_URL": "https://app.example.org", "EDGE_PUBLIC_URL": "https://hosting.example.net",
	})
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, cfg.Domains.EdgeAddresses)
	require.Equal(t, []string{"127.0.0.1:5353", "9.9.9.9"}, cfg.Domains.Resolvers)
	require.Equal(t, []string{"api.example.com", "app.example.org", "hosting.example.net"}, cfg.OwnHosts())
	_, err = config.Load(map[string]string{"DEBUG": "true", "EDGE_ADDRESSES": "edge.example.net"})
	require.ErrorContains(t, err, "EDGE_ADDRESSES")
}
