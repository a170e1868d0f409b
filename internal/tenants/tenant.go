// Package tenants holds the hosted Odoo instances ("clients" on the wire): their rows, names, plans, states and secrets, with the
// SQL. It is the only place that writes a tenant's state. It knows nothing of HTTP, engines and gateways.
package tenants

import (
	"strconv"
	"strings"
	"time"

	"controlplane/internal/accounts"
)

// ID identifies a tenant; ids are never used twice, names are.
type ID int64

// String returns the id in decimal.
func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// Subject is the operations subject of a tenant.
func (id ID) Subject() string { return subjectPrefix + id.String() }

const subjectPrefix = "tenant/"

// OfSubject is the way back: it returns the tenant that an operation is done to, or false for an operation on something else.
func OfSubject(subject string) (ID, bool) {
	digits, ok := strings.CutPrefix(subject, subjectPrefix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseInt(digits, 10, 64)
	return ID(id), err == nil && id > 0
}

// State is where a tenant is.
type State string

// The states; docs/state-machine.md draws the moves between them.
const (
	Pending      State = "pending"      // created, unpaid; nothing exists outside our database
	Provisioning State = "provisioning" // paid, being made
	Active       State = "active"
	Suspended    State = "suspended"
	Sleeping     State = "sleeping"
	Maintenance  State = "maintenance"
	Failed       State = "failed" // paid, but provisioning gave up: a person looks
	Scheduled    State = "scheduled_for_deletion"
	Deleting     State = "deleting"
	Deleted      State = "deleted"
)

// Tenant is one row of the tenants table.
type Tenant struct {
	ID                  ID
	AccountID           accounts.ID
	Name                string // DNS label
	DBName              string // database and role on the tenants' cluster
	DataVolume          string // the engine's, that its data are in since the last restore; "": the one that its name gives
	Domain              string // platform address, without scheme and port
	PrimaryDomain       string // that its links are to bear: an own one, or Domain
	LinkDomain          string // that its links bear, as far as we know
	Email               string // contact; not the owner's login
	PlanID              string
	State               State
	Desired             Desired
	SuspendedBy         SuspendedBy // "" unless it is suspended, or will be, or was when its deletion was scheduled
	SuspendReason       string      // for the owner; may be ""
	AlsoUnpaid          string      // billing's reason, while somebody else's suspension shows; "": it has none
	AlsoOverQuota       string      // likewise the quota's
	ReturnState         State       // while Scheduled: what a cancellation leads back to
	FinalBackupSkipped  string      // why it is deleted without a final backup; "": with one
	Failure             string      // why it is Failed, for the owner
	PaymentStatus       string
	PaymentReference    string
	PaymentDeadline     time.Time
	Notes               string
	Address             string // of its container as the edge reaches it; "" until provisioned
	HTTPPort            int
	EventPort           int // /websocket goes here
	DiskUsageMB         int
	CreatedAt           time.Time
	UpdatedAt           time.Time
	PaidAt              *time.Time
	ActivatedAt         *time.Time
	SuspendedAt         *time.Time
	DeletionScheduledAt *time.Time // of Scheduled the deadline to cancel; nil once it is cancelled
	DeletedAt           *time.Time
	QuarantinedAt       *time.Time // it may neither send anything nor run jobs by itself, since its data is a copy
	QuarantinedBy       string     // who had it copied
	QuarantineCause     string     // what it is a copy of, for the owner
	NeutralisedAt       *time.Time // when its quarantine ended by that
	CopyOf              int64      // number of the backup that it is to be a copy of, until it is; 0: none
}

// Plan is one row of the plans table.
type Plan struct {
	ID                    string
	Name                  string
	PriceMonthlyKobo      int64
	AnnualDiscountPercent int
	Currency              string
	MemoryMB              int
	DBMemoryMB            int
	CPUMilli              int // thousandths of a core
	DBCPUMilli            int
	PIDs                  int
	Workers               int // Odoo's workers; 0 is one threaded process
	DBConnections         int // connection limit of the role
	StorageGB             int
	BackupFrequency       string
	BackupsDaily          int // how many daily backups stay, as such and as those of their week and month
	BackupsWeekly         int
	BackupsMonthly        int
	Apps                  []string
	Active                bool
}

// TempFilesMB is how much one query of the plan's client may write beside its tables, to sort and to join: far more than an Odoo ever does, and
// far less than a query that is meant to fill the server's disk.
func (p Plan) TempFilesMB() int { return max(p.StorageGB<<10/8, 1<<10) }

// AnnualKobo is the price of a year: twelve months less the discount, rounded down to a whole kobo.
func (p Plan) AnnualKobo() int64 {
	return p.PriceMonthlyKobo * 12 * int64(100-p.AnnualDiscountPercent) / 100
}
