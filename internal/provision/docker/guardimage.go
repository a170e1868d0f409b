package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

const (
	guardRepository = "odoo-hosting/netguard"
	labelGuard      = "com.odoo-cloud.netguard"
)

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
	f, err := os.Open(binary) //nolint:gosec // our own binary, named by the composition root
	if err != nil {
		return "", fmt.Errorf("open the binary for the netguard image: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := checkStatic(f); err != nil {
		return "", fmt.Errorf("the binary %s for the netguard image: %w", binary, err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read the binary for the netguard image: %w", err)
	}
	return guardRepository + ":" + hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// checkStatic refuses a binary that needs a loader, which an image of nothing else doesn't have; the engine's own words for that, "no such
// file", help nobody.
func checkStatic(f io.ReaderAt) error {
	binary, err := elf.NewFile(f)
	if err != nil {
		return err
	}
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New("it isn't static: build it with CGO_ENABLED=0")
		}
	}
	return nil
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
	f, err := os.Open(binary) //nolint:gosec // our own binary, named by the composition root
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
