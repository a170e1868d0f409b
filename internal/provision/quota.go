package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/notices"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// What owners are told about their disk.
const (
	NoticeDiskWarning   notices.Kind = "disk.warning"   // 80 percent of what the plan has
	NoticeDiskFull      notices.Kind = "disk.full"      // 100 percent
	NoticeDiskOver      notices.Kind = "disk.over"      // above what is borne: data.suspend_at says for how long it is
	NoticeDiskSuspended notices.Kind = "disk.suspended" // that time is over
	NoticeDiskResumed   notices.Kind = "disk.resumed"   // there is less, or the plan has more
)

const (
	warnPercent = 80
	fullPercent = 100
	slack       = 5 // percent below a mark after which crossing it is told again; a size that swings around it isn't news
)

// quota is the rule about disk. An owner whose tenant it stopped can't empty it, so that suspension is lifted by a larger plan, which
// the next measurement sees, or by an administrator, after whom the whole time of grace begins again.
type quota struct {
	grace       time.Duration
	overPercent int
}

// verdict is what follows from one measurement.
type verdict struct {
	disk    tenants.Disk
	tell    []notices.Kind
	suspend bool
	resume  bool
}

// judge compares a new measurement with what was known. It knows no clock but the measurement's own.
func (q quota) judge(t tenants.Tenant, was, now tenants.Disk, limitBytes int64) verdict {
	percent := int(now.TotalBytes() * 100 / max(limitBytes, 1)) // below 80 is 79
	v := verdict{disk: now}
	v.disk.ToldPercent, v.disk.OverSince = was.ToldPercent, was.OverSince
	switch {
	case percent >= fullPercent && was.ToldPercent < fullPercent:
		v.disk.ToldPercent, v.tell = fullPercent, append(v.tell, NoticeDiskFull)
	case percent >= warnPercent && was.ToldPercent < warnPercent:
		v.disk.ToldPercent, v.tell = warnPercent, append(v.tell, NoticeDiskWarning)
	case percent < warnPercent-slack:
		v.disk.ToldPercent = 0
	case percent < fullPercent-slack:
		v.disk.ToldPercent = min(was.ToldPercent, warnPercent)
	}
	stopped := t.Causes(tenants.ByQuota) && t.Desired == tenants.WantsSuspended
	over := now.TotalBytes()*100 > limitBytes*int64(q.overPercent)
	switch {
	case !over:
		v.disk.OverSince, v.resume = nil, stopped
	case stopped:
		v.disk.OverSince = nil
	case was.OverSince == nil:
		v.disk.OverSince, v.tell = &now.MeasuredAt, append(v.tell, NoticeDiskOver)
	case now.MeasuredAt.Sub(*was.OverSince) >= q.grace && (running(t) || heldByOthers(t)):
		v.disk.OverSince, v.suspend = nil, true
	}
	if v.suspend {
		v.tell = append(v.tell, NoticeDiskSuspended)
	}
	if v.resume && t.SuspendedBy == tenants.ByQuota && t.AlsoUnpaid == "" {
		v.tell = append(v.tell, NoticeDiskResumed)
	}
	return v
}

// heldByOthers is for a tenant that is stopped for something else, and mustn't start when that is over.
func heldByOthers(t tenants.Tenant) bool {
	return t.Desired == tenants.WantsSuspended && (t.SuspendedBy == tenants.ByBilling || t.SuspendedBy == tenants.ByAdmin)
}

func running(t tenants.Tenant) bool {
	return (t.State == tenants.Active || t.State == tenants.Sleeping) && t.Desired == tenants.WantsActive
}

// MeasureDisks measures every tenant's database and volumes and does what the quota says. What goes wrong with one tenant doesn't keep
// the others from being measured.
func (g *Gauge) MeasureDisks(ctx context.Context) error {
	list, err := g.tenants.OnDisk(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return nil
	}
	volumes, err := g.meter.VolumeSizes(ctx)
	if err != nil {
		return fmt.Errorf("measure the volumes: %w", err)
	}
	var all []error
	for _, t := range list {
		if err := g.measureDisk(ctx, t, volumes); err != nil {
			all = append(all, fmt.Errorf("measure the disk of tenant %s: %w", t.ID, err))
		}
	}
	return errors.Join(all...)
}

func (g *Gauge) measureDisk(ctx context.Context, t tenants.Tenant, volumes map[string]int64) error {
	size, err := g.databases.DatabaseSize(ctx, t.DBName)
	if err != nil {
		return err
	}
	plan, err := g.tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return err
	}
	now := tenants.Disk{DatabaseBytes: size, MeasuredAt: g.now()}
	data, measured := volumes[dataVolume(t)]
	now.FilestoreBytes = data + volumes[addonsVolume(t)]
	return postgres.InTx(ctx, g.pool, func(tx pgx.Tx) error {
		t, err := g.tenants.Lock(ctx, tx, t.ID)
		if err != nil || t.State == tenants.Deleting || t.State == tenants.Deleted {
			return err
		}
		was, err := g.tenants.DiskTx(ctx, tx, t.ID)
		if err != nil {
			return err
		}
		if !measured { // the volume is new or gone; that it is empty isn't known
			now.FilestoreBytes = was.FilestoreBytes
		}
		limit := int64(plan.StorageGB) << 30
		return g.carryOutTx(ctx, tx, t, g.quota.judge(t, was, now, limit), limit)
	})
}

func (g *Gauge) carryOutTx(ctx context.Context, tx pgx.Tx, t tenants.Tenant, v verdict, limit int64) error {
	if err := g.tenants.SetDiskTx(ctx, tx, t.ID, v.disk); err != nil {
		return err
	}
	for _, kind := range v.tell {
		data := map[string]any{
			"client": t.Name, "used_mb": v.disk.TotalMB(), "quota_mb": limit >> 20, "percent": v.disk.TotalBytes() * 100 / max(limit, 1),
		}
		if kind == NoticeDiskOver {
			data["suspend_at"] = v.disk.OverSince.Add(g.quota.grace)
		}
		_, err := notices.EnqueueTx(ctx, tx, notices.Notice{
			AccountID: t.AccountID, TenantID: t.ID, Kind: kind, Data: data,
			DedupeKey: fmt.Sprintf("%s/%s/%d", kind, t.ID, v.disk.MeasuredAt.Unix()),
		})
		if err != nil {
			return err
		}
	}
	var err error
	switch {
	case v.suspend:
		reason := fmt.Sprintf("It takes %.1f GiB of disk; its plan has %d.", float64(v.disk.TotalBytes())/(1<<30), limit>>30)
		_, err = g.tenants.SuspendTx(ctx, tx, t.ID, tenants.ByQuota, reason)
	case v.resume:
		_, err = g.tenants.ResumeTx(ctx, tx, t.ID, tenants.ByQuota)
	}
	if errors.Is(err, tenants.ErrAlreadySuspended) || errors.Is(err, tenants.ErrSuspendedByOther) { // it is noted behind theirs, or no longer
		return nil
	}
	return err
}
