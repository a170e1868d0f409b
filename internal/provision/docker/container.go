package docker

import (
	"context"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/provision"
)

// EnsureContainer makes the container and its volumes without starting it; see provision.Runtime. A running container that differs is
// stopped with its usual grace before it is replaced; it isn't started again.
func (r *Runtime) EnsureContainer(ctx context.Context, c provision.Container) error {
	img, err := r.Image(ctx, c.Image)
	if err != nil {
		return err
	}
	cores, err := r.cores(ctx)
	if err != nil {
		return err
	}
	c.CPUMilli = min(c.CPUMilli, cores*1000) // the engine refuses to promise more than there is
	s, err := buildSpec(c, img, r.labelled(c.Labels))
	if err != nil {
		return fmt.Errorf("container %s: %w", c.Name, err)
	}
	return r.call(ctx, quickCall+stopSeconds*time.Second, "ensure container "+c.Name, func(ctx context.Context) error {
		found, err := r.prepare(ctx, c)
		if err != nil {
			return err
		}
		same, err := r.same(ctx, found, c, s)
		if err != nil {
			return err
		}
		if same {
			return r.mend(ctx, found, s)
		}
		if found != nil {
			r.log.Info("replacing a container that differs from its spec", "container", c.Name)
			if err := r.replaceable(ctx, found); err != nil {
				return err
			}
		}
		return r.create(ctx, c.Name, s)
	})
}

// same reports whether found is to the spec, and can be started: the engine knows a container's network by its id, and one that was made
// again under its name isn't found.
func (r *Runtime) same(ctx context.Context, found *container.InspectResponse, c provision.Container, s spec) (bool, error) {
	if found == nil || found.Config.Labels[LabelSpec] != s.hash {
		return false, nil
	}
	if found.State.Running || c.Network == "" || found.NetworkSettings == nil {
		return true, nil
	}
	endpoint := found.NetworkSettings.Networks[c.Network]
	if endpoint == nil || endpoint.NetworkID == "" { // it has never run
		return true, nil
	}
	network, err := r.findNetwork(ctx, c.Network)
	if err != nil {
		return false, err
	}
	return network != nil && network.ID == endpoint.NetworkID, nil
}

// prepare makes the volumes while it looks for the container; nil means that there is none.
func (r *Runtime) prepare(ctx context.Context, c provision.Container) (*container.InspectResponse, error) {
	var found *container.InspectResponse
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		found, err = r.findContainer(ctx, c.Name)
		return err
	})
	for _, m := range c.Mounts {
		group.Go(func() error { return r.ensureVolume(ctx, m.Volume, c.Labels) })
	}
	return found, group.Wait()
}

// replaceable stops and removes a container of ours; its named volumes stay.
func (r *Runtime) replaceable(ctx context.Context, found *container.InspectResponse) error {
	if found.State.Running {
		if _, err := r.api.ContainerStop(ctx, found.ID, client.ContainerStopOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
			return fmt.Errorf("stop the old one: %w", err)
		}
	}
	_, err := r.api.ContainerRemove(ctx, found.ID, client.ContainerRemoveOptions{Force: true})
	if err = ignoreNotFound(err); err != nil {
		return fmt.Errorf("remove the old one: %w", err)
	}
	return nil
}

func (r *Runtime) create(ctx context.Context, name string, s spec) error {
	_, err := r.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: name, Config: s.config, HostConfig: s.host, NetworkingConfig: s.networking,
	})
	if !cerrdefs.IsConflict(err) {
		return err
	}
	// A twin of this process may have been faster; its container is as good as ours if it was made to the same spec.
	found, findErr := r.findContainer(ctx, name)
	if findErr != nil {
		return findErr
	}
	if found != nil && found.Config.Labels[LabelSpec] == s.hash {
		return nil
	}
	return err
}

// StartContainer starts the container; one that runs is left alone. Errors: ErrMissing.
func (r *Runtime) StartContainer(ctx context.Context, name string) error {
	return r.call(ctx, quickCall, "start container "+name, func(ctx context.Context) error {
		found, err := r.mustFind(ctx, name)
		if err != nil {
			return err
		}
		_, err = r.api.ContainerStart(ctx, found.ID, client.ContainerStartOptions{})
		return err
	})
}

