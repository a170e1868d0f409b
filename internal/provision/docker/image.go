package docker

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

// Image finds ref on the engine, pulling it first where it isn't there. The user's ids are read out of the image's own passwd.
func (r *Runtime) Image(ctx context.Context, ref string) (provision.Image, error) {
	var found client.ImageInspectResult
	err := r.call(ctx, quickCall, "inspect image "+ref, func(ctx context.Context) (err error) {
		found, err = r.api.ImageInspect(ctx, ref)
		return err
	})
	if cerrdefs.IsNotFound(err) && !strings.HasPrefix(ref, "sha256:") {
		err = r.call(ctx, slowCall, "pull image "+ref, func(ctx context.Context) (err error) {
			if err := r.pull(ctx, ref); err != nil {
				return err
			}
			found, err = r.api.ImageInspect(ctx, ref)
			return err
		})
	}
	if err != nil {
		return provision.Image{}, err
	}
	return r.describe(ctx, found)
}

func (r *Runtime) pull(ctx context.Context, ref string) error {
	r.log.Info("pulling an image", "image", ref)
	progress, err := r.api.ImagePull(ctx, ref, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	return progress.Wait(ctx)
}

func (r *Runtime) known(id string) (provision.Image, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	img, ok := r.images[id]
	return img, ok
}

func (r *Runtime) describe(ctx context.Context, found client.ImageInspectResult) (provision.Image, error) {
	if img, ok := r.known(found.ID); ok {
		return img, nil
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	if img, ok := r.known(found.ID); ok {
		return img, nil
	}
	img := provision.Image{ID: found.ID}
	user := ""
	if found.Config != nil {
		user = found.Config.User
		img.Volumes = slices.Sorted(maps.Keys(found.Config.Volumes))
	}
	err := r.call(ctx, quickCall, "read the user of image "+found.ID, func(ctx context.Context) (err error) {
		img.UID, img.GID, err = r.imageUser(ctx, found.ID, user)
		return err
	})
	if err != nil {
		return provision.Image{}, err
	}
	r.mu.Lock()
	r.images[found.ID] = img
	r.mu.Unlock()
	return img, nil
}

// imageUser resolves USER as the engine does: names by the image's passwd and group, a missing group by the user's own.
func (r *Runtime) imageUser(ctx context.Context, id, user string) (uid, gid int, err error) {
	name, group, grouped := strings.Cut(user, ":")
	if name == "" {
		return 0, 0, nil
	}
	uid, uidErr := strconv.Atoi(name)
	gid, gidErr := strconv.Atoi(group)
	if uidErr == nil && gidErr == nil {
		return uid, gid, nil
	}
	passwd, groups, err := r.readAccounts(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	entry := lookUp(passwd, name)
	switch {
	case len(entry) >= 4:
		if uid, err = strconv.Atoi(entry[2]); err != nil {
			return 0, 0, fmt.Errorf("user %q: %w", name, err)
		}
	case uidErr != nil:
		return 0, 0, fmt.Errorf("the image has no user %q", name)
	}
	switch {
	case grouped && gidErr == nil:
	case grouped:
		entry = lookUp(groups, group)
		if len(entry) < 3 {
			return 0, 0, fmt.Errorf("the image has no group %q", group)
		}
		gid, err = strconv.Atoi(entry[2])
	case len(entry) >= 4:
		gid, err = strconv.Atoi(entry[3])
	}
	return uid, gid, err
}

// lookUp returns the fields of the line whose first field, or number, is name.
func lookUp(file, name string) []string {
	for line := range strings.Lines(file) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) >= 3 && (fields[0] == name || fields[2] == name) {
			return fields
		}
	}
	return nil
}

const (
	readerTries = 15
	readerPause = 200 * time.Millisecond
)

// readAccounts reads the image's passwd and group. Another process that does the same may take the container away meanwhile, and what the
// engine answers then depends on how far it is with that; so any failure is tried again.
func (r *Runtime) readAccounts(ctx context.Context, id string) (passwd, groups string, err error) {
	for range readerTries {
		passwd, groups, err = r.tryReadAccounts(ctx, id)
		if err == nil && passwd != "" {
			break
		}
		select {
		case <-ctx.Done():
			return "", "", errors.Join(ctx.Err(), err)
		case <-time.After(readerPause/2 + rand.N(readerPause)): //nolint:gosec // not in step with others, and no secret
		}
	}
	return passwd, groups, err
}

// tryReadAccounts goes through a container that is never started. Its name is the image's, so that one that a crash left is used, and
// removed, by the next process that asks.
func (r *Runtime) tryReadAccounts(ctx context.Context, id string) (passwd, groups string, err error) {
	reader := r.readerName(id)
	_, err = r.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       reader,
		Config:     r.readerConfig(id),
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	if err != nil && !cerrdefs.IsConflict(err) {
		return "", "", err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		_, removeErr := r.api.ContainerRemove(ctx, reader, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if removeErr = ignoreNotFound(removeErr); removeErr != nil && !cerrdefs.IsConflict(removeErr) && err == nil {
			err = fmt.Errorf("remove the container that the image was read through: %w", removeErr)
		}
	}()
	if groups, err = r.readFile(ctx, reader, "/etc/group"); err != nil {
		return "", "", err
	}
	passwd, err = r.readFile(ctx, reader, "/etc/passwd") // last: what it says means that the container was there for both
	return passwd, groups, err
}

func (r *Runtime) readerName(image string) string {
	return "odoo-hosting-reader-" + r.installation + "-" + digest(8, image)
}

func (r *Runtime) readerConfig(image string) *container.Config {
	return &container.Config{Image: image, Cmd: []string{"never-started"}, Labels: r.labelled(nil)}
}

// readFile returns a small file out of a container, or "" if it has none of that name.
func (r *Runtime) readFile(ctx context.Context, id, name string) (string, error) {
	const limit = 1 << 20
	res, err := r.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: name})
	if cerrdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = res.Content.Close() }()
	archive := tar.NewReader(res.Content)
	if _, err := archive.Next(); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	content, err := io.ReadAll(bufio.NewReader(io.LimitReader(archive, limit)))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return string(content), nil
}
