package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/odoozip"
	"controlplane/internal/secrets"
)

// Printer makes plain SQL of a dump in PostgreSQL's custom format, which it reads to its end.
type Printer interface {
	Print(ctx context.Context, a Access, dump io.Reader, w io.Writer) error
}

// Packer makes Odoo's own zips of backups, for downloads.
type Packer struct {
	*Worker
	printer Printer
}

// NewPacker adds downloads to what w does.
func NewPacker(w *Worker, printer Printer) (*Packer, error) {
	if w == nil || printer == nil {
		return nil, errors.New("downloads lack a dependency")
	}
	return &Packer{Worker: w, printer: printer}, nil
}

// Zip writes a backup as Odoo itself would, as it comes: nothing of it is kept here. Only a zip that ends well is the backup; what was written
// before an error is none. Until something is written nothing but an error has come of it. Of two files of one name the later one counts, as
// for all who unpack zips.
func (p *Packer) Zip(ctx context.Context, d Download, w io.Writer) error {
	b := d.Backup
	m, err := p.readManifest(ctx, b.KeyPrefix)
	if err != nil {
		return err
	}
	if d.neutral != nil {
		m.Dump = *d.neutral
	}
	out := odoozip.NewWriter(w, m.TakenAt)
	dump, err := out.Dump()
	if err != nil {
		return err
	}
	access := Access{TenantID: b.TenantID, Database: m.Database.Name, Tool: helperName(b, "zip_"+secrets.RandomHex(4))}
	err = p.read(ctx, b.KeyPrefix+m.Dump.Object, m.Dump, func(content io.Reader) error { return p.printer.Print(ctx, access, content, dump) })
	if err != nil {
		return fmt.Errorf("print the dump: %w", err)
	}
	if m.Filestore != nil {
		err = p.read(ctx, b.KeyPrefix+m.Filestore.Object, m.Filestore.Part, func(content io.Reader) error {
			return archive.EachFile(content, func(h *tar.Header, file io.Reader) error { return out.File(h.Name, h.ModTime, file) })
		})
		if err != nil {
			return fmt.Errorf("add the files: %w", err)
		}
	}
	return out.Close(odoozip.NewManifest(m.Database.Name, m.Database.OdooVersion, m.Database.ServerVersion, m.Database.Modules))
}
