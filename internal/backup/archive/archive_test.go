package archive_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // as Odoo does
	"encoding/hex"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/archive"
	"controlplane/internal/secrets"
)

const (
	oldKey = "an old key of more than thirty-two bytes"
	newKey = "a newer key of more than thirty-two bytes"
)

func keys(t *testing.T, ring string) *archive.Keys {
	t.Helper()
	k, err := archive.NewKeys(secrets.Secret(ring))
	require.NoError(t, err)
	return k
}

func write(t *testing.T, k *archive.Keys, content []byte) ([]byte, archive.Part) {
	t.Helper()
	var stored bytes.Buffer
	w, err := k.NewWriter(&stored)
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
	part, err := w.Close()
	require.NoError(t, err)
	return stored.Bytes(), part
}

func read(k *archive.Keys, stored io.Reader, want *archive.Part) ([]byte, error) {
	r, err := k.NewReader(stored, want)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func text(n int) []byte { return []byte(strings.Repeat("what a customer wrote, ", n/23+1)[:n]) }

func TestPart_ComesBackAsItWas(t *testing.T) {
	t.Parallel()
	k := keys(t, newKey)
	for _, n := range []int{0, 1, 100, 64 << 10, 64<<10 + 1, 3 << 20} {
		stored, part := write(t, k, text(n))
		require.EqualValues(t, n, part.Bytes)
		require.EqualValues(t, len(stored), part.StoredBytes)
		got, err := read(k, iotest.HalfReader(bytes.NewReader(stored)), &part)
		require.NoError(t, err)
		require.Equal(t, text(n), got)
		require.NotContains(t, string(stored), "customer")
	}
}

func TestPart_IsReadableWithAgeAndZstdAlone(t *testing.T) {
	t.Parallel()
	stored, _ := write(t, keys(t, newKey), text(1000))
	passphrase, err := archive.Passphrase(newKey)
	require.NoError(t, err)
	identity, err := age.NewScryptIdentity(passphrase.Reveal())
	require.NoError(t, err)
	plain, err := age.Decrypt(bytes.NewReader(stored), identity)
	require.NoError(t, err)
	d, err := zstd.NewReader(plain)
	require.NoError(t, err)
	defer d.Close()
	got, err := io.ReadAll(d)
	require.NoError(t, err)
	require.Equal(t, text(1000), got)
}

func TestKeys_AnyOfTheRingReads(t *testing.T) {
	t.Parallel()
	stored, part := write(t, keys(t, oldKey), text(1000))
	got, err := read(keys(t, newKey+", "+oldKey), bytes.NewReader(stored), &part)
	require.NoError(t, err)
	require.Equal(t, text(1000), got)
	_, err = read(keys(t, newKey), bytes.NewReader(stored), &part)
	require.ErrorIs(t, err, archive.ErrWrongKey)
	_, err = archive.NewKeys("too short")
	require.Error(t, err)
}

// Whatever byte is changed, and wherever it is cut off, or goes on: it is never taken for the backup.
func TestPart_DamageIsNoticed(t *testing.T) {
	t.Parallel()
	k := keys(t, newKey)
	content := make([]byte, 150<<10)
	_, _ = rand.Read(content)
	stored, part := write(t, k, content)
	refused := func(what string, damaged []byte) {
		_, err := read(k, bytes.NewReader(damaged), &part)
		require.Error(t, err, what)
		require.True(t, errors.Is(err, archive.ErrDamaged) || errors.Is(err, archive.ErrWrongKey), "%s: %v", what, err)
	}
	for range 60 {
		at := mathrand.IntN(len(stored)) //nolint:gosec // any will do
		damaged := bytes.Clone(stored)
		damaged[at] ^= 1 << mathrand.IntN(8) //nolint:gosec // any will do
		refused("a flipped bit", damaged)
		refused("a cut", stored[:at])
	}
	refused("nothing", nil)
	refused("more", append(bytes.Clone(stored), 'x'))
	other, _ := write(t, k, content[1:])
	refused("another part", other)
}

func TestReader_TellsTheStoresTroubleFromDamage(t *testing.T) {
	t.Parallel()
	k := keys(t, newKey)
	content := make([]byte, 300<<10)
	_, _ = rand.Read(content)
	stored, part := write(t, k, content)
	lost := errors.New("the line went dead")
	for _, at := range []int{10, 200 << 10} {
		_, err := read(k, io.MultiReader(bytes.NewReader(stored[:at]), iotest.ErrReader(lost)), &part)
		require.ErrorIs(t, err, lost)
		require.NotErrorIs(t, err, archive.ErrDamaged)
	}
}

func TestManifest_BelongsToItsPlace(t *testing.T) {
	t.Parallel()
	k := keys(t, newKey)
	m := archive.Manifest{Format: archive.Format, Prefix: "clients/acme/1/", Tenant: "acme", Database: archive.Database{Rows: map[string]int64{"res_partner": 7}}}
	var stored bytes.Buffer
	_, err := k.WriteManifest(&stored, m)
	require.NoError(t, err)
	got, err := k.ReadManifest(bytes.NewReader(stored.Bytes()), "clients/acme/1/")
	require.NoError(t, err)
	require.Equal(t, m, got)
	_, err = k.ReadManifest(bytes.NewReader(stored.Bytes()), "clients/other/1/")
	require.ErrorIs(t, err, archive.ErrDamaged)
	m.Format++
	stored.Reset()
	_, err = k.WriteManifest(&stored, m)
	require.NoError(t, err)
	_, err = k.ReadManifest(bytes.NewReader(stored.Bytes()), "clients/acme/1/")
	require.ErrorIs(t, err, archive.ErrNewer)
}

func odooName(content string) string {
	sum := sha1.Sum([]byte(content)) //nolint:gosec // as Odoo does
	name := hex.EncodeToString(sum[:])
	return name[:2] + "/" + name
}

// tarOf is what the engine gives of a directory called db.
func tarOf(t *testing.T, files map[string]string, others ...*tar.Header) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimSuffix("db/"+name, "/"), Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	for _, h := range others {
		require.NoError(t, w.WriteHeader(h))
	}
	require.NoError(t, w.Close())
	return &out
}

