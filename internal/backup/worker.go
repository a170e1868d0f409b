package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"controlplane/internal/backup/archive"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// WorkerDeps is what a Worker works with; all are required.
type WorkerDeps struct {
	Backups  *Service
	Store    Store
	Keys     *archive.Keys
	Database Database
	Volumes  Volumes
	Cluster  Cluster
	Runner   Runner
	Sandbox  Sandbox
	Log      *slog.Logger
}

// WorkerOptions tune a Worker. All but AtOnce and Patience are required.
type WorkerOptions struct {
	Image string // that the engine has, to mount volumes with; nothing of it runs
	// Filestore tells in which volume a tenant's files are, and in which directory of it.
	Filestore func(t tenants.Tenant) (volume, dir string)
	AtOnce    int64         // scheduled backups that one process takes at the same time, and as many that people wait for; default 2
	Patience  time.Duration // what the smallest backup or restore may take until it is given up; default 20 minutes
}

// Worker does what a Service asks for.
type Worker struct {
	*Service
	store    Store
	keys     *archive.Keys
	database Database
	volumes  Volumes
	cluster  Cluster
	runner   Runner
	sandbox  Sandbox
	log      *slog.Logger
	opts     WorkerOptions
	lanes    *lanes
}

// NewWorker checks the dependencies; it reaches for nothing.
func NewWorker(deps WorkerDeps, opts WorkerOptions) (*Worker, error) {
	if deps.Backups == nil || deps.Store == nil || deps.Keys == nil || deps.Database == nil || deps.Volumes == nil ||
		deps.Cluster == nil || deps.Runner == nil || deps.Sandbox == nil || deps.Log == nil || opts.Image == "" || opts.Filestore == nil {
		return nil, errors.New("the backup worker lacks a dependency")
	}
	opts.Patience = cmp.Or(opts.Patience, 20*time.Minute)
	return &Worker{
		Service: deps.Backups, store: deps.Store, keys: deps.Keys, database: deps.Database, volumes: deps.Volumes,
		cluster: deps.Cluster, runner: deps.Runner, sandbox: deps.Sandbox, log: deps.Log,
		opts: opts, lanes: newLanes(cmp.Or(opts.AtOnce, 2)),
	}, nil
}

// Register makes the workflows known to the operations engine; call it before the engine starts.
func (w *Worker) Register() {
	w.ops.Register(w.TakeWorkflow())
	w.ops.Register(w.VerifyWorkflow())
	w.ops.Register(w.DeleteWorkflow())
	w.ops.Register(w.RestoreWorkflow())
	w.ops.Register(w.ProveWorkflow())
	w.ops.Every("restores", time.Hour, w.sweepRestores)
	w.ops.Every("trials", time.Hour, w.sweepTrials)
	w.ops.Every("restores watch", time.Minute, w.watchRestores)
}

// of returns the backup that an operation is about.
func (w *Worker) of(ctx context.Context, r *ops.Run) (Backup, error) {
	var in input
	if err := r.Input(&in); err != nil {
		return Backup{}, err
	}
	return w.Get(ctx, in.BackupID)
}

// access is how the tenant's database is reached while b is made.
func (w *Worker) access(ctx context.Context, b Backup, t tenants.Tenant) (Access, error) {
	known, err := w.tenants.Secrets(ctx, t.ID)
	if err != nil {
		return Access{}, err
	}
	return Access{TenantID: t.ID, Database: t.DBName, Role: t.DBName, Password: known.DBPassword, Tool: helperName(b, "tool")}, nil
}

// helperName names a container that works on a backup. It is unique on an engine that several installations share, and the same for a repeat,
// which so ends what an attempt before it left.
func helperName(b Backup, what string) string { return "backup_" + path.Base(b.KeyPrefix) + "_" + what }

// upload stores what write writes, as it comes.
func (w *Worker) upload(ctx context.Context, key string, size int64, write func(ctx context.Context, out io.Writer) error) error {
	in, out := io.Pipe()
	return sideBySide(ctx, func(ctx context.Context) error {
		defer func() { _ = in.CloseWithError(errPutEnded) }() // never fails, and is of no consequence after the next
		err := w.store.Put(ctx, key, in, size)
		_ = in.CloseWithError(cmp.Or(err, errPutEnded))
		return err
	}, func(ctx context.Context) error {
		defer func() { _ = out.CloseWithError(errWriterGone) }() // what isn't written to its end must not pass for whole
		err := write(ctx, out)
		_ = out.CloseWithError(err)
		return err
	})
}

var (
	// errPutEnded is what a writer hears whose store has taken all it wants.
	errPutEnded = errors.New("the store stopped reading")
	// errWriterGone is what the store hears of a writer that panicked.
	errWriterGone = errors.New("what was to be stored ended too early")
)

// sideBySide does all at once; the first error ends the others. A panic is an error as well: in a goroutine of its own it would end the
// process, with all else that goes on in it.
func sideBySide(ctx context.Context, all ...func(ctx context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, do := range all {
		g.Go(func() (err error) {
			defer func() {
				if v := recover(); v != nil {
					err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
				}
			}()
			return do(ctx)
		})
	}
	return g.Wait()
}

// read gives the plain content of a stored part to fn, which must read it to its end: only there it is known to be right.
func (w *Worker) read(ctx context.Context, key string, want archive.Part, fn func(content io.Reader) error) error {
	stored, err := w.store.Get(ctx, key)
	if err != nil {
		return err
	}
	defer func() { _ = stored.Close() }()
	content, err := w.keys.NewReader(stored, &want)
	if err != nil {
		return err
	}
	defer content.Close()
	return fn(content)
}

// removeObjects removes all that is stored below a backup's prefix but what keep holds.
func (w *Worker) removeObjects(ctx context.Context, b Backup, keep map[string]bool) error {
	if _, err := w.store.AbortUploads(ctx, b.KeyPrefix, w.now().Add(time.Hour)); err != nil {
		return err
	}
	var keys []string
	err := w.store.List(ctx, b.KeyPrefix, func(o Object) error {
		if !keep[o.Key] {
			keys = append(keys, o.Key)
		}
		return nil
	})
	for _, key := range keys {
		if err == nil {
			err = w.store.Remove(ctx, key)
		}
	}
	return err
}

// safeText is what an owner may read of err.
func safeText(err error) string {
	var e *errs.Error
	if errors.As(err, &e) && e.Message != "" && e.Kind != errs.Internal {
		return e.Message
	}
	for _, known := range []*errs.Error{archive.ErrDamaged, archive.ErrWrongKey, ErrFilesMissing, ErrToolVersion, ErrNotTheSame, ErrNoAnswer} {
		if errors.Is(err, known) {
			return known.Message
		}
	}
	return "Something went wrong on our side; our staff have been told."
}

// decodeManifest is what was kept of it in the row.
func decodeManifest(text []byte) (archive.Manifest, error) {
	var m archive.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("decode the manifest: %w", err)
	}
	return m, nil
}
