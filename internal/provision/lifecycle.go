package provision

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// ErrStillRunning is returned for a container that the engine says it has stopped, and that runs.
var ErrStillRunning = errs.New(errs.Internal, "still_running", "The Odoo doesn't stop; we are looking into it.")

// SuspendWorkflow stops a tenant and marks it as suspended, in this order: what failed to stop isn't reported as stopped.
func (s *Service) SuspendWorkflow() ops.Workflow { return s.halting(tenants.SuspendKind) }

// StopWorkflow stops a tenant that is scheduled for deletion.
func (s *Service) StopWorkflow() ops.Workflow { return s.halting(tenants.StopKind) }

// halting is the same for both: what the tenant is to become is in its row, which may have changed since somebody asked.
func (s *Service) halting(kind string) ops.Workflow {
	return ops.Workflow{Kind: kind, Preemptible: true, Steps: []ops.Step{{Name: "stop", Do: s.halt, Tx: s.halted}}}
}

// changing returns the tenant of an operation that changes one; it may be in any state.
func (s *Service) changing(ctx context.Context, r *ops.Run) (tenants.Tenant, error) {
	var in tenants.OperationInput
	if err := r.Input(&in); err != nil {
		return tenants.Tenant{}, err
	}
	return s.tenants.ByID(ctx, in.TenantID)
}

// changingTx is the same in the checkpoint's transaction: whoever wants something else of the tenant waits, or was before.
func (s *Service) changingTx(ctx context.Context, tx pgx.Tx, r *ops.Run) (tenants.Tenant, error) {
	var in tenants.OperationInput
	if err := r.Input(&in); err != nil {
		return tenants.Tenant{}, err
	}
	return s.tenants.Lock(ctx, tx, in.TenantID)
}

// shouldStop reports whether the tenant's container may not run.
func shouldStop(t tenants.Tenant) bool {
	switch t.State {
	case tenants.Active, tenants.Sleeping, tenants.Suspended:
		return t.Desired == tenants.WantsSuspended
	case tenants.Scheduled:
		return t.Desired == tenants.WantsDeleted
	default:
		return false
	}
}

// shouldRun reports whether the tenant's container is to run once everything is done that was asked for.
func shouldRun(t tenants.Tenant) bool {
	return t.Desired == tenants.WantsActive && slices.Contains([]tenants.State{tenants.Active, tenants.Suspended, tenants.Scheduled}, t.State)
}

// next returns the kind of operation that takes a tenant from where it is to where it is wanted; "" when it is there. Whoever wants
// something enqueues it too, so this only matters when that was lost.
func next(t tenants.Tenant, running bool) string {
	switch {
	case t.State == tenants.Deleting:
		return tenants.DeleteKind
	case t.State == tenants.Provisioning:
		return tenants.ProvisionKind
	case shouldRun(t) && (t.State != tenants.Active || !running):
		return tenants.ResumeKind
	case shouldStop(t) && t.State == tenants.Scheduled && running:
		return tenants.StopKind
	case shouldStop(t) && t.State != tenants.Scheduled && (t.State != tenants.Suspended || running):
		return tenants.SuspendKind
	}
	return ""
}

// follow enqueues what is missing when an operation ends.
func follow(r *ops.Run, t tenants.Tenant, running bool) {
	if kind := next(t, running); kind != "" {
		r.Follow(kind, tenants.OperationInput{TenantID: t.ID})
	}
}

// halt notes that it stopped the container; it doesn't when somebody wants it to run after all.
func (s *Service) halt(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || !shouldStop(t) {
		return err
	}
	if err := s.stopContainer(ctx, t); err != nil {
		return err
	}
	return r.Set("stopped", true)
}

func (s *Service) stopContainer(ctx context.Context, t tenants.Tenant) error {
	if err := s.runtime.StopContainer(ctx, containerName(t), stopGrace); err != nil {
		return outcome(fmt.Errorf("stop tenant %s: %w", t.ID, err))
	}
	status, err := s.runtime.InspectContainer(ctx, containerName(t))
	if err == nil && status.Running {
		err = ErrStillRunning.WithCause(fmt.Errorf("container %s runs after it was stopped", containerName(t)))
	}
	return outcome(err)
}

func (s *Service) halted(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	t, err := s.changingTx(ctx, tx, r)
	if err != nil {
		return err
	}
	var stopped bool
	if _, err := r.Get("stopped", &stopped); err != nil {
		return err
	}
	if stopped && shouldStop(t) && (t.State == tenants.Active || t.State == tenants.Sleeping) {
		if err := s.tenants.MarkSuspendedTx(ctx, tx, t.ID); err != nil {
			return err
		}
		t.State = tenants.Suspended
	}
	follow(r, t, !stopped)
	return nil
}