// StopContainer asks the container to end and kills it after grace. One that is stopped or absent is left alone; but one that stopped
// without being told to would be started with the engine, so that is seen to.
func (r *Runtime) StopContainer(ctx context.Context, name string, grace time.Duration) error {
	return r.call(ctx, grace+stopMargin, "stop container "+name, func(ctx context.Context) error {
		found, err := r.findContainer(ctx, name)
		switch {
		case err != nil || found == nil:
			return err
		case !found.State.Running:
			return r.keepStopped(ctx, found)
		}
		seconds := int(grace.Seconds())
		_, err = r.api.ContainerStop(ctx, found.ID, client.ContainerStopOptions{Timeout: &seconds})
		return ignoreNotFound(err)
	})
}

// keepStopped takes the restart policy from a container that ended by itself; EnsureContainer gives it back.
func (r *Runtime) keepStopped(ctx context.Context, found *container.InspectResponse) error {
	if found.State.Status == neverRan || found.HostConfig.RestartPolicy.IsNone() {
		return nil
	}
	policy := container.RestartPolicy{Name: container.RestartPolicyDisabled}
	_, err := r.api.ContainerUpdate(ctx, found.ID, client.ContainerUpdateOptions{RestartPolicy: &policy})
	return ignoreNotFound(err)
}

// RemoveContainer removes the container, killing it if it runs; absence is success, named volumes stay.
func (r *Runtime) RemoveContainer(ctx context.Context, name string) error {
	return r.call(ctx, quickCall, "remove container "+name, func(ctx context.Context) error {
		found, err := r.findContainer(ctx, name)
		if err != nil || found == nil {
			return err
		}
		_, err = r.api.ContainerRemove(ctx, found.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if cerrdefs.IsConflict(err) { // someone is removing it already
			return r.waitGone(ctx, found.ID)
		}
		return ignoreNotFound(err)
	})
}

func (r *Runtime) waitGone(ctx context.Context, id string) error {
	wait := r.api.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		return ignoreNotFound(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// InspectContainer tells how the container is doing; Exists is false when there is none.
func (r *Runtime) InspectContainer(ctx context.Context, name string) (provision.ContainerStatus, error) {
	var status provision.ContainerStatus
	err := r.call(ctx, quickCall, "inspect container "+name, func(ctx context.Context) error {
		found, err := r.findContainer(ctx, name)
		if err != nil || found == nil {
			return err
		}
		status = statusOf(found)
		return nil
	})
	return status, err
}

func statusOf(c *container.InspectResponse) provision.ContainerStatus {
	status := provision.ContainerStatus{
		Exists:   true,
		Running:  c.State.Running && !c.State.Restarting,
		ExitCode: c.State.ExitCode,
		OOM:      c.State.OOMKilled,
		Restarts: c.RestartCount,
		SpecHash: c.Config.Labels[LabelSpec],
		Image:    c.Image,
	}
	if c.NetworkSettings == nil {
		return status
	}
	for _, endpoint := range c.NetworkSettings.Networks {
		status.Address = endpoint.IPAddress
		if !status.Address.IsValid() && endpoint.IPAMConfig != nil { // not started yet
			status.Address = endpoint.IPAMConfig.IPv4Address
		}
	}
	return status
}

// findContainer returns the container of exactly this name, or nil. Errors: ErrForeign.
func (r *Runtime) findContainer(ctx context.Context, name string) (*container.InspectResponse, error) {
	res, err := r.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if cerrdefs.IsNotFound(err) || (err == nil && res.Container.Name != "/"+name) { // the engine also takes the start of an id
		return nil, nil //nolint:nilnil // absence is an ordinary answer here
	}
	if err != nil {
		return nil, err
	}
	return &res.Container, r.owned("container", name, res.Container.Config.Labels)
}

func (r *Runtime) mustFind(ctx context.Context, name string) (*container.InspectResponse, error) {
	found, err := r.findContainer(ctx, name)
	if err == nil && found == nil {
		return nil, ErrMissing.WithCause(fmt.Errorf("no container %s", name))
	}
	return found, err
}
