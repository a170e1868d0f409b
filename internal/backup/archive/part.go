package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"controlplane/internal/errs"
)

// What reading finds; all are safe to show.
var (
	ErrWrongKey = errs.New(errs.Internal, "backup_key_wrong", "The backup was encrypted with a key that we don't have.")
	ErrDamaged  = errs.New(errs.Internal, "backup_damaged", "The backup is damaged: what is stored isn't what was written.")
)

// windowBytes bounds what compression remembers, in both directions: a backup must not need more memory the larger it is.
const windowBytes = 1 << 20

// Part is what one stream of a backup was when it was written.
type Part struct {
	Object       string `json:"object,omitempty"` // its name below the backup's prefix
	Bytes        int64  `json:"bytes"`
	SHA256       string `json:"sha256"`
	StoredBytes  int64  `json:"stored_bytes"` // compressed and encrypted, as the store has it
	StoredSHA256 string `json:"stored_sha256"`
}

// tally hashes and counts what passes.
type tally struct {
	hash hash.Hash
	n    int64
}

func newTally() *tally { return &tally{hash: sha256.New()} }

// Write never fails.
func (t *tally) Write(p []byte) (int, error) {
	t.n += int64(len(p))
	return t.hash.Write(p)
}

func (t *tally) sum() string { return hex.EncodeToString(t.hash.Sum(nil)) }

// Writer compresses and encrypts what is written to it.
type Writer struct {
	plain, stored *tally
	zstd          *zstd.Encoder
	age           io.WriteCloser
}

// NewWriter begins a part on w.
func (k *Keys) NewWriter(w io.Writer) (*Writer, error) {
	out := &Writer{plain: newTally(), stored: newTally()}
	var err error
	if out.age, err = k.encrypt(io.MultiWriter(w, out.stored)); err != nil {
		return nil, err
	}
	out.zstd, err = zstd.NewWriter(out.age, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(windowBytes), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("begin to compress: %w", err)
	}
	return out, nil
}

// Write adds to the part.
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.zstd.Write(p)
	_, _ = w.plain.Write(p[:n])
	return n, err
}

// Close ends the part and says what it was. Without it the part can't be read.
func (w *Writer) Close() (Part, error) {
	if err := w.zstd.Close(); err != nil {
		return Part{}, fmt.Errorf("end the compression: %w", err)
	}
	if err := w.age.Close(); err != nil {
		return Part{}, fmt.Errorf("end the encryption: %w", err)
	}
	return Part{Bytes: w.plain.n, SHA256: w.plain.sum(), StoredBytes: w.stored.n, StoredSHA256: w.stored.sum()}, nil
}

// Discard gives up a part that isn't wanted any more, so that nothing of it stays in memory.
func (w *Writer) Discard() { w.zstd.Reset(nil) }

// Reader gives back a part. It reports io.EOF only when all of it is what was written; up to then nothing that it gave may be trusted.
type Reader struct {
	want          *Part // nil: whatever it is
	source        *source
	plain, stored *tally
	zstd          *zstd.Decoder
}

// source remembers the error of the stream that is read, which what reads it may hide.
type source struct {
	r   io.Reader
	err error
}

// Read reads from the store.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// NewReader reads the part that want describes from r. Errors, here and of Read: ErrWrongKey, ErrDamaged, and r's own.
func (k *Keys) NewReader(r io.Reader, want *Part) (*Reader, error) {
	out := &Reader{want: want, source: &source{r: r}, plain: newTally(), stored: newTally()}
	plain, err := k.decrypt(io.TeeReader(out.source, out.stored))
	if err != nil {
		return nil, out.blame(err)
	}
	out.zstd, err = zstd.NewReader(plain, zstd.WithDecoderMaxWindow(2*windowBytes), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, out.blame(err)
	}
	return out, nil
}

// Read reads the plain content.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.zstd.Read(p)
	_, _ = r.plain.Write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, r.blame(err)
	case r.want != nil && r.found() != *r.want:
		return n, ErrDamaged.WithCause(fmt.Errorf("%d bytes of hash %s, not %d of %s", r.plain.n, r.plain.sum(), r.want.Bytes, r.want.SHA256))
	}
	return n, io.EOF
}

// Close frees what decompression took; it doesn't close what is read from.
func (r *Reader) Close() { r.zstd.Close() }

func (r *Reader) found() Part {
	found := Part{Bytes: r.plain.n, SHA256: r.plain.sum(), StoredBytes: r.stored.n, StoredSHA256: r.stored.sum()}
	if r.want != nil {
		found.Object = r.want.Object
	}
	return found
}

// blame tells trouble with the store from what the store gave back wrong.
func (r *Reader) blame(err error) error {
	var known *errs.Error
	switch {
	case r.source.err != nil:
		return fmt.Errorf("read the backup: %w", r.source.err)
	case errors.As(err, &known):
		return err
	}
	return ErrDamaged.WithCause(err)
}
