package docker

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/provision"
)

func TestContainer_lifecycle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	network := b.network(t, 0)
	c := b.container("odoo_acme", "serve", "tcp/:8069")
	c.Network, c.Address, c.Restart = network.Name, network.Gateway.Next(), true

	status, err := b.InspectContainer(t.Context(), c.Name)
	require.NoError(t, err)
	require.False(t, status.Exists)
	require.ErrorIs(t, b.StartContainer(t.Context(), c.Name), ErrMissing)
	require.NoError(t, b.StopContainer(t.Context(), c.Name, time.Second))

	for range 2 { // each call twice: a repeat changes nothing
		require.NoError(t, b.EnsureContainer(t.Context(), c))
	}
	status, err = b.InspectContainer(t.Context(), c.Name)
	require.NoError(t, err)
	require.True(t, status.Exists)
	require.False(t, status.Running)
	require.Equal(t, c.Address, status.Address)

	for range 2 {
		require.NoError(t, b.StartContainer(t.Context(), c.Name))
	}
	require.NoError(t, b.EnsureContainer(t.Context(), c), "a running container is kept")
	status, err = b.InspectContainer(t.Context(), c.Name)
	require.NoError(t, err)
	require.True(t, status.Running)
	require.NotEmpty(t, status.SpecHash)
	within(t, 5*time.Second, "the host reaches the tenant", func() bool {
		return answers(t, c.Address)
	})

	for range 2 {
		require.NoError(t, b.StopContainer(t.Context(), c.Name, 5*time.Second))
	}
	status, err = b.InspectContainer(t.Context(), c.Name)
	require.NoError(t, err)
	require.False(t, status.Running)
	require.Zero(t, status.ExitCode, "it was asked to end, not killed")

	require.Error(t, b.RemoveVolume(t.Context(), c.Name+"_data"), "it is in use")
	for range 2 {
		require.NoError(t, b.RemoveContainer(t.Context(), c.Name))
		require.NoError(t, b.RemoveVolume(t.Context(), c.Name+"_data"))
		require.NoError(t, b.RemoveNetwork(t.Context(), network.Name))
	}
}

func TestContainer_hardening(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_hard", "self")
	res, err := b.RunContainer(t.Context(), c)
	require.NoError(t, err)
	require.Zero(t, res.ExitCode, res.Tail)
	require.Equal(t, []string{
		"Uid: 4242 4242 4242 4242", "Gid: 4243 4243 4243 4243",
		"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2",
		"write /x false", "write /tmp/x true", "write /data/x true",
		"hostname " + hostname(c.Name),
	}, res.Tail)
}

func TestContainer_rootImage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_root", "self")
	c.Image = b.probe.rootImage
	require.ErrorContains(t, b.EnsureContainer(t.Context(), c), "runs as root")
}

func TestContainer_replacedOnDrift(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_drift", "serve", "tcp/:8069")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	file := provision.File{Path: "/data/kept", Mode: 0o400, UID: 4242, GID: 4243, Content: []byte("kept")}
	require.NoError(t, b.PutFiles(t.Context(), c.Name, []provision.File{file}))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	before := b.inspect(t, c.Name)

	c.Labels[LabelOperation] = "8"
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.Equal(t, before.ID, b.inspect(t, c.Name).ID, "another operation is no drift")

	c.Environment["ODOO_RC"] = "/elsewhere"
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	after := b.inspect(t, c.Name)
	require.NotEqual(t, before.ID, after.ID)
	require.False(t, after.State.Running)
	require.Equal(t, map[string]entry{"kept": {mode: 0o400, uid: 4242, gid: 4243, content: "kept"}}, b.tree(t, c.Name, "/data", "data"))
}

// A plan may have more cores than a small host.
func TestContainer_moreCoresThanThereAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cores, err := b.cores(t.Context())
	require.NoError(t, err)
	c := b.container("odoo_greedy", "serve")
	c.CPUMilli = 500
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	for range 2 { // by update, then as it is
		c.CPUMilli = (cores + 2) * 1000
		require.NoError(t, b.EnsureContainer(t.Context(), c))
		require.EqualValues(t, cores*1_000_000_000, b.inspect(t, c.Name).HostConfig.NanoCPUs)
	}
	require.NoError(t, b.RemoveContainer(t.Context(), c.Name))
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	all, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.Equal(t, cores, all.Cores)
}

func TestContainer_resourcesWithoutRestart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_grow", "serve", "tcp/:8069")
	c.Restart = true
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	before := b.inspect(t, c.Name)

	c.MemoryMB, c.CPUMilli, c.PIDs = 128, 1500, 70
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	after := b.inspect(t, c.Name)
	require.Equal(t, before.ID, after.ID)
	require.Equal(t, before.State.StartedAt, after.State.StartedAt)
	require.EqualValues(t, 128*megabyte, after.HostConfig.Memory)
	require.EqualValues(t, 128*megabyte, after.HostConfig.MemorySwap)
	require.EqualValues(t, 1_500_000_000, after.HostConfig.NanoCPUs)
	require.EqualValues(t, 70, *after.HostConfig.PidsLimit)
	require.Equal(t, container.RestartPolicyUnlessStopped, after.HostConfig.RestartPolicy.Name)

	c.MemoryMB = 64
	require.NoError(t, b.EnsureContainer(t.Context(), c), "and down again")
	require.EqualValues(t, 64*megabyte, b.inspect(t, c.Name).HostConfig.Memory)
}

