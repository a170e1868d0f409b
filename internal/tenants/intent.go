package tenants

import "controlplane/internal/ops"

// Desired is what a tenant's owner, an administrator or billing wants it to be; State is where it is.
type Desired string

// What may be wanted. The CHECK tenants_desired_fits says with which states each goes.
const (
	WantsActive    Desired = "active"
	WantsSuspended Desired = "suspended"
	WantsDeleted   Desired = "deleted"
)

// SuspendedBy is who suspended a tenant; it decides who may resume it.
type SuspendedBy string

// Who suspends. An owner lifts only their own suspension.
const (
	ByOwner   SuspendedBy = "owner"
	ByAdmin   SuspendedBy = "admin"
	ByBilling SuspendedBy = "billing"
	ByQuota   SuspendedBy = "quota"
)

// Change is what a command did.
type Change struct {
	Tenant    Tenant         // as it is now
	Operation *ops.Operation // that carries the change out, perhaps begun by an earlier call; nil: nothing is left to do
	enqueued  bool           // by this very call
}

// running reports whether the tenant is wanted to run, or to sleep until it is asked for.
func (t Tenant) wanted() bool { return t.Desired == WantsActive }

// cancelling reports whether a scheduled deletion was cancelled and the tenant is being started again.
func (t Tenant) cancelling() bool { return t.State == Scheduled && t.Desired == WantsActive }

// suspending reports whether a suspension is wanted but not carried out yet.
func (t Tenant) suspending() bool {
	return (t.State == Active || t.State == Sleeping) && t.Desired == WantsSuspended
}

// resuming reports whether a suspension was lifted and the tenant isn't running yet.
func (t Tenant) resuming() bool { return t.State == Suspended && t.Desired == WantsActive }
