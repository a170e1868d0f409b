package tenants

// The kinds of operation that are done to a tenant. They are enqueued here, with the change of the row that asks for them, and their
// workflows are in internal/provision.
const (
	ProvisionKind = "tenant.provision"
	SuspendKind   = "tenant.suspend" // stops it, and marks it as suspended
	ResumeKind    = "tenant.resume"  // starts it; also after a cancelled deletion, and when it should run but doesn't
	StopKind      = "tenant.stop"    // of one that is scheduled for deletion
	DeleteKind    = "tenant.delete"
	ResizeKind    = "tenant.resize" // to its plan's limits
	LinksKind     = "tenant.links"  // that its Odoo makes, to its primary domain

	NeutraliseKind = "tenant.neutralise" // a copy in quarantine
)

// OperationInput is what each of them is enqueued with.
type OperationInput struct {
	TenantID        ID     `json:"tenant_id"`
	SkipFinalBackup bool   `json:"skip_final_backup,omitempty"` // of a deletion; the row's FinalBackupSkipped may come later and says it too
	Reason          string `json:"reason,omitempty"`            // of a deletion, for operators
}
