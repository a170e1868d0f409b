package docker

import (
	"context"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/provision"
)

// inspections is how many containers are inspected at once.
const inspections = 8

var _ provision.EngineInventory = (*Runtime)(nil)

// EngineObjects takes one list call for each kind of object, and one inspection per container of a tenant's.
func (r *Runtime) EngineObjects(ctx context.Context) (provision.EngineObjects, error) {
	var all provision.EngineObjects
	var err error
	if all.Cores, err = r.cores(ctx); err != nil {
		return all, err
	}
	err = r.call(ctx, quickCall, "list our objects", func(ctx context.Context) error {
		filter := make(client.Filters).Add("label", LabelInstallation+"="+r.installation)
		containers, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
		if err != nil {
			return err
		}
		if all.Containers, err = r.inspectAll(ctx, containers.Items); err != nil {
			return err
		}
		networks, err := r.api.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
		if err != nil {
			return err
		}
		for _, n := range networks.Items {
			all.Networks = append(all.Networks, networkObject(n))
		}
		volumes, err := r.api.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
		if err != nil {
			return err
		}
		for _, v := range volumes.Items {
			all.Volumes = append(all.Volumes, object(provision.KindVolume, v.Name, v.CreatedAt, v.Labels))
		}
		slices.SortFunc(all.Volumes, func(a, b provision.Object) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	return all, err
}

func object(kind provision.ObjectKind, name, id string, labels map[string]string) provision.Object {
	o := provision.Object{Kind: kind, Name: name, ID: id}
	if tenant := labels[LabelClient]; tenant != "" {
		o.Owner = "tenant/" + tenant
	}
	return o
}

func networkObject(n network.Summary) provision.NetworkObject {
	o := provision.NetworkObject{Object: object(provision.KindNetwork, n.Name, n.ID, n.Labels)}
	if len(n.IPAM.Config) == 1 {
		o.Subnet = n.IPAM.Config[0].Subnet
	}
	return o
}

func (r *Runtime) inspectAll(ctx context.Context, list []container.Summary) ([]provision.ContainerObject, error) {
	found := make([]*provision.ContainerObject, len(list))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inspections)
	for i, c := range list {
		// One that is being removed may have lost its name. The guard isn't a tenant's.
		if len(c.Names) == 0 || strings.HasPrefix(c.Names[0], "/"+r.guardName()) {
			continue
		}
		group.Go(func() error {
			res, err := r.api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
			if cerrdefs.IsNotFound(err) {
				return nil
			}
			if err == nil {
				found[i] = containerObject(&res.Container)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []provision.ContainerObject
	for _, c := range found {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out, nil
}

func containerObject(c *container.InspectResponse) *provision.ContainerObject {
	status := statusOf(c)
	o := &provision.ContainerObject{
		Object:  object(provision.KindContainer, strings.TrimPrefix(c.Name, "/"), c.ID, c.Config.Labels),
		Running: status.Running, ExitCode: status.ExitCode, Restarts: status.Restarts, Image: c.Image, SpecHash: status.SpecHash,
		MemoryMB: int(c.HostConfig.Memory / megabyte), CPUMilli: int(c.HostConfig.NanoCPUs / 1_000_000), Network: string(c.HostConfig.NetworkMode),
	}
	if c.HostConfig.PidsLimit != nil {
		o.PIDs = int(*c.HostConfig.PidsLimit)
	}
	if started, err := time.Parse(time.RFC3339Nano, c.State.StartedAt); err == nil {
		o.StartedAt = started
	}
	for _, m := range c.Mounts {
		if m.Name != "" {
			o.Volumes = append(o.Volumes, m.Name)
		}
	}
	slices.Sort(o.Volumes) // the engine has them in no order
	return o
}

// SpecHash asks the engine for the image only.
func (r *Runtime) SpecHash(ctx context.Context, c provision.Container) (string, error) {
	img, err := r.Image(ctx, c.Image)
	if err != nil {
		return "", err
	}
	s, err := buildSpec(c, img, r.labelled(c.Labels))
	return s.hash, err
}

// RemoveObject goes by id. A volume has none: its owner and the time it was made stand in for it.
func (r *Runtime) RemoveObject(ctx context.Context, o provision.Object) error {
	return r.call(ctx, quickCall, "remove "+string(o.Kind)+" "+o.Name, func(ctx context.Context) error {
		switch o.Kind {
		case provision.KindContainer:
			return r.removeThisContainer(ctx, o)
		case provision.KindNetwork:
			return r.removeThisNetwork(ctx, o)
		case provision.KindVolume:
			return r.removeThisVolume(ctx, o)
		case provision.KindDatabase, provision.KindRole, provision.KindTemplate:
		}
		return provision.ErrForeign
	})
}

func (r *Runtime) removeThisContainer(ctx context.Context, o provision.Object) error {
	res, err := r.api.ContainerInspect(ctx, o.ID, client.ContainerInspectOptions{})
	if err != nil {
		return ignoreNotFound(err)
	}
	if err := r.owned("container", o.Name, res.Container.Config.Labels); err != nil {
		return err
	}
	_, err = r.api.ContainerRemove(ctx, o.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) { // someone is removing it already
		return r.waitGone(ctx, o.ID)
	}
	return ignoreNotFound(err)
}

func (r *Runtime) removeThisNetwork(ctx context.Context, o provision.Object) error {
	res, err := r.api.NetworkInspect(ctx, o.ID, client.NetworkInspectOptions{})
	if err != nil {
		return ignoreNotFound(err)
	}
	if err := r.owned("network", o.Name, res.Network.Labels); err != nil {
		return err
	}
	_, err = r.api.NetworkRemove(ctx, o.ID, client.NetworkRemoveOptions{})
	return ignoreNotFound(err)
}

func (r *Runtime) removeThisVolume(ctx context.Context, o provision.Object) error {
	res, err := r.api.VolumeInspect(ctx, o.Name, client.VolumeInspectOptions{})
	if err != nil {
		return ignoreNotFound(err)
	}
	if err := r.owned("volume", o.Name, res.Volume.Labels); err != nil {
		return err
	}
	if object(o.Kind, res.Volume.Name, res.Volume.CreatedAt, res.Volume.Labels) != o {
		return nil // a later one of the same name
	}
	_, err = r.api.VolumeRemove(ctx, o.Name, client.VolumeRemoveOptions{})
	return ignoreNotFound(err)
}
