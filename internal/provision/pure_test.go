package provision_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

var update = flag.Bool("update", false, "write the golden files") //nolint:gochecknoglobals // a flag

var plans = map[string]tenants.Plan{ //nolint:gochecknoglobals // a constant table
	"basic":      {ID: "basic", MemoryMB: 2048, Workers: 0, DBConnections: 20},
	"business":   {ID: "business", MemoryMB: 4096, Workers: 2, DBConnections: 40},
	"enterprise": {ID: "enterprise", MemoryMB: 8192, Workers: 4, DBConnections: 60},
}

func TestConf(t *testing.T) {
	t.Parallel()
	for name, plan := range plans {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := provision.RenderConf(plan, "10.212.0.65", "odoo_acme", "db-secret", "master-secret")
			require.NoError(t, err)
			file := filepath.Join("testdata", name+".conf")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestConfRefusesWhatWouldAddAnOption(t *testing.T) {
	t.Parallel()
	for _, bad := range []secrets.Secret{"x\nlist_db = True", "x\ry", "x\x00", ""} {
		_, err := provision.RenderConf(plans["basic"], "h", "odoo_acme", bad, "m")
		require.ErrorContains(t, err, "db_password")
		require.NotContains(t, err.Error(), "list_db")
	}
}

// TestHashIsPasslibs compares with what passlib's pbkdf2_sha512 made of the same salt and rounds.
func TestHashIsPasslibs(t *testing.T) {
	t.Parallel()
	high := make([]byte, 16)
	for i := range high {
		high[i] = byte(240 + i)
	}
	for want, salt := range map[string][]byte{
		"$pbkdf2-sha512$1000$MDEyMzQ1Njc4OWFiY2RlZg$OM0FAoIqCVK1sWtxDiffVlBejtLa.ks4TP71JiecwuSZCG8iLbnlIEPOMoVX.i2B2wkSxjQ8CRGR9OkNGuIPMQ": []byte("0123456789abcdef"),
		"$pbkdf2-sha512$1000$8PHy8/T19vf4.fr7/P3./w$xqu1f3FSdHbs02z9AocIk0UpBf6S9uqlRTfcS56zkPqTxPMhm.kj4D.e8E9DRlH/uXf/Pe1g59vHIM0MwcvtiA": high,
	} {
		got, err := provision.HashWithSalt("correct horse", salt, 1000)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := provision.ServerStatus{
		Version: 170002, CreateDB: true, CreateRole: true, TenantsGroup: true, TempFiles: true, PostgresClosed: true, MaxConnections: 97, TenantsConnections: 60,
	}
	all := []tenants.Plan{plans["basic"], plans["business"], plans["enterprise"]}
	require.Equal(t, provision.Report{}, provision.Judge(good, all))
	for text, spoil := range map[string]func(*provision.ServerStatus){
		"PostgreSQL 15":        func(s *provision.ServerStatus) { s.Version = 140010 },
		"is a superuser":       func(s *provision.ServerStatus) { s.Superuser = true },
		"CREATEDB":             func(s *provision.ServerStatus) { s.CreateDB = false },
		"CREATEROLE":           func(s *provision.ServerStatus) { s.CreateRole = false },
		"superuser.sql hasn't": func(s *provision.ServerStatus) { s.PostgresClosed = false },
		"may connect to: a, b": func(s *provision.ServerStatus) { s.OpenDatabases = []string{"a", "b"} },
		"takes 60 connections": func(s *provision.ServerStatus) { s.MaxConnections, s.TenantsConnections = 70, 20 },
	} {
		s := good
		spoil(&s)
		report := provision.Judge(s, all)
		require.Len(t, report.Problems, 1, text)
		require.Contains(t, report.Problems[0], text)
	}
	crowded := good
	crowded.TenantsConnections = 300
	require.Len(t, provision.Judge(crowded, all).Warnings, 1)
	greedy := tenants.Plan{ID: "greedy", Workers: 30, DBConnections: 20}
	require.Contains(t, provision.Judge(good, []tenants.Plan{greedy}).Problems[0], "too many")
}

func TestWhereATenantFindsItsDatabase(t *testing.T) {
	t.Parallel()
	gateway := netip.MustParseAddr("10.99.0.65")
	b, w := setup(t)
	for _, c := range []struct{ host, tenantHost, want string }{
		{"127.0.0.1", "", "10.99.0.65"},
		{"localhost", "", "10.99.0.65"},
		{"::1", "", "10.99.0.65"},
		{"10.0.0.20", "", "10.0.0.20"},
		{"db.example.com", "", "db.example.com"},
		{"127.0.0.1", "192.168.7.1", "192.168.7.1"},
	} {
		b.options.DatabaseHost, b.options.TenantDatabaseHost = c.host, c.tenantHost
		require.Equal(t, c.want, b.service(t, b.ops, w, w).TenantDatabaseHost(gateway))
	}
}

func TestSupernetsThatDoNotDo(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"10.0.0.0/25", "0.0.0.0/0", "fd00::/16"} {
		_, err := provision.NewSubnets(netip.MustParsePrefix(bad))
		require.Error(t, err, bad)
	}
	_, err := provision.NewSubnets(netip.Prefix{})
	require.Error(t, err)
}
