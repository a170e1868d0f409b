package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"

	"github.com/moby/moby/client"
)

const (
	treeSize  = 32 << 20 // a larger tree is streamed anew each time
	treesSize = 64 << 20 // of all that are kept
)

// trees keeps what was read of containers' directories, since the engine takes as long to read one as to write it. An entry belongs to
// one container, by its id, whose tree doesn't change.
type trees struct {
	kept  map[string][]byte
	order []string // oldest first
	size  int
}

func (t *trees) put(key string, content []byte) {
	if _, ok := t.kept[key]; ok {
		return
	}
	if t.kept == nil {
		t.kept = map[string][]byte{}
	}
	t.kept[key] = content
	t.order = append(t.order, key)
	for t.size += len(content); t.size > treesSize; t.order = t.order[1:] {
		t.size -= len(t.kept[t.order[0]])
		delete(t.kept, t.order[0])
	}
}

// tree returns the archive of a directory in a container, which the caller closes.
func (r *Runtime) tree(ctx context.Context, containerID, dir string) (io.ReadCloser, error) {
	key := containerID + ":" + path.Clean(dir)
	r.mu.Lock()
	content, ok := r.trees.kept[key]
	r.mu.Unlock()
	if ok {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	source, err := r.api.CopyFromContainer(ctx, containerID, client.CopyFromContainerOptions{SourcePath: path.Clean(dir)})
	if err != nil {
		return nil, err
	}
	if !source.Stat.Mode.IsDir() {
		_ = source.Content.Close()
		return nil, fmt.Errorf("%s isn't a directory", dir)
	}
	return &keeper{source: source.Content, done: func(content []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.trees.put(key, content)
	}}, nil
}

// keeper passes an archive on and keeps it, if it isn't too large and was read to its end.
type keeper struct {
	source io.ReadCloser
	read   bytes.Buffer
	large  bool
	ended  bool
	done   func(content []byte)
}

// Read reads from the source.
func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.source.Read(p)
	switch {
	case k.large:
	case k.read.Len()+n > treeSize:
		k.large, k.read = true, bytes.Buffer{}
	default:
		k.read.Write(p[:n])
	}
	if err == io.EOF { //nolint:errorlint // a Reader's own end is never wrapped
		k.ended = true
	}
	return n, err
}

// Close closes the source.
func (k *keeper) Close() error {
	if !k.ended && !k.large { // the archive's reader stops at its last entry, before the end of the stream
		_, _ = io.Copy(io.Discard, io.LimitReader(k, treeSize))
	}
	if k.ended && !k.large {
		k.done(bytes.Clone(k.read.Bytes()))
	}
	return k.source.Close()
}
