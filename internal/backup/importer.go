package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/odoozip"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Scratch has databases for foreign dumps to be loaded into. Each belongs to a role of its own, which may do nothing else. What isn't there
// is removed.
type Scratch interface {
	// BeginScratch makes an empty one in the place of what another attempt for the subject left, and returns its name, and its role's,
	// whose queries may write so much beside their tables.
	BeginScratch(ctx context.Context, subject string, password secrets.Secret, tempFilesMB int) (name string, err error)
	RemoveScratch(ctx context.Context, subject string) error
	// SweepScratch removes those of subjects that aren't live, and returns how many.
	SweepScratch(ctx context.Context, live func(ctx context.Context, subject string) (bool, error)) (int, error)
}

// Loader runs a plain dump as the role that owns the database, until that is larger than most bytes. Errors: ErrImportSQL, those of
// odoozip, ErrDatabaseUnreachable.
type Loader interface {
	Load(ctx context.Context, a Access, script io.Reader, most int64) error
}

// Importer is what a Worker does with uploads: a backup in our own format is made of each, read back, and restored like any other.
type Importer struct {
	*Worker
	scratch Scratch
	loader  Loader
}

// NewImporter adds imports to what w does.
func NewImporter(w *Worker, scratch Scratch, loader Loader) (*Importer, error) {
	if w == nil || scratch == nil || loader == nil {
		return nil, errors.New("the importer lacks a dependency")
	}
	return &Importer{Worker: w, scratch: scratch, loader: loader}, nil
}

// Register makes the workflow known to the operations engine; call it before the engine starts.
func (i *Importer) Register() {
	i.ops.Register(i.ImportWorkflow())
	i.ops.Every("imports", time.Hour, i.sweepScratch)
}

// ImportWorkflow loads the dump where nothing else is, and dumps what came of it. That a customer's backup is of no use is told to the
// customer, and to nobody else; that the server worked at it for far too long is told to operators too.
func (i *Importer) ImportWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: ImportKind,
		Held: i.failHeld,
		Steps: []ops.Step{
			{Name: "convert", Timeout: copyTimeout, Do: i.taking(i.convert), Undo: i.giveUpImport},
			{Name: "seal", Timeout: 10 * time.Minute, Do: i.taking(i.seal)},
			{Name: "read back", Timeout: readTimeout, Do: i.taking(i.readBack), Tx: i.imported},
			{Name: "restore", Timeout: time.Minute, Do: i.restoreImported},
		},
	}
}

// convert makes the parts of a backup of the uploaded ones. The files are as they should be already.
func (i *Importer) convert(ctx context.Context, r *ops.Run, b Backup, t tenants.Tenant) error {
	var in importInput
	if err := r.Input(&in); err != nil {
		return err
	}
	limit := i.longest(in.Script.Bytes+in.Files.Size, copyTimeout/2)
	err := within(ctx, 2*limit, func(ctx context.Context) error { return i.convertIn(ctx, r, b, t, in, limit) })
	if errors.Is(err, ErrTooLong) {
		err = ErrImportLong.WithCause(err)
	}
	return hopeless(err)
}

// convertIn does it; limit is how long the server may work at the uploaded dump.
func (i *Importer) convertIn(ctx context.Context, r *ops.Run, b Backup, t tenants.Tenant, in importInput, limit time.Duration) error {
	if err := setStarted(ctx, i.pool, b.ID, i.now()); err != nil {
		return err
	}
	plan, err := i.tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return err
	}
	if err := i.compareVersion(ctx, b, t, in.Major); err != nil {
		return err
	}
	if err := i.fits(ctx, archive.Manifest{Dump: in.Script, Filestore: &in.Files}); err != nil { // what is restored in the end, too
		return err
	}
	access := Access{TenantID: t.ID, Password: secrets.RandomPassword(24), Tool: helperName(b, "tool")}
	if access.Database, err = i.scratch.BeginScratch(ctx, b.ID.Subject(), access.Password, plan.TempFilesMB()); err != nil {
		return err
	}
	access.Role = access.Database
	// What is loaded is dumped again, which makes about a quarter as many bytes, and compared with the files.
	all := &passed{tell: measured(ctx, r), total: in.Script.Bytes + in.Script.Bytes/4 + in.Files.Bytes}
	err = within(ctx, limit, func(ctx context.Context) error {
		return i.read(ctx, b.KeyPrefix+scriptObject, in.Script, func(content io.Reader) error {
			content = all.reader(content)
			if err := i.loader.Load(ctx, access, content, int64(plan.StorageGB)<<30-in.Files.Size); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, content)
			return err
		})
	})
	if err != nil {
		return err
	}
	r.Note(ctx, "The dump is loaded, apart from everything else")
	c := &copying{all: all, Worker: i.Worker, run: r, backup: b, tenant: t, access: access, m: newManifest(b, t)}
	c.m.Filestore = &in.Files
	err = c.copyDatabase(ctx, func(ctx context.Context, s Snapshot) error { return i.requireFiles(ctx, b, s, in.Files, all) })
	if errors.Is(err, ErrNotOdoo) {
		err = ErrImportNotOdoo.WithCause(err)
	}
	if err == nil {
		err = sameMajor(odoozip.Major(c.m.Database.OdooVersion), in.Major) // the manifest might have said something else
	}
	if err != nil {
		return err
	}
	if err := r.Set("manifest", c.m); err != nil {
		return err
	}
	return i.scratch.RemoveScratch(ctx, b.ID.Subject())
}

