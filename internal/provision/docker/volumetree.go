package docker

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// volumeRoot is where MountVolume's container has the volume.
const volumeRoot = "/volume"

// MountVolume makes a container, which is never started, to read or fill a volume through: reading through the tenant's own would keep the
// engine from inspecting or stopping that for as long. One of the name that a crash left is replaced. A volume to be filled is made if
// it isn't there; one to be read never, since the engine would give an empty one. Errors: ErrForeign, fs.ErrNotExist.
func (r *Runtime) MountVolume(ctx context.Context, name, volume, tenant, image string, readOnly bool) error {
	if err := r.RemoveContainer(ctx, name); err != nil {
		return err
	}
	img, err := r.Image(ctx, image)
	if err != nil {
		return err
	}
	return r.call(ctx, quickCall, "mount volume "+volume, func(ctx context.Context) error {
		if err := r.volumeFor(ctx, volume, tenant, readOnly); err != nil {
			return err
		}
		_, err := r.api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name:   name,
			Config: &container.Config{Image: img.ID, Cmd: []string{"false"}, Labels: r.labelled(map[string]string{LabelClient: tenant})},
			HostConfig: &container.HostConfig{
				NetworkMode: "none", ReadonlyRootfs: true, CapDrop: []string{"ALL"},
				Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: volume, Target: volumeRoot, ReadOnly: readOnly}},
			},
		})
		return err
	})
}

func (r *Runtime) volumeFor(ctx context.Context, volume, tenant string, readOnly bool) error {
	if !readOnly {
		return r.ensureVolume(ctx, volume, map[string]string{LabelClient: tenant})
	}
	res, err := r.api.VolumeInspect(ctx, volume, client.VolumeInspectOptions{})
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return err
	}
	return r.ownedBy(tenant, volume, res.Volume.Labels)
}

// ReadTree returns the archive of a directory or file in the volume that MountVolume mounted; its names begin with the last part of the
// path. It has no time limit but ctx. Errors: fs.ErrNotExist.
func (r *Runtime) ReadTree(ctx context.Context, name, dir string) (io.ReadCloser, error) {
	source, err := r.api.CopyFromContainer(ctx, name, client.CopyFromContainerOptions{SourcePath: path.Join(volumeRoot, dir)})
	if cerrdefs.IsNotFound(err) {
		return nil, fmt.Errorf("read %s through %s: %w: %w", dir, name, fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s through %s: %w", dir, name, err)
	}
	return source.Content, nil
}

// WriteTree unpacks an archive into the root of the volume that MountVolume mounted.
func (r *Runtime) WriteTree(ctx context.Context, name string, archive io.Reader) error {
	_, err := r.api.CopyToContainer(ctx, name, client.CopyToContainerOptions{DestinationPath: volumeRoot, Content: archive})
	if err != nil {
		return fmt.Errorf("write through %s: %w", name, err)
	}
	return nil
}
