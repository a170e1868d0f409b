package odoozip_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha1" //nolint:gosec // as Odoo does
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/odoozip"
)

const (
	manifest = `{"odoo_dump": "1", "db_name": "acme", "version": "19.0", "version_info": [19, 0, 0, "final", 0, ""], "major_version": "19.0", "pg_version": "17.0", "modules": {"base": "19.0.1.3", "odd": null}}`
	megabyte = 1 << 20
)

func fileName(content string) string {
	sum := sha1.Sum([]byte(content)) //nolint:gosec // as Odoo does
	name := hex.EncodeToString(sum[:])
	return name[:2] + "/" + name
}

// made is a zip as a test makes it.
type made struct {
	*testing.T
	out bytes.Buffer
	zip *zip.Writer
}

func makeZip(t *testing.T) *made {
	t.Helper()
	m := &made{T: t}
	m.zip = zip.NewWriter(&m.out)
	return m
}

// ordinary is one with all that Odoo wants.
func ordinary(t *testing.T) *made {
	t.Helper()
	m := makeZip(t)
	m.add("dump.sql", "SELECT 1;")
	m.add("filestore/"+fileName("a logo"), "a logo")
	m.add("filestore/checklist/"+fileName("a logo"), "")
	m.add("filestore/checklist/", "")
	m.add("manifest.json", manifest)
	return m
}

func (m *made) add(name, content string) {
	m.header(&zip.FileHeader{Name: name, Method: zip.Deflate}, content)
}

func (m *made) header(h *zip.FileHeader, content string) {
	m.Helper()
	w, err := m.zip.CreateHeader(h)
	require.NoError(m, err)
	_, err = io.WriteString(w, content)
	require.NoError(m, err)
}

func (m *made) bytes() []byte {
	m.Helper()
	require.NoError(m, m.zip.Close())
	return m.out.Bytes()
}

func open(content []byte, limit int64) (*odoozip.Archive, error) {
	return odoozip.Open(bytes.NewReader(content), int64(len(content)), limit)
}

// all reads everything that an archive holds.
func all(a *odoozip.Archive) (map[string]string, error) {
	got := map[string]string{}
	dump, err := a.Dump()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(dump)
	if err != nil {
		return nil, err
	}
	got["dump.sql"] = string(text)
	return got, a.EachFile(func(name string, size int64, _ time.Time, content io.Reader) error {
		text, err := io.ReadAll(content)
		if got[name] = string(text); err == nil && int64(len(text)) != size {
			err = fmt.Errorf("%s has %d bytes, not %d", name, len(text), size)
		}
		return err
	})
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := odoozip.NewWriter(&out, time.Date(2026, 3, 2, 2, 15, 0, 0, time.UTC))
	dump, err := w.Dump()
	require.NoError(t, err)
	_, err = io.WriteString(dump, "CREATE TABLE x ();\n")
	require.NoError(t, err)
	require.NoError(t, w.File(fileName("a logo"), time.Now(), strings.NewReader("a logo")))
	require.NoError(t, w.Close(odoozip.NewManifest("odoo_acme", "19.0.1.3", "17.6 (Debian 17.6-1)", map[string]string{"base": "19.0.1.3"})))

	a, err := open(out.Bytes(), megabyte)
	require.NoError(t, err)
	require.Equal(t, []int64{19, 6, 1}, []int64{a.DumpBytes, a.FileBytes, a.Files})
	got, err := all(a)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"dump.sql": "CREATE TABLE x ();\n", fileName("a logo"): "a logo"}, got)
	text, err := json.Marshal(a.Manifest)
	require.NoError(t, err)
	require.JSONEq(t, `{"odoo_dump": "1", "db_name": "odoo_acme", "version": "19.0", "version_info": [19, 0, 0, "final", 0, ""], "major_version": "19.0", "pg_version": "17.6", "modules": {"base": "19.0.1.3"}}`, string(text))
	require.Equal(t, "saas~18.2", odoozip.Major("saas~18.2.1.3"))
}

func TestAnOrdinaryBackupIsTaken(t *testing.T) {
	t.Parallel()
	a, err := open(ordinary(t).bytes(), megabyte)
	require.NoError(t, err)
	require.Equal(t, "19.0", a.Manifest.Major)
	require.EqualValues(t, 1, a.Files)
	got, err := all(a)
	require.NoError(t, err)
	require.Len(t, got, 2)
}

