package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/provision"
)

const parentMode = 0o755

// PutFiles writes files into the container's volumes, one call for each volume. Missing directories between a volume's root and a file
// are made with the file's owner. A path that is in none of the volumes is an error, as the rest of the container is read-only.
func (r *Runtime) PutFiles(ctx context.Context, name string, files []provision.File) error {
	return r.call(ctx, quickCall, "put files into container "+name, func(ctx context.Context) error {
		found, err := r.mustFind(ctx, name)
		if err != nil {
			return err
		}
		archives, err := packFiles(volumePaths(found), files)
		if err != nil {
			return err
		}
		for root, content := range archives {
			_, err := r.api.CopyToContainer(ctx, found.ID, client.CopyToContainerOptions{DestinationPath: root, Content: content})
			if err != nil {
				return fmt.Errorf("into %s: %w", root, err)
			}
		}
		return nil
	})
}

func volumePaths(c *container.InspectResponse) []string {
	var out []string
	for _, m := range c.HostConfig.Mounts {
		if !m.ReadOnly {
			out = append(out, m.Target)
		}
	}
	return out
}

// packFiles makes one archive for each volume that gets files, with names relative to its root.
func packFiles(roots []string, files []provision.File) (map[string]*bytes.Buffer, error) {
	buffers := map[string]*bytes.Buffer{}
	writers := map[string]*tar.Writer{}
	made := map[string]bool{}
	for _, f := range files {
		root, rel, err := splitRoot(roots, f.Path)
		if err != nil || rel == "." {
			return nil, fmt.Errorf("%s isn't a file in one of the container's volumes", f.Path)
		}
		if writers[root] == nil {
			buffers[root] = &bytes.Buffer{}
			writers[root] = tar.NewWriter(buffers[root])
		}
		for _, dir := range parents(rel) {
			if made[root+"/"+dir] {
				continue
			}
			made[root+"/"+dir] = true
			if err := writers[root].WriteHeader(directory(dir, parentMode, f.UID, f.GID)); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: rel, Mode: int64(f.Mode), Uid: f.UID, Gid: f.GID, Size: int64(len(f.Content)),
		}
		if err := writers[root].WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writers[root].Write(f.Content); err != nil {
			return nil, err
		}
	}
	for _, w := range writers {
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	return buffers, nil
}

// CopyTree streams the directory through this process, and keeps one that isn't large for the next copy. toDir is removed first, unless it
// is a volume's own root, which is merged into.
func (r *Runtime) CopyTree(ctx context.Context, fromContainer, fromDir, toContainer, toDir string) error {
	what := fmt.Sprintf("copy %s:%s to %s:%s", fromContainer, fromDir, toContainer, toDir)
	return r.call(ctx, copyCall, what, func(ctx context.Context) error {
		from, err := r.mustFind(ctx, fromContainer)
		if err != nil {
			return err
		}
		to, err := r.mustFind(ctx, toContainer)
		if err != nil {
			return err
		}
		root, rel, err := splitRoot(volumePaths(to), toDir)
		if err != nil {
			return err
		}
		source, err := r.tree(ctx, from.ID, fromDir)
		if err != nil {
			return err
		}
		err = r.pipe(ctx, source, rel, to.ID, root)
		return errors.Join(err, source.Close())
	})
}

// pipe renames the archive on its way into the container.
func (r *Runtime) pipe(ctx context.Context, source io.Reader, rel, id, root string) error {
	group, ctx := errgroup.WithContext(ctx)
	reader, writer := io.Pipe()
	group.Go(func() error {
		err := retree(source, writer, rel)
		_ = writer.CloseWithError(err) // never fails
		if errors.Is(err, errPipeEnded) {
			return nil // the reader's own error says why
		}
		return err
	})
	group.Go(func() error {
		_, err := r.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{
			DestinationPath: root, Content: reader, AllowOverwriteDirWithFile: true,
		})
		_ = reader.CloseWithError(errPipeEnded) // never fails
		return err
	})
	return group.Wait()
}

var errPipeEnded = errors.New("the engine stopped reading")

// retree writes the archive of one directory, as the engine gives it, with that directory renamed to rel.
func retree(source io.Reader, target io.Writer, rel string) error {
	in := tar.NewReader(source)
	out := tar.NewWriter(target)
	base := ""
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if base == "" {
			base, _, _ = strings.Cut(path.Clean(header.Name), "/")
			if err := startTree(out, header, rel); err != nil {
				return err
			}
		}
		rename(header, base, rel)
		if err := out.WriteHeader(header); err != nil {
			return fmt.Errorf("write the archive: %w", err)
		}
		if _, err := io.Copy(out, in); err != nil { //nolint:gosec // as large as the tree that it comes from
			return fmt.Errorf("write the archive: %w", err)
		}
	}
	return out.Close()
}

// startTree makes rel's parents, and removes what a copy that was cut short left behind: the engine replaces a directory by the file of
// its name, and that file by the directory which follows.
func startTree(out *tar.Writer, top *tar.Header, rel string) error {
	for _, dir := range parents(rel) {
		if err := out.WriteHeader(directory(dir, top.Mode, top.Uid, top.Gid)); err != nil {
			return fmt.Errorf("write the archive: %w", err)
		}
	}
	if rel == "." {
		return nil
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: rel}); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

func rename(header *tar.Header, base, rel string) {
	move := func(name string) string { return path.Join(rel, strings.TrimPrefix(path.Clean(name), base)) }
	header.Name = move(header.Name)
	if header.Typeflag == tar.TypeDir {
		header.Name += "/"
	}
	if header.Typeflag == tar.TypeLink {
		header.Linkname = move(header.Linkname)
	}
	header.Format = tar.FormatPAX
}

func directory(name string, mode int64, uid, gid int) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: uid, Gid: gid}
}

// parents returns the directories above rel, the outermost first: "a", "a/b" for "a/b/c".
func parents(rel string) []string {
	var out []string
	for i, c := range rel {
		if c == '/' {
			out = append(out, rel[:i])
		}
	}
	return out
}

// splitRoot finds the innermost volume that holds name, and the rest of the path.
func splitRoot(roots []string, name string) (root, rel string, err error) {
	name = path.Clean(name)
	for _, candidate := range roots {
		if (name == candidate || strings.HasPrefix(name, candidate+"/")) && len(candidate) > len(root) {
			root = candidate
		}
	}
	if root == "" {
		return "", "", fmt.Errorf("%s is in none of the container's volumes", name)
	}
	rel = strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
	return root, path.Clean(rel), nil
}
