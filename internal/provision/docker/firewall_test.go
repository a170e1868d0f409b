package docker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

const (
	publicAddress  = "203.0.113.10"
	privateAddress = "192.168.177.10"
)

// world is two tenants' networks, a tenant that serves, listeners on the host, and an outside that only they are routed to.
type world struct {
	bundle
	mine, theirs provision.Network
	served       netip.Addr // a tenant in theirs, port 8069
	database     uint16     // a port of the host that the firewall leaves open
	other        uint16     // and one that it doesn't
}

func setupWorld(t *testing.T) world {
	t.Helper()
	b := setup(t)
	w := world{bundle: b, mine: b.network(t, 1), theirs: b.network(t, 2), database: listenOnHost(t), other: listenOnHost(t)}
	c := b.container("odoo_served", "serve", "tcp/:8069")
	w.served = w.theirs.Gateway.Next()
	c.Network, c.Address = w.theirs.Name, w.served
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	t.Cleanup(func() { require.NoError(t, b.RemoveFirewall(context.Background())) })
	return w
}

func listenOnHost(t *testing.T) uint16 {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", ":0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// outside starts the world around the host; see the probe. What it has dialled is in its log.
func (w world) outside(t *testing.T, addresses []string, dial ...string) (logs func() []string) {
	t.Helper()
	third := w.supernet.Addr().As4()[2]
	args := []string{
		"outside", w.supernet.String(), fmt.Sprintf("192.0.2.%d/30", int(third)&^3), strings.Join(addresses, ","),
		"tcp/25,tcp/80,tcp/443,udp/25,udp/53", "dial",
	}
	made, err := w.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:       w.name("outside"),
		Config:     &container.Config{Image: w.probe.rootImage, Cmd: append(args, dial...), Labels: w.labelled(nil)},
		HostConfig: &container.HostConfig{CapAdd: []string{"NET_ADMIN", "SYS_ADMIN"}, NetworkMode: "host"},
	})
	require.NoError(t, err)
	_, err = w.api.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { // asked to end, it takes its routing rule away
		require.NoError(t, w.StopContainer(context.Background(), w.name("outside"), 5*time.Second))
	})
	logs = func() []string {
		lines, err := w.tail(t.Context(), made.ID, "")
		require.NoError(t, err)
		return lines
	}
	within(t, 10*time.Second, "the outside listens", func() bool {
		lines := logs()
		require.True(t, w.inspect(t, w.name("outside")).State.Running, lines)
		return len(lines) > 0
	})
	return logs
}

// dialled tells what a tenant in mine sees of the targets.
func (w world) dialled(t *testing.T, targets []string) map[string]string {
	t.Helper()
	return w.dialledFrom(t, w.mine.Gateway.Next(), targets)
}

func (w world) dialledFrom(t *testing.T, address netip.Addr, targets []string) map[string]string {
	t.Helper()
	c := w.container("odoo_dialler", append([]string{"dial"}, targets...)...)
	c.Network, c.Address = w.mine.Name, address
	c.DNS = []netip.Addr{netip.MustParseAddr(publicAddress)}
	res, err := w.RunContainer(t.Context(), c)
	require.NoError(t, err)
	out := map[string]string{}
	for _, line := range res.Tail {
		target, outcome, _ := strings.Cut(line, " ")
		out[target] = outcome
	}
	return out
}

func TestFirewall(t *testing.T) {
	t.Parallel()
	w := setupWorld(t)
	special := []string{
		privateAddress, "10.199.0.10", "100.64.0.10", "169.254.169.254", "172.31.255.10", "192.0.0.10", "198.18.0.10",
	}
	unsolicited := fmt.Sprintf("tcp/%s:8069", w.served)
	logs := w.outside(t, append([]string{publicAddress}, special...), unsolicited)
	own := w.mine.Gateway.String()
	want := map[string]string{
		fmt.Sprintf("tcp/%s:8069", w.served):                "refused", // another tenant
		fmt.Sprintf("tcp/%s:%d", own, w.database):           "open",
		fmt.Sprintf("tcp/%s:%d", own, w.other):              "refused",
		fmt.Sprintf("tcp/%s:%d", w.theirs.Gateway, w.other): "refused",
		fmt.Sprintf("tcp/%s:443", publicAddress):            "open",
		fmt.Sprintf("tcp/%s:25", publicAddress):             "refused",
		fmt.Sprintf("udp/%s:53", publicAddress):             "open",
		fmt.Sprintf("udp/%s:25", publicAddress):             "refused",
		"dns/nobody.example.":                               "open", // through the engine's resolver, which asks from the tenant's side
	}
	for _, address := range special {
		want[fmt.Sprintf("tcp/%s:80", address)] = "refused"
	}
	want[fmt.Sprintf("udp/%s:53", privateAddress)] = "refused"
	var targets []string
	for target := range want {
		targets = append(targets, target)
	}

	open := w.dialled(t, targets)
	require.Equal(t, "open", open[fmt.Sprintf("tcp/%s:80", privateAddress)], "without a firewall: %v", open)
	require.Equal(t, "open", open["tcp/169.254.169.254:80"], "without a firewall: %v", open)
	require.Equal(t, "open", open[fmt.Sprintf("tcp/%s:%d", own, w.other)], "without a firewall: %v", open)

	f := provision.Firewall{Supernet: w.supernet, DatabasePort: w.database}
	for range 2 {
		require.NoError(t, w.EnsureFirewall(t.Context(), f))
	}
	require.Equal(t, want, w.dialled(t, targets))
	within(t, 5*time.Second, "the host reaches a tenant", func() bool {
		return answers(t, w.served)
	})
	within(t, 5*time.Second, "the outside has dialled", func() bool { return len(logs()) > 1 })
	require.Equal(t, unsolicited+" silent", logs()[1])

	w.quarantined(t, f, want)
	w.databaseElsewhere(t, f)
	w.restored(t, f)
	require.NoError(t, w.RemoveFirewall(t.Context()))
	require.Equal(t, "open", w.dialled(t, targets)["tcp/169.254.169.254:80"])
}