func TestStrangersZipsAreRefused(t *testing.T) {
	t.Parallel()
	link := &zip.FileHeader{Name: "filestore/" + fileName("x")}
	link.SetMode(fs.ModeSymlink | 0o777)
	for name, test := range map[string]struct {
		make func(m *made)
		want error
	}{
		"up":              {func(m *made) { m.add("filestore/../../etc/passwd", "root") }, odoozip.ErrStrangeEntry},
		"up, as a folder": {func(m *made) { m.add("filestore/../x/", "") }, odoozip.ErrStrangeEntry},
		"from the root":   {func(m *made) { m.add("/etc/passwd", "root") }, odoozip.ErrStrangeEntry},
		"backslashes":     {func(m *made) { m.add(`filestore\..\x`, "root") }, odoozip.ErrStrangeEntry},
		"another file":    {func(m *made) { m.add("evil.py", "import os") }, odoozip.ErrStrangeEntry},
		"wrong folder":    {func(m *made) { m.add("filestore/00/"+fileName("x")[3:], "x") }, odoozip.ErrStrangeEntry},
		"capitals":        {func(m *made) { m.add("filestore/AB/"+strings.Repeat("AB", 20), "x") }, odoozip.ErrStrangeEntry},
		"full checklist":  {func(m *made) { m.add("filestore/checklist/"+fileName("x"), "x") }, odoozip.ErrStrangeEntry},
		"twice":           {func(m *made) { m.add("dump.sql", "SELECT 2") }, odoozip.ErrStrangeEntry},
		"a link":          {func(m *made) { m.header(link, "/etc/passwd") }, odoozip.ErrStrangeEntry},
		"encrypted":       {func(m *made) { m.header(&zip.FileHeader{Name: "x", Flags: 1}, "x") }, odoozip.ErrStrangeEntry},
		"too large":       {func(m *made) { m.add("filestore/"+fileName("x"), strings.Repeat("x", 2*megabyte)) }, odoozip.ErrTooLarge},
		"a bomb":          {func(m *made) { m.add("filestore/"+fileName("x"), strings.Repeat("\x00", 100*megabyte)) }, odoozip.ErrBomb},
	} {
		m := ordinary(t)
		test.make(m)
		_, err := open(m.bytes(), megabyte)
		require.ErrorIs(t, err, test.want, name)
	}
	for name, files := range map[string]map[string]string{
		"nothing": {}, "no dump": {"manifest.json": manifest}, "no manifest": {"dump.sql": "SELECT 1"},
	} {
		m := makeZip(t)
		for file, content := range files {
			m.add(file, content)
		}
		_, err := open(m.bytes(), megabyte)
		require.ErrorIs(t, err, odoozip.ErrNotOdoos, name)
	}
	for _, text := range []string{"", "{", "[]", `{"odoo_dump": "2", "major_version": "19.0"}`, `{"odoo_dump": "1"}`} {
		m := makeZip(t)
		m.add("dump.sql", "SELECT 1")
		m.add("manifest.json", text)
		_, err := open(m.bytes(), megabyte)
		require.ErrorIs(t, err, odoozip.ErrManifest, text)
	}
	whole := ordinary(t).bytes()
	for _, content := range [][]byte{nil, []byte("SELECT 1;"), whole[:len(whole)/2], []byte("\x1f\x8b\x08\x00")} {
		_, err := open(content, megabyte)
		require.ErrorIs(t, err, odoozip.ErrNotZip)
	}
}

// Entries may lie one upon the other: a few bytes, unpacked a thousand times.
func TestOverlappingEntriesAreABomb(t *testing.T) {
	t.Parallel()
	m := makeZip(t)
	m.add("dump.sql", strings.Repeat("SELECT 1;\n", 1000))
	m.add("manifest.json", manifest)
	content := m.bytes()
	at := bytes.LastIndex(content, []byte("PK\x01\x02"))
	require.Positive(t, at)
	binary.LittleEndian.PutUint32(content[at+20:], uint32(len(content))) //nolint:gosec // small
	_, err := open(content, megabyte)
	require.ErrorIs(t, err, odoozip.ErrBomb)
}

// Sizes and checksums are what a stranger says.
func TestWhatIsReadIsWhatWasDeclared(t *testing.T) {
	t.Parallel()
	m := ordinary(t)
	m.add("filestore/"+fileName("what it should be"), "what it isn't")
	a, err := open(m.bytes(), megabyte)
	require.NoError(t, err)
	_, err = all(a)
	require.ErrorIs(t, err, odoozip.ErrAltered)

	content := ordinary(t).bytes()
	for name, field := range map[string]int{"checksum": 16, "size": 24} {
		altered := bytes.Clone(content)
		at := bytes.Index(altered, []byte("PK\x01\x02")) // dump.sql's entry in the table
		altered[at+field]--
		a, err := open(altered, megabyte)
		require.NoError(t, err, name)
		_, err = all(a)
		require.Error(t, err, name)
	}
}

// A table of contents that is too long is refused before it is in memory.
func TestManyEntriesAreRefused(t *testing.T) {
	t.Parallel()
	one := make([]byte, 46)
	copy(one, "PK\x01\x02")
	const n = 800_000
	content := bytes.Repeat(one, n)
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], n&0xffff)
	binary.LittleEndian.PutUint16(end[10:], n&0xffff)
	binary.LittleEndian.PutUint32(end[12:], uint32(len(content))) //nolint:gosec // it fits
	_, err := open(append(content, end...), megabyte)
	require.ErrorIs(t, err, odoozip.ErrTooManyFiles)
}
