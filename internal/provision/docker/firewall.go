package docker

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

const (
	guardReady   = "rules applied" // what netguard says once its rules are in force
	guardTimeout = 30 * time.Second
	guardPoll    = 30 * time.Millisecond
	guardMemory  = 96 * megabyte
)

// EnsureFirewall keeps a small container with the host's network and no right but NET_ADMIN that puts the rules into the kernel,
// looks after them every few seconds, and comes back by itself with the engine and the host. It returns once the rules are in force.
// Between two versions of it the rules stay as they are.
func (r *Runtime) EnsureFirewall(ctx context.Context, f provision.Firewall) error {
	if !f.Supernet.IsValid() || !f.Supernet.Addr().Is4() || f.DatabasePort == 0 {
		return fmt.Errorf("firewall: supernet %v and database port %d don't make sense", f.Supernet, f.DatabasePort)
	}
	tag, err := r.guardImage(ctx)
	if err != nil {
		return err
	}
	args := []string{
		"netguard", "--installation", r.installation, "--bridge-prefix", r.bridgePrefix(), "--supernet", f.Supernet.Masked().String(),
		"--database-port", strconv.Itoa(int(f.DatabasePort)),
	}
	if f.DatabaseHost.IsValid() {
		args = append(args, "--database-host", f.DatabaseHost.Unmap().String())
	}
	if f.QuarantineMask.IsValid() {
		args = append(args, "--quarantine-mask", f.QuarantineMask.String(), "--quarantine-host", f.QuarantineHost.String())
	}
	s, err := guardSpec(tag, args, true, r.labelled(nil))
	if err != nil {
		return err
	}
	return r.call(ctx, guardTimeout, "ensure the firewall", func(ctx context.Context) error {
		if err := r.ensureGuard(ctx, s); err != nil {
			return err
		}
		return r.waitGuard(ctx)
	})
}

// RemoveFirewall takes the rules out of the kernel and removes the container and its image; absence is success.
func (r *Runtime) RemoveFirewall(ctx context.Context) error {
	return r.call(ctx, 2*guardTimeout, "remove the firewall", func(ctx context.Context) error {
		found, err := r.findContainer(ctx, r.guardName())
		if err != nil {
			return err
		}
		if found != nil {
			if err := r.replaceable(ctx, found); err != nil {
				return err
			}
		}
		tag, err := r.guardImage(ctx)
		if err != nil {
			return err
		}
		s, err := guardSpec(tag, []string{"netguard", "--installation", r.installation, "--remove"}, false, r.labelled(nil))
		if err != nil {
			return err
		}
		if err := r.runGuard(ctx, s); err != nil {
			return err
		}
		if found != nil {
			r.dropGuardImage(ctx, found.Config.Image)
		}
		r.dropGuardImage(ctx, tag)
		return nil
	})
}

func (r *Runtime) guardName() string { return "odoo-hosting-netguard-" + r.installation }

func (r *Runtime) ensureGuard(ctx context.Context, s spec) error {
	name := r.guardName()
	found, err := r.findContainer(ctx, name)
	if err != nil {
		return err
	}
	stale := ""
	if found != nil && found.Config.Labels[LabelSpec] != s.hash {
		if err := r.replaceable(ctx, found); err != nil {
			return err
		}
		stale = found.Config.Image
		found = nil
	}
	if found == nil {
		if err := r.create(ctx, name, s); err != nil {
			return err
		}
	}
	if stale != "" && stale != s.config.Image {
		r.dropGuardImage(ctx, stale)
	}
	return nil
}

// waitGuard starts netguard if it doesn't run, and waits until it has said, since its latest start, that the rules are in force.
func (r *Runtime) waitGuard(ctx context.Context) error {
	var lines []string
	for {
		found, err := r.mustFind(ctx, r.guardName())
		if err != nil {
			return err
		}
		if found.State.Running {
			lines, err = r.tail(ctx, found.ID, lastEnd(found.State))
		} else {
			lines = nil
			_, err = r.api.ContainerStart(ctx, found.ID, client.ContainerStartOptions{})
		}
		if err != nil {
			return err
		}
		for _, line := range lines {
			if strings.Contains(line, guardReady) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("netguard isn't ready: %s", strings.Join(lines, " | "))
		case <-time.After(guardPoll):
		}
	}
}

// lastEnd is when the run before this one ended, or "". The start of this run is recorded too late: netguard may have spoken by then.
func lastEnd(s *container.State) string {
	ended, err := time.Parse(time.RFC3339Nano, s.FinishedAt)
	if err != nil || ended.Year() < 1970 { // never
		return ""
	}
	return s.FinishedAt
}

// runGuard runs netguard once.
func (r *Runtime) runGuard(ctx context.Context, s spec) error {
	name := r.guardName() + "-once"
	if err := r.RemoveContainer(ctx, name); err != nil {
		return err
	}
	if err := r.create(ctx, name, s); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		if err := r.RemoveContainer(ctx, name); err != nil {
			r.log.Warn("a container of the firewall is left over", "container", name, "error", err)
		}
	}()
	if _, err := r.api.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return err
	}
	code, err := r.wait(ctx, name)
	if err != nil {
		return err
	}
	if code != 0 {
		lines, _ := r.tail(ctx, name, "")
		return fmt.Errorf("netguard ended with code %d: %s", code, strings.Join(lines, " | "))
	}
	return nil
}

// guardSpec is pure. It is the one container that is not a tenant's: root, but with a single capability, in the host's network.
func guardSpec(image string, args []string, keep bool, labels map[string]string) (spec, error) {
	noInit, pids := false, int64(64)
	s := spec{
		config: &container.Config{
			Image: image, Cmd: args, User: "0:0", Labels: maps.Clone(labels),
			Env:         []string{"GOMEMLIMIT=24MiB", "GOMAXPROCS=1", "GOGC=50"},
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		host: &container.HostConfig{
			NetworkMode:    "host",
			UsernsMode:     "host", // the capability has to be one over the host's network
			RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
			ReadonlyRootfs: true,
			CapDrop:        []string{"ALL"},
			CapAdd:         []string{"NET_ADMIN"},
			SecurityOpt:    []string{"no-new-privileges"},
			IpcMode:        container.IPCModePrivate,
			Init:           &noInit,
			Resources:      container.Resources{Memory: guardMemory, MemorySwap: guardMemory, PidsLimit: &pids},
			LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{
				"max-size": "1m", "max-file": "2",
			}},
		},
	}
	if keep {
		s.host.RestartPolicy.Name = container.RestartPolicyAlways
	}
	var err error
	if s.hash, err = s.sum(); err != nil {
		return spec{}, err
	}
	s.config.Labels[LabelSpec] = s.hash
	return s, nil
}
