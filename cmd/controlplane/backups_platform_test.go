package main

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

// What the connection string leaves to the server is left to it by the programs, too: one without TLS is dumped.
func TestPlatformDump_SSLMode(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{
		"": "prefer", "disable": "disable", "allow": "allow", "prefer": "prefer", "require": "require", "verify-full": "require",
	} {
		url := "postgres://platform:password@db.example.test:5432/platform"
		if mode != "" {
			url += "?sslmode=" + mode
		}
		c, err := pgx.ParseConfig(url)
		require.NoError(t, err)
		require.Equal(t, want, sslMode(c), "sslmode=%s", mode)
	}
}

// Where the certificate is in a file the programs verify the server as we do.
func TestPlatformDump_Verifies(t *testing.T) {
	t.Parallel()
	for query, want := range map[string][2]string{
		"sslmode=verify-full&sslrootcert=/etc/ca.pem": {"verify-full", "/etc/ca.pem"}, "sslmode=verify-ca&sslrootcert=/etc/ca.pem": {"verify-ca", "/etc/ca.pem"},
		"sslmode=verify-full": {}, "sslmode=verify-full&sslrootcert=system": {}, "sslmode=require&sslrootcert=/etc/ca.pem": {}, "": {},
	} {
		mode, root := verified(secrets.Secret("postgres://platform:password@db.example.test:5432/platform?" + query))
		require.Equal(t, want, [2]string{mode, root}, query)
	}
}
