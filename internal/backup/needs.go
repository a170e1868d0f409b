package backup

import (
	"context"
	"io"
	"time"

	"controlplane/internal/backup/archive"
	"controlplane/internal/errs"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Store is the object store that backups are kept in.
type Store interface {
	// Put stores what r gives, however much that is, and nothing if r or the store fails. size is about how much will come; 0: unknown.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// Get returns an object's content; a connection that is lost on the way is made again, unseen. Errors: ErrObjectMissing.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// List calls fn for each object whose key begins with prefix, in the order of keys.
	List(ctx context.Context, prefix string, fn func(Object) error) error
	// Remove removes an object; absence is success.
	Remove(ctx context.Context, key string) error
	// AbortUploads gives up uploads below prefix that were begun before and never ended, and returns how many.
	AbortUploads(ctx context.Context, prefix string, before time.Time) (int, error)
}

// Object is one object of the store.
type Object struct {
	Key   string
	Bytes int64
	At    time.Time // when it was stored
}

// What the store may answer; all are safe to show.
var (
	ErrStoreUnreachable = errs.New(errs.Unavailable, "backup_store_unreachable", "The backup store can't be reached; we try again.")
	ErrStoreRefused     = errs.New(errs.Unavailable, "backup_store_refused", "The backup store refuses us; our staff have to look at it.")
	ErrStoreFull        = errs.New(errs.Unavailable, "backup_store_full", "The backup store is full; our staff have to look at it.")
	ErrObjectMissing    = errs.New(errs.NotFound, "backup_object_missing", "A part of the backup is missing in the backup store.")
)

// Database is the server that tenants' databases live on. It is reached as each tenant's own role: what a tenant has put into its database
// must not run with other rights.
type Database interface {
	// Snapshot opens a view of a tenant's database as it is now, which holds up nobody but who changes its tables' structure. Errors:
	// ErrNotOdoo, ErrDatabaseUnreachable.
	Snapshot(ctx context.Context, a Access) (Snapshot, error)
	// Restore fills an empty database with a dump, of about so many bytes where nothing is compressed, that is read to its end first. Errors:
	// ErrNoSpace, ErrToolVersion, ErrDatabaseUnreachable.
	Restore(ctx context.Context, a Access, dump io.Reader, bytes int64) error
}

// Access is how a tenant's database is reached.
type Access struct {
	TenantID tenants.ID
	Database string
	Role     string // that owns it
	Password secrets.Secret
	Tool     string // a name for what has to run meanwhile
}

// Snapshot is a moment of one database. It must be closed.
type Snapshot interface {
	// Describe says what is in it, and which moment it is.
	Describe(ctx context.Context) (archive.Database, time.Time, error)
	// EachFile calls fn with the name of each file that an attachment needs; a name may come twice.
	EachFile(ctx context.Context, fn func(name string) error) error
	// Dump writes it in PostgreSQL's custom format.
	Dump(ctx context.Context, w io.Writer) error
	Close(ctx context.Context)
}

// What the server may answer; all are safe to show.
var (
	ErrNotOdoo             = errs.New(errs.Conflict, "not_odoo", "The client's database isn't an Odoo's.")
	ErrToolVersion         = errs.New(errs.Internal, "tool_version", "The backup programs don't fit the database server; our staff have to look at it.")
	ErrNoSpace             = errs.New(errs.Unavailable, "no_space", "There isn't enough space on our server to restore this backup; our staff have to look at it.")
	ErrDatabaseUnreachable = errs.New(errs.Unavailable, "tenant_database_unreachable", "The database server can't be reached.")
)

// Volumes reads and fills tenants' volumes, through containers that are named by the caller.
type Volumes interface {
	// MountVolume takes the place of a container of that name. The tenant is given by its id; image is any that the engine has. A volume
	// that is only read must be there. Errors: fs.ErrNotExist.
	MountVolume(ctx context.Context, name, volume, tenant, image string, readOnly bool) error
	// ReadTree gives a directory or file as a tar, whose names begin with the last part of the path. Errors: fs.ErrNotExist.
	ReadTree(ctx context.Context, name, path string) (io.ReadCloser, error)
	// WriteTree unpacks a tar into the volume's root.
	WriteTree(ctx context.Context, name string, archive io.Reader) error
	RemoveContainer(ctx context.Context, name string) error
	// HasVolume reports whether the tenant's volume of this name is there.
	HasVolume(ctx context.Context, volume, tenant string) (bool, error)
	// RemoveVolumeOf removes a volume of the tenant's; absence is success, and so is a name that is another tenant's by now.
	RemoveVolumeOf(ctx context.Context, volume, tenant string) error
	// FreeBytes is how much more volumes can hold, if that can be told from here.
	FreeBytes(ctx context.Context) (free int64, known bool, err error)
}

// Cluster has databases beside a tenant's own, for restores. A tenant is named by its database, and by its operations subject. All of it may
// be repeated.
type Cluster interface {
	// FreeBytes is how much more databases can hold, if that can be told.
	FreeBytes(ctx context.Context) (free int64, known bool, err error)
	// HasTenant reports whether the tenant's own database is there.
	HasTenant(ctx context.Context, database, subject string) (bool, error)
	// BeginRestore makes an empty database that the tenant's role may fill, and returns its name.
	BeginRestore(ctx context.Context, database, subject string) (into string, err error)
	// DropRestored drops it again. The tenant's own isn't touched.
	DropRestored(ctx context.Context, database, subject string) error
	// SwapRestored puts it in the place of the tenant's, which stays beside it, called after the moment and the restore's number.
	SwapRestored(ctx context.Context, database, subject string, at time.Time, restore int64) error
	// UndoRestore puts back what was there, if just this restore was swapped, and drops what was restored.
	UndoRestore(ctx context.Context, database, subject string, at time.Time, restore int64) error
	// SweepRestores drops what was there before restores that are older, and what was restored and never swapped, of tenants that are idle.
	SweepRestores(
		ctx context.Context, before time.Time, idle func(ctx context.Context, subject string) (last time.Time, ok bool, err error),
	) (int, error)
}

// Runner starts and stops a tenant's Odoo, and makes what it needs to run.
type Runner interface {
	// EnsureVolume makes a volume of the tenant's as its Odoo's image has one for its data: empty, and its own. One that is there stays as it is.
	EnsureVolume(ctx context.Context, t tenants.Tenant, volume string) error
	// Adopt makes a database that was restored beside the tenant's, from another tenant's backup, an Odoo of its own.
	Adopt(ctx context.Context, t tenants.Tenant, database string) error
	Halt(ctx context.Context, t tenants.Tenant) error
	// Prepare makes the container of one that is halted what its row says, without starting it.
	Prepare(ctx context.Context, t tenants.Tenant) error
	// Run does that, starts it, and returns when it answers.
	Run(ctx context.Context, t tenants.Tenant) error
	// Answers returns nil when it answers now.
	Answers(ctx context.Context, t tenants.Tenant) error
}

// Sandbox has databases, volumes and Odoos for backups to be tried in: nobody but us reaches such an Odoo, and it reaches nothing but its
// database. Each belongs to an operations subject, whose trial is in a slot, from 0 to MostTrials-1, alone. All of it may be repeated.
type Sandbox interface {
	// Open makes an empty one, in the place of what another attempt left.
	Open(ctx context.Context, t tenants.Tenant, subject string, slot int) (Cell, error)
	// Start starts an Odoo like the tenant's on what was loaded, without scheduled jobs, and returns when it has shown its login page.
	// Errors: ErrNoAnswer; all others are our trouble.
	Start(ctx context.Context, t tenants.Tenant, subject string, slot int) error
	// Close removes all of it; absence is success.
	Close(ctx context.Context, subject string, slot int) error
	// Sweep removes what is left of those whose subject nothing is done with any more, and returns how many objects that were.
	Sweep(ctx context.Context, lives func(ctx context.Context, subject string) (bool, error)) (int, error)
}

// Cell is the inside of a sandbox.
type Cell struct {
	Database string // and the role that owns it
	Password secrets.Secret
	Volume   string
	Dir      string // of the volume, where Odoo looks for the database's files
}
