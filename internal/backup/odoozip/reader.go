package odoozip

import (
	"archive/zip"
	"crypto/sha1" //nolint:gosec // it is how Odoo names its files
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"
	"strings"
	"time"

	"controlplane/internal/errs"
)

// What is wrong with an uploaded zip; all are safe to show.
var (
	ErrNotZip       = errs.New(errs.Invalid, "import_not_a_zip", "This isn't a zip, or not all of one.")
	ErrNotOdoos     = errs.New(errs.Invalid, "import_not_odoos", "This isn't an Odoo backup in zip format: it must hold dump.sql, manifest.json and filestore/.")
	ErrStrangeEntry = errs.New(errs.Invalid, "import_strange_entry", "The zip holds something that isn't part of an Odoo backup.")
	ErrBomb         = errs.New(errs.TooLarge, "import_bomb", "The zip says of itself that it unpacks to much more than a backup would.")
	ErrTooLarge     = errs.New(errs.TooLarge, "import_too_large", "What the zip holds is larger than the client's plan allows.")
	ErrTooManyFiles = errs.New(errs.TooLarge, "import_too_many_files", "The zip holds more files than can be taken in at once; our staff can help.")
	ErrAltered      = errs.New(errs.Invalid, "import_damaged", "A file in the zip is damaged: it isn't what its name or its checksum says.")
)

const (
	// directoryBytes bounds the zip's table of contents, which is held in memory: more than 300,000 files.
	directoryBytes = 32 << 20
	// maxRatio is far above what a dump or a file of a real Odoo is compressed by.
	maxRatio = 200
	// freeBytes may be compressed as much as anybody likes.
	freeBytes = 64 << 20
)

// fileName is what Odoo calls a file: the SHA-1 of its content, in a directory of its first two digits.
var fileName = regexp.MustCompile(`^filestore/([0-9a-f]{2})/([0-9a-f]{40})$`) //nolint:gochecknoglobals // a constant expression

// Archive is an uploaded zip whose names and sizes are in order. Its contents are checked as they are read.
type Archive struct {
	Manifest  Manifest
	DumpBytes int64 // as declared, which reading enforces
	FileBytes int64
	Files     int64

	dump  *zip.File
	files []*zip.File
}

// Open looks at a zip of size bytes, whose contents together may be limit bytes. Errors: those of this file, and ErrManifest.
func Open(r io.ReaderAt, size, limit int64) (*Archive, error) {
	bounded := &directory{r: r, left: directoryBytes}
	in, err := zip.NewReader(bounded, size)
	switch {
	case errors.Is(err, errDirectory):
		return nil, ErrTooManyFiles.WithCause(err)
	case err != nil:
		return nil, ErrNotZip.WithCause(err)
	}
	bounded.left = math.MaxInt64 // what follows is bounded by each entry's size
	a := &Archive{}
	var manifest *zip.File
	seen := make(map[string]bool, len(in.File))
	for _, f := range in.File {
		if seen[f.Name] {
			return nil, ErrStrangeEntry.WithCause(fmt.Errorf("%q is there twice", f.Name))
		}
		seen[f.Name] = true
		if err := a.add(f, &manifest); err != nil {
			return nil, err
		}
	}
	if a.dump == nil || manifest == nil {
		return nil, ErrNotOdoos
	}
	if err := a.checkSizes(in.File, size, limit); err != nil {
		return nil, err
	}
	a.Manifest, err = readManifest(manifest)
	return a, err
}

// add takes an entry in, or leaves it out if it means nothing.
func (a *Archive) add(f *zip.File, manifest **zip.File) error {
	strange := func(why string) error { return ErrStrangeEntry.WithCause(fmt.Errorf("%s: %q", why, f.Name)) }
	switch {
	case f.Flags&1 != 0:
		return strange("it is encrypted")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return strange("it is packed in an unknown way")
	case isFolder(f.Name):
		return nil
	case !f.Mode().IsRegular():
		return strange("it isn't a file")
	case f.Name == DumpName:
		a.dump = f
		a.DumpBytes = int64(f.UncompressedSize64) //nolint:gosec // checkSizes looks at it
	case f.Name == ManifestName:
		*manifest = f
	case strings.HasPrefix(f.Name, checklist) && f.UncompressedSize64 == 0:
	default:
		found := fileName.FindStringSubmatch(f.Name)
		if found == nil || !strings.HasPrefix(found[2], found[1]) {
			return strange("it isn't called like a file of Odoo's")
		}
		a.files = append(a.files, f)
		a.Files++
	}
	return nil
}

