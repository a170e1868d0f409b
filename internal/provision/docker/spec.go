package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"controlplane/internal/provision"
)

const (
	megabyte       = 1 << 20
	stopSeconds    = 30
	openFiles      = 8192 // an engine may be unable to give more than it has itself
	oomScoreAdjust = 500  // tenants go before anything of the host's
	tmpfsSize      = "64m"
)

// spec is a container as the engine is told, and what it is recognised by.
type spec struct {
	config     *container.Config
	host       *container.HostConfig
	networking *network.NetworkingConfig
	hash       string
}

// buildSpec is pure. It fixes all hardening; the caller only chooses what provision.Container has fields for. labels are c's with the
// installation's. It refuses an image that runs as root, a VOLUME path that no mount covers (the engine would make an anonymous volume,
// lost on replacement) and absent limits.
func buildSpec(c provision.Container, img provision.Image, labels map[string]string) (spec, error) {
	if err := checkContainer(c, img); err != nil {
		return spec{}, err
	}
	tmpfs, err := tmpfsSpec(c.Tmpfs, img)
	if err != nil {
		return spec{}, err
	}
	stop := stopSeconds
	s := spec{
		config: &container.Config{
			Hostname:    hostname(c.Name),
			User:        fmt.Sprintf("%d:%d", img.UID, img.GID), // numbers: what was checked is what runs
			Env:         environment(c.Environment),
			Cmd:         c.Command,
			Image:       img.ID,
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
			Labels:      maps.Clone(labels),
			StopTimeout: &stop,
		},
		host:       hostSpec(c, tmpfs),
		networking: &network.NetworkingConfig{},
	}
	if c.Network != "" {
		endpoint := &network.EndpointSettings{}
		if c.Address.IsValid() {
			endpoint.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: c.Address}
		}
		s.networking.EndpointsConfig = map[string]*network.EndpointSettings{c.Network: endpoint}
	}
	if s.hash, err = s.sum(); err != nil {
		return spec{}, err
	}
	s.host.Resources = resources(c)
	s.config.Labels[LabelSpec] = s.hash
	return s, nil
}

func checkContainer(c provision.Container, img provision.Image) error {
	switch {
	case img.UID == 0:
		return fmt.Errorf("image %s runs as root", c.Image)
	case c.MemoryMB <= 0 || c.CPUMilli <= 0 || c.PIDs <= 0:
		return fmt.Errorf("memory, CPU and pids need limits")
	case c.Network == "host" || c.Network == "bridge" || strings.HasPrefix(c.Network, "container:"):
		return fmt.Errorf("network %q isn't a tenant's", c.Network)
	}
	for _, volume := range img.Volumes {
		if !slices.ContainsFunc(c.Mounts, func(m provision.Mount) bool { return path.Clean(m.Path) == path.Clean(volume) }) {
			return fmt.Errorf("image %s declares the volume %s, which no mount covers", c.Image, volume)
		}
	}
	for _, m := range c.Mounts {
		if m.Volume == "" || strings.ContainsAny(m.Volume, "/\\") || !path.IsAbs(m.Path) || path.Clean(m.Path) == "/" {
			return fmt.Errorf("mount of %q at %q isn't a named volume at a path", m.Volume, m.Path)
		}
	}
	return nil
}

func hostSpec(c provision.Container, tmpfs map[string]string) *container.HostConfig {
	noInit := false // the image's entry point execs Odoo, which reaps its own children
	h := &container.HostConfig{
		NetworkMode:    container.NetworkMode(c.Network),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		IpcMode:        container.IPCModePrivate,
		CgroupnsMode:   container.CgroupnsModePrivate,
		OomScoreAdj:    oomScoreAdjust,
		DNS:            c.DNS,
		Tmpfs:          tmpfs,
		Mounts:         mounts(c.Mounts),
		Init:           &noInit,
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{
			"max-size": "50m", "max-file": "3", "compress": "true",
		}},
	}
	if c.Network == "" {
		h.NetworkMode = "none"
	}
	if c.Restart {
		h.RestartPolicy.Name = container.RestartPolicyUnlessStopped
	}
	h.Ulimits = ulimits()
	return h
}

// resources are what the engine can change without a restart, with the ulimits, which it can't.
func resources(c provision.Container) container.Resources {
	pids := int64(c.PIDs)
	memory := int64(c.MemoryMB) * megabyte
	return container.Resources{
		Memory:     memory,
		MemorySwap: memory, // memory and swap together: no swap
		NanoCPUs:   int64(c.CPUMilli) * 1_000_000,
		PidsLimit:  &pids,
		Ulimits:    ulimits(),
	}
}

func ulimits() []*container.Ulimit {
	return []*container.Ulimit{{Name: "core"}, {Name: "nofile", Soft: openFiles, Hard: openFiles}}
}

func mounts(in []provision.Mount) []mount.Mount {
	out := make([]mount.Mount, 0, len(in))
	for _, m := range in {
		out = append(out, mount.Mount{Type: mount.TypeVolume, Source: m.Volume, Target: path.Clean(m.Path), ReadOnly: m.ReadOnly})
	}
	slices.SortFunc(out, func(a, b mount.Mount) int { return strings.Compare(a.Target, b.Target) })
	return out
}

// tmpfsSpec makes each tmpfs nosuid, nodev, noexec and of limited size, whatever else is asked for, and the container's user's own: the
// engine gives it the mode of the image's directory, which for /run lets only the owner write.
func tmpfsSpec(in map[string]string, img provision.Image) (map[string]string, error) {
	defaults := [][2]string{{"size", tmpfsSize}, {"uid", strconv.Itoa(img.UID)}, {"gid", strconv.Itoa(img.GID)}}
	out := make(map[string]string, len(in))
	for target, options := range in {
		kept := []string{"nosuid", "nodev", "noexec"}
		given := map[string]bool{}
		for option := range strings.SplitSeq(options, ",") {
			switch option = strings.TrimSpace(option); {
			case option == "" || slices.Contains(kept, option):
			case option == "suid" || option == "dev" || option == "exec":
				return nil, fmt.Errorf("tmpfs %s: option %q isn't allowed", target, option)
			default:
				key, _, _ := strings.Cut(option, "=")
				given[key] = true
				kept = append(kept, option)
			}
		}
		for _, standard := range defaults {
			if !given[standard[0]] {
				kept = append(kept, standard[0]+"="+standard[1])
			}
		}
		out[target] = strings.Join(kept, ",")
	}
	return out, nil
}

func environment(in map[string]string) []string {
	out := make([]string, 0, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		out = append(out, name+"="+in[name])
	}
	return out
}

// hostname is the tenant's name: the container's without our prefix, with nothing in it that a host name can't hold.
func hostname(name string) string {
	clean := strings.Map(func(c rune) rune {
		if c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' {
			return c
		}
		return '-'
	}, strings.ToLower(strings.TrimPrefix(name, "odoo_")))
	return strings.Trim(clean[:min(len(clean), 63)], "-")
}

// sum hashes what can only be changed by replacing the container: neither the resources nor the plan that they follow from, and not the
// operation that happened to make it.
func (s spec) sum() (string, error) {
	config := *s.config
	config.Labels = maps.Clone(s.config.Labels)
	delete(config.Labels, LabelOperation)
	delete(config.Labels, LabelPlan)
	raw, err := json.Marshal([]any{config, s.host, s.networking})
	if err != nil {
		return "", fmt.Errorf("hash the spec: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}
