package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
)

func toolsImage() string {
	if image := os.Getenv("POSTGRES_IMAGE"); image != "" { //nolint:forbidigo // tests have no config package
		return image
	}
	return "odoo-hosting/postgres:17"
}

func (b bundle) tool(t *testing.T, script string, stdin io.Reader) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := b.RunTool(t.Context(), b.name("tool"), "42", toolsImage(), []string{"sh", "-c", script}, stdin, &out)
	left, listErr := b.Objects(t.Context())
	require.NoError(t, listErr)
	require.Empty(t, left, "the container goes with its program")
	return out.String(), err
}

func TestRunTool_PassesStreamsAndTellsHowItEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	large := strings.Repeat("0123456789abcdef", 200_000)
	out, err := b.tool(t, "tr 0-9 a-j; id -un >&2", strings.NewReader(large))
	require.NoError(t, err)
	require.Equal(t, strings.NewReplacer("0", "a", "1", "b", "2", "c", "3", "d", "4", "e", "5", "f", "6", "g", "7", "h", "8", "i", "9", "j").Replace(large), out)

	out, err = b.tool(t, "echo half; echo it broke >&2; exit 3", strings.NewReader(large))
	require.ErrorContains(t, err, "exit code 3: it broke")
	require.Equal(t, "half\n", out)

	// A program must not take the part of its input that could be read for all of it.
	lost := errors.New("the line went dead")
	_, err = b.tool(t, "cat >/dev/null; echo all of it", io.MultiReader(strings.NewReader("some"), iotest.ErrReader(lost)))
	require.ErrorIs(t, err, lost)
}

func TestRunTool_ShowsNoSecretAndKeepsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- b.RunTool(t.Context(), b.name("secret"), "42", toolsImage(), []string{"sh", "-c", `IFS= read -r x; cat; echo "$x"`}, r, io.Discard)
	}()
	_, err := io.WriteString(w, "hunter2hunter2\n")
	require.NoError(t, err)
	found, err := b.api.ContainerInspect(t.Context(), b.name("secret"), client.ContainerInspectOptions{Size: false})
	require.NoError(t, err)
	require.NotContains(t, string(found.Raw), "hunter2")
	require.NoError(t, w.Close())
	require.NoError(t, <-ended)
}

func TestRunTool_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, "begun\n")
		cancel()
	}()
	err := b.RunTool(ctx, b.name("endless"), "42", toolsImage(), []string{"sh", "-c", "cat; sleep 600"}, r, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	left, err := b.Objects(t.Context())
	require.NoError(t, err)
	require.Empty(t, left)
}

// What a killed program wrote until then is never taken for all of it, whatever the engine says of its end.
func TestRunTool_TellsWhatWasCut(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(b bundle, id string) error{
		"killed": func(b bundle, id string) error {
			_, err := b.api.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "KILL"})
			return err
		},
		"asked to end": func(b bundle, id string) error {
			_, err := b.api.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "TERM"})
			return err
		},
		"removed": func(b bundle, id string) error {
			_, err := b.api.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{Force: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			out, in := io.Pipe()
			ended := make(chan error, 1)
			go func() {
				ended <- b.RunTool(t.Context(), b.name("cut"), "42", toolsImage(), []string{"sh", "-c", "seq 1000; exec sleep 600"}, strings.NewReader(""), in)
			}()
			_, err := io.ReadFull(out, make([]byte, 8))
			require.NoError(t, err)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			require.NoError(t, cut(b, b.name("cut")))
			require.Error(t, <-ended)
		})
	}
}

func TestEnd_PassesOnAllButTheMark(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 7, 31, 32, 33, 4096} {
		for _, text := range []string{"", "short", strings.Repeat("0123456789", 1000)} {
			var out bytes.Buffer
			e := newEnd(&out)
			for all := []byte(text + string(e.mark)); len(all) > 0; all = all[min(size, len(all)):] {
				_, err := e.Write(all[:min(size, len(all))])
				require.NoError(t, err)
			}
			require.True(t, e.come())
			require.Equal(t, text, out.String())
		}
	}
	var out bytes.Buffer
	e := newEnd(&out)
	_, err := e.Write([]byte("all but the mark"))
	require.NoError(t, err)
	require.False(t, e.come())
	require.NoError(t, e.flush())
	require.Equal(t, "all but the mark", out.String())
}

func TestVolumeTrees_ComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	name, volume := b.name("mount"), b.name("files")
	require.NoError(t, b.MountVolume(t.Context(), name, volume, "42", toolsImage(), false))
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	require.NoError(t, w.WriteHeader(directory("filestore/db", 0o755, 101, 102)))
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "filestore/db/x", Mode: 0o600, Uid: 101, Gid: 102, Size: 4}))
	_, err := w.Write([]byte("text"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, b.WriteTree(t.Context(), name, &in))

	require.NoError(t, b.MountVolume(t.Context(), name, volume, "42", toolsImage(), true), "what a crash left is replaced")
	tree, err := b.ReadTree(t.Context(), name, "filestore/db")
	require.NoError(t, err)
	got := map[string]string{}
	for r := tar.NewReader(tree); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, [2]int{101, 102}, [2]int{h.Uid, h.Gid}, h.Name)
		got[h.Name] = string(text)
	}
	require.NoError(t, tree.Close())
	require.Equal(t, map[string]string{"db/": "", "db/x": "text"}, got)
	_, err = b.ReadTree(t.Context(), name, "filestore/another")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Error(t, b.MountVolume(t.Context(), b.name("other"), volume, "43", toolsImage(), true), "another tenant's")

	require.NoError(t, b.MountVolume(t.Context(), b.name("holder"), volume, "42", toolsImage(), false))
	require.NoError(t, b.RemoveVolumeOf(t.Context(), volume, "43"), "another tenant's isn't there")
	there, err := b.HasVolume(t.Context(), volume, "42")
	require.NoError(t, err)
	require.True(t, there)
	require.NoError(t, b.RemoveVolumeOf(t.Context(), volume, "42"), "what a crash left holds nothing up")
	left, err := b.Objects(t.Context())
	require.NoError(t, err)
	require.Empty(t, left)
}

// The engine would make what is mounted, and a backup of a lost volume would be one of nothing.
func TestMountVolume_ToReadMakesNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.ErrorIs(t, b.MountVolume(t.Context(), b.name("mount"), b.name("lost"), "42", toolsImage(), true), fs.ErrNotExist)
	left, err := b.Objects(t.Context())
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFreeBytes_TellsNothingOrSomethingSane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	free, known, err := b.FreeBytes(t.Context())
	require.NoError(t, err)
	require.Equal(t, known, free > 0)
}
