package tenants

import (
	"context"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// request is who asks for a command, and what for.
type request struct {
	by     accounts.Principal
	ip     netip.Addr
	action string // in the activity log
	reason string // "": none given
}

// act makes a change to a tenant whose row is locked. When there is nothing to change it returns the tenant as it was given.
type act func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error)

// command makes a change to the caller's tenant, or for an admin anybody's, in one transaction with its record and with the
// operation that carries it out. It touches nothing outside the platform database.
func (s *Service) command(ctx context.Context, r request, name string, do act) (Change, error) {
	var c Change
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		before, err := get(ctx, tx, r.by, name, "FOR UPDATE")
		if err != nil {
			return err
		}
		c, err = s.carryOut(ctx, tx, r, before, do)
		return err
	})
	if err != nil {
		return Change{}, err
	}
	return c, nil
}

// commandTx is command for our own jobs, in their transaction.
func (s *Service) commandTx(ctx context.Context, tx pgx.Tx, action, reason string, id ID, do act) (Change, error) {
	before, err := s.Lock(ctx, tx, id)
	if err != nil {
		return Change{}, err
	}
	return s.carryOut(ctx, tx, request{by: accounts.System(), action: action, reason: reason}, before, do)
}

func (s *Service) carryOut(ctx context.Context, tx pgx.Tx, r request, before Tenant, do act) (Change, error) {
	c, err := do(ctx, tx, before)
	if err != nil || c.Tenant == before && !c.enqueued {
		return c, err
	}
	detail := difference(before, c.Tenant)
	if r.reason != "" {
		detail["reason"] = r.reason
	}
	if c.Operation != nil {
		detail["operation"] = int64(c.Operation.ID)
	}
	return c, s.record(ctx, tx, r.by, r.ip, before.ID, r.action, detail)
}

// moved makes a move and returns the tenant as it is afterwards.
func (s *Service) moved(ctx context.Context, tx pgx.Tx, id ID, m move) (Tenant, error) {
	if err := s.move(ctx, tx, id, m); err != nil {
		return Tenant{}, err
	}
	return byID(ctx, tx, id)
}

// next enqueues what is to be done to the tenant next, in the place of what is going on.
func (s *Service) next(ctx context.Context, tx pgx.Tx, t Tenant, kind string) (Change, error) {
	return s.nextWith(ctx, tx, t, kind, OperationInput{TenantID: t.ID})
}

func (s *Service) nextWith(ctx context.Context, tx pgx.Tx, t Tenant, kind string, in OperationInput) (Change, error) {
	op, err := s.ops.EnqueueNextTx(ctx, tx, kind, t.ID.Subject(), in)
	if err != nil {
		return Change{}, wrap(err, "enqueue "+kind+" of tenant "+t.ID.String())
	}
	return Change{Tenant: t, Operation: &op, enqueued: true}, nil
}

// ongoing returns the operation of the kind that is going on or is the next to, or nil. A held one isn't going on.
func (s *Service) ongoing(ctx context.Context, tx pgx.Tx, t Tenant, kind string) (*ops.Operation, error) {
	list, err := s.ops.Unfinished(ctx, tx, t.ID.Subject())
	if err != nil || len(list) == 0 {
		return nil, err
	}
	last := list[len(list)-1]
	if last.Kind != kind || last.State == ops.Held {
		return nil, nil //nolint:nilnil // none is an answer
	}
	return &last, nil
}

// ensure is for a change that was asked for before: it returns the operation that carries it out, or enqueues it again, since an
// operation may be held, and may be abandoned.
func (s *Service) ensure(ctx context.Context, tx pgx.Tx, t Tenant, kind string) (Change, error) {
	op, err := s.ongoing(ctx, tx, t, kind)
	if err != nil {
		return Change{}, err
	}
	if op == nil {
		return s.next(ctx, tx, t, kind)
	}
	return Change{Tenant: t, Operation: op}, nil
}

// difference is what a change did to the row, before and after, for the activity log.
func difference(before, after Tenant) map[string]any {
	detail := map[string]any{}
	for _, f := range []struct {
		name string
		of   func(t Tenant) any
	}{
		{"state", func(t Tenant) any { return t.State }},
		{"desired", func(t Tenant) any { return t.Desired }},
		{"plan", func(t Tenant) any { return t.PlanID }},
		{"suspended_by", func(t Tenant) any { return t.SuspendedBy }},
		{"return_state", func(t Tenant) any { return t.ReturnState }},
		{"payment_status", func(t Tenant) any { return t.PaymentStatus }},
		{"final_backup_skipped", func(t Tenant) any { return t.FinalBackupSkipped != "" }},
		{"quarantined_at", func(t Tenant) any { return clock(t.QuarantinedAt) }},
		{"neutralised_at", func(t Tenant) any { return clock(t.NeutralisedAt) }},
		{"deletion_scheduled_at", func(t Tenant) any { return clock(t.DeletionScheduledAt) }},
	} {
		if was, is := f.of(before), f.of(after); was != is {
			detail[f.name] = []any{was, is}
		}
	}
	return detail
}

// clock returns a moment as it is written in the activity log, "" for none.
func clock(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
