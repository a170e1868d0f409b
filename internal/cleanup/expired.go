package cleanup

import (
	"context"
	"net/netip"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// Report is what RunExpired came to.
type Report struct {
	Deleted            int // of those below, what is gone by now
	UnpaidExpired      int // clients that nobody paid for in time
	ScheduledDeletions int // deletions whose time had come
	Pending            int // what is still being deleted, or wasn't got to
	Failures           []Failure
}

// RunExpired sweeps unpaid clients and due deletions now, in any process, and waits up to wait for what that began. It is safe beside the
// schedules: each client is claimed once. One that fails is in the report and doesn't stop the others. Who asked for it is only for the
// record.
func (s *Service) RunExpired(ctx context.Context, p accounts.Principal, ip netip.Addr, wait time.Duration) (Report, error) {
	// Cancelled, not timed out: a call to the gateway that this cuts short isn't its failure.
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(wait, cancel).Stop()
	unpaid, scheduled := newTally(), newTally()
	if err := s.sweepDeletions(bounded, scheduled); err != nil {
		return Report{}, err
	}
	if err := s.sweepUnpaid(bounded, unpaid); err != nil {
		return Report{}, err
	}
	r := Report{
		Deleted: unpaid.deleted + scheduled.deleted, UnpaidExpired: unpaid.deleted,
		ScheduledDeletions: scheduled.deleted + len(scheduled.begun), Pending: unpaid.unseen + scheduled.unseen,
		Failures: append(scheduled.failures, unpaid.failures...),
	}
	for id, op := range scheduled.begun {
		if err := s.awaitDeletion(ctx, bounded, id, op, &r); err != nil {
			return r, err
		}
	}
	err := s.record(ctx, s.deps.Pool, p, ip, "cleanup.run", map[string]any{
		"deleted": r.Deleted, "unpaid_expired": r.UnpaidExpired, "scheduled_deletions": r.ScheduledDeletions, "pending": r.Pending,
		"failed": len(r.Failures),
	})
	return r, err
}

// awaitDeletion waits until bounded ends, and looks once more then: the others were waited for first.
func (s *Service) awaitDeletion(ctx, bounded context.Context, id tenants.ID, op ops.ID, r *Report) error {
	o, err := s.deps.Ops.Wait(bounded, op)
	if bounded.Err() != nil {
		o, err = s.deps.Ops.Get(ctx, op)
	}
	switch {
	case err != nil:
		return err
	case o.State == ops.Done:
		r.Deleted++
	case o.State == ops.Held:
		r.Failures = append(r.Failures, Failure{TenantID: id, Error: o.Error})
	default:
		r.Pending++
	}
	return nil
}