// hopeless ends an import for which no repetition is of any use.
func hopeless(err error) error {
	if kind := errs.KindOf(err); kind == errs.Invalid || kind == errs.TooLarge {
		return ops.Unwind(err)
	}
	return err
}

// compareVersion looks into the client's own database, which knows best.
func (i *Importer) compareVersion(ctx context.Context, b Backup, t tenants.Tenant, offered string) error {
	access, err := i.access(ctx, b, t)
	if err != nil {
		return err
	}
	snapshot, err := i.database.Snapshot(ctx, access)
	if errors.Is(err, ErrNotOdoo) {
		return nil // there is nothing to compare with, and nothing to lose
	}
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	own, _, err := snapshot.Describe(ctx)
	if err != nil {
		return err
	}
	return sameMajor(offered, odoozip.Major(own.OdooVersion))
}

// requireFiles wants every file that an attachment needs to be among the uploaded ones: no backup could be taken of a client otherwise.
func (i *Importer) requireFiles(ctx context.Context, b Backup, s Snapshot, files archive.Files, all *passed) error {
	there := map[string]struct{}{}
	err := i.read(ctx, b.KeyPrefix+files.Object, files.Part, func(content io.Reader) error {
		return archive.EachFile(all.reader(content), func(header *tar.Header, _ io.Reader) error {
			there[strings.Clone(header.Name[3:])] = struct{}{}
			return nil
		})
	})
	if err != nil {
		return err
	}
	missing, example := 0, ""
	err = s.EachFile(ctx, func(name string) error {
		if !archive.ValidFileName(name) {
			return ErrImportLacks.WithMessage("The database speaks of a file that isn't called as Odoo calls its files.")
		}
		if _, ok := there[name[3:]]; !ok {
			missing, example = missing+1, name
		}
		return nil
	})
	if err != nil {
		return err
	}
	if missing > 0 {
		return ErrImportLacks.WithMessage("The zip lacks files that the database speaks of: %d attachments, one of them needs filestore/%s.", missing, example)
	}
	return nil
}

func (i *Importer) imported(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	_, err := i.count(ctx, tx, r)
	return err
}

// restoreImported asks for what any owner can ask for, once.
func (i *Importer) restoreImported(ctx context.Context, r *ops.Run) error {
	b, err := i.of(ctx, r)
	if err != nil {
		return err
	}
	asked, err := everRestored(ctx, i.pool, b)
	if err != nil || asked {
		return err
	}
	op, err := i.Restore(ctx, b.ID, RestoreInput{By: b.RequestedBy})
	switch {
	case errors.Is(err, ErrTenantBusy):
		return ops.Snooze(safetyWait)
	case errs.KindOf(err) == errs.Conflict, errs.KindOf(err) == errs.NotFound: // it isn't the moment any more
		r.Note(ctx, "The backup is kept, but wasn't restored: "+safeText(err))
		return nil
	case err != nil:
		return err
	}
	r.Note(ctx, fmt.Sprintf("The backup is complete, and is being restored by operation %d", op.ID))
	return nil
}

// everRestored reports whether a restore of b was asked for.
func everRestored(ctx context.Context, q postgres.Querier, b Backup) (asked bool, err error) {
	err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM operations WHERE subject = $1 AND kind = $2 AND input->'backup_id' = to_jsonb($3::bigint))",
		b.TenantID.Subject(), RestoreKind, int64(b.ID)).Scan(&asked)
	if err != nil {
		return false, fmt.Errorf("look for a restore of backup %s: %w", b.ID, err)
	}
	return asked, nil
}

// giveUpImport says that the import failed before it tidies up, as for any backup.
func (i *Importer) giveUpImport(ctx context.Context, r *ops.Run) error {
	b, err := i.of(ctx, r)
	if err != nil {
		return err
	}
	if b.State == Queued || b.State == Running {
		if b, err = setFailed(ctx, i.pool, b.ID, i.now()); err != nil {
			return err
		}
		if b.Error == ErrImportLong.Message { // it kept others waiting
			if err := raiseFailed(ctx, i.pool, b); err != nil {
				return err
			}
		}
	}
	if err := i.scratch.RemoveScratch(ctx, b.ID.Subject()); err != nil {
		return err
	}
	i.dropTakers(ctx, b)
	if b.State != Failed { // it is a backup like any other by now
		return nil
	}
	if err := i.removeObjects(ctx, b, nil); err != nil {
		i.log.Warn("what was uploaded stays behind for now", "backup", b.ID, "error", err)
	}
	return nil
}

// sweepScratch removes what imports left that somebody abandoned.
func (i *Importer) sweepScratch(ctx context.Context) error {
	removed, err := i.scratch.SweepScratch(ctx, func(ctx context.Context, subject string) (live bool, err error) {
		err = i.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM operations WHERE subject = $1 AND kind = $2 AND finished_at IS NULL)", subject, ImportKind).Scan(&live)
		return live, err
	})
	if err != nil {
		return fmt.Errorf("sweep the databases of imports: %w", err)
	}
	if removed > 0 {
		i.log.InfoContext(ctx, "removed what imports left", "databases", removed)
	}
	return nil
}
