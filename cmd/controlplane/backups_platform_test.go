package main

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
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