// quarantined dials from an address that reaches the database alone, while others of its network go on reaching what they did.
func (w world) quarantined(t *testing.T, f provision.Firewall, ordinarily map[string]string) {
	t.Helper()
	f.QuarantineMask, f.QuarantineHost = netip.MustParseAddr("0.0.0.15"), netip.MustParseAddr("0.0.0.14")
	require.NoError(t, w.EnsureFirewall(t.Context(), f))
	last := w.mine.Subnet.Masked().Addr().As4()
	last[3] |= 14
	want := map[string]string{}
	var targets []string
	for target := range ordinarily {
		want[target] = "refused"
		targets = append(targets, target)
	}
	want[fmt.Sprintf("tcp/%s:%d", w.mine.Gateway, w.database)] = "open"
	delete(want, "dns/nobody.example.")
	got := w.dialledFrom(t, netip.AddrFrom4(last), targets)
	require.NotEqual(t, "open", got["dns/nobody.example."])
	delete(got, "dns/nobody.example.")
	require.Equal(t, want, got)
	require.Equal(t, ordinarily, w.dialled(t, targets))
}

// databaseElsewhere makes a private host the database's: its port opens, and that of our own host closes.
func (w world) databaseElsewhere(t *testing.T, f provision.Firewall) {
	t.Helper()
	guard := w.inspect(t, w.guardName()).ID
	f.DatabaseHost, f.DatabasePort = netip.MustParseAddr(privateAddress), 443
	require.NoError(t, w.EnsureFirewall(t.Context(), f))
	require.NotEqual(t, guard, w.inspect(t, w.guardName()).ID)
	want := map[string]string{
		fmt.Sprintf("tcp/%s:443", privateAddress):                "open",
		fmt.Sprintf("tcp/%s:80", privateAddress):                 "refused",
		fmt.Sprintf("tcp/%s:%d", w.mine.Gateway, w.database):     "refused",
		fmt.Sprintf("tcp/%s:%d", w.mine.Gateway, f.DatabasePort): "refused",
	}
	var targets []string
	for target := range want {
		targets = append(targets, target)
	}
	require.Equal(t, want, w.dialled(t, targets))
}

// restored takes the rules out of the kernel behind netguard's back, and then restarts netguard.
func (w world) restored(t *testing.T, f provision.Firewall) {
	t.Helper()
	require.NoError(t, w.EnsureFirewall(t.Context(), f))
	tag, err := w.guardImage(t.Context())
	require.NoError(t, err)
	s, err := guardSpec(tag, []string{"netguard", "--installation", w.installation, "--remove"}, false, w.labelled(nil))
	require.NoError(t, err)
	require.NoError(t, w.runGuard(t.Context(), s))
	target := "tcp/169.254.169.254:80"
	within(t, 15*time.Second, "netguard puts the rules back", func() bool {
		return w.dialled(t, []string{target})[target] == "refused"
	})

	_, err = w.api.ContainerKill(t.Context(), w.guardName(), client.ContainerKillOptions{Signal: "KILL"})
	require.NoError(t, err)
	require.NoError(t, w.EnsureFirewall(t.Context(), f))
	require.True(t, w.inspect(t, w.guardName()).State.Running)
	require.Equal(t, "refused", w.dialled(t, []string{target})[target])
}

func TestFirewall_badInput(t *testing.T) {
	t.Parallel()
	r, err := New(Options{Installation: "x", Binary: "/nowhere/controlplane"})
	require.NoError(t, err)
	for _, f := range []provision.Firewall{
		{DatabasePort: 5432},
		{Supernet: netip.MustParsePrefix("10.213.0.0/16")},
		{Supernet: netip.MustParsePrefix("fd00::/64"), DatabasePort: 5432},
	} {
		require.ErrorContains(t, r.EnsureFirewall(t.Context(), f), "don't make sense")
	}
	f := provision.Firewall{Supernet: netip.MustParsePrefix("10.213.0.0/16"), DatabasePort: 5432}
	require.ErrorContains(t, r.EnsureFirewall(t.Context(), f), "/nowhere/controlplane")
}

func TestGuardTag_refused(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho this is no program\n"), 0o600))
	_, err := guardTag(script)
	require.ErrorContains(t, err, "bad magic number")
	_, err = guardTag("/bin/sh")
	require.ErrorContains(t, err, "build it with CGO_ENABLED=0")
	made, err := probe()
	require.NoError(t, err)
	tag, err := guardTag(made.binary)
	require.NoError(t, err)
	require.Regexp(t, `^odoo-hosting/netguard:[0-9a-f]{12}$`, tag)
}
