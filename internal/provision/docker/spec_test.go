package docker

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

func tenant() (provision.Container, provision.Image, map[string]string) {
	c := provision.Container{
		Name: "odoo_acme", Image: "odoo:19.0", Command: []string{"odoo"},
		Environment: map[string]string{"ODOO_RC": "/etc/odoo/odoo.conf", "LANG": "C.UTF-8"},
		Network:     "acme_network", Address: netip.MustParseAddr("10.212.0.18"),
		DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")},
		Mounts: []provision.Mount{
			{Volume: "odoo_acme_data", Path: "/var/lib/odoo"},
			{Volume: "odoo_acme_addons", Path: "/mnt/extra-addons/"},
			{Volume: "odoo_acme_config", Path: "/etc/odoo", ReadOnly: true},
		},
		Tmpfs:    map[string]string{"/tmp": "size=256m,mode=1770", "/run": ""},
		MemoryMB: 1024, CPUMilli: 1000, PIDs: 100, Restart: true,
		Labels: map[string]string{LabelClient: "42", LabelPlan: "basic", LabelOperation: "7"},
	}
	img := provision.Image{ID: "sha256:0123", UID: 100, GID: 101, Volumes: []string{"/mnt/extra-addons", "/var/lib/odoo"}}
	labels := maps.Clone(c.Labels)
	labels[LabelInstallation] = "inst"
	return c, img, labels
}

func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "\t")
	require.NoError(t, err)
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o600))
	}
	want, err := os.ReadFile(path) //nolint:gosec // a name of the test
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

func TestSpec_golden(t *testing.T) {
	t.Parallel()
	s, err := buildSpec(tenant())
	require.NoError(t, err)
	golden(t, "tenant.json", map[string]any{"Config": s.config, "HostConfig": s.host, "Networking": s.networking})

	r := Runtime{installation: "inst"}
	network := provision.Network{
		Name: "acme_network", Subnet: netip.MustParsePrefix("10.212.0.16/28"), Gateway: netip.MustParseAddr("10.212.0.17"),
	}
	golden(t, "network.json", networkSpec(network, r.labelled(map[string]string{LabelClient: "42"}), r.bridgeName(network.Name)))

	guard, err := guardSpec("odoo-hosting/netguard:0", []string{"netguard", "--installation", "inst"}, true, r.labelled(nil))
	require.NoError(t, err)
	golden(t, "netguard.json", map[string]any{"Config": guard.config, "HostConfig": guard.host})
}

func TestSpec_refused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*provision.Container, *provision.Image){
		"runs as root":      func(_ *provision.Container, i *provision.Image) { i.UID = 0 },
		"which no mount":    func(_ *provision.Container, i *provision.Image) { i.Volumes = append(i.Volumes, "/srv") },
		"need limits":       func(c *provision.Container, _ *provision.Image) { c.MemoryMB = 0 },
		"pids need limits":  func(c *provision.Container, _ *provision.Image) { c.PIDs = 0 },
		"CPU and":           func(c *provision.Container, _ *provision.Image) { c.CPUMilli = -1 },
		`"host" isn't`:      func(c *provision.Container, _ *provision.Image) { c.Network = "host" },
		`"bridge" isn't`:    func(c *provision.Container, _ *provision.Image) { c.Network = "bridge" },
		`"container:x"`:     func(c *provision.Container, _ *provision.Image) { c.Network = "container:x" },
		`"/var/run" at`:     func(c *provision.Container, _ *provision.Image) { c.Mounts[2].Volume = "/var/run" },
		`"" at`:             func(c *provision.Container, _ *provision.Image) { c.Mounts[2].Volume = "" },
		`at "/"`:            func(c *provision.Container, _ *provision.Image) { c.Mounts[2].Path = "/" },
		`at "etc"`:          func(c *provision.Container, _ *provision.Image) { c.Mounts[2].Path = "etc" },
		`"exec" isn't`:      func(c *provision.Container, _ *provision.Image) { c.Tmpfs["/tmp"] = "size=1m, exec" },
		`option "suid" isn`: func(c *provision.Container, _ *provision.Image) { c.Tmpfs["/tmp"] = "suid" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, img, labels := tenant()
			spoil(&c, &img)
			_, err := buildSpec(c, img, labels)
			require.ErrorContains(t, err, name)
		})
	}
}

func TestSpec_hash(t *testing.T) {
	t.Parallel()
	base, err := buildSpec(tenant())
	require.NoError(t, err)
	for name, change := range map[string]func(*provision.Container, map[string]string){
		"memory":    func(c *provision.Container, _ map[string]string) { c.MemoryMB++ },
		"cpu":       func(c *provision.Container, _ map[string]string) { c.CPUMilli++ },
		"pids":      func(c *provision.Container, _ map[string]string) { c.PIDs++ },
		"operation": func(_ *provision.Container, l map[string]string) { l[LabelOperation] = "8" },
		"order": func(c *provision.Container, _ map[string]string) {
			c.Mounts[0], c.Mounts[1] = c.Mounts[1], c.Mounts[0]
		},
	} {
		c, img, labels := tenant()
		change(&c, labels)
		s, err := buildSpec(c, img, labels)
		require.NoError(t, err)
		require.Equal(t, base.hash, s.hash, name)
	}
	for name, change := range map[string]func(*provision.Container, *provision.Image){
		"image":   func(_ *provision.Container, i *provision.Image) { i.ID = "sha256:4567" },
		"user":    func(_ *provision.Container, i *provision.Image) { i.UID++ },
		"address": func(c *provision.Container, _ *provision.Image) { c.Address = c.Address.Next() },
		"command": func(c *provision.Container, _ *provision.Image) { c.Command = []string{"odoo", "--dev"} },
		"tmpfs":   func(c *provision.Container, _ *provision.Image) { c.Tmpfs["/tmp"] = "size=1m" },
		"restart": func(c *provision.Container, _ *provision.Image) { c.Restart = false },
	} {
		c, img, labels := tenant()
		change(&c, &img)
		s, err := buildSpec(c, img, labels)
		require.NoError(t, err)
		require.NotEqual(t, base.hash, s.hash, name)
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"odoo_acme": "acme", "odoo_a-b-1": "a-b-1", "odoo_A.b_": "a-b", "x": "x", "odoo_": "",
		"odoo_" + strings.Repeat("a", 62) + "--b": strings.Repeat("a", 62),
	} {
		require.Equal(t, want, hostname(name))
	}
}

func TestBridgeName_fits(t *testing.T) {
	t.Parallel()
	r := Runtime{installation: "inst"}
	name := r.bridgeName("acme_network")
	require.Len(t, name, 15, "the kernel's limit")
	require.True(t, strings.HasPrefix(name, r.bridgePrefix()))
	require.NotEqual(t, name, r.bridgeName("other_network"))
}
