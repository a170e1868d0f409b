package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Names of a backup's objects, below its prefix. The manifest is written last: without one there is no backup.
const (
	DatabaseObject  = "database.dump.zst.age"
	FilestoreObject = "filestore.tar.zst.age"
	ManifestObject  = "manifest.json.zst.age"
)

// Format is the version of the format that is written.
const Format = 1

// manifestBytes bounds what is read of a manifest, which fits in a few kilobytes.
const manifestBytes = 4 << 20

// ErrNewer is returned for a backup that a later release made.
var ErrNewer = errors.New("the backup was made by a newer release of this program")

// Manifest says what a backup holds and what it must turn out to be. Only who has the key can make one.
type Manifest struct {
	Format    int       `json:"format"`
	Prefix    string    `json:"prefix"` // where it was written, so that no other backup can be put in its place
	Kind      string    `json:"kind"`
	TakenAt   time.Time `json:"taken_at"` // the moment of the database's snapshot
	TenantID  int64     `json:"tenant_id"`
	Tenant    string    `json:"tenant"`
	Domain    string    `json:"domain"`
	PlanID    string    `json:"plan"`
	Database  Database  `json:"database"`
	Dump      Part      `json:"dump"`
	Filestore *Files    `json:"filestore,omitempty"` // nil: the database alone
}

// Database is what the snapshot was of.
type Database struct {
	Name          string            `json:"name"`
	UUID          string            `json:"uuid"` // database.uuid of Odoo
	ServerVersion string            `json:"server_version"`
	DumpVersion   string            `json:"dump_version"` // what pg_dump calls itself
	OdooVersion   string            `json:"odoo_version"` // of the module base
	Modules       map[string]string `json:"modules"`      // installed, with their versions
	Rows          map[string]int64  `json:"rows"`         // of key tables
	Bytes         int64             `json:"bytes"`        // on the server's disk, indexes and all; 0: not known
}

// DumpBytes is about how large the dump is when nothing of it is compressed: half of an Odoo's database is indexes, which a dump only names.
func (m Manifest) DumpBytes() int64 { return max(m.Dump.Bytes, m.Database.Bytes/2) }

// Files is the filestore of the snapshot.
type Files struct {
	Part
	Count int64 `json:"count"`
	Size  int64 `json:"size"` // of the files themselves
}

// WriteManifest writes m as a part of its own.
func (k *Keys) WriteManifest(w io.Writer, m Manifest) (Part, error) {
	out, err := k.NewWriter(w)
	if err != nil {
		return Part{}, err
	}
	if err := json.NewEncoder(out).Encode(m); err != nil {
		out.Discard()
		return Part{}, fmt.Errorf("write the manifest: %w", err)
	}
	return out.Close()
}

// ReadManifest reads the manifest of the backup at prefix. Errors: ErrWrongKey, ErrDamaged, ErrNewer.
func (k *Keys) ReadManifest(r io.Reader, prefix string) (Manifest, error) {
	in, err := k.NewReader(r, nil)
	if err != nil {
		return Manifest{}, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, manifestBytes))
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&m); err != nil {
		return Manifest{}, ErrDamaged.WithCause(fmt.Errorf("decode the manifest: %w", err))
	}
	switch {
	case m.Format > Format:
		return m, ErrNewer
	case m.Prefix != prefix:
		return m, ErrDamaged.WithCause(fmt.Errorf("the manifest is that of %s", m.Prefix))
	}
	return m, nil
}
