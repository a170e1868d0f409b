package provision_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"controlplane/internal/provision"
)

// started is long enough ago for every Odoo to have come up.
var started = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ownerOf(labels map[string]string) string {
	if id := labels["com.odoo-cloud.client"]; id != "" {
		return "tenant/" + id
	}
	return ""
}

func (w *world) EngineObjects(context.Context) (provision.EngineObjects, error) {
	leave, err := w.enter("EngineObjects")
	defer leave()
	var all provision.EngineObjects
	for _, name := range slices.Sorted(maps.Keys(w.containers)) {
		c := w.containers[name]
		o := provision.ContainerObject{
			Object:  provision.Object{Kind: provision.KindContainer, Name: name, ID: "id of " + name, Owner: ownerOf(c.Labels)},
			Running: c.running, StartedAt: started, Image: c.Image, SpecHash: "spec", MemoryMB: c.MemoryMB, CPUMilli: c.CPUMilli, PIDs: c.PIDs,
			Network: c.Network,
		}
		for _, m := range c.Mounts {
			o.Volumes = append(o.Volumes, m.Volume)
		}
		all.Containers = append(all.Containers, o)
	}
	for _, name := range slices.Sorted(maps.Keys(w.networks)) {
		n := w.networks[name]
		object := provision.Object{Kind: provision.KindNetwork, Name: name, ID: "id of " + name, Owner: ownerOf(n.Labels)}
		all.Networks = append(all.Networks, provision.NetworkObject{Object: object, Subnet: n.Subnet})
	}
	for _, name := range slices.Sorted(maps.Keys(w.volumes)) {
		all.Volumes = append(all.Volumes, provision.Object{Kind: provision.KindVolume, Name: name, ID: "id of " + name, Owner: w.volumeOwner(name)})
	}
	return all, err
}

// volumeOwner goes by the role of the same name, as the volumes of this world bear no labels.
func (w *world) volumeOwner(volume string) string {
	for role, subject := range w.roles {
		if strings.HasPrefix(volume, role+"_") && strings.HasPrefix(subject, "tenant/") {
			return subject
		}
	}
	return ""
}

func (w *world) SpecHash(context.Context, provision.Container) (string, error) {
	leave, err := w.enter("SpecHash")
	defer leave()
	return "spec", err
}

func (w *world) RemoveObject(_ context.Context, o provision.Object) error {
	leave, err := w.enter("RemoveObject")
	defer leave()
	if err != nil {
		return err
	}
	switch o.Kind {
	case provision.KindContainer:
		delete(w.containers, o.Name)
	case provision.KindNetwork:
		delete(w.networks, o.Name)
	case provision.KindVolume:
		delete(w.volumes, o.Name)
	case provision.KindDatabase, provision.KindRole, provision.KindTemplate:
		return provision.ErrForeign
	}
	return nil
}

func (w *world) ClusterObjects(context.Context) ([]provision.ClusterObject, error) {
	leave, err := w.enter("ClusterObjects")
	defer leave()
	var all []provision.ClusterObject
	for _, name := range slices.Sorted(maps.Keys(w.databases)) {
		o := provision.Object{Kind: provision.KindDatabase, Name: name, ID: "id of " + name, Owner: w.roles[name]}
		if o.Owner == "" {
			o.Owner = "template/" + name
		}
		all = append(all, provision.ClusterObject{Object: o, Database: true, Role: w.roles[name] != "", ConnectionLimit: 1000})
	}
	return all, err
}