// isFolder reports whether the name is that of one of the folders that a backup has. Folders are made by us alone.
func isFolder(name string) bool {
	return name == filesPrefix || name == checklist ||
		(strings.HasPrefix(name, filesPrefix) && strings.HasSuffix(name, "/") && path.Clean(name)+"/" == name)
}

// checkSizes refuses what would unpack to too much. Entries that lie one upon the other, so that the same bytes are unpacked again and again,
// are together larger than the zip.
func (a *Archive) checkSizes(entries []*zip.File, size, limit int64) error {
	var packed, plain uint64
	for _, f := range entries {
		if f.UncompressedSize64 > 1<<50 || f.CompressedSize64 > 1<<50 {
			return ErrBomb
		}
		packed += f.CompressedSize64
		plain += f.UncompressedSize64
		if packed > uint64(size) || (plain > freeBytes && plain/maxRatio > uint64(size)) { //nolint:gosec // a file's size
			return ErrBomb.WithCause(fmt.Errorf("%d bytes hold %d, which unpack to %d", size, packed, plain))
		}
	}
	for _, f := range a.files {
		a.FileBytes += int64(f.UncompressedSize64) //nolint:gosec // looked at above
	}
	if a.FileBytes+a.DumpBytes > limit {
		return ErrTooLarge.WithCause(fmt.Errorf("%d bytes of %d", a.FileBytes+a.DumpBytes, limit))
	}
	return nil
}

func readManifest(f *zip.File) (Manifest, error) {
	in, err := open(f)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { _ = in.Close() }()
	text, err := io.ReadAll(io.LimitReader(in, manifestBytes))
	if err != nil {
		return Manifest{}, err
	}
	return decodeManifest(text)
}

// Dump returns the SQL. Errors, also of reading: ErrAltered.
func (a *Archive) Dump() (io.ReadCloser, error) { return open(a.dump) }

// EachFile calls fn with each file of the filestore, whose name is like "ab/abcd…", and looks afterwards whether it was what its name says: fn
// must read it to its end. Errors: ErrAltered, and fn's.
func (a *Archive) EachFile(fn func(name string, size int64, modified time.Time, content io.Reader) error) error {
	for _, f := range a.files {
		if err := eachFile(f, fn); err != nil {
			return err
		}
	}
	return nil
}

func eachFile(f *zip.File, fn func(name string, size int64, modified time.Time, content io.Reader) error) error {
	in, err := open(f)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	sum := sha1.New() //nolint:gosec // see the import
	name := strings.TrimPrefix(f.Name, filesPrefix)
	if err := fn(name, int64(f.UncompressedSize64), f.Modified, io.TeeReader(in, sum)); err != nil { //nolint:gosec // checkSizes has looked at it
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != path.Base(name) {
		return ErrAltered.WithCause(fmt.Errorf("%s isn't what its name says", name))
	}
	return nil
}

// open opens an entry, of which no more comes than it declares.
func open(f *zip.File) (io.ReadCloser, error) {
	in, err := f.Open()
	if err != nil {
		return nil, ErrAltered.WithCause(fmt.Errorf("open %s: %w", f.Name, err))
	}
	return &entry{ReadCloser: in, name: f.Name, left: f.UncompressedSize64}, nil
}

// entry is what is read of one entry.
type entry struct {
	io.ReadCloser

	name string
	left uint64
}

// Read reads on, and doesn't go beyond what was declared.
func (e *entry) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if uint64(n) > e.left { //nolint:gosec // never negative
		return 0, ErrBomb.WithCause(fmt.Errorf("%s is larger than it says", e.name))
	}
	e.left -= uint64(n) //nolint:gosec // likewise
	if err != nil && !errors.Is(err, io.EOF) {
		err = ErrAltered.WithCause(fmt.Errorf("read %s: %w", e.name, err))
	}
	return n, err
}

// directory bounds what is read of a zip's table of contents: how many entries it has nobody knows before they are all in memory.
type directory struct {
	r    io.ReaderAt
	left int64
}

var errDirectory = errors.New("the table of contents is too large")

// ReadAt reads as long as it may.
func (d *directory) ReadAt(p []byte, at int64) (int, error) {
	n, err := d.r.ReadAt(p, at)
	if d.left -= int64(n); d.left < 0 {
		return 0, errDirectory
	}
	return n, err
}
