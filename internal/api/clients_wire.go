package api

import (
	"time"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// clientAnswer is a client as lists show it. Fields that mean nothing any more keep a fixed value for the shape of old clients.
type clientAnswer struct {
	ID                  tenants.ID    `json:"id"`
	Name                string        `json:"name"`
	Domain              string        `json:"domain"`
	URL                 string        `json:"url"`
	Email               string        `json:"email"`
	Plan                string        `json:"plan"`
	DBName              string        `json:"db_name"`
	OdooPort            int           `json:"odoo_port"` // always 8069: nothing is published on the host
	Status              tenants.State `json:"status"`
	MemoryLimit         string        `json:"memory_limit"`
	DBMemoryLimit       string        `json:"db_memory_limit"`
	CPULimit            float64       `json:"cpu_limit"`
	DBCPULimit          float64       `json:"db_cpu_limit"`
	RedisEnabled        bool          `json:"redis_enabled"` // always false: there is none
	DiskUsageMB         int           `json:"disk_usage_mb"`
	LastBackup          *wireTime     `json:"last_backup"` // when the newest good one was complete
	CreatedAt           wireTime      `json:"created_at"`
	ActivatedAt         *wireTime     `json:"activated_at"`
	CustomDomains       []string      `json:"custom_domains"` // proven or not; their own route tells more
	PaymentDeadline     *wireTime     `json:"payment_deadline"`
	PaymentReference    *string       `json:"payment_reference"`
	PaymentStatus       string        `json:"payment_status"`
	DeletionScheduledAt *wireTime     `json:"deletion_scheduled_at"` // until then its deletion can be cancelled
	Quarantined         bool          `json:"quarantined"`           // it is a copy that reaches nobody
}

// updateAnswer is a client as it is after a change.
type updateAnswer struct {
	clientAnswer

	Operation *operationAnswer `json:"operation"` // that puts a new plan's limits in place; null: nothing had to be done
}

// clientDetail is a client as its own page shows it. There is no password in it, however old clients look for one.
type clientDetail struct {
	clientAnswer

	DBUser                 string          `json:"db_user"`
	BackupRetentionDaily   int             `json:"backup_retention_daily"`
	BackupRetentionWeekly  int             `json:"backup_retention_weekly"`
	BackupRetentionMonthly int             `json:"backup_retention_monthly"`
	NextBackup             *wireTime       `json:"next_backup"`      // null: not before something changes
	BackupProvenAt         *wireTime       `json:"backup_proven_at"` // when a backup was restored last, and Odoo answered on it
	BackupProofFailedAt    *wireTime       `json:"backup_proof_failed_at"`
	SuspendedAt            *wireTime       `json:"suspended_at"`
	SuspendedBy            *string         `json:"suspended_by"`
	SuspendReason          *string         `json:"suspend_reason"`
	UpdatedAt              wireTime        `json:"updated_at"`
	Failure                *string         `json:"failure"`
	Notes                  *string         `json:"notes,omitempty"` // admins only
	Progress               *progressAnswer `json:"progress"`

	Quarantine    *quarantineAnswer `json:"quarantine"`
	NeutralisedAt *wireTime         `json:"neutralised_at"`
}

// progressAnswer tells how far the latest operation on a client is.
type progressAnswer struct {
	Operation   string    `json:"operation"`
	State       ops.State `json:"state"`
	Step        string    `json:"step"`
	StepNumber  int       `json:"step_number"` // 1-based
	Steps       int       `json:"steps"`       // 0 where this process doesn't know the operation
	Since       wireTime  `json:"since"`       // of the step
	Attempts    int       `json:"attempts"`    // at the step
	Error       *string   `json:"error"`
	ErrorDetail *string   `json:"error_detail,omitempty"` // admins only
}

type pendingAnswer struct {
	ID              tenants.ID `json:"id"`
	Name            string     `json:"name"`
	Domain          string     `json:"domain"`
	Email           string     `json:"email"`
	Plan            string     `json:"plan"`
	PaymentDeadline wireTime   `json:"payment_deadline"`
	CreatedAt       wireTime   `json:"created_at"`
	IsExpired       bool       `json:"is_expired"`
}

type credentialsAnswer struct {
	Login    string `json:"login"`
	Password string `json:"password"`
	URL      string `json:"url"`
}

type statsAnswer struct {
	TotalClients     int     `json:"total_clients"`
	ActiveClients    int     `json:"active_clients"`
	SuspendedClients int     `json:"suspended_clients"`
	TotalDiskUsageMB int64   `json:"total_disk_usage_mb"`
	AvgMemoryPercent float64 `json:"avg_memory_usage_percent"` // always 0: memory isn't sampled per client
}

// odooPort is inside the container.
const odooPort = 8069

func (s *server) newClientAnswer(t tenants.Tenant, plan tenants.Plan, backups backup.Outlook, own []string) clientAnswer {
	return clientAnswer{
		ID: t.ID, Name: t.Name, Domain: t.Domain, URL: s.opts.TenantURL(t.Domain), Email: t.Email, Plan: t.PlanID, DBName: t.DBName,
		OdooPort: odooPort, Status: t.State,
		MemoryLimit: memory(plan.MemoryMB), DBMemoryLimit: memory(plan.DBMemoryMB), CPULimit: cores(plan.CPUMilli),
		DBCPULimit: cores(plan.DBCPUMilli), DiskUsageMB: t.DiskUsageMB,
		CreatedAt: wireTime(t.CreatedAt), ActivatedAt: wireTimePtr(t.ActivatedAt), CustomDomains: append([]string{}, own...),
		PaymentDeadline: deadlineOf(t), PaymentReference: orNull(t.PaymentReference), PaymentStatus: t.PaymentStatus,
		DeletionScheduledAt: wireTimePtr(t.DeletionScheduledAt), LastBackup: wireTimePtr(backups.Last),
		Quarantined: t.QuarantinedAt != nil,
	}
}

// deadlineOf is null once the client is paid: front ends count down to it.
func deadlineOf(t tenants.Tenant) *wireTime {
	if t.PaidAt != nil {
		return nil
	}
	return wireTimePtr(&t.PaymentDeadline)
}

func (s *server) newClientDetail(t tenants.Tenant, plan tenants.Plan, backups backup.Outlook, own []string, admin bool) clientDetail {
	d := clientDetail{
		clientAnswer: s.newClientAnswer(t, plan, backups, own), DBUser: t.DBName,
		BackupRetentionDaily: plan.BackupsDaily, BackupRetentionWeekly: plan.BackupsWeekly, BackupRetentionMonthly: plan.BackupsMonthly,
		NextBackup: wireTimePtr(backups.Next), BackupProvenAt: wireTimePtr(backups.Proven), BackupProofFailedAt: wireTimePtr(backups.ProofFailed),
		SuspendedAt: wireTimePtr(t.SuspendedAt), SuspendedBy: orNull(string(t.SuspendedBy)), SuspendReason: orNull(t.SuspendReason), UpdatedAt: wireTime(t.UpdatedAt), Failure: orNull(t.Failure),
		Quarantine: newQuarantineAnswer(t), NeutralisedAt: wireTimePtr(t.NeutralisedAt),
	}
	if admin {
		d.Notes = &t.Notes
	}
	return d
}

func newProgressAnswer(op ops.Operation, admin bool) *progressAnswer {
	p := &progressAnswer{
		Operation: op.Kind, State: op.State, Step: op.Step, StepNumber: op.StepIndex + 1, Steps: op.StepCount,
		Since: wireTime(op.StepStartedAt), Attempts: op.Attempt, Error: orNull(op.Error),
	}
	if admin {
		p.ErrorDetail = orNull(op.ErrorDetail)
	}
	return p
}

func newPendingAnswer(t tenants.Tenant, now time.Time) pendingAnswer {
	return pendingAnswer{
		ID: t.ID, Name: t.Name, Domain: t.Domain, Email: t.Email, Plan: t.PlanID,
		PaymentDeadline: wireTime(t.PaymentDeadline), CreatedAt: wireTime(t.CreatedAt), IsExpired: !now.Before(t.PaymentDeadline),
	}
}