func TestContainer_outOfMemory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_hungry", "eat", "200")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	within(t, 15*time.Second, "the engine notices", func() bool {
		status, err := b.InspectContainer(t.Context(), c.Name)
		// Whether the engine also says that it was for memory isn't asked: 20.10 loses that notice when the kill comes early.
		return err == nil && !status.Running && status.ExitCode == 137
	})
}

func TestForeign(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := setup(t)
	c := other.container("odoo_theirs", "serve", "tcp/:8069")
	require.NoError(t, other.EnsureContainer(t.Context(), c))
	network := other.network(t, 0)

	c.Environment["A"] = "b"
	network.Gateway = network.Gateway.Next()
	_, inspectErr := b.InspectContainer(t.Context(), c.Name)
	_, runErr := b.RunContainer(t.Context(), c)
	for name, err := range map[string]error{
		"ensure container": b.EnsureContainer(t.Context(), c),
		"run":              runErr,
		"inspect":          inspectErr,
		"start":            b.StartContainer(t.Context(), c.Name),
		"stop":             b.StopContainer(t.Context(), c.Name, 0),
		"remove":           b.RemoveContainer(t.Context(), c.Name),
		"put files":        b.PutFiles(t.Context(), c.Name, []provision.File{{Path: "/data/x"}}),
		"copy tree":        b.CopyTree(t.Context(), c.Name, "/data", c.Name, "/extra"),
		"remove volume":    b.RemoveVolume(t.Context(), c.Name+"_data"),
		"ensure network":   b.EnsureNetwork(t.Context(), network),
		"remove network":   b.RemoveNetwork(t.Context(), network.Name),
	} {
		require.ErrorIs(t, err, provision.ErrForeign, name)
	}
	status, err := other.InspectContainer(t.Context(), c.Name)
	require.NoError(t, err)
	require.True(t, status.Exists)

	mine := b.container("odoo_mine", "serve")
	mine.Mounts[0].Volume = c.Name + "_data"
	require.ErrorIs(t, b.EnsureContainer(t.Context(), mine), provision.ErrForeign, "someone else's volume")
	objects, err := b.Objects(t.Context())
	require.NoError(t, err)
	for _, o := range objects {
		require.NotEqual(t, "container", o.Kind)
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	network := b.network(t, 0)
	require.NoError(t, b.EnsureNetwork(t.Context(), network))
	before, err := b.findNetwork(t.Context(), network.Name)
	require.NoError(t, err)
	require.Equal(t, "false", before.Options["com.docker.network.bridge.enable_icc"])
	require.False(t, before.EnableIPv6)
	require.False(t, before.Internal)

	require.NoError(t, b.RemoveNetwork(t.Context(), network.Name))
	b.network(t, 1) // keeps the first subnet free
	network.Subnet = b.network(t, 2).Subnet
	require.Error(t, b.EnsureNetwork(t.Context(), network), "the subnet is taken")
	require.NoError(t, b.RemoveNetwork(t.Context(), b.name("net2")))
	network.Gateway = network.Subnet.Addr().Next()
	require.NoError(t, b.EnsureNetwork(t.Context(), network), "replaced: nothing is attached")
	after, err := b.findNetwork(t.Context(), network.Name)
	require.NoError(t, err)
	require.True(t, sameNetwork(*after, network))
	require.NotEqual(t, before.ID, after.ID)
}

func TestEngineDown(t *testing.T) {
	t.Parallel()
	r, err := New(Options{Host: filepath.Join(t.TempDir(), "no.sock"), Installation: "x"})
	require.NoError(t, err)
	err = r.Ping(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	require.ErrorContains(t, err, "no.sock")
	require.NotContains(t, err.Error(), "\n")
	_, err = r.InspectContainer(t.Context(), "x")
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = r.Image(t.Context(), "x")
	require.ErrorIs(t, err, ErrUnavailable)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.StartContainer(ctx, "x"), context.Canceled, "the caller's own end isn't the engine's fault")
}

func TestEngineSilent(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	r, err := New(Options{Host: "unix://" + socket, Installation: "x"})
	require.NoError(t, err)
	err = r.call(t.Context(), 50*time.Millisecond, "ask", func(ctx context.Context) error {
		_, err := r.api.Ping(ctx, client.PingOptions{})
		return err
	})
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "not done within 50ms")
}

func TestImage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	img, err := b.Image(t.Context(), b.probe.image)
	require.NoError(t, err)
	require.Equal(t, provision.Image{ID: img.ID, UID: 4242, GID: 4243, Volumes: []string{"/data", "/extra"}}, img)
	same, err := b.Image(t.Context(), img.ID)
	require.NoError(t, err)
	require.Equal(t, img, same)
	root, err := b.Image(t.Context(), b.probe.rootImage)
	require.NoError(t, err)
	require.Zero(t, root.UID)
	_, err = b.Image(t.Context(), "sha256:0000000000000000000000000000000000000000000000000000000000000000")
	require.Error(t, err)
	objects, err := b.Objects(t.Context())
	require.NoError(t, err)
	require.Empty(t, objects, "the container that the image was read through is gone")
}

func (b bundle) inspect(t *testing.T, name string) container.InspectResponse {
	t.Helper()
	res, err := b.api.ContainerInspect(t.Context(), name, client.ContainerInspectOptions{})
	require.NoError(t, err)
	return res.Container
}
