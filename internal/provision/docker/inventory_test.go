package docker

import (
	"fmt"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/provision"
)

func TestEngineObjects(t *testing.T) {
	t.Parallel()
	b, other := setup(t), setup(t)
	network := b.network(t, 1)
	c := b.container("odoo", "serve", "8069")
	c.Network, c.Address = network.Name, network.Gateway.Next()
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, other.EnsureContainer(t.Context(), other.container("odoo", "serve", "8069")))

	all, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.Len(t, all.Containers, 1, "the other installation's isn't in it")
	require.Len(t, all.Networks, 1)
	require.Len(t, all.Volumes, 2)
	got := all.Containers[0]
	hash, err := b.SpecHash(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, provision.ContainerObject{
		Object: provision.Object{Kind: provision.KindContainer, Name: c.Name, ID: got.ID, Owner: "tenant/42"},
		Image:  got.Image, SpecHash: hash, MemoryMB: 64, CPUMilli: 500, PIDs: 50, Network: network.Name, Volumes: got.Volumes,
		StartedAt: got.StartedAt,
	}, got)
	require.ElementsMatch(t, []string{c.Name + "_data", c.Name + "_extra"}, got.Volumes)
	require.Equal(t, network.Subnet, all.Networks[0].Subnet)
	require.Equal(t, "tenant/42", all.Volumes[0].Owner)

	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	all, err = b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.True(t, all.Containers[0].Running)
	require.WithinDuration(t, time.Now(), all.Containers[0].StartedAt, time.Minute)
}

func TestRemoveObject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	network := b.network(t, 1)
	c := b.container("odoo", "serve", "8069")
	c.Network = network.Name
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	before, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.Error(t, b.RemoveObject(t.Context(), before.Volumes[0]), "a container uses it")
	require.Error(t, b.RemoveObject(t.Context(), before.Networks[0].Object), "a container uses it")
	for range 2 {
		require.NoError(t, b.RemoveObject(t.Context(), before.Containers[0].Object))
		require.NoError(t, b.RemoveObject(t.Context(), before.Networks[0].Object))
		require.NoError(t, b.RemoveObject(t.Context(), before.Volumes[0]))
	}
	left, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Volumes[1:], left.Volumes)
	require.Empty(t, left.Containers)
	require.Empty(t, left.Networks)
}

func TestRemoveObject_sparesALaterOneOfTheSameName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	network := b.network(t, 1)
	c := b.container("odoo", "serve", "8069")
	c.Network = network.Name
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	before, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.RemoveContainer(t.Context(), c.Name))
	require.NoError(t, b.RemoveNetwork(t.Context(), network.Name))
	for _, v := range before.Volumes {
		require.NoError(t, b.RemoveVolume(t.Context(), v.Name))
	}
	c.Labels[LabelClient], network.Labels[LabelClient] = "43", "43"
	require.NoError(t, b.EnsureNetwork(t.Context(), network))
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	now, err := b.EngineObjects(t.Context())
	require.NoError(t, err)

	require.NoError(t, b.RemoveObject(t.Context(), before.Containers[0].Object))
	require.NoError(t, b.RemoveObject(t.Context(), before.Networks[0].Object))
	for _, v := range before.Volumes {
		require.NoError(t, b.RemoveObject(t.Context(), v))
	}
	after, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.Equal(t, now, after)
}

func TestRemoveObject_refusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	b, other := setup(t), setup(t)
	network := other.network(t, 1)
	c := other.container("odoo", "serve", "8069")
	c.Network = network.Name
	require.NoError(t, other.EnsureContainer(t.Context(), c))
	theirs, err := other.EngineObjects(t.Context())
	require.NoError(t, err)
	require.ErrorIs(t, b.RemoveObject(t.Context(), theirs.Containers[0].Object), provision.ErrForeign)
	require.ErrorIs(t, b.RemoveObject(t.Context(), theirs.Networks[0].Object), provision.ErrForeign)
	require.ErrorIs(t, b.RemoveObject(t.Context(), theirs.Volumes[0]), provision.ErrForeign)
	require.ErrorIs(t, b.RemoveObject(t.Context(), provision.Object{Kind: provision.KindDatabase}), provision.ErrForeign)
}

func TestImage_usesAndRemovesTheReaderThatACrashLeft(t *testing.T) {
	t.Parallel()
	b := setup(t)
	found, err := b.api.ImageInspect(t.Context(), b.probe.image)
	require.NoError(t, err)
	_, err = b.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:   b.readerName(found.ID),
		Config: b.readerConfig(found.ID),
	})
	require.NoError(t, err)
	img, err := b.Image(t.Context(), b.probe.image)
	require.NoError(t, err)
	require.Equal(t, 4242, img.UID)
	all, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.Empty(t, all.Containers)
}

func TestImage_severalProcessesAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var group errgroup.Group
	for range 4 {
		process, err := New(Options{Installation: b.installation, Binary: b.probe.binary})
		require.NoError(t, err)
		for range 3 {
			group.Go(func() error {
				img, err := process.Image(t.Context(), b.probe.image)
				if err == nil && img.UID != 4242 {
					err = fmt.Errorf("user %d", img.UID)
				}
				return err
			})
		}
	}
	require.NoError(t, group.Wait())
	all, err := b.EngineObjects(t.Context())
	require.NoError(t, err)
	require.Empty(t, all.Containers)
}
