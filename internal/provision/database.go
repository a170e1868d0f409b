package provision

import (
	"context"

	"controlplane/internal/errs"
	"controlplane/internal/secrets"
)

// Database is the PostgreSQL server that tenants' databases live on, as the workflows need it. Everything made there bears the
// installation's id; a role or database of our name that doesn't is ErrForeign and is left alone.
type Database interface {
	// EnsureTenant makes the tenant's role and a clone of the template that only we can connect to. A clone that was already handed over
	// keeps its content; the role's password and connection limit are set in any case.
	EnsureTenant(ctx context.Context, t TenantDatabase) error
	// HandOver makes the clone a new Odoo and the tenant's own, in one transaction: before it the tenant's role can't connect, after it
	// the clone has an identity. One that was handed over already is left as it is.
	HandOver(ctx context.Context, name string, id Identity) error
	// SetAdminPassword sets the password hash of Odoo's administrator, as the tenant's own role, and returns the login. ErrNoAdmin when
	// the tenant removed that user.
	SetAdminPassword(ctx context.Context, t TenantDatabase, hash string) (login string, err error)
	// SetBaseURL has the links that the tenant's Odoo makes begin with url, also while it runs, as the tenant's own role.
	SetBaseURL(ctx context.Context, t TenantDatabase, url string) error
	// Adopt makes a database that the tenant's role owns, and that is a copy of another tenant's, an Odoo of its own, with links that begin with
	// url: as the tenant's own role, before it takes the place of the tenant's.
	Adopt(ctx context.Context, t TenantDatabase, database, url string) error
	// Neutralised reports what Odoo's own mark in the tenant's database says, read as the tenant's own role.
	Neutralised(ctx context.Context, t TenantDatabase) (bool, error)
	// RemoveTenant drops the database, open connections or not, and then the role with its sessions. Absent is success, and so is a role
	// of ours that is another tenant's by now.
	RemoveTenant(ctx context.Context, name, subject string) error

	// BeginTemplate makes an empty database, dropping a half-made one, and a role of the same name that may log in to it.
	BeginTemplate(ctx context.Context, name string, password secrets.Secret) error
	// SealTemplate takes the database from its role, which is dropped, and closes it to all connections, ready to be cloned.
	SealTemplate(ctx context.Context, name string) error
	// RemoveTemplate drops the template's database and role in whatever state they are. Absent is success.
	RemoveTemplate(ctx context.Context, name string) error
	// EnsureSpares keeps count clones of a sealed template ready to be taken by EnsureTenant.
	EnsureSpares(ctx context.Context, template string, count int) error

	// BeginSandbox makes an empty database and a role of the same name that owns it and may log in to nothing else, in the place of what a
	// sandbox of the subject left. RemoveTenant removes both.
	BeginSandbox(ctx context.Context, name, subject string, password secrets.Secret) error
	// SetSandboxPassword gives the role another password.
	SetSandboxPassword(ctx context.Context, name, subject string, password secrets.Secret) error

	// Inspect tells what the server is and what our role may do there.
	Inspect(ctx context.Context) (ServerStatus, error)

	ClusterEstate
	ClusterInventory
}

// ErrNoAdmin is returned when a tenant's Odoo has no administrator of the kind that it began with.
var ErrNoAdmin = errs.New(errs.Conflict, "admin_user_missing", "This Odoo no longer has its first administrator, so there is no password to reset.")

// TenantDatabase is what a tenant has on the database server.
type TenantDatabase struct {
	Name            string // of the database and of its role
	Subject         string // "tenant/42", kept with the role so that the same name of another tenant isn't taken for it
	Template        string // database to clone
	Password        secrets.Secret
	ConnectionLimit int
	TempFilesMB     int // what one query may write beside its tables
}

// Identity is what makes a clone an Odoo of its own. The parameters that Odoo's own duplicate makes anew are made by HandOver.
type Identity struct {
	Login        string // of the administrator, an e-mail address
	PasswordHash string // as HashPassword makes it
	BaseURL      string // "https://acme.example.com", frozen
	CompanyName  string
}

// ServerStatus is what the start-up check judges.
type ServerStatus struct {
	Version            int // 170002 for 17.2
	Superuser          bool
	CreateDB           bool
	CreateRole         bool
	TenantsGroup       bool     // the group role exists and we may add members to it
	TempFiles          bool     // we may limit what queries write to temporary files
	PostgresClosed     bool     // PUBLIC may neither connect to "postgres" nor create anything in it, tenants may connect
	OpenDatabases      []string // that tenants could connect to and that aren't theirs, "postgres" left out
	MaxConnections     int      // less what is reserved for superusers
	TenantsConnections int      // sum of the connection limits of our tenants' roles
}
