package docker

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// Object is something on the engine that bears our installation's id.
type Object struct {
	Kind   string // "container", "network" or "volume"
	Name   string
	Tenant string // id of the tenant; empty for what belongs to none
}

// Objects lists all that is ours, containers before networks before volumes, which is the order to remove it in.
func (r *Runtime) Objects(ctx context.Context) ([]Object, error) {
	var containers, networks, volumes []Object
	filter := make(client.Filters).Add("label", LabelInstallation+"="+r.installation)
	err := r.call(ctx, quickCall, "list our objects", func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error {
			list, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
			for _, c := range list.Items {
				name := c.ID // one that is being removed may have lost its name
				if len(c.Names) > 0 {
					name = strings.TrimPrefix(c.Names[0], "/")
				}
				containers = append(containers, Object{"container", name, c.Labels[LabelClient]})
			}
			return err
		})
		group.Go(func() error {
			list, err := r.api.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
			for _, n := range list.Items {
				networks = append(networks, Object{"network", n.Name, n.Labels[LabelClient]})
			}
			return err
		})
		group.Go(func() error {
			list, err := r.api.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
			for _, v := range list.Items {
				volumes = append(volumes, Object{"volume", v.Name, v.Labels[LabelClient]})
			}
			return err
		})
		return group.Wait()
	})
	for _, list := range [][]Object{containers, networks, volumes} {
		slices.SortFunc(list, func(a, b Object) int { return cmp.Compare(a.Name, b.Name) })
	}
	return slices.Concat(containers, networks, volumes), err
}
