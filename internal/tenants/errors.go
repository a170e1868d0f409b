package tenants

import "controlplane/internal/errs"

// Errors of this package; all are safe to show.
var (
	ErrNotFound         = errs.New(errs.NotFound, "client_not_found", "Client not found")
	ErrNameTaken        = errs.New(errs.Conflict, "name_taken", "Client with this name or domain already exists")
	ErrDomainTaken      = errs.New(errs.Conflict, "domain_taken", "That domain is reserved or belongs to another client")
	ErrTooManyUnpaid    = errs.New(errs.Conflict, "too_many_unpaid", "Pay for one of your unpaid clients before you create another")
	ErrConflict         = errs.New(errs.Conflict, "state_conflict", "The client's present state doesn't allow that")
	ErrPlanLocked       = errs.New(errs.Conflict, "plan_locked", "The plan of a paid client can't be changed here: plan changes are part of billing")
	ErrUnknownPlan      = errs.InvalidField("plan", "unknown_plan", "Unknown plan")
	ErrUnknownState     = errs.InvalidField("status", "unknown_status", "Unknown status")
	ErrAdminOnly        = errs.New(errs.Forbidden, "admin_only", "Admin access required")
	ErrOwnerOnly        = errs.New(errs.Forbidden, "owner_only", "Only the owner of a client can read its credentials")
	ErrNotReady         = errs.New(errs.Conflict, "not_ready", "The client isn't active yet, so it has no credentials")
	ErrCredentialsRead  = errs.New(errs.Gone, "credentials_read", "The credentials were already shown once; reset the admin password to get new ones")
	ErrResetting        = errs.New(errs.Conflict, "password_reset_pending", "The password is just being reset; ask again in a moment")
	ErrAlreadySuspended = errs.New(errs.Malformed, "already_suspended", "Client is already suspended")
	ErrNotSuspended     = errs.New(errs.Malformed, "not_suspended", "Client is not suspended")
	ErrSuspendedByOther = errs.New(errs.Forbidden, "suspended_by_other", "This suspension isn't the owner's to lift: turn to our staff")
	ErrAlreadyDeleted   = errs.New(errs.Malformed, "already_deleted", "Client has already been deleted")
	ErrNotScheduled     = errs.New(errs.Malformed, "not_scheduled", "Client is not scheduled for deletion")
	ErrTooLate          = errs.New(errs.Conflict, "deletion_begun", "The deadline has passed: the deletion can't be cancelled any more")
	ErrUnpaid           = errs.New(errs.PaymentRequired, "payment_required", "The client isn't paid for: pay with POST /api/payments/initialize, and it starts by itself")
	ErrBadHours         = errs.InvalidField("hours_until_deletion", "out_of_range", "hours_until_deletion must be between 12 and 720")
	ErrBadReason        = errs.InvalidField("reason", "bad_text", "reason must be one line of at most 500 characters")
	ErrNoReason         = errs.InvalidField("reason", "required", "Say why, in reason")
	ErrEdgeNotFound     = errs.New(errs.NotFound, "edge_not_found", "No edge of that id has reported")
	ErrEdgeReporting    = errs.New(errs.Conflict, "edge_reporting", "That edge still reports: stop it for good, and forget it when it is silent")
	ErrNoSecrets        = errs.New(errs.Internal, "no_secrets", "The client has no secrets yet")
)
