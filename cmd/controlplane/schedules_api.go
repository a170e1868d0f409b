package main

import (
	"context"
	"net/netip"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/api"
	"controlplane/internal/cleanup"
)

// schedulesAPI is the schedules as the API has them, which doesn't know their package.
type schedulesAPI struct{ s *cleanup.Service }

// List returns all schedules.
func (a schedulesAPI) List(ctx context.Context, p accounts.Principal) ([]api.Schedule, error) {
	list, err := a.s.List(ctx, p)
	out := make([]api.Schedule, len(list))
	for i, c := range list {
		out[i] = wireSchedule(c)
	}
	return out, err
}

// Update changes when a job runs.
func (a schedulesAPI) Update(ctx context.Context, p accounts.Principal, ip netip.Addr, name string, in api.ScheduleUpdate) (api.Schedule, error) {
	c, err := a.s.Update(ctx, p, ip, name, cleanup.UpdateInput{Cron: in.Cron, Enabled: in.Enabled})
	return wireSchedule(c), err
}

// RunNow has a worker run a job.
func (a schedulesAPI) RunNow(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (api.Schedule, error) {
	c, err := a.s.RunNow(ctx, p, ip, name)
	return wireSchedule(c), err
}

// RunExpired deletes what has expired.
func (a schedulesAPI) RunExpired(ctx context.Context, p accounts.Principal, ip netip.Addr, wait time.Duration) (api.CleanupReport, error) {
	r, err := a.s.RunExpired(ctx, p, ip, wait)
	out := api.CleanupReport{Deleted: r.Deleted, UnpaidExpired: r.UnpaidExpired, ScheduledDeletions: r.ScheduledDeletions, Pending: r.Pending}
	for _, f := range r.Failures {
		out.Failures = append(out.Failures, api.CleanupFailure{TenantID: f.TenantID, Error: f.Error})
	}
	return out, err
}

func wireSchedule(c cleanup.Schedule) api.Schedule {
	out := api.Schedule{
		Name: c.Name, Description: c.Description, Cron: c.Cron, DefaultCron: c.DefaultCron, Jitter: c.Jitter, Enabled: c.Enabled,
		NextRun: c.NextRun, RequestedAt: c.RequestedAt, RunningSince: c.RunningSince, LastRun: c.LastRun, LastStatus: c.LastStatus,
		LastError: c.LastError, LastDuration: c.LastDuration,
	}
	if c.LastResult != nil {
		out.LastDone, out.LastFailed, out.LastNote = c.LastResult.Done, c.LastResult.Failed, c.LastResult.Note
	}
	return out
}
