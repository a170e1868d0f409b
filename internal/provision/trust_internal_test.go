package provision

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// A tenant in quarantine, which looks up no names, verifies the server by its name all the same.
func TestConnectionFiles(t *testing.T) {
	t.Parallel()
	image, away := Image{UID: 101, GID: 102}, netip.MustParseAddr("10.0.0.20")
	s := &Service{}
	require.Len(t, s.connectionFiles([]byte("conf"), image, away), 1)
	require.Nil(t, s.trustEnvironment())
	require.Equal(t, "10.0.0.20", s.hostWithoutNames("db.example.test", away))
	require.Equal(t, "10.212.0.1", s.hostWithoutNames("10.212.0.1", netip.Addr{}), "on this machine")

	s.opts.RootCert = []byte("a certificate")
	require.Equal(t, "db.example.test", s.hostWithoutNames("db.example.test", away))
	require.Equal(t, map[string]string{"PGSERVICEFILE": "/etc/odoo/pg_service.conf", "PGSERVICE": "tenants"}, s.trustEnvironment())
	files := s.connectionFiles([]byte("conf"), image, away)
	require.Equal(t, []File{
		{Path: "/etc/odoo/odoo.conf", Mode: 0o400, UID: 101, GID: 102, Content: []byte("conf")},
		{Path: "/etc/odoo/postgresql-root.crt", Mode: 0o400, UID: 101, GID: 102, Content: []byte("a certificate")},
		{Path: "/etc/odoo/pg_service.conf", Mode: 0o400, UID: 101, GID: 102, Content: []byte("[tenants]\nsslrootcert=/etc/odoo/postgresql-root.crt\nhostaddr=10.0.0.20\n")},
	}, files)
	require.NotContains(t, string(s.connectionFiles(nil, image, netip.Addr{})[2].Content), "hostaddr")
}
