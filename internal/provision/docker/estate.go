package docker

import (
	"context"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

// ofTenant filters lists for what bears both our installation's id and the tenant's.
func (r *Runtime) ofTenant(tenant string) client.Filters {
	return make(client.Filters).Add("label", LabelInstallation+"="+r.installation, LabelClient+"="+tenant)
}

// HasVolume tells the tenant's own volume from one that another tenant of the same name left. Errors: ErrForeign.
func (r *Runtime) HasVolume(ctx context.Context, name, tenant string) (bool, error) {
	there := false
	err := r.call(ctx, quickCall, "look for volume "+name, func(ctx context.Context) error {
		res, err := r.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		there = true
		return r.ownedBy(tenant, name, res.Volume.Labels)
	})
	return there && err == nil, err
}

// ownedBy returns ErrForeign for a volume that isn't ours, or is another tenant's: what is in it is somebody's data.
func (r *Runtime) ownedBy(tenant, volume string, labels map[string]string) error {
	if err := r.owned("volume", volume, labels); err != nil {
		return err
	}
	if labels[LabelClient] != tenant {
		return provision.ErrForeign.WithCause(fmt.Errorf("volume %q is tenant %q's, not %q's", volume, labels[LabelClient], tenant))
	}
	return nil
}

// StopTenant stops the tenant's containers one after the other; there is one, mostly.
func (r *Runtime) StopTenant(ctx context.Context, tenant string, grace time.Duration) error {
	return r.call(ctx, grace+stopMargin, "stop the containers of tenant "+tenant, func(ctx context.Context) error {
		list, err := r.api.ContainerList(ctx, client.ContainerListOptions{Filters: r.ofTenant(tenant)})
		if err != nil {
			return err
		}
		seconds := int(grace.Seconds())
		for _, c := range list.Items {
			_, err := r.api.ContainerStop(ctx, c.ID, client.ContainerStopOptions{Timeout: &seconds})
			if err = ignoreNotFound(err); err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveTenantObjects goes by id where the engine has ids, so that what took a name meanwhile is never hit.
func (r *Runtime) RemoveTenantObjects(ctx context.Context, tenant string, kind provision.ObjectKind) error {
	return r.call(ctx, quickCall, "remove the "+string(kind)+"s of tenant "+tenant, func(ctx context.Context) error {
		list, err := r.objectsOf(ctx, tenant, kind)
		if err != nil {
			return err
		}
		for _, o := range list {
			if err := r.RemoveObject(ctx, o); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Runtime) objectsOf(ctx context.Context, tenant string, kind provision.ObjectKind) ([]provision.Object, error) {
	var out []provision.Object
	switch kind {
	case provision.KindContainer:
		list, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: r.ofTenant(tenant)})
		for _, c := range list.Items {
			out = append(out, object(kind, c.ID, c.ID, c.Labels))
		}
		return out, err
	case provision.KindNetwork:
		list, err := r.api.NetworkList(ctx, client.NetworkListOptions{Filters: r.ofTenant(tenant)})
		for _, n := range list.Items {
			out = append(out, object(kind, n.Name, n.ID, n.Labels))
		}
		return out, err
	case provision.KindVolume:
		list, err := r.api.VolumeList(ctx, client.VolumeListOptions{Filters: r.ofTenant(tenant)})
		for _, v := range list.Items {
			out = append(out, object(kind, v.Name, v.CreatedAt, v.Labels))
		}
		return out, err
	case provision.KindDatabase, provision.KindRole, provision.KindTemplate:
	}
	return nil, fmt.Errorf("the engine has no %ss", kind)
}