func TestFiles_AreCopiedByWhatTheyAreCalled(t *testing.T) {
	t.Parallel()
	k := keys(t, newKey)
	var stored bytes.Buffer
	w, err := k.NewFilesWriter(&stored)
	require.NoError(t, err)
	half := odooName("written in two goes")
	require.NoError(t, w.Add(tarOf(t, map[string]string{
		odooName("a logo"): "a logo", half: "written in", "checklist/" + odooName("a logo"): "", "../../etc/passwd": "root",
	}, &tar.Header{Typeflag: tar.TypeSymlink, Name: "db/" + odooName("a link"), Linkname: "/etc/passwd"}), ""))
	require.True(t, w.Has(odooName("a logo")))
	require.False(t, w.Has(half))
	require.True(t, w.Altered(half))
	require.NoError(t, w.Add(tarOf(t, map[string]string{"": "written in two goes"}), half))
	require.True(t, w.Has(half))
	files, err := w.Close()
	require.NoError(t, err)
	require.EqualValues(t, 2, files.Count)

	r, err := k.NewReader(&stored, &files.Part)
	require.NoError(t, err)
	defer r.Close()
	got := map[string]string{}
	require.NoError(t, archive.EachFile(r, func(h *tar.Header, content io.Reader) error {
		text, err := io.ReadAll(content)
		got[h.Name] = string(text)
		return err
	}))
	require.Equal(t, map[string]string{odooName("a logo"): "a logo", half: "written in two goes"}, got)
}

// Memory is the same for a hundred times as much.
func TestPart_TakesNoMemoryForItsSize(t *testing.T) {
	t.Parallel()
	k := keys(t, newKey)
	peak := func(n int64) uint64 {
		w, err := k.NewWriter(io.Discard)
		require.NoError(t, err)
		var most uint64
		block := make([]byte, 1<<20)
		_, _ = rand.Read(block)
		for range n >> 20 {
			_, err := w.Write(block)
			require.NoError(t, err)
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
		_, err = w.Close()
		require.NoError(t, err)
		return most
	}
	small, large := peak(4<<20), peak(256<<20)
	t.Logf("heap in use: %d MB for 4 MB, %d MB for 256 MB", small>>20, large>>20)
	require.Less(t, large, small+(64<<20))
}
