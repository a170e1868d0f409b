package rig

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The ids of Odoo's user in the images that we build, and in the official one.
const (
	odooUID = 100
	odooGID = 101
)

// StandIn returns the image of test/standin, making it unless the engine has it: no registry is asked.
func StandIn(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "standin-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "standin")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "controlplane/test/standin") //nolint:gosec // ourselves
	build.Env = append(os.Environ(), "CGO_ENABLED=0")                                                                                           //nolint:forbidigo // go's own settings
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in: %w\n%s", err, text)
	}
	program, err := os.ReadFile(path) //nolint:gosec // just built
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(program)
	tag := "odoo-hosting/standin:" + hex.EncodeToString(sum[:6])
	if id, err := Docker(ctx, "image", "inspect", "--format", "{{.Id}}", tag); err == nil {
		return id, nil
	}
	archive, err := rootfs(program)
	if err != nil {
		return "", err
	}
	args := []string{"import"}
	for _, change := range []string{"ENV PATH=/usr/bin", "USER odoo", `CMD ["odoo"]`, `VOLUME ["/var/lib/odoo", "/mnt/extra-addons"]`, "EXPOSE 8069 8072"} {
		args = append(args, "--change", change)
	}
	cmd := exec.CommandContext(ctx, "docker", append(args, "-", tag)...) //nolint:gosec // fixed arguments
	cmd.Stdin = archive
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("import the stand-in: %w\n%s", err, text)
	}
	return Docker(ctx, "image", "inspect", "--format", "{{.Id}}", tag)
}

// TarOf is an archive of one file, which is Odoo's, below folders that are Odoo's, too.
func TarOf(name string, content []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, c := range name {
		if c == '/' {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[:i+1], Mode: 0o755, Uid: odooUID, Gid: odooGID}); err != nil {
				return nil, err
			}
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), Uid: odooUID, Gid: odooGID}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// rootfs is all that is in the image.
func rootfs(program []byte) (*bytes.Buffer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	dir := func(name string, uid, gid int) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Uid: uid, Gid: gid})
	}
	file := func(name, content string, mode int64) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err := w.Write([]byte(content))
		return err
	}
	for _, name := range []string{"etc", "usr", "usr/bin", "mnt", "var", "var/lib", "tmp", "run", "proc", "sys", "dev"} {
		if err := dir(name, 0, 0); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"etc/odoo", "var/lib/odoo", "mnt/extra-addons"} {
		if err := dir(name, odooUID, odooGID); err != nil {
			return nil, err
		}
	}
	passwd := fmt.Sprintf("root:x:0:0:root:/root:/usr/bin/true\nodoo:x:%d:%d::/var/lib/odoo:/usr/bin/true\n", odooUID, odooGID)
	if err := file("etc/passwd", passwd, 0o644); err != nil {
		return nil, err
	}
	if err := file("etc/group", fmt.Sprintf("root:x:0:\nodoo:x:%d:\n", odooGID), 0o644); err != nil {
		return nil, err
	}
	if err := file("usr/bin/odoo", string(program), 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"env", "bash", "true", "find"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/" + name, Linkname: "odoo", Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	return &out, w.Close()
}

// Docker runs the engine's command, as an operator would.
func Docker(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput() //nolint:gosec // of ours
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
