package edge

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	rotateAt    = 256 << 20
	rotatedName = "20060102T150405.000"
)

// rotated is a file that a new one takes the place of each day, or when it is large; old ones are compressed, and removed when their time
// has come. Another process may write to the same file, as during a restart, or rotate it. It is for one goroutine.
type rotated struct {
	path    string
	keep    time.Duration
	largest int64
	now     func() time.Time
	broken  bool

	file   *os.File
	out    *bufio.Writer
	opened time.Time
}

// write adds whole lines.
func (f *rotated) write(lines []byte) error {
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	// A line must not be torn between two writes: another process may write in between.
	if f.out.Available() < len(lines) {
		if err := f.out.Flush(); err != nil {
			return errors.Join(err, f.drop())
		}
	}
	if _, err := f.out.Write(lines); err != nil {
		return errors.Join(err, f.drop())
	}
	return nil
}

// flush writes what is waiting, and sees whether it is time for a new file.
func (f *rotated) flush() error {
	if f.file == nil {
		return nil
	}
	if err := f.out.Flush(); err != nil {
		return errors.Join(err, f.drop())
	}
	ours, err := f.file.Stat()
	if err != nil {
		return errors.Join(err, f.drop())
	}
	there, err := os.Stat(f.path)
	if err != nil || !os.SameFile(ours, there) {
		return f.drop() // somebody else has rotated it
	}
	if ours.Size() == 0 || ours.Size() < f.largest && f.opened.Format(time.DateOnly) == f.now().Format(time.DateOnly) {
		return nil
	}
	return f.rotate()
}

func (f *rotated) close() error {
	if f.file == nil {
		return nil
	}
	return errors.Join(f.out.Flush(), f.drop())
}

// open goes on with a file that is there: its day counts, so that restarts don't keep it from being rotated.
func (f *rotated) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640) //nolint:gosec // the operator's choice; a group may read logs
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.out, f.opened = file, bufio.NewWriterSize(file, 64<<10), f.now()
	if info.Size() > 0 {
		f.opened = info.ModTime()
	}
	return nil
}

func (f *rotated) drop() error {
	file := f.file
	f.file, f.out = nil, nil
	return file.Close()
}

func (f *rotated) rotate() error {
	if err := f.drop(); err != nil {
		return err
	}
	old := f.path + "." + f.now().UTC().Format(rotatedName)
	if err := os.Rename(f.path, old); err != nil {
		return err
	}
	return f.tidy(filepath.Base(old))
}

// tidy compresses what was rotated before the latest, which another process may still write to, and removes what is too old.
func (f *rotated) tidy(latest string) error {
	dir, base := filepath.Dir(f.path), filepath.Base(f.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var problems []error
	for _, e := range entries {
		stamp, ours := strings.CutPrefix(e.Name(), base+".")
		if !ours || e.Name() == latest {
			continue
		}
		at, err := time.Parse(rotatedName, strings.TrimSuffix(stamp, ".gz"))
		if err != nil {
			continue // not one of ours
		}
		name := filepath.Join(dir, e.Name())
		switch {
		case f.now().Sub(at) > f.keep:
			problems = append(problems, gone(os.Remove(name)))
		case !strings.HasSuffix(name, ".gz"):
			problems = append(problems, compress(name))
		}
	}
	return errors.Join(problems...)
}

// compress replaces a file by its compressed self. A crash leaves the file, and perhaps a part of the other, which is then made again.
func compress(name string) error {
	in, err := os.Open(name) //nolint:gosec // our own log
	if err != nil {
		return gone(err)
	}
	defer func() { _ = in.Close() }()                                                   // only read
	out, err := os.OpenFile(name+".gz.part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640) //nolint:gosec // the same
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(out)
	_, err = io.Copy(zip, in)
	if err = errors.Join(err, zip.Close(), out.Close()); err != nil {
		return fmt.Errorf("compress %s: %w", filepath.Base(name), err)
	}
	if err := os.Rename(name+".gz.part", name+".gz"); err != nil {
		return err
	}
	return gone(os.Remove(name))
}

// gone makes nothing of a file that another process was faster with.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
