package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/semaphore"

	"controlplane/internal/accounts"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/odoozip"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// IntakeDeps is what an Intake works with; all are required.
type IntakeDeps struct {
	Desk  *Desk
	Store Store
	Keys  *archive.Keys
	Log   *slog.Logger
}

// IntakeOptions bound uploads. Dir is required.
type IntakeOptions struct {
	Dir     string // BACKUP_DIR: uploads wait there until they are looked through; nobody else can read them
	Largest int64  // bytes of a zip, default 20 GB; a client's plan may allow less
	AtOnce  int    // of different accounts in this process, default 8; two of them are looked through at the same time
	Reserve int64  // bytes of the disk that uploads leave alone, default 1 GB
}

// Intake takes in what customers bring along: an Odoo's own backup, in a zip. It is looked through before anything is done with it, kept in
// the store, sealed like all else there, and handed to the workers. An upload is in a file without a name meanwhile, which goes with us.
type Intake struct {
	deps  IntakeDeps
	opts  IntakeOptions
	at    *Worker // what it has of storing
	queue *arrivals
	looks *semaphore.Weighted
}

// looksAtOnce bounds what takes a core.
const looksAtOnce = 2

// NewIntake checks the dependencies and makes the directory.
func NewIntake(deps IntakeDeps, opts IntakeOptions) (*Intake, error) {
	if deps.Desk == nil || deps.Store == nil || deps.Keys == nil || deps.Log == nil || opts.Dir == "" {
		return nil, errors.New("imports lack a dependency")
	}
	opts.Largest, opts.AtOnce, opts.Reserve = cmp.Or(opts.Largest, 20<<30), cmp.Or(opts.AtOnce, 8), cmp.Or(opts.Reserve, 1<<30)
	if err := closeDir(opts.Dir); err != nil {
		return nil, err
	}
	s := deps.Desk.deps.Backups
	return &Intake{
		deps: deps, opts: opts, at: &Worker{Service: s, store: deps.Store, keys: deps.Keys, log: deps.Log},
		queue: &arrivals{most: opts.AtOnce, of: map[accounts.ID]bool{}}, looks: semaphore.NewWeighted(looksAtOnce),
	}, nil
}

// closeDir makes the directory and closes it to others. One that others have or share, such as /tmp, isn't touched.
func closeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for uploads: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the directory for uploads: %w", err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || info.Mode()&os.ModeSticky != 0 || !ok || int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("%s isn't a directory of our own for uploads: it is a link, somebody else's, or everybody's", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory has to be searched
		return fmt.Errorf("close the directory for uploads to others: %w", err)
	}
	return dropNamed(dir)
}

// uploadFiles are called so for the moment until their names are taken away.
const uploadFiles = "upload-*.zip"

// dropNamed removes files of a process that was killed in that moment. Another one that is in it now goes on: its file is no less there.
func dropNamed(dir string) error {
	left, err := fs.Glob(os.DirFS(dir), uploadFiles)
	if err != nil {
		return fmt.Errorf("look for what uploads left: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what an upload left: %w", err)
		}
	}
	return nil
}

// Import takes a client's new content in from body, which announces length bytes (-1: it doesn't say). It returns when all of it was looked
// through and stored; the operation of the backup that it becomes does the rest, and has that restored into the client.
// Errors: tenants.ErrNotFound, ErrNotNow, ErrBusy, those of odoozip, those of an import, and the store's.
func (in *Intake) Import(ctx context.Context, r Request, client string, body io.Reader, length int64) (Backup, error) {
	t, err := in.deps.Desk.deps.Tenants.Get(ctx, r.By, client)
	if err != nil {
		return Backup{}, err
	}
	if err := in.free(ctx, t); err != nil {
		return Backup{}, err
	}
	leave, err := in.queue.enter(r.By.AccountID)
	if err != nil {
		return Backup{}, err
	}
	defer leave()
	plan, err := in.deps.Desk.deps.Tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return Backup{}, err
	}
	most := int64(plan.StorageGB) << 30
	file, size, err := in.receive(body, length, min(most, in.opts.Largest))
	if err != nil {
		return Backup{}, err
	}
	defer func() { _ = file.Close() }() // it goes with that
	if err := in.looks.Acquire(ctx, 1); err != nil {
		return Backup{}, fmt.Errorf("wait to look an upload through: %w", err)
	}
	defer in.looks.Release(1)
	zip, err := odoozip.Open(file, size, most)
	if err != nil {
		return Backup{}, err
	}
	if err := in.look(ctx, t, zip); err != nil {
		return Backup{}, err
	}
	return in.store(ctx, r, t, zip)
}

