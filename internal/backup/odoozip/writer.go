package odoozip

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/flate"
)

// Writer makes a zip that Odoo takes in, as it comes: nothing of it is kept but the names.
type Writer struct {
	zip *zip.Writer
	at  time.Time
}

// NewWriter begins a zip whose dump and manifest bear the time at.
func NewWriter(w io.Writer, at time.Time) *Writer {
	out := &Writer{zip: zip.NewWriter(w), at: at}
	out.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	return out
}

// Dump begins dump.sql; it ends with the next call of another method.
func (w *Writer) Dump() (io.Writer, error) { return w.create(DumpName, w.at) }

// File adds a file of the filestore, whose name is like "ab/abcd…".
func (w *Writer) File(name string, modified time.Time, content io.Reader) error {
	out, err := w.create(filesPrefix+name, modified)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		return fmt.Errorf("add file %s: %w", name, err)
	}
	return nil
}

// Close adds the manifest and ends the zip. Without it nobody takes the zip for whole.
func (w *Writer) Close(m Manifest) error {
	out, err := w.create(ManifestName, w.at)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "    ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	if err := w.zip.Close(); err != nil {
		return fmt.Errorf("end the zip: %w", err)
	}
	return nil
}

func (w *Writer) create(name string, modified time.Time) (io.Writer, error) {
	header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: modified.UTC()}
	header.SetMode(0o600)
	out, err := w.zip.CreateHeader(header)
	if err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	return out, nil
}
