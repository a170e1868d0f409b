package archive

import (
	"archive/tar"
	"crypto/sha1" //nolint:gosec // it is how Odoo names its files, and protects nothing here
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"time"
)

// fileName is what Odoo calls a file of its filestore: the SHA-1 of its content, in a directory of its first two digits.
var fileName = regexp.MustCompile(`^([0-9a-f]{2})/([0-9a-f]{40})$`) //nolint:gochecknoglobals // a constant expression

// ValidFileName reports whether name is one that Odoo gives, which says what is in the file too.
func ValidFileName(name string) bool {
	found := fileName.FindStringSubmatch(name)
	return found != nil && strings.HasPrefix(found[2], found[1])
}

// FilesWriter makes the filestore's part of a backup: an ordinary tar of files like "ab/abcd…".
type FilesWriter struct {
	part    *Writer
	tar     *tar.Writer
	have    map[[sha1.Size]byte]struct{} // names, hashed: there may be a million
	altered map[string]struct{}          // copied, but not what their names say
	size    int64
	count   int64
}

// NewFilesWriter begins the part on w.
func (k *Keys) NewFilesWriter(w io.Writer) (*FilesWriter, error) {
	part, err := k.NewWriter(w)
	if err != nil {
		return nil, err
	}
	return &FilesWriter{part: part, tar: tar.NewWriter(part), have: map[[sha1.Size]byte]struct{}{}, altered: map[string]struct{}{}}, nil
}

func nameKey(name string) [sha1.Size]byte { return sha1.Sum([]byte(name)) } //nolint:gosec // a short name for a name

// Has reports whether the file was added and is what its name says.
func (f *FilesWriter) Has(name string) bool {
	_, ok := f.have[nameKey(name)]
	return ok
}

// Altered reports whether a file of that name was added that isn't what its name says: it was being written, or is damaged.
func (f *FilesWriter) Altered(name string) bool {
	_, ok := f.altered[name]
	return ok
}

// Add adds what an archive of a filestore, or of part of one, holds. Everything that Odoo wouldn't call a file is left out. root is what the
// archive's names begin with: the path below the filestore of the directory, or file, that was archived.
func (f *FilesWriter) Add(archive io.Reader, root string) error {
	in := tar.NewReader(archive)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the filestore: %w", err)
		}
		_, below, _ := strings.Cut(path.Clean(header.Name), "/")
		name := path.Join(root, below)
		if header.Typeflag != tar.TypeReg || !ValidFileName(name) || f.Has(name) {
			continue
		}
		if err := f.add(name, header, in); err != nil {
			return fmt.Errorf("copy %s of the filestore: %w", name, err)
		}
	}
}

// AddFile adds one file that is called as Odoo does.
func (f *FilesWriter) AddFile(name string, size int64, modified time.Time, content io.Reader) error {
	if !ValidFileName(name) {
		return fmt.Errorf("%q isn't the name of a file of Odoo's", name)
	}
	if err := f.add(name, &tar.Header{Size: size, ModTime: modified}, content); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	return nil
}

func (f *FilesWriter) add(name string, from *tar.Header, content io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: from.Size, ModTime: from.ModTime}
	if err := f.tar.WriteHeader(header); err != nil {
		return err
	}
	sum := sha1.New() //nolint:gosec // see the import
	n, err := io.Copy(io.MultiWriter(f.tar, sum), content)
	if err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != path.Base(name) {
		f.altered[name] = struct{}{}
		return nil
	}
	delete(f.altered, name)
	f.have[nameKey(name)] = struct{}{}
	f.count++
	f.size += n
	return nil
}

// Close ends the part.
func (f *FilesWriter) Close() (Files, error) {
	if err := f.tar.Close(); err != nil {
		return Files{}, fmt.Errorf("end the filestore's archive: %w", err)
	}
	part, err := f.part.Close()
	if err != nil {
		return Files{}, err
	}
	return Files{Part: part, Count: f.count, Size: f.size}, nil
}

// Discard gives up the part.
func (f *FilesWriter) Discard() { f.part.Discard() }

// EachFile calls fn for each file of a filestore's part, in the order in which they were added: of two of one name the later one counts.
// Errors: ErrDamaged for a name that we don't write, fn's, and the reader's.
func EachFile(part io.Reader, fn func(header *tar.Header, content io.Reader) error) error {
	in := tar.NewReader(part)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg || !ValidFileName(header.Name) {
			return ErrDamaged.WithCause(fmt.Errorf("the filestore's archive holds %q", header.Name))
		}
		if err := fn(header, in); err != nil {
			return err
		}
	}
	// The archive ends before its stream does, and only the stream's end says that all of it was right.
	if _, err := io.Copy(io.Discard, part); err != nil {
		return err
	}
	return nil
}
