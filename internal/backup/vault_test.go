package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/s3test"
	"controlplane/internal/backup/store"
)

// strongroom is a store and a key, and nothing else.
type strongroom struct {
	*testing.T
	server *s3test.Server
	store  *store.Store
	keys   *archive.Keys
	vault  *backup.Vault
}

func openStrongroom(t *testing.T) *strongroom {
	t.Helper()
	s := &strongroom{T: t, server: s3test.New(t)}
	var err error
	s.store, err = store.New(store.Options{Endpoint: s.server.Endpoint, Bucket: s.server.Bucket, AccessKey: s.server.AccessKey, SecretKey: s.server.SecretKey})
	require.NoError(t, err)
	s.keys, err = archive.NewKeys(backupKey)
	require.NoError(t, err)
	s.vault = backup.NewVault(s.store, s.keys, "clients/")
	return s
}

func (s *strongroom) put(key string, content []byte) {
	s.Helper()
	require.NoError(s, s.store.Put(s.Context(), key, bytes.NewReader(content), int64(len(content))))
}

const dumpText = "what pg_dump wrote, of which nobody may read a word"

// keep stores a whole backup, as a worker would, with one file.
func (s *strongroom) keep(name string, at time.Time) string {
	s.Helper()
	m := archive.Manifest{Format: archive.Format, Prefix: "clients/" + name + "/", Kind: "daily", Tenant: "acme", TakenAt: at}
	var dump, files, manifest bytes.Buffer
	w, err := s.keys.NewWriter(&dump)
	require.NoError(s, err)
	_, err = io.WriteString(w, dumpText)
	require.NoError(s, err)
	m.Dump, err = w.Close()
	require.NoError(s, err)
	m.Dump.Object = "0a1b2c3d." + archive.DatabaseObject
	fw, err := s.keys.NewFilesWriter(&files)
	require.NoError(s, err)
	require.NoError(s, fw.Add(tarOf(s.T, "filestore/"+backuptest.FileName(logo), logo), ""))
	stored, err := fw.Close()
	require.NoError(s, err)
	stored.Object = "0a1b2c3d." + archive.FilestoreObject
	m.Filestore = &stored
	_, err = s.keys.WriteManifest(&manifest, m)
	require.NoError(s, err)
	s.put(m.Prefix+m.Dump.Object, dump.Bytes())
	s.put(m.Prefix+stored.Object, files.Bytes())
	s.put(m.Prefix+archive.ManifestObject, manifest.Bytes())
	return name
}

func tarOf(t *testing.T, name, content string) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := io.WriteString(w, content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return &out
}

func TestVault(t *testing.T) {
	t.Parallel()
	s := openStrongroom(t)
	at := time.Date(2026, 3, 2, 2, 15, 0, 0, time.UTC)
	first := s.keep("acme/acme_daily_20260302_021500_0a1b2c3d", at)
	second := s.keep("my-shop/my-shop_manual_20260303_111111_ffffffff", at.Add(time.Hour))
	s.put("clients/acme/acme_hourly_20260301_020000_00000000/database.dump.zst.age", []byte("cut short"))
	s.put("clients/stray", []byte("not ours"))

	list, err := s.vault.List(t.Context(), "")
	require.NoError(t, err)
	var told []string
	for _, b := range list {
		told = append(told, fmt.Sprint(b.Client, " ", b.Kind, " ", b.At.Format(time.DateTime), " ", b.Complete))
		require.Positive(t, b.Bytes)
	}
	require.Equal(t, []string{"my-shop manual 2026-03-03 11:11:11 true", "acme daily 2026-03-02 02:15:00 true", "acme hourly 2026-03-01 02:00:00 false"}, told)
	list, err = s.vault.List(t.Context(), "my-shop")
	require.NoError(t, err)
	require.Equal(t, []string{second}, []string{list[0].Name})

	m, err := s.vault.Verify(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, at, m.TakenAt.UTC())
	for _, name := range []string{"acme/acme_hourly_20260301_020000_00000000", "acme", "", "../clients/acme"} {
		_, err = s.vault.Verify(t.Context(), name)
		require.ErrorIs(t, err, backup.ErrNotStored, name)
	}

	dir := filepath.Join(t.TempDir(), "out")
	_, err = s.vault.Fetch(t.Context(), first, dir)
	require.NoError(t, err)
	for name, want := range map[string]string{"database.dump": dumpText, "filestore/" + backuptest.FileName(logo): logo} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.FileExists(t, filepath.Join(dir, "manifest.json"))
	_, err = s.vault.Fetch(t.Context(), first, dir)
	require.ErrorIs(t, err, os.ErrExist, "it overwrites nothing")
	require.FileExists(t, filepath.Join(dir, "database.dump"))
}

// One flipped bit, or another key, and nothing is given out.
func TestVault_GivesOutOnlyWhatIsRight(t *testing.T) {
	t.Parallel()
	s := openStrongroom(t)
	name := s.keep("acme/acme_daily_20260302_021500_0a1b2c3d", time.Date(2026, 3, 2, 2, 15, 0, 0, time.UTC))
	other, err := archive.NewKeys("another key for backups in tests that is long enough")
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "out")
	_, err = backup.NewVault(s.store, other, "clients/").Fetch(t.Context(), name, dir)
	require.ErrorIs(t, err, archive.ErrWrongKey)
	require.NoDirExists(t, dir)

	stored, err := filepath.Glob(filepath.Join(s.server.Dir, "clients", name, "*"+archive.FilestoreObject))
	require.NoError(t, err)
	require.Len(t, stored, 1)
	content, err := os.ReadFile(stored[0])
	require.NoError(t, err)
	content[len(content)-20] ^= 1
	require.NoError(t, os.WriteFile(stored[0], content, 0o600))
	_, err = s.vault.Verify(t.Context(), name)
	require.ErrorIs(t, err, archive.ErrDamaged)
	_, err = s.vault.Fetch(t.Context(), name, dir)
	require.ErrorIs(t, err, archive.ErrDamaged)
	require.NoDirExists(t, dir)
}

func TestVault_KeepsWhatIsNoClients(t *testing.T) {
	t.Parallel()
	s := openStrongroom(t)
	now := time.Date(2026, 3, 2, 2, 15, 0, 0, time.UTC)
	name, err := s.vault.Keep(t.Context(), "_platform", now, func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, dumpText)
		return err
	})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(name, "_platform/_platform_daily_20260302_021500_"), name)
	list, err := s.vault.List(t.Context(), "_platform")
	require.NoError(t, err)
	require.Equal(t, []any{1, backup.Daily, now, true}, []any{len(list), list[0].Kind, list[0].At, list[0].Complete})
	_, err = s.vault.Keep(t.Context(), "_platform", now, func(context.Context, io.Writer) error { return errors.New("the server is away") })
	require.ErrorContains(t, err, "the server is away")
	list, err = s.vault.List(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, list, 1, "nothing is left of it")
	require.NoError(t, s.vault.Remove(t.Context(), name))
	require.NoError(t, s.vault.Remove(t.Context(), name))
	require.ErrorIs(t, s.vault.Remove(t.Context(), "_platform"), backup.ErrNotStored)
	list, err = s.vault.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, list)
}
