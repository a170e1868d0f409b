package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

const (
	// maxMendings is how often within mendingsCounted a tenant is mended in the same way; what doesn't stay mended is a person's business.
	maxMendings     = 5
	mendingsCounted = time.Hour
)

// ReconcileReport says what a reconciliation found and began.
type ReconcileReport struct {
	Tenants  int               // that were compared
	Enqueued map[string]string // subject → kind of the operation
	Later    int               // put off, so as not to interrupt too many at once
	Missing  int               // tenants whose data is gone
	Orphans  int               // that are there still
	Removed  int               // orphans whose grace was over
}

// Reconcile compares what should be with what is. What differs is mended by operations, which it only enqueues; it acts itself on the
// firewall and on orphans whose grace is over. One process does it at a time. What goes wrong with one tenant doesn't keep it from the
// others.
func (s *Service) Reconcile(ctx context.Context) (ReconcileReport, error) {
	s.reconciling.Lock()
	defer s.reconciling.Unlock()
	report := ReconcileReport{Enqueued: map[string]string{}}
	if err := s.ensureFirewall(ctx); err != nil {
		return report, err
	}
	w, began, clusterErr, err := s.survey(ctx)
	if err != nil {
		return report, errors.Join(err, clusterErr)
	}
	s.judgeRunning(ctx, &w)
	plan := MakePlan(w)
	report.Tenants, report.Missing, report.Later = len(w.Tenants), len(plan.Missing), plan.Later
	failures := []error{clusterErr}
	for _, m := range plan.Mend {
		enqueued, err := s.mend(ctx, m, began)
		failures = append(failures, err)
		if enqueued {
			report.Enqueued[m.Tenant.ID.Subject()] = m.Kind
		}
	}
	failures = append(failures, s.tellCalm(ctx))
	if !w.NoCluster {
		failures = append(failures, s.tellMissing(ctx, w, plan.Missing))
	}
	report.Orphans, report.Removed, err = s.clearOrphans(ctx, w, plan.Orphans)
	return report, errors.Join(append(failures, err)...)
}

// mendInput is what an operation is enqueued with here.
type mendInput struct {
	tenants.OperationInput
	resumeInput
}

// mend enqueues the operation if all is still as it was seen, and reports whether it did.
func (s *Service) mend(ctx context.Context, m Mending, began time.Time) (enqueued bool, err error) {
	id := m.Tenant.ID
	var flapping bool
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		enqueued = false
		same, err := unchanged(ctx, tx, m.Tenant, began)
		if err != nil || !same {
			return err
		}
		if flapping, err = s.flapping(ctx, tx, m); err != nil || flapping {
			return err
		}
		enqueue := s.ops.EnqueueTx
		if m.Instead {
			enqueue = s.ops.EnqueueNextTx
		}
		_, err = enqueue(ctx, tx, m.Kind, id.Subject(), mendInput{tenants.OperationInput{TenantID: id}, resumeInput{Restart: m.Restart}})
		enqueued = err == nil
		return err
	})
	switch {
	case errors.Is(err, ops.ErrLive):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("mend tenant %s (%s): %w", id, m.Finding, err)
	case enqueued:
		s.health.restarted(id)
		s.log.WarnContext(ctx, "a tenant isn't as it should be", "tenant", id, "name", m.Tenant.Name, "finding", m.Finding, "operation", m.Kind)
	case flapping:
		s.log.ErrorContext(ctx, "a tenant doesn't stay mended", "tenant", id, "name", m.Tenant.Name, "finding", m.Finding, "operation", m.Kind)
	}
	return enqueued, nil
}

// unchanged reports whether the tenant still is where it was seen, and that no operation ended while it was looked at.
func unchanged(ctx context.Context, tx pgx.Tx, v TenantView, began time.Time) (same bool, err error) {
	err = tx.QueryRow(ctx, `
		SELECT state = $2 AND desired = $3 AND NOT EXISTS (SELECT FROM operations WHERE subject = $4 AND finished_at >= $5)
		FROM tenants WHERE id = $1 FOR UPDATE`, v.ID, v.State, v.Desired, v.ID.Subject(), began).Scan(&same)
	if err != nil && !postgres.NoRows(err) {
		return false, fmt.Errorf("lock tenant %s: %w", v.ID, err)
	}
	return same, nil
}

// flapping tells a person of a tenant that was mended in this way again and again.
func (s *Service) flapping(ctx context.Context, tx pgx.Tx, m Mending) (bool, error) {
	var often int
	err := tx.QueryRow(ctx, `
		SELECT count(*) FROM operations WHERE subject = $1 AND kind = $2 AND created_at > now() - $3::interval`,
		m.Tenant.ID.Subject(), m.Kind, mendingsCounted).Scan(&often)
	if err != nil {
		return false, fmt.Errorf("count the operations on tenant %s: %w", m.Tenant.ID, err)
	}
	if often < maxMendings {
		return false, nil
	}
	return true, s.raise(ctx, tx, alertFlapping, m.Tenant.ID.Subject(), fmt.Sprintf("Client %s doesn't stay mended: %s (%s ran %d times within an hour).",
		m.Tenant.Name, m.Finding, m.Kind, often))
}
