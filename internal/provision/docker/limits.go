package docker

import (
	"context"
	"fmt"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

// mend makes the limits and the restart policy of a container that is right otherwise what they should be; a restart isn't needed for it.
// Errors: ErrMemoryInUse.
func (r *Runtime) mend(ctx context.Context, found *container.InspectResponse, s spec) error {
	if sameResources(found.HostConfig.Resources, s.host.Resources) && found.HostConfig.RestartPolicy.Name == s.host.RestartPolicy.Name {
		return nil
	}
	want := s.host.Resources
	if found.State.Running && want.Memory < found.HostConfig.Memory {
		if err := r.fits(ctx, found, want.Memory); err != nil {
			return err
		}
	}
	_, err := r.api.ContainerUpdate(ctx, found.ID, client.ContainerUpdateOptions{Resources: &container.Resources{
		Memory: want.Memory, MemorySwap: want.MemorySwap, NanoCPUs: want.NanoCPUs, PidsLimit: want.PidsLimit,
	}, RestartPolicy: &s.host.RestartPolicy})
	if err != nil {
		return fmt.Errorf("update limits: %w", err)
	}
	return nil
}

// fits refuses to take memory that is in use. With version 1 of control groups the kernel would refuse it as well, with version 2 it would
// kill what runs.
func (r *Runtime) fits(ctx context.Context, found *container.InspectResponse, limit int64) error {
	now, err := r.sample(ctx, found)
	if err != nil {
		return fmt.Errorf("read how much memory is in use: %w", err)
	}
	if now.memory > limit*9/10 {
		return provision.ErrMemoryInUse.WithCause(fmt.Errorf("%d MB of memory are in use, the limit would be %d MB", now.memory/megabyte, limit/megabyte))
	}
	return nil
}

// sameResources reports whether have needs no update to be want.
func sameResources(have, want container.Resources) bool {
	pids := func(p *int64) string {
		if p == nil {
			return ""
		}
		return strconv.FormatInt(*p, 10)
	}
	return have.Memory == want.Memory && have.MemorySwap == want.MemorySwap && have.NanoCPUs == want.NanoCPUs &&
		pids(have.PidsLimit) == pids(want.PidsLimit)
}
