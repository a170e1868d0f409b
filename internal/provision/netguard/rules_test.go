package netguard

import (
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func tenants() Rules {
	return Rules{
		Installation: "inst-1", BridgePrefix: "ohabc-", Supernet: netip.MustParsePrefix("10.212.0.0/16"), DatabasePort: 5432,
		Quarantine: HostPart{Mask: netip.MustParseAddr("0.0.0.15"), Value: netip.MustParseAddr("0.0.0.14")},
	}
}

func TestRules_golden(t *testing.T) {
	t.Parallel()
	remote := tenants()
	remote.DatabaseHost = netip.MustParseAddr("192.0.2.7")
	for name, got := range map[string]string{
		"testdata/database_on_host.nft":   render(tenants().chains(true)),
		"testdata/database_elsewhere.nft": render(remote.chains(false)),
	} {
		want, err := os.ReadFile(name) //nolint:gosec // a name of the table
		require.NoError(t, err)
		require.Equal(t, string(want), got)
	}
}

func TestRules_everyChainJumpedToExistsBefore(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range tenants().chains(true) {
		for _, r := range c.rules {
			for _, term := range r {
				if target, ok := jumpTarget(term); ok {
					require.True(t, seen[target], "%s jumps to %s", c.name, target)
				}
			}
			require.NotEmpty(t, r.exprs(), r)
		}
		seen[c.name] = true
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	rules, remove, err := parse([]string{
		"--installation", "inst-1", "--bridge-prefix", "ohabc-", "--supernet", "10.212.0.0/16", "--database-port", "5432",
		"--quarantine-mask", "0.0.0.15", "--quarantine-host", "0.0.0.14",
	}, io.Discard)
	require.NoError(t, err)
	require.False(t, remove)
	require.Equal(t, tenants(), rules)
	require.Equal(t, "odoohost_inst_1", rules.table())

	_, remove, err = parse([]string{"--installation", "x", "--remove"}, io.Discard)
	require.NoError(t, err)
	require.True(t, remove)
}

func TestParse_refused(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing":           {},
		"no installation":   {"--supernet", "10.212.0.0/16", "--database-port", "5432"},
		"no supernet":       {"--installation", "x", "--database-port", "5432"},
		"the whole world":   {"--installation", "x", "--supernet", "0.0.0.0/0", "--database-port", "5432"},
		"IPv6":              {"--installation", "x", "--supernet", "fd00::/48", "--database-port", "5432"},
		"no port":           {"--installation", "x", "--supernet", "10.212.0.0/16"},
		"huge port":         {"--installation", "x", "--supernet", "10.212.0.0/16", "--database-port", "65536"},
		"negative port":     {"--installation", "x", "--supernet", "10.212.0.0/16", "--database-port", "-1"},
		"IPv6 database":     {"--installation", "x", "--supernet", "10.212.0.0/16", "--database-port", "1", "--database-host", "::1"},
		"unknown flag":      {"--installation", "x", "--flush"},
		"stray argument":    {"--installation", "x", "--supernet", "10.212.0.0/16", "--database-port", "1", "now"},
		"remove what":       {"--remove"},
		"not an address":    {"--installation", "x", "--supernet", "10.212.0.0/16", "--database-port", "1", "--database-host", "db"},
		"not a network":     {"--installation", "x", "--supernet", "10.212.0.0", "--database-port", "1"},
		"half a quarantine": {"--installation", "x", "--supernet", "10.212.0.0/16", "--database-port", "1", "--quarantine-mask", "0.0.0.15"},
		"port with a name":  {"--installation", "x", "--supernet", "10.212.0.0/16", "--database-port", "postgres"},
	} {
		_, _, err := parse(args, io.Discard)
		require.Error(t, err, name)
	}
}

func TestDatabaseOnHost(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{"127.0.0.1": true, "0.0.0.0": true, "203.0.113.77": false} {
		rules := tenants()
		rules.DatabaseHost = netip.MustParseAddr(address)
		got, err := rules.databaseOnHost()
		require.NoError(t, err)
		require.Equal(t, want, got, address)
	}
	got, err := tenants().databaseOnHost()
	require.NoError(t, err)
	require.True(t, got)
}

func jumpTarget(t term) (string, bool) { return strings.CutPrefix(t.text, "jump ") }
