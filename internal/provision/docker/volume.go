package docker

import (
	"context"
	"errors"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

// RemoveVolume removes the volume and what is in it; absence is success, a container that uses it is an error.
func (r *Runtime) RemoveVolume(ctx context.Context, name string) error {
	return r.call(ctx, quickCall, "remove volume "+name, func(ctx context.Context) error {
		res, err := r.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.owned("volume", name, res.Volume.Labels); err != nil {
			return err
		}
		_, err = r.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		return ignoreNotFound(err)
	})
}

// RemoveVolumeOf removes the tenant's volume and what is in it, with the containers that it was made or filled through, which never ran: a crash
// leaves them. Absence is success, and a volume of the name that isn't the tenant's, or not any more, is left alone.
func (r *Runtime) RemoveVolumeOf(ctx context.Context, name, tenant string) error {
	there, err := r.HasVolume(ctx, name, tenant)
	if errors.Is(err, provision.ErrForeign) {
		return nil
	}
	if err != nil || !there {
		return err
	}
	if err := r.removeHolders(ctx, name, tenant); err != nil {
		return err
	}
	return r.RemoveVolume(ctx, name)
}

func (r *Runtime) removeHolders(ctx context.Context, volume, tenant string) error {
	return r.call(ctx, quickCall, "remove what holds volume "+volume, func(ctx context.Context) error {
		holders := r.ofTenant(tenant).Add("volume", volume).Add("status", string(container.StateCreated))
		list, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: holders})
		if err != nil {
			return err
		}
		for _, c := range list.Items {
			_, err := r.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{})
			if err = ignoreNotFound(err); err != nil {
				return err
			}
		}
		return nil
	})
}

// ensureVolume makes the volume with its owner's labels. The engine answers with the one that exists, if there is one, so one call both
// makes and checks.
func (r *Runtime) ensureVolume(ctx context.Context, name string, labels map[string]string) error {
	tenant := map[string]string{}
	if id, ok := labels[LabelClient]; ok {
		tenant[LabelClient] = id
	}
	res, err := r.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Driver: "local", Labels: r.labelled(tenant)})
	if err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	return r.ownedBy(labels[LabelClient], name, res.Volume.Labels)
}
