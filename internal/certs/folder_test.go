package certs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/certs"
)

func TestTheFolderFollowsTheDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := filepath.Join(t.TempDir(), "certificates")
	folder, err := certs.NewFolder(path, sealer(t, oldKey))
	require.NoError(t, err)
	mirror := certs.NewMirror(b.store, folder)
	var changed []string
	sync := func() []string {
		changed = nil
		require.NoError(t, mirror.Sync(t.Context(), func(host string) { changed = append(changed, host) }))
		return changed
	}
	first := b.save("*.example.test")
	b.save("shop.test")
	require.Equal(t, []string{"*.example.test", "shop.test"}, sync())
	require.Empty(t, sync(), "nothing is copied twice")
	got, err := folder.Get("*.example.test")
	require.NoError(t, err)
	require.Equal(t, first.Key.Reveal(), got.Key.Reveal())

	renewed := b.save("shop.test")
	mirror = certs.NewMirror(b.store, folder) // as after a restart
	require.Equal(t, []string{"shop.test"}, sync())
	got, err = folder.Get("shop.test")
	require.NoError(t, err)
	require.Equal(t, renewed.Chain, got.Chain)

	files, err := os.ReadDir(path)
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(path, f.Name()))
		require.NoError(t, err)
		require.NotContains(t, string(text), "PRIVATE KEY")
		info, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	_, err = b.store.Forget(t.Context(), []string{"*.example.test"}, b.now, 0)
	require.NoError(t, err)
	var gone []string
	require.NoError(t, mirror.Prune(t.Context(), func(host string) { gone = append(gone, host) }))
	require.Equal(t, []string{"shop.test"}, gone)
	_, err = folder.Get("shop.test")
	require.ErrorIs(t, err, certs.ErrNotFound)
	require.Equal(t, []string{"*.example.test"}, sync(), "a database that is behind was restored: all of it is copied again")
}

func TestTheFolderTakesNoOtherNames(t *testing.T) {
	t.Parallel()
	folder, err := certs.NewFolder(t.TempDir(), sealer(t, oldKey))
	require.NoError(t, err)
	for _, host := range []string{"", "..", ".hidden", "../x", "a/b"} {
		_, err := folder.Get(host)
		require.Error(t, err)
		require.NotErrorIs(t, err, certs.ErrNotFound)
		require.Error(t, folder.Put(certs.Certificate{Host: host}))
	}
}

func TestATornCopyIsAnErrorAndNoCertificate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := t.TempDir()
	folder, err := certs.NewFolder(path, sealer(t, oldKey))
	require.NoError(t, err)
	require.NoError(t, folder.Put(b.certificate("shop.test")))
	require.NoError(t, os.Truncate(filepath.Join(path, "shop.test.json"), 100))
	_, err = folder.Get("shop.test")
	require.Error(t, err)
}
