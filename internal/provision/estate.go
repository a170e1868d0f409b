package provision

import (
	"context"
	"time"

	"controlplane/internal/errs"
)

// EngineEstate is what a tenant has on the engine already. Whose a thing is tells its label and not its name: names are used again,
// tenants' ids aren't.
type EngineEstate interface {
	// HasVolume reports whether the tenant's volume of this name is there; one of another tenant is ErrForeign.
	HasVolume(ctx context.Context, name, tenant string) (bool, error)
	// StopTenant stops every container of the tenant; none is success.
	StopTenant(ctx context.Context, tenant string, grace time.Duration) error
	// RemoveTenantObjects removes everything of one kind that is the tenant's, also a running container; nothing there is success.
	RemoveTenantObjects(ctx context.Context, tenant string, kind ObjectKind) error
}

// ClusterEstate is what a tenant has on the database server already.
type ClusterEstate interface {
	// HasTenant reports whether the subject's database is there and its own.
	HasTenant(ctx context.Context, name, subject string) (bool, error)
	// LimitConnections sets how many connections the subject's role may have. Without lower it only ever raises the limit: what runs
	// counts on the one that it began with.
	LimitConnections(ctx context.Context, name, subject string, limit int, lower bool) error
	// LimitTempFiles sets what each query of the subject's role may write beside its tables, from its next connection on. Where we may not, it
	// does nothing; the start-up check tells.
	LimitTempFiles(ctx context.Context, name, subject string, megabytes int) error
}

// ErrMemoryInUse is returned by EnsureContainer when a running container uses more memory than it is to have; it is left as it is.
var ErrMemoryInUse = errs.New(errs.Conflict, "memory_in_use", "The Odoo uses more memory than the plan has.")

// ErrNetworkInUse is returned by EnsureNetwork when one of another subnet can't be replaced while a container is on it.
var ErrNetworkInUse = errs.New(errs.Conflict, "network_in_use", "The client's network is in use.")

// ErrDataMissing holds what would have to go on without a tenant's data.
var ErrDataMissing = errs.New(errs.Internal, "data_missing", "Part of the client's data can't be found; our staff have been told.")
