package pgcluster_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"

	pgsetup "controlplane/deploy/postgres"
)

// sampled is a server that operators set up by the two files in deploy/postgres, in a network within TENANT_SUPERNET.
type sampled struct {
	testcontainers.Container

	t       *testing.T
	address string // as a tenant's: what connects to it from the server itself comes from it
}

func newSampled(t *testing.T) *sampled {
	t.Helper()
	image := os.Getenv("POSTGRES_IMAGE") //nolint:forbidigo // tests have no config package
	if image == "" {
		image = "odoo-hosting/postgres:17"
	}
	net := subnet(t)
	container, err := testcontainers.Run(t.Context(), image, tcnetwork.WithNetwork(nil, net),
		testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": "postgres"}),
		testcontainers.WithFiles(
			testcontainers.ContainerFile{Reader: strings.NewReader(pgsetup.HBA), ContainerFilePath: "/etc/sample.conf", FileMode: 0o644},
			testcontainers.ContainerFile{Reader: strings.NewReader(pgsetup.SuperuserSQL), ContainerFilePath: "/etc/superuser.sql", FileMode: 0o644}),
		testcontainers.WithCmd("postgres", "-c", "fsync=off", "-c", "hba_file=/etc/sample.conf"),
		testcontainers.WithWaitStrategy(wait.ForLog("database system is ready to accept connections").WithOccurrence(2).WithStartupTimeout(time.Minute)))
	testcontainers.CleanupContainer(t, container)
	require.NoError(t, err)
	s := &sampled{Container: container, t: t}
	s.address, err = container.ContainerIP(t.Context())
	require.NoError(t, err)
	require.True(t, netip.MustParsePrefix("10.212.0.0/16").Contains(netip.MustParseAddr(s.address)), s.address)
	return s
}

// subnet makes a network that no other has the addresses of.
func subnet(t *testing.T) *testcontainers.DockerNetwork {
	t.Helper()
	var net *testcontainers.DockerNetwork
	for range 20 { // of which another test, or a platform, may have some
		prefix := netip.MustParsePrefix(fmt.Sprintf("10.212.%d.%d/28", 128+rand.IntN(128), 16*rand.IntN(16)))
		var err error
		net, err = tcnetwork.New(t.Context(), tcnetwork.WithInternal(), tcnetwork.WithIPAM(&network.IPAM{Config: []network.IPAMConfig{{Subnet: prefix}}}))
		if err == nil {
			break
		}
	}
	require.NotNil(t, net, "no subnet is free")
	testcontainers.CleanupNetwork(t, net)
	return net
}

// run runs a program in the container as the user that the server runs as.
func (s *sampled) run(command ...string) (output string, ok bool) {
	s.t.Helper()
	code, out, err := s.Exec(s.t.Context(), command, tcexec.WithUser("postgres"), tcexec.Multiplexed())
	require.NoError(s.t, err)
	text, err := io.ReadAll(out)
	require.NoError(s.t, err)
	return string(text), code == 0
}

// as connects by password from an address of the server's.
func (s *sampled) as(user, database, address, sql string) (output string, ok bool) {
	s.t.Helper()
	return s.run("env", "PGPASSWORD=hush-"+user, "psql", "-X", "-h", address, "-U", user, "-d", database, "-v", "ON_ERROR_STOP=1", "-tAc", sql)
}

func (s *sampled) must(output string, ok bool) {
	s.t.Helper()
	require.True(s.t, ok, output)
}

// Exactly the files that operators are told to use, on a real server, and who gets in from where.
func TestHBASample_LetsInWhoItSays(t *testing.T) {
	t.Parallel()
	s := newSampled(t)
	const home = "127.0.0.1"
	s.must(s.run("psql", "-X", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", "SET odoohost.control_password = 'hush-odoo_clients'", "-f", "/etc/superuser.sql"))
	s.must(s.run("psql", "-X", "-d", "postgres", "-c", "CREATE ROLE outsider LOGIN PASSWORD 'hush-outsider'"))
	for _, tenant := range []string{"odoo_acme", "odoo_shop"} {
		for _, sql := range []string{
			"CREATE ROLE " + tenant + " LOGIN PASSWORD 'hush-" + tenant + "'", "GRANT odootenants TO " + tenant, "GRANT " + tenant + " TO CURRENT_USER",
			"CREATE DATABASE " + tenant + " OWNER " + tenant, "REVOKE CONNECT, TEMPORARY ON DATABASE " + tenant + " FROM PUBLIC",
		} {
			s.must(s.as("odoo_clients", "postgres", home, sql))
		}
	}
	const beside = "odoo_acme~b1"
	s.must(s.as("odoo_clients", "postgres", home, `CREATE DATABASE "`+beside+`" OWNER odoo_acme`))

	for _, c := range []struct {
		user, database string
		home, tenants  bool // from the control plane's address, and from a tenant's
	}{
		{"odoo_clients", "postgres", true, false},
		{"odoo_clients", "template1", false, false}, // superuser.sql closes it
		{"odoo_acme", "odoo_acme", true, true},
		{"odoo_acme", "postgres", true, true}, // Odoo's signals
		{"odoo_acme", beside, true, false},    // what a restore fills
		{"odoo_acme", "odoo_shop", false, false},
		{"odoo_acme", "template1", false, false},
		{"outsider", "postgres", false, false},
		{"postgres", "postgres", false, false}, // by its socket alone
	} {
		for address, want := range map[string]bool{home: c.home, s.address: c.tenants} {
			out, ok := s.as(c.user, c.database, address, "SELECT 1")
			require.Equal(t, want, ok, "%s to %s from %s: %s", c.user, c.database, address, out)
		}
	}
	out, ok := s.run("env", "PGPASSWORD=wrong", "psql", "-X", "-h", s.address, "-U", "odoo_acme", "-d", "odoo_acme", "-c", "SELECT 1")
	require.False(t, ok)
	require.Contains(t, out, "password authentication failed")
}
