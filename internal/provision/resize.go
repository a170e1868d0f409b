package provision

import (
	"context"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// ResizeWorkflow gives a tenant the limits of its plan while it runs. Its workers, and fewer connections than it was started with, follow
// when it starts the next time. Only one that uses more memory than the plan has is started anew at once.
func (s *Service) ResizeWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: tenants.ResizeKind, Preemptible: true,
		Steps: []ops.Step{{Name: "limits", Timeout: resizeTimeout, Do: s.resize, Tx: s.resized}},
	}
}

// resizeTimeout has room for a stop.
const resizeTimeout = 3 * stopGrace

// resizable reports whether there is a whole tenant in the state.
func resizable(state tenants.State) bool { return resettable(state) || state == tenants.Scheduled }

func (s *Service) resize(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || !resizable(t.State) {
		return err
	}
	w, err := s.loadExisting(ctx, t)
	if err != nil {
		return err
	}
	status, err := s.runtime.InspectContainer(ctx, containerName(t))
	if err != nil {
		return outcome(err)
	}
	running := false
	if status.Exists { // else it is made with the plan's limits when it is needed
		if running, err = s.ensureContainer(ctx, w, r); err != nil {
			return err
		}
	}
	err = s.limitRole(ctx, w, !running)
	if errs.KindOf(err) == errs.NotFound {
		return ops.Permanent(ErrDataMissing.WithCause(err))
	}
	if err != nil {
		return outcome(err)
	}
	return r.Set("running", running)
}

// limitRole gives the tenant's role what its plan says; fewer connections only with lower.
func (s *Service) limitRole(ctx context.Context, w work, lower bool) error {
	name, subject := w.tenant.DBName, w.tenant.ID.Subject()
	if err := s.database.LimitConnections(ctx, name, subject, w.plan.DBConnections, lower); err != nil {
		return err
	}
	return s.database.LimitTempFiles(ctx, name, subject, w.plan.TempFilesMB())
}

func (s *Service) resized(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	t, err := s.changingTx(ctx, tx, r)
	if err != nil {
		return err
	}
	running := t.State == tenants.Active
	if _, err := r.Get("running", &running); err != nil {
		return err
	}
	follow(r, t, running)
	return nil
}
