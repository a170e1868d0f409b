package docker

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/provision"
)

// ofTenant makes a container, its network and volumes those of a tenant.
func (b bundle) ofTenant(t *testing.T, base, tenant string, n int) provision.Container {
	t.Helper()
	c := b.container(base, "serve", "tcp/:8069")
	c.Labels[LabelClient], c.Restart = tenant, true
	network := provision.Network{Name: b.name("net_" + base), Labels: map[string]string{LabelClient: tenant}}
	address := b.supernet.Addr().As4()
	address[3] = byte(n * 16) //nolint:gosec // n is one of a few
	network.Subnet = netip.PrefixFrom(netip.AddrFrom4(address), 28)
	network.Gateway = network.Subnet.Addr().Next()
	require.NoError(t, b.EnsureNetwork(t.Context(), network))
	c.Network, c.Address = network.Name, network.Gateway.Next()
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	return c
}

func TestEstate_isTheTenantsAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mine, other := b.ofTenant(t, "odoo_acme", "41", 0), b.ofTenant(t, "odoo_again", "42", 1)
	for _, c := range []provision.Container{mine, other} {
		require.NoError(t, b.StartContainer(t.Context(), c.Name))
	}
	there, err := b.HasVolume(t.Context(), mine.Mounts[0].Volume, "41")
	require.NoError(t, err)
	require.True(t, there)
	_, err = b.HasVolume(t.Context(), mine.Mounts[0].Volume, "42")
	require.ErrorIs(t, err, provision.ErrForeign)

	require.NoError(t, b.StopTenant(t.Context(), "41", time.Second))
	for _, kind := range []provision.ObjectKind{provision.KindContainer, provision.KindNetwork, provision.KindVolume} {
		for range 2 {
			require.NoError(t, b.RemoveTenantObjects(t.Context(), "41", kind))
		}
	}
	there, err = b.HasVolume(t.Context(), mine.Mounts[0].Volume, "41")
	require.NoError(t, err)
	require.False(t, there)
	left, err := b.Objects(t.Context())
	require.NoError(t, err)
	require.Len(t, left, 4, "container, network and two volumes of the other")
	for _, o := range left {
		require.Equal(t, "42", o.Tenant)
	}
	status, err := b.InspectContainer(t.Context(), other.Name)
	require.NoError(t, err)
	require.True(t, status.Running)
}

// The name of a tenant that is gone was used again; what is left to do for the first must not hit the second.
func TestEstate_aNameThatWasUsedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.ofTenant(t, "odoo_acme", "42", 0)
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	require.NoError(t, b.StopTenant(t.Context(), "41", time.Second))
	for _, kind := range []provision.ObjectKind{provision.KindContainer, provision.KindNetwork, provision.KindVolume} {
		require.NoError(t, b.RemoveTenantObjects(t.Context(), "41", kind))
	}
	status, err := b.InspectContainer(t.Context(), c.Name)
	require.NoError(t, err)
	require.True(t, status.Running)

	c.Labels[LabelClient] = "43"
	require.ErrorIs(t, b.EnsureContainer(t.Context(), c), provision.ErrForeign, "its volumes hold another's data")
	status, err = b.InspectContainer(t.Context(), c.Name)
	require.NoError(t, err)
	require.True(t, status.Running)
}

