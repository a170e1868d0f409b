package provision_test

import (
	"context"
	"errors"
	"maps"
	"time"

	"controlplane/internal/provision"
)

func (w *world) HasVolume(_ context.Context, name, tenant string) (bool, error) {
	leave, err := w.enter("HasVolume")
	defer leave()
	if owner := w.volumeOwner(name); owner != "" && owner != "tenant/"+tenant {
		return false, provision.ErrForeign
	}
	return w.volumes[name] != nil, err
}

func (w *world) StopTenant(_ context.Context, tenant string, _ time.Duration) error {
	leave, err := w.enter("StopTenant")
	defer leave()
	for _, c := range w.containers {
		if err == nil && ownerOf(c.Labels) == "tenant/"+tenant {
			c.running = false
		}
	}
	return err
}

func (w *world) RemoveTenantObjects(_ context.Context, tenant string, kind provision.ObjectKind) error {
	leave, err := w.enter("Remove " + string(kind))
	defer leave()
	if err != nil {
		return err
	}
	owner := "tenant/" + tenant
	if kind == provision.KindContainer {
		maps.DeleteFunc(w.containers, func(_ string, c *containerState) bool { return ownerOf(c.Labels) == owner })
		return nil
	}
	for _, c := range w.containers {
		if ownerOf(c.Labels) == owner {
			return errors.New("a container still uses it")
		}
	}
	switch kind {
	case provision.KindNetwork:
		maps.DeleteFunc(w.networks, func(_ string, n provision.Network) bool { return ownerOf(n.Labels) == owner })
	case provision.KindVolume:
		maps.DeleteFunc(w.volumes, func(name string, _ map[string]string) bool { return w.volumeOwner(name) == owner })
	default:
		return errors.New("no such kind")
	}
	return nil
}

func (w *world) HasTenant(_ context.Context, name, subject string) (bool, error) {
	leave, err := w.enter("HasTenant")
	defer leave()
	d := w.databases[name]
	return d != nil && d.owner == name && w.roles[name] == subject, err
}

func (w *world) LimitConnections(_ context.Context, name, subject string, limit int, lower bool) error {
	leave, err := w.enter("LimitConnections")
	defer leave()
	if err != nil {
		return err
	}
	if w.roles[name] != subject {
		return errors.New("no such role")
	}
	if lower || limit > w.limits[name] {
		w.limits[name] = limit
	}
	return nil
}

func (w *world) LimitTempFiles(_ context.Context, name, subject string, megabytes int) error {
	leave, err := w.enter("LimitTempFiles")
	defer leave()
	if err != nil {
		return err
	}
	if w.roles[name] != subject {
		return errors.New("no such role")
	}
	w.tempFiles[name] = megabytes
	return nil
}
