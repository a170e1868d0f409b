package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/tenants"
)

// survey reads what is and what should be, and when it began by the platform database's clock: what happened since then may be half
// in it. The world is looked at before the rows: who made something that was seen is in the rows then.
func (s *Service) survey(ctx context.Context) (w Worlds, began time.Time, clusterErr, err error) {
	if err = s.pool.QueryRow(ctx, "SELECT now()").Scan(&began); err != nil {
		return w, began, nil, fmt.Errorf("read the clock: %w", err)
	}
	if w.Engine, err = s.runtime.EngineObjects(ctx); err != nil {
		return w, began, nil, err
	}
	w.Cluster, clusterErr = s.database.ClusterObjects(ctx)
	w.NoCluster = clusterErr != nil
	if w.Tenants, err = s.tenantViews(ctx); err != nil {
		return w, began, clusterErr, err
	}
	w.Templates, err = s.templateViews(ctx)
	w.Shared = append(s.sandboxNetworks(), s.builderNetwork().Name)
	return w, began, clusterErr, err
}

func (s *Service) tenantViews(ctx context.Context) ([]TenantView, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT t.id, t.name, t.db_name, coalesce(t.data_volume, ''), t.state, t.desired, t.activated_at IS NOT NULL, t.quarantined_at, s.subnet,
		       p.id, p.memory_mb, p.cpu_milli, p.pids, p.db_connections,
		       EXISTS (SELECT FROM operations o WHERE o.subject = 'tenant/' || t.id AND o.finished_at IS NULL AND o.state <> 'held'),
		       coalesce((SELECT o.kind FROM operations o WHERE o.subject = 'tenant/' || t.id AND o.finished_at IS NULL AND o.state = 'held'), '')
		FROM tenants t JOIN plans p ON p.id = t.plan_id LEFT JOIN tenant_subnets s ON s.tenant_id = t.id
		WHERE t.state <> 'deleted' ORDER BY t.id`)
	if err != nil {
		return nil, fmt.Errorf("read what should be: %w", err)
	}
	views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (TenantView, error) {
		var v TenantView
		err := row.Scan(&v.ID, &v.Name, &v.DBName, &v.Volume, &v.State, &v.Desired, &v.WasLive, &v.QuarantinedAt, &v.Subnet,
			&v.Plan.ID, &v.Plan.MemoryMB, &v.Plan.CPUMilli, &v.Plan.PIDs, &v.Plan.DBConnections, &v.Busy, &v.Held)
		return v, err
	})
	if err != nil {
		return nil, fmt.Errorf("read what should be: %w", err)
	}
	return views, nil
}

// templateViews tells which templates are needed: those that plans use with the present image, earlier ones until that is built, and
// those that an operation is cloning.
func (s *Service) templateViews(ctx context.Context) ([]TemplateView, error) {
	plans, err := s.tenants.Plans(ctx)
	if err != nil {
		return nil, err
	}
	var offered []string
	for _, p := range plans {
		offered = append(offered, appsKey(p.Apps))
	}
	image, err := s.runtime.Image(ctx, s.opts.Image)
	if err != nil { // then no template takes the place of an earlier one
		s.log.WarnContext(ctx, "can't find the image of Odoo", "image", s.opts.Image, "error", err)
	}
	rows, err := s.pool.Query(ctx, `
		SELECT t.database_name, t.state = 'ready',
		       EXISTS (SELECT FROM operations o WHERE o.subject = 'template/' || t.id AND o.finished_at IS NULL),
		       t.apps_key = ANY($1) AND (t.image_id = $2 OR NOT EXISTS (
		           SELECT FROM templates n WHERE n.apps_key = t.apps_key AND n.image_id = $2 AND n.state = 'ready'))
		       OR EXISTS (SELECT FROM operations o WHERE o.kind = $3 AND o.finished_at IS NULL AND o.data->>'template' = t.id::text)
		FROM templates t WHERE t.state <> 'removed' ORDER BY t.id`, offered, image.ID, tenants.ProvisionKind)
	if err != nil {
		return nil, fmt.Errorf("read which templates are needed: %w", err)
	}
	views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (TemplateView, error) {
		var t TemplateView
		err := row.Scan(&t.Name, &t.Ready, &t.Busy, &t.Needed)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read which templates are needed: %w", err)
	}
	return views, nil
}

// judgeRunning fills in what takes a closer look at tenants that run: whether Odoo answers, and whether the container is of the spec that
// it would get today. The image stays what it is: another one is an upgrade, and the owner's decision.
func (s *Service) judgeRunning(ctx context.Context, w *Worlds) {
	at := indexOf(*w)
	var running []*TenantView
	for i := range w.Tenants {
		v := &w.Tenants[i]
		c, ok := at.container(*v)
		if v.State != tenants.Active || v.Desired != tenants.WantsActive || v.Busy || !ok || !c.Running || !v.Subnet.IsValid() {
			continue
		}
		want := s.container(work{tenant: v.tenant(), plan: v.Plan, subnet: v.Subnet, template: Template{ImageID: c.Image}}, 0)
		hash, err := s.runtime.SpecHash(ctx, want)
		if err == nil {
			v.Spec = hash
		} else {
			s.log.WarnContext(ctx, "can't tell the spec that a container should have", "tenant", v.ID, "error", err)
		}
		if time.Since(c.StartedAt) > s.opts.ReadyTimeout {
			running = append(running, v)
		}
	}
	s.health.probe(ctx, s.prober, running)
}
