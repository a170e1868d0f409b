package docker

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

// entry is a file as the archive API gives it.
type entry struct {
	mode     int64
	uid, gid int
	content  string
}

// tree reads a directory of a container.
func (b bundle) tree(t *testing.T, container, dir, base string) map[string]entry {
	t.Helper()
	res, err := b.api.CopyFromContainer(t.Context(), container, client.CopyFromContainerOptions{SourcePath: dir})
	require.NoError(t, err)
	defer func() { _ = res.Content.Close() }()
	out := map[string]entry{}
	archive := tar.NewReader(res.Content)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		name := strings.TrimPrefix(strings.TrimPrefix(path.Clean(header.Name), base), "/")
		if name != "" {
			out[name] = entry{header.Mode & 0o7777, header.Uid, header.Gid, string(content) + header.Linkname}
		}
	}
}

func TestPutFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo_files", "serve")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	files := []provision.File{
		{Path: "/data/conf", Mode: 0o400, UID: 4242, GID: 4243, Content: []byte("secret")},
		{Path: "/data/a/b/deep", Mode: 0o640, UID: 4242, GID: 4243, Content: []byte("deep")},
		{Path: "/extra/other", Mode: 0o600, UID: 1, GID: 2},
	}
	for range 2 {
		require.NoError(t, b.PutFiles(t.Context(), c.Name, files))
	}
	want := map[string]entry{
		"conf":     {0o400, 4242, 4243, "secret"},
		"a":        {0o755, 4242, 4243, ""},
		"a/b":      {0o755, 4242, 4243, ""},
		"a/b/deep": {0o640, 4242, 4243, "deep"},
	}
	require.Equal(t, want, b.tree(t, c.Name, "/data", "data"))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	require.NoError(t, b.PutFiles(t.Context(), c.Name, files[:1]), "while it runs")
	shown, err := b.api.ContainerInspect(t.Context(), c.Name, client.ContainerInspectOptions{})
	require.NoError(t, err)
	require.NotContains(t, string(shown.Raw), "secret")
	require.Equal(t, want, b.tree(t, c.Name, "/data", "data"))

	for _, bad := range []string{"/etc/passwd", "/data", "/data/../etc/x", "relative", ""} {
		require.ErrorContains(t, b.PutFiles(t.Context(), c.Name, []provision.File{{Path: bad}}), "isn't a file in", bad)
	}
	require.ErrorIs(t, b.PutFiles(t.Context(), "nobody-"+b.installation, files), ErrMissing)
}

func TestCopyTree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	from, to := b.container("template", "serve"), b.container("odoo_copy", "serve")
	require.NoError(t, b.EnsureContainer(t.Context(), from))
	require.NoError(t, b.EnsureContainer(t.Context(), to))
	long := strings.Repeat("0123456789", 15)
	require.NoError(t, b.PutFiles(t.Context(), from.Name, []provision.File{
		{Path: "/data/filestore/tmpl/ab/one", Mode: 0o640, UID: 4242, GID: 4243, Content: []byte("one")},
		{Path: "/data/filestore/tmpl/" + long, Mode: 0o600, UID: 4242, GID: 4243, Content: []byte("long")},
		{Path: "/data/not-copied", UID: 4242, GID: 4243},
	}))
	require.NoError(t, b.PutFiles(t.Context(), to.Name, []provision.File{
		{Path: "/data/filestore/acme/stale/file", Mode: 0o640, UID: 0, GID: 0, Content: []byte("half a copy")},
		{Path: "/data/kept", Mode: 0o600, UID: 4242, GID: 4243},
	}))
	for range 2 {
		require.NoError(t, b.CopyTree(t.Context(), from.Name, "/data/filestore/tmpl", to.Name, "/data/filestore/acme"))
	}
	require.Equal(t, map[string]entry{
		"kept":                   {0o600, 4242, 4243, ""},
		"filestore":              {0o755, 4242, 4243, ""},
		"filestore/acme":         {0o755, 4242, 4243, ""},
		"filestore/acme/ab":      {0o755, 4242, 4243, ""},
		"filestore/acme/ab/one":  {0o640, 4242, 4243, "one"},
		"filestore/acme/" + long: {0o600, 4242, 4243, "long"},
	}, b.tree(t, to.Name, "/data", "data"))

	require.Error(t, b.CopyTree(t.Context(), from.Name, "/data/none", to.Name, "/data/x"))
	require.ErrorContains(t, b.CopyTree(t.Context(), from.Name, "/data/not-copied", to.Name, "/data/x"), "isn't a directory")
	require.ErrorContains(t, b.CopyTree(t.Context(), from.Name, "/data", to.Name, "/etc"), "none of the container's volumes")
	require.NoError(t, b.CopyTree(t.Context(), from.Name, "/data/filestore", to.Name, "/extra"), "a volume's own root")
	require.Contains(t, b.tree(t, to.Name, "/extra", "extra"), "tmpl/ab/one")
}

func TestSplitRoot(t *testing.T) {
	t.Parallel()
	roots := []string{"/data", "/data/inner", "/etc/odoo"}
	for name, want := range map[string][2]string{
		"/data/x":         {"/data", "x"},
		"/data/inner/x/y": {"/data/inner", "x/y"},
		"/data/innermost": {"/data", "innermost"},
		"/etc/odoo/":      {"/etc/odoo", "."},
	} {
		root, rel, err := splitRoot(roots, name)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{root, rel})
	}
	for _, bad := range []string{"/database", "/", "", "/etc", "/data/../etc/shadow"} {
		_, _, err := splitRoot(roots, bad)
		require.Error(t, err, bad)
	}
}
