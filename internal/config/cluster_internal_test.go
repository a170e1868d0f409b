package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A server that is verified by its name has one for tenants, too.
func TestCluster_Unverifiable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cluster  Cluster
		problems int
	}{
		{Cluster{SSLMode: "require", Host: "127.0.0.1"}, 0},
		{Cluster{SSLMode: "verify-ca", Host: "127.0.0.1", RootCert: "/etc/ca.pem"}, 0},
		{Cluster{SSLMode: "verify-full", Host: "127.0.0.1", RootCert: "/etc/ca.pem"}, 1},
		{Cluster{SSLMode: "verify-full", Host: "localhost"}, 2},
		{Cluster{SSLMode: "verify-full", Host: "127.0.0.1", RootCert: "/etc/ca.pem", TenantHost: "db.example.test"}, 0},
		{Cluster{SSLMode: "verify-full", Host: "db.example.test", RootCert: "/etc/ca.pem"}, 0},
	} {
		require.Len(t, c.cluster.unverifiable(), c.problems, "%+v", c.cluster)
	}
}