func TestMend_memoryInUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_big", "keep", "100")
	c.MemoryMB, c.Restart = 256, true
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	within(t, 15*time.Second, "it takes its memory", func() bool {
		now, err := b.sample(t.Context(), new(b.inspect(t, c.Name)))
		return err == nil && now.memory > 100*megabyte
	})
	before := b.inspect(t, c.Name)

	c.MemoryMB, c.CPUMilli = 64, 250
	err := b.EnsureContainer(t.Context(), c)
	require.ErrorIs(t, err, provision.ErrMemoryInUse)
	after := b.inspect(t, c.Name)
	require.Equal(t, before.State.StartedAt, after.State.StartedAt)
	require.True(t, after.State.Running)
	require.EqualValues(t, 256*megabyte, after.HostConfig.Memory, "all or nothing")
	require.Equal(t, before.HostConfig.NanoCPUs, after.HostConfig.NanoCPUs)

	c.MemoryMB = 192
	require.NoError(t, b.EnsureContainer(t.Context(), c), "what is in use fits")
	c.MemoryMB = 64
	require.NoError(t, b.StopContainer(t.Context(), c.Name, time.Second))
	require.NoError(t, b.EnsureContainer(t.Context(), c), "one that is stopped uses none")
	after = b.inspect(t, c.Name)
	require.Equal(t, before.ID, after.ID)
	require.EqualValues(t, 64*megabyte, after.HostConfig.Memory)
	require.EqualValues(t, 64*megabyte, after.HostConfig.MemorySwap)
	require.EqualValues(t, 250_000_000, after.HostConfig.NanoCPUs)
}

func TestMend_anotherPlanIsNoOtherContainer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_plan", "serve", "tcp/:8069")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	before := b.inspect(t, c.Name)
	c.Labels[LabelPlan], c.MemoryMB = "business", 96
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	after := b.inspect(t, c.Name)
	require.Equal(t, before.ID, after.ID)
	require.Equal(t, before.State.StartedAt, after.State.StartedAt)
}

// What was stopped by us stays stopped when the engine comes up again. The engine remembers that it was told to stop a container, but
// not of one that ended by itself.
func TestStop_holdsOverARestartOfTheEngine(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_ended", "fail") // there is no such command
	c.Restart = true
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	_, err := b.api.ContainerUpdate(t.Context(), c.Name, noRestart())
	require.NoError(t, err)
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	within(t, 10*time.Second, "it ends", func() bool { return !b.inspect(t, c.Name).State.Running })
	policy := noRestart()
	policy.RestartPolicy.Name = container.RestartPolicyUnlessStopped
	_, err = b.api.ContainerUpdate(t.Context(), c.Name, policy)
	require.NoError(t, err)

	for range 2 {
		require.NoError(t, b.StopContainer(t.Context(), c.Name, time.Second))
		require.True(t, b.inspect(t, c.Name).HostConfig.RestartPolicy.IsNone(), "nothing starts it with the engine")
	}
	id := b.inspect(t, c.Name).ID
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.Equal(t, id, b.inspect(t, c.Name).ID)
	require.Equal(t, container.RestartPolicyUnlessStopped, b.inspect(t, c.Name).HostConfig.RestartPolicy.Name)
}

func TestImage_askedForByManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			img, err := b.Image(t.Context(), b.probe.image)
			if err == nil && img.UID != 4242 {
				return fmt.Errorf("it runs as %d", img.UID)
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
}

func noRestart() client.ContainerUpdateOptions {
	return client.ContainerUpdateOptions{RestartPolicy: &container.RestartPolicy{Name: container.RestartPolicyDisabled}}
}

// A network that was removed while its container was stopped is made again, and the container finds it.
func TestNetwork_goneUnderAStoppedContainer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	network := b.network(t, 3)
	c := b.container("odoo_net", "serve", "tcp/:8069")
	c.Network, c.Address = network.Name, network.Gateway.Next()
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	require.NoError(t, b.StopContainer(t.Context(), c.Name, time.Second))
	require.NoError(t, b.RemoveNetwork(t.Context(), network.Name))

	require.NoError(t, b.EnsureNetwork(t.Context(), network))
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	within(t, 5*time.Second, "the host reaches the tenant", func() bool { return answers(t, c.Address) })

	network.Subnet = b.network(t, 4).Subnet
	require.NoError(t, b.RemoveNetwork(t.Context(), b.name("net"+strconv.Itoa(4))))
	network.Gateway = network.Subnet.Addr().Next()
	require.ErrorIs(t, b.EnsureNetwork(t.Context(), network), provision.ErrNetworkInUse)
}
