// Package backup keeps what tenants have, and gives it back: it takes backups of running Odoos, reads them back whole, restores them and
// removes them, as durable operations. What it needs of an object store, of the tenants' database server and of the engine it declares
// (Store, Database, Volumes). When backups are due and which are let go is decided elsewhere.
package backup

import (
	"strconv"
	"strings"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// The kinds of operation that are done here. Those of one backup have its own subject, so that they neither wait for what is done to the
// tenant nor hold it up.
const (
	TakeKind   = "backup.take"
	VerifyKind = "backup.verify"
	DeleteKind = "backup.delete"
)

// ID identifies a backup; ids are never used twice.
type ID int64

// String returns the id in decimal.
func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// Subject is the operations subject of a backup.
func (id ID) Subject() string { return subjectPrefix + id.String() }

const subjectPrefix = "backup/"

// OfSubject is the way back: it returns the backup that an operation is done with, or false for an operation on something else.
func OfSubject(subject string) (ID, bool) {
	digits, ok := strings.CutPrefix(subject, subjectPrefix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseInt(digits, 10, 64)
	return ID(id), err == nil && id > 0
}

// Kind is why a backup was taken.
type Kind string

// The kinds. Only an hourly one lacks the filestore.
const (
	Daily  Kind = "daily"
	Hourly Kind = "hourly"
	Manual Kind = "manual"
	Safety Kind = "safety" // before a restore
	Final  Kind = "final"  // before a deletion
	// Imported is what a customer brought along: it never was the client's own until it is restored.
	Imported Kind = "imported"
)

// Full reports whether a backup of this kind holds the filestore too, so that a tenant can be restored from it alone.
func (k Kind) Full() bool { return k != Hourly }

// Known reports whether k is one of our kinds.
func (k Kind) Known() bool {
	switch k {
	case Daily, Hourly, Manual, Safety, Final, Imported:
		return true
	}
	return false
}

// State is where a backup is.
type State string

// The states. Done means that all of it was read back from the store and is what was written.
const (
	Queued   State = "queued"
	Running  State = "running"
	Done     State = "done"
	Failed   State = "failed"
	Deleting State = "deleting"
	Deleted  State = "deleted"
)

// Backup is one row of the backups table.
type Backup struct {
	ID          ID
	TenantID    tenants.ID
	TenantName  string // as it was called then
	Kind        Kind
	State       State
	KeyPrefix   string // its objects lie below it in the bucket; ends in a slash
	RequestedBy string
	OperationID ops.ID // that makes it, or did; 0: none yet

	StoredBytes    int64 // of its objects
	DatabaseBytes  int64 // of the dump, about, if it weren't compressed
	FilestoreBytes int64
	FilestoreFiles int64

	Kept    bool // never pruned
	Weekly  bool // marks of a daily
	Monthly bool

	Quarantined bool // it was taken of a client in quarantine, and leads back there

	Error      string // safe to show: why it failed, or what the last look at it found
	CreatedAt  time.Time
	StartedAt  *time.Time
	FinishedAt *time.Time
	VerifiedAt *time.Time // when it was read back whole last
	ProvenAt   *time.Time // when it was restored last and Odoo answered on it
	BrokenAt   *time.Time // when a later look found it damaged
	DeletedAt  *time.Time

	ProofFailedAt *time.Time // when it was tried last, if that failed
	ProofError    string     // safe to show: why
}

// Good reports whether a tenant can be restored from b, as far as is known.
func (b Backup) Good() bool { return b.State == Done && b.BrokenAt == nil }

// TakeInput says what to back up and why.
type TakeInput struct {
	TenantID tenants.ID
	Kind     Kind
	By       string // who asked, as the activity log names them: an address, or "system"
}

// Filter narrows a List. What is deleted is never in it.
type Filter struct {
	AccountID  accounts.ID // 0: everybody's
	TenantID   tenants.ID  // 0: all
	TenantName string      // "": all; also of tenants that are deleted
	State      State       // "": all
	Skip       int
	Limit      int // 1 to 1000; 0: 50
}

// Page is a part of a list and how long the whole is.
type Page struct {
	Backups []Backup
	Total   int
}

// Errors of this package; all are safe to show.
var (
	ErrNotFound     = errs.New(errs.NotFound, "backup_not_found", "Backup not found")
	ErrUnknownKind  = errs.InvalidField("backup_type", "unknown", "Unknown backup type")
	ErrBusy         = errs.New(errs.Conflict, "backup_running", "A backup of this client is being taken already.")
	ErrNothingThere = errs.New(errs.Conflict, "nothing_to_back_up", "This client has no Odoo that could be backed up.")
	ErrNotGood      = errs.New(errs.Conflict, "backup_not_usable", "This backup can't be used: it isn't complete, or it is damaged.")
	ErrInUse        = errs.New(errs.Conflict, "backup_in_use", "Something is being done with this backup; try again when that has ended.")
	ErrKept         = errs.New(errs.Conflict, "backup_kept", "This backup is marked to be kept.")
	ErrPageBounds   = errs.InvalidField("limit", "out_of_range", "skip must be 0 or more, and limit from 1 to 1000.")
)