// free wants a client that can be restored and of which no backup is taken, before anything large is sent for nothing.
func (in *Intake) free(ctx context.Context, t tenants.Tenant) error {
	if !restorable(t) {
		return ErrNotNow
	}
	var busy bool
	err := in.at.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM backups WHERE tenant_id = $1 AND state IN ('queued', 'running'))", t.ID).Scan(&busy)
	switch {
	case err != nil:
		return fmt.Errorf("look for a backup under way: %w", err)
	case busy:
		return ErrBusy
	}
	return nil
}

// receive keeps the body in a file that nobody can find.
func (in *Intake) receive(body io.Reader, length, most int64) (file *os.File, size int64, err error) {
	if length > most {
		return nil, 0, odoozip.ErrTooLarge.WithCause(fmt.Errorf("%d bytes of %d are announced", length, most))
	}
	if length == 0 {
		return nil, 0, ErrImportEmpty
	}
	room, err := in.room()
	if err != nil {
		return nil, 0, err
	}
	coming := &arrival{Reader: body, among: in.queue, left: max(length, 0), now: in.at.now, since: in.at.now()}
	room -= in.queue.expect(coming.left)
	defer coming.end()
	if room < max(length, 1) {
		return nil, 0, ErrImportRoom.WithCause(fmt.Errorf("%d bytes are free of %d", room, length))
	}
	if file, err = os.CreateTemp(in.opts.Dir, uploadFiles); err != nil { // with 0600
		return nil, 0, fmt.Errorf("make a file for an upload: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, errors.Join(fmt.Errorf("unlink an upload: %w", err), file.Close())
	}
	size, err = io.Copy(file, io.LimitReader(coming, min(most, room)+1))
	switch {
	case errors.Is(err, syscall.ENOSPC):
		err = ErrImportRoom.WithCause(err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errSlowUpload):
		err = ErrImportSlow.WithCause(err)
	case err != nil:
		err = ErrImportCut.WithCause(err)
	case size > most:
		err = odoozip.ErrTooLarge.WithCause(fmt.Errorf("more than %d bytes came", most))
	case size > room:
		err = ErrImportRoom.WithCause(fmt.Errorf("more than the %d bytes that are free came", room))
	case size == 0:
		err = ErrImportEmpty
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, size, nil
}

// room is how many bytes of the disk uploads may still fill.
func (in *Intake) room() (int64, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(in.opts.Dir, &disk); err != nil {
		return 0, fmt.Errorf("look at the disk of %s: %w", filepath.Base(in.opts.Dir), err)
	}
	return int64(disk.Bavail)*disk.Bsize - in.opts.Reserve, nil //nolint:gosec // a disk's size
}

// look reads all of the dump as what it says it is, and compares versions as far as that is known here.
func (in *Intake) look(ctx context.Context, t tenants.Tenant, zip *odoozip.Archive) error {
	have, err := knownMajor(ctx, in.at.pool, t.ID)
	if err != nil {
		return err
	}
	if err := sameMajor(zip.Manifest.Major, have); err != nil {
		return err
	}
	dump, err := zip.Dump()
	if err != nil {
		return err
	}
	defer func() { _ = dump.Close() }()
	script := odoozip.NewScript(dump)
	for {
		if _, err := script.Next(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// knownMajor is the client's version of Odoo as its last backup tells it; "" if there is none.
func knownMajor(ctx context.Context, q postgres.Querier, id tenants.ID) (string, error) {
	var base string
	err := q.QueryRow(ctx, `SELECT coalesce((SELECT manifest->'database'->>'odoo_version' FROM backups
		WHERE tenant_id = $1 AND kind <> 'imported' AND manifest IS NOT NULL ORDER BY id DESC LIMIT 1), '')`, id).Scan(&base)
	if err != nil {
		return "", fmt.Errorf("look for the client's version of Odoo: %w", err)
	}
	return odoozip.Major(base), nil
}

// sameMajor refuses a backup of another version than the client has, as far as that is known.
func sameMajor(offered, have string) error {
	if have == "" || offered == have {
		return nil
	}
	return ErrImportVersion.WithMessage("The backup is of Odoo %.40s, and this client has Odoo %s; only the same version can be taken in.", offered, have)
}
