package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

const (
	guardRepository = "odoo-hosting/netguard"
	guardReady      = "rules applied" // what netguard says once its rules are in force
	guardTimeout    = 30 * time.Second
	guardPoll       = 30 * time.Millisecond
	guardMemory     = 96 * megabyte
	labelGuard      = "com.odoo-cloud.netguard"
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
	if found == nil || !found.State.Running {
		if _, err := r.api.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
			return err
		}
	}
	if stale != "" && stale != s.config.Image {
		r.dropGuardImage(ctx, stale)
	}
	return nil
}

// waitGuard waits until netguard has said, since its latest start, that the rules are in force.
func (r *Runtime) waitGuard(ctx context.Context) error {
	var lines []string
	for {
		found, err := r.mustFind(ctx, r.guardName())
		if err != nil {
			return err
		}
		if found.State.Running {
			if lines, err = r.tail(ctx, found.ID, found.State.StartedAt); err != nil {
				return err
			}
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

// guardImage returns the tag of the image that holds nothing but our own binary, importing it on first use.
func (r *Runtime) guardImage(ctx context.Context) (string, error) {
	r.mu.Lock()
	tag := r.guard
	r.mu.Unlock()
	if tag == "" {
		var err error
		if tag, err = guardTag(r.binary); err != nil {
			return "", err
		}
	}
	err := r.call(ctx, slowCall, "import the netguard image", func(ctx context.Context) error {
		_, err := r.api.ImageInspect(ctx, tag)
		if cerrdefs.IsNotFound(err) {
			err = r.importBinary(ctx, tag)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	r.guard = tag
	r.mu.Unlock()
	return tag, nil
}

func guardTag(binary string) (string, error) {
	f, err := os.Open(binary)
	if err != nil {
		return "", fmt.Errorf("open the binary for the netguard image: %w", err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read the binary for the netguard image: %w", err)
	}
	return guardRepository + ":" + hex.EncodeToString(sum.Sum(nil))[:12], nil
}

func (r *Runtime) importBinary(ctx context.Context, tag string) error {
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(packBinary(writer, r.binary)) }() // ends when the reader is closed
	defer func() { _ = reader.Close() }()
	progress, err := r.api.ImageImport(ctx, client.ImageImportSource{Source: reader, SourceName: "-"}, tag, client.ImageImportOptions{
		Changes: []string{`ENTRYPOINT ["/controlplane"]`, `LABEL ` + labelGuard + `=1`},
	})
	if err != nil {
		return err
	}
	defer func() { _ = progress.Close() }()
	return importResult(progress)
}

// importResult reads the engine's progress, in which it also reports what went wrong.
func importResult(progress io.Reader) error {
	decoder := json.NewDecoder(progress)
	for {
		var message struct {
			Error string `json:"error"`
		}
		err := decoder.Decode(&message)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's answer: %w", err)
		case message.Error != "":
			return errors.New(message.Error)
		}
	}
}

func packBinary(w io.Writer, binary string) error {
	f, err := os.Open(binary)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	if err := archive.WriteHeader(&tar.Header{Name: "controlplane", Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(archive, f); err != nil {
		return err
	}
	return archive.Close()
}

// dropGuardImage removes an image that nothing uses any more; another installation's container may well use it still.
func (r *Runtime) dropGuardImage(ctx context.Context, tag string) {
	if !strings.HasPrefix(tag, guardRepository+":") {
		return
	}
	if _, err := r.api.ImageRemove(ctx, tag, client.ImageRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
		r.log.Warn("an image of the firewall is left over", "image", tag, "error", err)
	}
}
