// Package odoozip is the format in which Odoo itself hands a database out and takes it in: a zip of dump.sql, filestore/ and
// manifest.json. It writes such zips as a stream, and reads those of strangers, of which nothing is believed: neither names nor sizes, nor
// that a dump is one. What dump.sql says is never run here.
package odoozip

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"controlplane/internal/errs"
)

// Names in the zip.
const (
	DumpName     = "dump.sql"
	ManifestName = "manifest.json"
	filesPrefix  = "filestore/"
	checklist    = "filestore/checklist/" // Odoo's own notes of what to look at; empty files
)

// manifestBytes bounds what is read of a manifest, which names modules and little else.
const manifestBytes = 1 << 20

// dumpFormat is the only one that Odoo has had.
const dumpFormat = "1"

// Manifest is Odoo's own.
type Manifest struct {
	Format      string            `json:"odoo_dump"`
	Database    string            `json:"db_name"`
	Version     string            `json:"version"`
	VersionInfo []any             `json:"version_info"`
	Major       string            `json:"major_version"` // "19.0"
	PostgreSQL  string            `json:"pg_version"`
	Modules     map[string]string `json:"modules"`
}

// NewManifest describes a database by the version of its module base, "19.0.1.3", and of its server, "17.6 (Debian …)".
func NewManifest(database, base, server string, modules map[string]string) Manifest {
	major := Major(base)
	server, _, _ = strings.Cut(server, " ")
	return Manifest{
		Format: dumpFormat, Database: database, Version: major, VersionInfo: versionInfo(major), Major: major, PostgreSQL: server, Modules: modules,
	}
}

// Major is the release of Odoo that a module's version begins with: "19.0" of "19.0.1.3", "saas~18.2" of "saas~18.2.1.3".
func Major(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return version
	}
	return parts[0] + "." + parts[1]
}

// versionInfo is as Odoo tells it: the first may be a text, as in "saas~18".
func versionInfo(major string) []any {
	first, second, _ := strings.Cut(major, ".")
	number := func(text string) any {
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
		return text
	}
	return []any{number(first), number(second), 0, "final", 0, ""}
}

// ErrManifest is for a manifest.json that isn't Odoo's.
var ErrManifest = errs.New(errs.Invalid, "import_manifest", "The manifest.json in the zip isn't one that Odoo writes.")

func decodeManifest(text []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return m, ErrManifest.WithCause(fmt.Errorf("decode the manifest: %w", err))
	}
	if m.Format != dumpFormat || m.Major == "" || len(m.Major) > 40 {
		return m, ErrManifest.WithCause(fmt.Errorf("it is of format %q and version %q", m.Format, m.Major))
	}
	return m, nil
}
